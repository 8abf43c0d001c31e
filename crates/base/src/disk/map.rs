//! Mapped files: the one place with `unsafe`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::{Advice, Mmap};

/// Maps a whole file for reading, as bytes that can be sliced and sent without a copy. What is not in
/// memory is read page by page where it is touched, without what is around it: how much that would be is a
/// setting of the disk, often megabytes, behind which everybody's syncs would wait. Who reads more says so
/// with [`DiskFile::prefetch`](super::DiskFile::prefetch).
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: a mapping is undefined behaviour when its bytes change while Rust code holds them as
    // immutable, and a fault when the file is cut. The store keeps to both: files keep their size
    // while they are in use, and only bytes below the published end of the log are sliced, which
    // no one writes again. Another process that changes the file breaks this as it breaks every
    // database that maps its files; the store's lock file keeps such processes out.
    let map = unsafe { Mmap::map(file)? };
    map.advise(Advice::Random)?;
    Ok(Bytes::from_owner(map))
}
