//! Mapped files: the one place with `unsafe`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, Mmap};

/// A mapped file.
pub(super) struct Map {
    /// All of it, to be sliced and sent without a copy.
    pub bytes: Bytes,
    map: Arc<Mmap>,
}

/// What the bytes hold on to.
struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Map {
    /// Maps a whole file for reading. What is not in memory is read page by page where it is touched, without what
    /// is around it: how much that would be is a setting of the disk, often megabytes, behind which everybody's
    /// syncs would wait. Who reads more says so with [`DiskFile::prefetch`](super::DiskFile::prefetch).
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: a mapping is undefined behaviour when its bytes change while Rust code holds them as
        // immutable, and a fault when the file is cut. The store keeps to both: files keep their size
        // while they are in use, and only bytes below the published end of the log are sliced, which
        // no one writes again. Another process that changes the file breaks this as it breaks every
        // database that maps its files; the store's lock file keeps such processes out.
        let map = Arc::new(unsafe { Mmap::map(file)? });
        map.advise(Advice::Random)?;
        Ok(Self { bytes: Bytes::from_owner(Owner(Arc::clone(&map))), map })
    }

    /// Whether what is around a page is read with it.
    pub fn set_read_ahead(&self, on: bool) {
        // A system that cannot do it goes on as before.
        let _ = self.map.advise(if on { Advice::Normal } else { Advice::Random });
    }
}
