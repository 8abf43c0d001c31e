//! What can be seen of [`Flight`].

use std::sync::Arc;

use super::{Batch, Flight, Leaving, Progress};

impl Flight {
    /// When a batch is to be looked at next.
    pub fn next_look(&self) -> Option<i64> {
        self.looks.first().map(|(look_at, _)| *look_at)
    }

    /// Messages in memory.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Batches in memory.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// How a group is with a queue; `None` when it never popped it.
    pub fn progress(&self, group: &str, topic: &str, queue: i32) -> Option<Progress> {
        let lane = self.lanes.get(&self.lane_id(group, topic, queue)?)?;
        let first_out = lane.window.first_key_value().map(|(offset, _)| *offset);
        let (cursor, committed, out) = (lane.cursor, lane.committed, lane.window.len());
        Some(Progress { cursor, committed, out, first_out, is_read: lane.is_read })
    }

    /// Messages of a queue that are out.
    pub fn out(&self, group: &str, topic: &str, queue: i32) -> Vec<i64> {
        let lane = self.lane_id(group, topic, queue).and_then(|id| self.lanes.get(&id));
        lane.map_or_else(Vec::new, |lane| lane.window.keys().copied().collect())
    }

    /// Adds the first message of each queue that is out: topic, queue, offset.
    pub fn first_out(&self, to: &mut Vec<(Arc<str>, i32, i64)>) {
        to.extend(self.lanes.values().filter_map(|lane| {
            let (offset, _) = lane.window.first_key_value()?;
            Some((Arc::clone(&lane.topic), lane.queue, *offset))
        }));
    }

    /// What of a batch that leaves is still out.
    pub fn held(&self, leaving: &Leaving) -> Vec<i64> {
        let lane = self.of(leaving).and_then(|batch| self.lanes.get(&batch.lane));
        let is_held = |offset: &&i64| lane.is_some_and(|lane| lane.window.get(offset) == Some(&leaving.id));
        leaving.offsets.iter().filter(is_held).copied().collect()
    }

    /// A batch that leaves, if it is still there: its topic or group may have been forgotten meanwhile, and its number be another's.
    pub(super) fn of(&self, leaving: &Leaving) -> Option<&Batch> {
        let batch = self.batches.get(leaving.id)?;
        let lane = self.lanes.get(&batch.lane)?;
        let is_it = batch.leaves == Some(leaving.way)
            && (batch.start, batch.pop_time) == (leaving.start, leaving.pop_time)
            && (&lane.group, &lane.topic, lane.queue) == (&leaving.group, &leaving.topic, leaving.queue);
        is_it.then_some(batch)
    }
}
