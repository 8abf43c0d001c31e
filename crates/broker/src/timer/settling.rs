//! A master learns that a slave has delivered messages in its place.

use std::io;

use apogee_message::record::Record;
use apogee_store::Store;

use super::entry::{Entry, Kind};
use super::waiting::Waiting;
use super::{Timer, Work};

impl Timer {
    /// The messages at these places of the log are delivered: as if the log told it. That it does tell it is to follow,
    /// for a start after this.
    pub fn settle_elsewhere(&self, store: &Store, offsets: &[i64]) -> io::Result<()> {
        let mut work = self.lock();
        offsets.iter().try_for_each(|offset| work.settle_one(store, *offset))
    }
}

impl Work {
    /// The message at a place of the log is delivered, if it is one of the wheel topic's.
    pub(super) fn settle_one(&mut self, store: &Store, offset: i64) -> io::Result<()> {
        let Some(bytes) = store.record_at(offset) else { return Ok(()) };
        let Some(record) = Record::read(&bytes).ok().filter(|record| record.topic == &*self.wheel) else {
            return Ok(());
        };
        if let Some(waiting) = Waiting::of(&record, self.foreign_end) {
            self.make_room()?;
            self.queue.push(Entry { kind: Kind::Settled, ..waiting.entry() });
            self.counts.add(&record, -1, record.store_timestamp);
            self.is_saved = false;
        }
        Ok(())
    }
}
