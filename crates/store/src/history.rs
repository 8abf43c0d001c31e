//! What a slave's compacted logs lack because its copy of the log begins too late: the master has it in its own.

use std::sync::Arc;

use apogee_message::record;
use bytes::Bytes;

use crate::compaction::has_key;
use crate::error::{Context, StoreError};
use crate::queue::{BatchUnit, Kind, Unit};
use crate::store::Store;

/// What a compacted queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Before this offset nothing is lacking; 0 for one without a compacted log.
    pub end: i64,
    /// Where the queue itself begins; `None` when nothing is in it.
    pub begin: Option<i64>,
}

impl Kept {
    /// Whether older messages may be lacking that are not in the log here.
    pub fn lacks_history(self) -> bool {
        self.begin.map_or(self.end == 0, |begin| self.end < begin)
    }
}

impl Store {
    /// What a queue of a compacted topic has.
    pub fn kept(&self, topic: &str, queue_id: i32) -> Kept {
        let queue = self.queues.get(topic, queue_id).ok().flatten();
        let end = self.compacted(topic, queue_id).map_or(0, |compacted| compacted.end());
        let range = queue.map(|queue| queue.range());
        Kept { end, begin: range.filter(|(min, max)| min < max).map(|(min, _)| min) }
    }

    /// Forgets what a queue's compacted log has, as it is to be taken over from its beginning on.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub fn begin_history(&self, topic: &str, queue_id: i32) -> Result<(), StoreError> {
        let Some(compaction) = &self.compaction else { return Ok(()) };
        let _not_copied = compaction.lock();
        compaction.remove_queue(topic, queue_id).context("cannot remove a compacted log in", compaction.root())
    }

    /// Takes over messages of a queue, as the master gave them out, behind those it has; all before `end` were asked
    /// for. What is behind the beginning of the queue itself is left to that.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub fn take_history(&self, topic: &Arc<str>, queue_id: i32, records: &Bytes, end: i64) -> Result<(), StoreError> {
        let Some(compaction) = &self.compaction else { return Ok(()) };
        let Kept { end: mut next, begin } = self.kept(topic, queue_id);
        let most = begin.unwrap_or(i64::MAX);
        let (mut taken, mut at) = (Vec::new(), 0);
        for record in record::iter(records).map_while(Result::ok) {
            let bytes = records.slice(at..at + record.size as usize);
            at += record.size as usize;
            let is_meant = record.topic == &**topic && record.queue_id == queue_id && record.body_is_intact();
            if !is_meant || !has_key(&record) || !(next..most).contains(&record.queue_offset) {
                continue;
            }
            next = record.queue_offset + 1;
            let tag_code = self.tagger.tag_code(record.topic, record.properties, record.store_timestamp);
            let unit = Unit { physical_offset: 0, size: record.size, tag_code };
            let (store_timestamp, first) = (record.store_timestamp, record.queue_offset);
            taken.push((BatchUnit { unit, store_timestamp, first, messages: 1 }, bytes));
        }
        let _not_deleted = compaction.lock();
        // Readers ask for the queue first.
        let queue = self.queues.get_or_create(topic, queue_id, Kind::Simple);
        let compacted = queue.and_then(|_| compaction.get_or_create(topic, queue_id));
        let added = compacted.and_then(|compacted| {
            let added = compacted.append(compaction.disk(), &taken, end.min(most)).and_then(|()| compacted.sync());
            self.of_compacted(&compacted, added)
        });
        added.context("cannot take over a compacted log in", compaction.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_late_lacks_what_was_before() {
        let kept = |end, begin| Kept { end, begin }.lacks_history();
        assert!(kept(0, None) && kept(0, Some(5)) && kept(3, Some(5)));
        assert!(!kept(0, Some(0)) && !kept(5, Some(5)) && !kept(9, Some(5)) && !kept(9, None));
    }
}
