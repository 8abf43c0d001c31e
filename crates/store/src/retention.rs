//! Retention: which files of the log may go, and what goes with them (upstream
//! `CleanCommitLogService`, `CleanConsumeQueueService`).
//!
//! The log is removed from its beginning, by whole files and never the last one. What lies before
//! its beginning is then removed from queues and index. Where a queue begins is found from where the
//! log begins, at any start: a crash between two removals leaves nothing but work for the next round.

use std::collections::HashSet;
use std::sync::Arc;

use apogee_message::light;
use apogee_message::record::Record;

use crate::checkpoint::Checkpoint;
use crate::error::{Context, StoreError};
use crate::store::Store;

/// A file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSegment {
    /// Offset of its first byte.
    pub begin: i64,
    /// Offset behind its last byte.
    pub end: i64,
    /// No message in it was stored later than this, in milliseconds since 1970. `None` while nothing
    /// tells.
    pub newest_ms: Option<i64>,
}

/// Which files may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Those whose messages were all stored before a time, in milliseconds since 1970.
    StoredBefore(i64),
    /// The oldest, whatever their age.
    Any,
}

/// Where the log shall begin: the oldest files that may go are before it, at most `most`, and none
/// that has a byte at or after `held`. `None` when all stay.
pub fn new_beginning(segments: &[LogSegment], removal: Removal, held: i64, most: usize) -> Option<i64> {
    let (_last, all_but_last) = segments.split_last()?;
    let goes = |segment: &&LogSegment| {
        let is_old = match removal {
            Removal::StoredBefore(time) => segment.newest_ms.is_some_and(|newest| newest < time),
            Removal::Any => true,
        };
        is_old && segment.end <= held
    };
    all_but_last.iter().take(most).take_while(goes).last().map(|segment| segment.end)
}

impl Store {
    /// The files of the log, the oldest first.
    ///
    /// How old one is, is told by the messages behind it, not by the time of the file, which a copy of
    /// the folder changes: what comes later in the log was stored later. Where the clock was put back,
    /// the earliest time behind a file counts, as that is when it was complete.
    pub fn log_segments(&self) -> Vec<LogSegment> {
        let mut behind: Option<i64> = None;
        let mut segments = Vec::new();
        for segment in self.log.all_segments().iter().rev() {
            let end = segment.base + self.log.segment_size as i64;
            segments.push(LogSegment { begin: segment.base, end, newest_ms: behind });
            let first = segment.first_time.get().copied().or_else(|| {
                let time = Record::read(&self.record_at(segment.base)?).ok()?.store_timestamp;
                Some(*segment.first_time.get_or_init(|| time))
            });
            behind = behind.into_iter().chain(first).min();
        }
        segments.reverse();
        segments
    }

    /// Makes durable what was dispatched, in queues' own files at least up to `wanted`: they tell how
    /// far their queue was. Returns the place in the log before which nothing is needed any more for a
    /// recovery: up to it files may be removed.
    ///
    /// A full disk must not keep the files from being removed that would give it room: then it is the
    /// place of the last checkpoint.
    pub fn removable_to(&self, wanted: i64) -> Result<i64, StoreError> {
        let done = self.checkpoint(wanted);
        if let Some(reason) = self.failure() {
            return Err(StoreError::ReadOnly(reason.to_owned()));
        }
        if let Err(error) = done {
            tracing::warn!(%error, "no checkpoint can be made before log files are removed; the last one counts: see whether the disk is full or failed");
        }
        Ok(self.lock_checkpoint().logics_offset.min(self.flushed_offset()))
    }

    /// Removes the oldest file of the log, if it ends at or before `to`, which must not be past
    /// [`Store::removable_to`]. Never the last one. Returns where the log begins now, `None` when
    /// nothing was removed.
    ///
    /// Who reads from the file goes on: it lives until the last reader lets go of it.
    pub fn remove_oldest(&self, to: i64) -> Result<Option<i64>, StoreError> {
        let _one_at_a_time = self.lock_checkpoint();
        if let Some(reason) = self.failure() {
            return Err(StoreError::ReadOnly(reason.to_owned()));
        }
        self.log.remove_oldest(to, &self.health).context("cannot remove the oldest file of", self.log.folder())
    }

    /// Removes from queues and index what lies before the beginning of the log. Returns how many files
    /// were removed. Light queues stay, see [`Store::remove_expired_light`].
    pub fn trim(&self) -> Result<usize, StoreError> {
        let start = self.log.min_offset();
        let mut removed = 0;
        self.queues.set_start(start);
        for (topic, ids) in self.queues.ids() {
            // Held for each topic anew: whoever writes queues shall not wait for all of them.
            let _one_at_a_time = self.lock_checkpoint();
            for id in ids {
                // One queue's damage is not the others'.
                removed += self.queues.trim(&topic, id, start).unwrap_or_else(|error| {
                    tracing::error!(%topic, queue = id, %error, "old files of a queue cannot be removed: see who owns them and whether the disk failed");
                    0
                });
            }
        }
        // What waits to be indexed may be of records that are gone: its files go with the others.
        self.index_step()?;
        if let Some(index) = self.index().filter(|index| index.begins_before(start)) {
            let mut checkpoint = self.lock_checkpoint();
            self.expect(Checkpoint { index_files: 0, ..*checkpoint }, &mut checkpoint)?;
            removed += index.remove_before(start).context("cannot remove old files of the index in", self.root())?;
        }
        Ok(removed)
    }
}

