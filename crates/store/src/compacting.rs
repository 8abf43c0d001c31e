//! What the store does with compacted logs: copies messages there, has them compacted, and reads them.

use std::sync::Arc;

use apogee_message::record::Record;
use bytes::Bytes;

use crate::compaction::{Compacted, CompactedQueue, Compaction, CompactionRules, has_key};
use crate::error::{Context, StoreError};
use crate::integrity::Led;
use crate::queue::{BatchUnit, SharedQueue};
use crate::reader::{Boundary, Filter, ReadLimits, ReadResult, ReadStatus};
use crate::store::Store;

/// Units that are read together.
const STEP: usize = 256;
/// Bytes that are copied together.
const COPIED: usize = 1 << 20;
/// Bytes that are added to a compacted log between two syncs, but for one step.
const UNSYNCED: usize = 8 << 20;

impl Store {
    /// Whether topics may have compacted logs.
    pub fn compacts(&self) -> bool {
        self.compaction.is_some()
    }

    pub(crate) fn compacted(&self, topic: &str, queue_id: i32) -> Option<Arc<CompactedQueue>> {
        // One to which nothing was added yet changes nothing.
        self.compaction.as_ref()?.get(topic, queue_id).filter(|compacted| compacted.end() > 0)
    }

    /// Copies what these topics' queues got to their compacted logs, durably. Only messages with keys, and none that
    /// is not durable in the commit log. `goes_on` is asked again and again: no ends it early. One caller at a time.
    ///
    /// # Errors
    ///
    /// The disk refused, for one queue at least; the others are copied all the same.
    pub fn copy_to_compact(&self, topics: &[Arc<str>], goes_on: &dyn Fn() -> bool) -> Result<(), StoreError> {
        let Some(compaction) = &self.compaction else { return Ok(()) };
        let mut outcome = Ok(());
        for (topic, ids) in topics.iter().map(|topic| (topic, self.queues.ids_of(topic))) {
            for id in ids {
                if self.failure().is_some() || !goes_on() {
                    return outcome;
                }
                let done = self.copy_queue(compaction, topic, id, goes_on);
                outcome = outcome.and(done.context("cannot copy messages to the compacted logs in", compaction.root()));
            }
        }
        outcome
    }

    fn copy_queue(
        &self,
        compaction: &Compaction,
        topic: &Arc<str>,
        id: i32,
        goes_on: &dyn Fn() -> bool,
    ) -> std::io::Result<()> {
        let Some(queue) = self.queues.get(topic, id)? else { return Ok(()) };
        let (min, max) = queue.range();
        let known = self.compacted(topic, id);
        let end = known.as_ref().map_or(0, |known| known.end());
        if end < min && self.options.follows {
            // First what was before is taken over from the master.
            return Ok(());
        }
        let mut next = end.max(min);
        if next >= max {
            return known.map_or(Ok(()), |known| self.of_compacted(&known, known.sync()));
        }
        let (flushed, mut unsynced) = (self.log.flushed(), 0);
        while next < max && goes_on() {
            let units = self.queues.read(&queue, next, STEP.min((max - next) as usize))?;
            let (begin, mut records, mut bytes) = (next, Vec::new(), 0);
            for unit in units {
                if unit.end_offset() > flushed || bytes >= COPIED {
                    break;
                }
                if !unit.is_blank()
                    && let Led::Record(record, unit) = self.led_to(&queue, next, unit)
                    && let Some(unit) = described(&record, next, unit)
                {
                    bytes += record.len();
                    records.push((unit, record));
                }
                next += 1;
            }
            let _not_deleted = compaction.lock();
            let is_there = self.queues.get(topic, id)?.is_some_and(|now| SharedQueue::ptr_eq(&now, &queue));
            if next == begin || !is_there {
                break;
            }
            let compacted = compaction.get_or_create(topic, id)?;
            let added = compacted.append(compaction.disk(), &records, next);
            self.of_compacted(&compacted, added)?;
            unsynced += bytes;
            if unsynced >= UNSYNCED {
                self.of_compacted(&compacted, compacted.sync())?;
                unsynced = 0;
            }
        }
        self.compacted(topic, id).map_or(Ok(()), |compacted| self.of_compacted(&compacted, compacted.sync()))
    }

    /// A failed sync of a compacted log ends the taking of messages as one of the log does.
    pub(crate) fn of_compacted<T>(&self, queue: &CompactedQueue, outcome: std::io::Result<T>) -> std::io::Result<T> {
        if let Err(error) = &outcome
            && queue.is_broken()
            && self.health.failure().is_none()
        {
            self.health
                .fail(format!("cannot flush the compacted log of topic {} queue {}: {error}", queue.topic, queue.id));
        }
        outcome
    }

