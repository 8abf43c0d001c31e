//! What a store offers to those who keep its log on several machines.

use std::sync::Arc;
use std::time::Duration;

use apogee_telemetry::Histogram;
use bytes::Bytes;

use crate::log::{Copies, CopyError, ProgressListener};
use crate::store::Store;

/// When nobody waits for copies, [`Store::copies_step`] is to be called again after so long.
const NOBODY_WAITS: Duration = Duration::from_secs(1);

impl Store {
    /// Hears how far the log has come; the first listener stays.
    pub fn watch(&self, progress: Arc<dyn ProgressListener>) {
        self.confirmer.watch(progress);
    }

    /// Bytes of the log from `offset` on, `most` at most and none of the next file, uncopied. `None` when nothing
    /// is there: it is the log's end, before its beginning, or in a file that is missing.
    pub fn log_slice(&self, offset: i64, most: usize) -> Option<Bytes> {
        self.log.piece(offset, most)
    }

    /// Bytes of a file of the log.
    pub fn log_file_size(&self) -> u64 {
        self.log.segment_size
    }

    /// Appends what stands at `offset` of the log that this one is a copy of (`StoreOptions::follows`). That must be
    /// this log's end; one without files begins where any file begins. Records are visible once they are whole
    /// and, with `SYNC_FLUSH`, flushed. One caller at a time.
    pub fn append_copy(&self, offset: i64, bytes: &[u8]) -> Result<(), CopyError> {
        match &self.follower {
            Some(follower) => follower.append(offset, bytes, self.clock.now_ms()),
            None => Err(CopyError::NoCopy),
        }
    }

    /// Enough other machines have the log up to `end`; `i64::MAX`: nobody needs to wait for any.
    pub fn copied_to(&self, end: i64) {
        if let Some(copies) = self.confirmer.copies() {
            copies.copied_to(end);
        }
    }

    /// With `CopyOptions::hides`: what ends up to here may be seen.
    pub fn show_to(&self, end: i64) {
        if let Some(copies) = self.confirmer.copies() {
            copies.show_to(end);
        }
    }

    /// Tells those who waited too long for copies. Returns after how long to call it again.
    pub fn copies_step(&self) -> Duration {
        let next = self.confirmer.copies().map(|copies| copies.expire(self.clock.now_ms()));
        next.map_or(NOBODY_WAITS, |next| Duration::from_millis(next.max(1) as u64))
    }

    /// From the write of a message that its sender waited for to there being enough copies, in nanoseconds; `None`
    /// where nobody waits for copies.
    pub fn copy_times(&self) -> Option<&Histogram> {
        self.confirmer.copies().map(Copies::times)
    }

    /// Nobody waits for copies any more: who does is told that there are not enough.
    pub fn give_up_copies(&self) {
        if let Some(copies) = self.confirmer.copies() {
            copies.give_up();
        }
    }

    /// Refuses messages because so many machines keep up with the log, this one among them, and more must;
    /// takes them again with `None`.
    pub fn refuse_for_copies(&self, in_sync_and_needed: Option<(u32, u32)>) {
        self.health.set_few(in_sync_and_needed);
    }
}