/// Light queues that are looked at while others who write queues wait.
const LIGHT_AT_A_TIME: usize = 128;

impl Store {
    /// Removes light queues all of whose messages were removed with the log's beginning, unless somebody is about to use
    /// one; the next message of such a queue has offset 0 again. `removed` is told some at a time, as soon as they are
    /// gone: offsets of groups in them mean nothing any more. After [`Store::trim`].
    ///
    /// # Errors
    ///
    /// A folder cannot be read or removed, or the checkpoint not be written.
    pub fn remove_expired_light(&self, removed: &mut dyn FnMut(&HashSet<Arc<str>>)) -> Result<(), StoreError> {
        let ids = self.queues.ids();
        let light: Vec<_> = ids.into_iter().map(|(topic, _)| topic).filter(|topic| light::is_light(topic)).collect();
        for some in light.chunks(LIGHT_AT_A_TIME) {
            let mut gone = HashSet::new();
            let done = self.remove_expired_of(some, &mut gone);
            if !gone.is_empty() {
                removed(&gone);
            }
            done?;
        }
        self.deleted.tidy(self.log.min_offset()).context("cannot write the file `deleted` in", self.root())
    }

    fn remove_expired_of(&self, light: &[Arc<str>], gone: &mut HashSet<Arc<str>>) -> Result<(), StoreError> {
        let mut checkpoint = self.lock_checkpoint();
        let start = self.log.min_offset();
        let mut expired = Vec::new();
        for topic in light {
            let end = self.queues.expired_end(topic, start).context("cannot read queues in", self.root())?;
            expired.extend(end.map(|end| (Arc::clone(topic), end)));
        }
        // The next start shall not look for the folders that are gone.
        let queues = (checkpoint.queues - expired.len() as i64).max(0);
        self.expect(Checkpoint { queues, ..*checkpoint }, &mut checkpoint)?;
        // First: after a kill amid, the next queues of these names shall go on behind these.
        let noted = self.deleted.note_light(&expired, self.log.written(), false);
        noted.context("cannot write the file `deleted` in", self.root())?;
        for (topic, _) in expired {
            if self.queues.remove_expired(&topic).context("cannot remove queues in", self.root())? {
                gone.insert(topic);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 100 bytes, the newest times given.
    fn segments(times: &[Option<i64>]) -> Vec<LogSegment> {
        let segment = |(at, time): (usize, &Option<i64>)| {
            let begin = at as i64 * 100;
            LogSegment { begin, end: begin + 100, newest_ms: *time }
        };
        times.iter().enumerate().map(segment).collect()
    }

    const ALL: i64 = i64::MAX;

    #[test]
    fn what_is_old_goes_and_the_rest_stays() {
        let segments = segments(&[Some(10), Some(20), Some(30), None]);
        let before = |time| new_beginning(&segments, Removal::StoredBefore(time), ALL, 10);
        assert_eq!(before(10), None, "stored at that very time is not before it");
        assert_eq!(before(11), Some(100));
        assert_eq!(before(30), Some(200));
        assert_eq!(before(i64::MAX), Some(300), "the last one never goes");
    }

    #[test]
    fn the_last_one_stays_whatever_happens() {
        assert_eq!(new_beginning(&[], Removal::Any, ALL, 10), None);
        assert_eq!(new_beginning(&segments(&[Some(1)]), Removal::Any, ALL, 10), None);
        assert_eq!(new_beginning(&segments(&[Some(1), Some(2), Some(3)]), Removal::Any, ALL, 10), Some(200));
    }

    #[test]
    fn a_file_of_unknown_age_is_not_old_and_holds_those_behind_it() {
        let segments = segments(&[Some(1), None, Some(1), None]);
        assert_eq!(new_beginning(&segments, Removal::StoredBefore(50), ALL, 10), Some(100));
        assert_eq!(new_beginning(&segments, Removal::Any, ALL, 10), Some(300));
    }

    #[test]
    fn what_is_held_stays_and_a_round_has_its_limit() {
        let segments = segments(&[Some(1), Some(1), Some(1), Some(1), None]);
        assert_eq!(new_beginning(&segments, Removal::Any, 0, 10), None);
        assert_eq!(new_beginning(&segments, Removal::Any, 99, 10), None, "a byte of it is held");
        assert_eq!(new_beginning(&segments, Removal::Any, 100, 10), Some(100));
        assert_eq!(new_beginning(&segments, Removal::Any, 299, 10), Some(200));
        assert_eq!(new_beginning(&segments, Removal::Any, ALL, 3), Some(300));
        assert_eq!(new_beginning(&segments, Removal::Any, ALL, 0), None);
    }
}
