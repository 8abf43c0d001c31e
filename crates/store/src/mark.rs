//! How far the log was durable, for recovery to tell damage from a torn end.
//!
//! ```text
//! <store>/flushed: offset(8) crc32 of it(4)
//! ```
//!
//! Written after each flush and before anybody is told, and not flushed itself: after a crash it may
//! say less than was durable, never more. Upstream's broker doesn't know the file.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apogee_base::disk::{Disk, DiskFile, read};

pub(crate) struct Mark {
    file: Arc<dyn DiskFile>,
    failed: AtomicBool,
}

impl Mark {
    /// The mark of the store in `root`, and what it says: 0 when there was none, or a damaged one.
    pub fn open(disk: &dyn Disk, root: &Path) -> io::Result<(Self, i64)> {
        let path = root.join("flushed");
        let said = if disk.exists(&path) { said(&read(disk, &path)?) } else { 0 };
        let file = disk.open(&path, true)?;
        Ok((Self { file, failed: AtomicBool::new(false) }, said))
    }

    /// Notes that the log is durable up to `end`.
    pub fn put(&self, end: i64) {
        let offset = end.to_be_bytes();
        let sum = crc32fast::hash(&offset).to_be_bytes();
        let written = self.file.write_at(&mut [IoSlice::new(&offset), IoSlice::new(&sum)], 0);
        if let Err(error) = written
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "the file `flushed` cannot be written: after a crash, damage near the log's end would be taken for the end");
        }
    }

    /// Makes it durable: it says less than before.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// What the file's content says.
pub(crate) fn said(bytes: &[u8]) -> i64 {
    let Some((offset, rest)) = bytes.split_first_chunk::<8>() else { return 0 };
    let is_right = rest.first_chunk::<4>().is_some_and(|sum| *sum == crc32fast::hash(offset).to_be_bytes());
    if is_right { i64::from_be_bytes(*offset).max(0) } else { 0 }
}