    /// The place in the commit log from which on these topics' messages are not durable in their compacted logs yet;
    /// `None` when all are, or none is kept there.
    pub fn uncompacted_from(&self, topics: &[Arc<str>]) -> Option<i64> {
        self.compaction.as_ref()?;
        let first = |topic: &Arc<str>, id: i32| {
            let queue = self.queues.get(topic, id).ok()??;
            let (min, max) = queue.range();
            let next = self.compacted(topic, id).map_or(0, |compacted| compacted.durable()).max(min);
            (next < max).then(|| self.place_of(&queue, next))
        };
        let ids = topics.iter().flat_map(|topic| self.queues.ids_of(topic).into_iter().map(move |id| (topic, id)));
        ids.filter_map(|(topic, id)| first(topic, id)).min()
    }

    /// Where a message of a queue is in the log; the log's beginning when that cannot be read.
    fn place_of(&self, queue: &SharedQueue, offset: i64) -> i64 {
        let units = self.queues.read(queue, offset, 1).unwrap_or_default();
        units.first().map_or(self.log_min_offset(), |unit| self.righted(queue, offset, *unit).physical_offset)
    }

    /// The queues that have a compacted log.
    pub fn compacted_queues(&self) -> Vec<(Arc<str>, i32)> {
        let all = self.compaction.as_ref().map_or_else(Vec::new, Compaction::all);
        all.iter().map(|queue| (Arc::clone(&queue.topic), queue.id)).collect()
    }

    /// Compacts a queue. Returns what was done, `None` when there is nothing to do. `goes_on` is asked again and again:
    /// no ends it, with nothing done. One caller at a time for a queue.
    ///
    /// # Errors
    ///
    /// The disk refused; the queue is as it was.
    pub fn compact_queue(
        &self,
        topic: &str,
        queue_id: i32,
        rules: CompactionRules,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Compacted>, StoreError> {
        let Some(compaction) = self.compaction.as_ref().filter(|_| self.failure().is_none()) else { return Ok(None) };
        let Some(queue) = compaction.get(topic, queue_id) else { return Ok(None) };
        let done = compaction.compact(&queue, rules, goes_on);
        done.context("cannot compact a queue in", compaction.root())
    }

    /// A message of a queue's compacted log; `None` where there is none.
    pub fn compacted_message(&self, topic: &str, queue_id: i32, offset: i64) -> Option<Bytes> {
        let read = self.compacted(topic, queue_id)?.message(offset);
        read.unwrap_or_else(|error| {
            tracing::error!(topic, queue = queue_id, offset, %error, "a compacted log cannot be read: see to the disk");
            None
        })
    }

    /// Reads from a queue's compacted log. Gives the offset to go on from in the queue itself when nothing is there
    /// for the reader.
    #[cold] // Few topics are compacted: the reading of others stays small.
    pub(crate) fn read_compacted(
        &self,
        compacted: &CompactedQueue,
        offset: i64,
        range: (i64, i64),
        limits: ReadLimits,
        filter: &mut dyn Filter,
    ) -> Result<ReadResult, i64> {
        let ended = |status, next_offset| ReadResult {
            status,
            slices: Vec::new(),
            messages: 0,
            bytes: 0,
            next_offset,
            min_offset: range.0,
            max_offset: range.1,
            behind_bytes: 0,
        };
        match compacted.read(offset, limits, self.options.hot_bytes, filter) {
            Ok(taken) if taken.messages > 0 => Ok(ReadResult {
                slices: taken.slices,
                messages: taken.messages,
                bytes: taken.bytes,
                ..ended(ReadStatus::Found, taken.next_offset)
            }),
            Ok(taken) if taken.next_offset < compacted.end() => {
                Ok(ended(ReadStatus::NoMatchedMessage, taken.next_offset))
            }
            Ok(taken) => Err(taken.next_offset),
            Err(error) => {
                tracing::error!(topic = %compacted.topic, queue = compacted.id, offset, %error, "a compacted log cannot be read: see to the disk");
                Ok(ended(ReadStatus::OffsetFoundNull, offset))
            }
        }
    }

    /// What a queue's range is together with that of its compacted log, which can be read from any offset on: where there is
    /// no message any more, the next one is what is asked for. So clients that go back to an offset may do so.
    pub(crate) fn widened(compacted: &CompactedQueue, (min, max): (i64, i64)) -> (i64, i64) {
        let end = compacted.end();
        (if end > 0 { 0 } else { min }, max.max(end))
    }

    /// When a message of a compacted log, or the first one behind it, was stored.
    pub(crate) fn compacted_time(compacted: &CompactedQueue, offset: i64) -> Option<i64> {
        Some(compacted.unit_from(offset).ok()??.store_timestamp)
    }

    /// The offset by time, as far as the compacted log tells.
    pub(crate) fn compacted_by_time(compacted: &CompactedQueue, timestamp: i64, boundary: Boundary) -> Option<i64> {
        compacted.offset_by_time(timestamp, boundary).ok()?
    }
}

/// The unit of a record in a compacted log; `None` when it has no key, and so no place there.
fn described(record: &Bytes, offset: i64, unit: crate::Unit) -> Option<BatchUnit> {
    let record = Record::read(record).ok()?;
    let unit = BatchUnit { unit, store_timestamp: record.store_timestamp, first: offset, messages: 1 };
    has_key(&record).then_some(unit)
}
