//! The timer of a slave: it takes in what waits and what its master delivers, as both come with the log, and
//! delivers nothing. Who becomes master goes on from there.

use std::io;
use std::time::Duration;

use apogee_store::Store;

use super::{LONGEST_SLEEP, LOOKED_AT, SLICE, Timer, Work};

/// Bytes of the log that are read in one step.
const READ: i64 = 16 << 20;
/// A master's clock may be ahead of this one by so many milliseconds: before a time is so near, it has delivered
/// nothing of that time.
const CLOCKS_MS: i64 = 60_000;

impl Timer {
    /// Takes in what is new. Returns how long to sleep until there may be more.
    pub fn follow(&self, store: &Store, now_ms: i64) -> Duration {
        self.stepped(store, |work| work.follow(store, now_ms))
    }
}

impl Work {
    /// Begins with what is in the queue, which knows the log up to a place, or with nothing.
    pub(super) fn begin_following(&mut self, store: &Store, known_to: Option<i64>) {
        if known_to.is_none() {
            self.queue.clear();
            (self.recalled, self.counts) = Default::default();
            (self.scanned, self.scanned_end, self.foreign_end, self.is_saved) = (0, 0, 0, false);
        }
        self.followed_to = Some(known_to.unwrap_or_else(|| store.log_min_offset()));
    }

    fn follow(&mut self, store: &Store, now_ms: i64) -> io::Result<Duration> {
        let end = store.confirmed_offset();
        // What was delivered before `end` stands in the wheel topic before it, and so is seen here.
        self.scan(store)?;
        let from = self.followed_to.unwrap_or(end).max(store.log_min_offset());
        let may_be_delivered = self.queue.next_time().is_some_and(|time| time <= now_ms + CLOCKS_MS);
        let to = if may_be_delivered { self.settle(store, from, end.min(from + READ))? } else { end };
        self.followed_to = Some(to.max(from));
        self.drop_delivered(store, now_ms)?;
        let merges = self.queue.merge(SLICE)?;
        Ok(if to < end || merges { Duration::ZERO } else { LONGEST_SLEEP })
    }

    /// Forgets what was delivered, and what is no longer in the log.
    fn drop_delivered(&mut self, store: &Store, now_ms: i64) -> io::Result<()> {
        let (begin, mut waiting) = (store.log_min_offset(), Vec::new());
        while waiting.len() < LOOKED_AT
            && let Some(entry) = self.queue.pop_due(now_ms)?
        {
            if entry.offset >= begin {
                waiting.push(entry);
            }
        }
        waiting.into_iter().for_each(|entry| self.queue.push(entry));
        Ok(())
    }
}
