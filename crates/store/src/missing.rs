//! Which files of the log were missing when their messages should have got their units in queues, so that
//! they get them when a file is put back.
//!
//! ```text
//! <store>/missing: the offset of each file's first byte, one a line
//! ```
//!
//! Upstream's broker doesn't know the file.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use apogee_base::disk::{self, Disk};

use crate::log::Log;

pub(crate) struct Missing {
    path: PathBuf,
    noted: BTreeSet<i64>,
}

impl Missing {
    /// What was noted in the store in `root`.
    pub fn open(disk: &dyn Disk, root: &Path) -> io::Result<Self> {
        let path = root.join("missing");
        let text = disk::read_replaced(disk, &path)?.unwrap_or_default();
        let noted = String::from_utf8_lossy(&text).lines().filter_map(|line| line.parse().ok()).collect();
        Ok(Self { path, noted })
    }

    /// Whether a file is there again.
    pub fn has_come_back(&self, log: &Log) -> bool {
        self.noted.iter().any(|base| log.segment(*base).is_some())
    }

    /// Notes, durably, what is missing: all that was before and is still, and what is at or after
    /// `dispatched_to`.
    pub fn note(&self, disk: &dyn Disk, log: &Log, dispatched_to: i64) -> io::Result<()> {
        let mut missing: BTreeSet<i64> = self.noted.iter().copied().filter(|base| log.is_missing(*base)).collect();
        let segments = log.all_segments();
        for pair in segments.windows(2) {
            let size = log.segment_size as i64;
            let between = (pair[0].base + size..pair[1].base).step_by(log.segment_size as usize);
            missing.extend(between.filter(|base| base + size > dispatched_to));
        }
        if missing == self.noted {
            return Ok(());
        }
        let lines: String = missing.iter().map(|base| format!("{base}\n")).collect();
        disk::replace(disk, &self.path, lines.as_bytes())
    }
}
