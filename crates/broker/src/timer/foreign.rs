//! What Apache's broker left: how far its own timer came with the same wheel topic.

use std::io;
use std::path::Path;

use apogee_base::disk::{self, Disk};
use apogee_message::crc31;
use bytes::Buf;

/// Milliseconds by which Apache's broker is late: it rounds down, and delivers at the second's end.
pub(super) const PRECISION: i64 = 1000;

/// The file `timercheck` of Apache's broker; all zero when it was never here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Tells whether the file has changed.
    pub check: u32,
    /// What it had taken in was delivered when due before this time, in its milliseconds.
    pub read_time: i64,
    /// It had taken in the wheel topic's units before this offset.
    pub queue_offset: i64,
}

impl Foreign {
    /// The file's name.
    pub const FILE: &str = "timercheck";

    /// Reads `timercheck` in the folder of the configuration.
    pub fn read(disk: &dyn Disk, folder: &Path) -> io::Result<Self> {
        let path = folder.join(Self::FILE);
        if !disk.exists(&path) {
            return Ok(Self::default());
        }
        let bytes = disk::read(disk, &path)?;
        let mut fields = &bytes[..];
        let mut field = || fields.try_get_i64().unwrap_or(0);
        let (read_time, _flushed, queue_offset) = (field(), field(), field());
        Ok(Self { check: crc31(&bytes), read_time, queue_offset })
    }

    /// Whether Apache's broker has dealt with a unit: delivered it, or put a copy behind when its
    /// time was too far away for its wheel.
    pub fn is_done(&self, unit: i64, out_ms: i64, rolled_at: Option<i64>) -> bool {
        // At the border rather twice than never.
        let is_rolled = rolled_at.is_some_and(|time| time + 2 * PRECISION <= self.read_time);
        unit < self.queue_offset && (out_ms < self.read_time || is_rolled)
    }
}
