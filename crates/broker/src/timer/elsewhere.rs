//! The timer of a slave that stands in for its master: what is due is taken out, to be delivered elsewhere. It counts as
//! waiting, in what is saved too, until whoever took it says that it is delivered.

use std::io;

use apogee_message::record::{NewMessage, Record};
use apogee_store::Store;
use bytes::BytesMut;

use super::entry::{Entry, Kind};
use super::waiting::Waiting;
use super::{LOOKED_AT, Timer, Work, is_damage};

/// A message whose time has come.
pub(crate) struct Due {
    /// Where its record is in the log.
    pub offset: i64,
    /// When it was stored, in milliseconds since 1970.
    pub stored_ms: i64,
    /// As it goes to its real topic.
    pub message: NewMessage,
}

impl Timer {
    /// Takes at most so many messages that are due at `now_ms`, but for those of which `is_delivered` knows by the place
    /// in the log. One that waits for so long that it is to be written again is left to the master.
    pub fn take_due(
        &self,
        store: &Store,
        now_ms: i64,
        most: usize,
        is_delivered: impl Fn(i64) -> bool,
    ) -> io::Result<Vec<Due>> {
        let mut work = self.lock();
        work.take_due(store, now_ms, most, is_delivered).inspect_err(|error| {
            if is_damage(error) {
                tracing::error!(%error, "the timer's files are damaged: all that waits is read from the wheel topic");
                work.begin_following(store, None);
            }
        })
    }

    /// One that was taken before, and is not delivered yet; `None`: it cannot be, now or ever.
    pub fn taken(&self, store: &Store, offset: i64) -> Option<Due> {
        let work = self.lock();
        work.taken.get(&offset).and_then(|entry| work.due(store, entry))
    }

    /// Somebody else delivered these.
    pub fn delivered_elsewhere(&self, offsets: impl IntoIterator<Item = i64>) {
        let mut work = self.lock();
        for offset in offsets {
            work.is_saved &= work.taken.remove(&offset).is_none();
        }
    }

    /// Nobody delivers any more: what was taken, and is not delivered, waits as before.
    pub fn put_back(&self) {
        let mut work = self.lock();
        for (_, entry) in std::mem::take(&mut work.taken) {
            work.queue.push(entry);
        }
    }
}

impl Work {
    fn take_due(
        &mut self,
        store: &Store,
        now_ms: i64,
        most: usize,
        is_delivered: impl Fn(i64) -> bool,
    ) -> io::Result<Vec<Due>> {
        let (mut taken, mut looked_at) = (Vec::new(), 0);
        while taken.len() < most && looked_at < LOOKED_AT {
            looked_at += 1;
            let Some(entry) = self.queue.pop_due(now_ms)? else { break };
            self.is_saved = false;
            if is_delivered(entry.offset) || self.is_recalled(store, &entry) {
                continue;
            }
            self.taken.insert(entry.offset, entry);
            taken.extend(self.due(store, &entry));
        }
        Ok(taken)
    }

    /// Whether an entry is a recall, or is recalled.
    fn is_recalled(&mut self, store: &Store, entry: &Entry) -> bool {
        let Some(bytes) = store.record_at(entry.offset) else { return false };
        let record = Record::read(&bytes).ok();
        let waiting = record.as_ref().and_then(|record| Waiting::of(record, self.foreign_end));
        let Some(waiting) = waiting.filter(|waiting| !waiting.rolls()) else { return false };
        self.recalled.at(entry.time);
        if entry.kind == Kind::Delete {
            self.recalled.add(&waiting);
            return true;
        }
        self.recalled.contains(&waiting, store)
    }

    /// The message of an entry, if it is to be delivered here at all.
    fn due(&self, store: &Store, entry: &Entry) -> Option<Due> {
        let bytes = store.record_at(entry.offset)?;
        let record = Record::read(&bytes).ok()?;
        let waiting = Waiting::of(&record, self.foreign_end).filter(|waiting| waiting.entry() == *entry)?;
        if waiting.rolls() {
            return None;
        }
        let message = waiting.delivered(&bytes, &mut BytesMut::new())?;
        Some(Due { offset: entry.offset, stored_ms: record.store_timestamp, message })
    }
}
