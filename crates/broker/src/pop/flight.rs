//! Popped messages that are neither acknowledged nor noted in the log. Pure: told the time, does no I/O.
//!
//! Messages of one pop and queue are a batch; who holds which is in the queue's window. A batch is looked at once: when
//! it has been here for so long that it is to be noted in the log, or when its time is up.
//!
//! Invariant: below a queue's floor, which is what is committed for the group, each message is acknowledged, does not
//! match, or was let go after it was noted in the log or written to the retry topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_base::hash::QuickMap;

use super::slab::Slab;
pub(crate) use super::told::*;

mod seen;

/// Acknowledgements of messages of one queue that an earlier run of the broker gave out, and this one has not come to.
const MOST_AHEAD: usize = 100_000;

/// What is in flight, by group, topic and queue.
#[derive(Default)]
pub(crate) struct Flight {
    lanes: QuickMap<u64, Lane>,
    /// Lanes by group and topic.
    names: QuickMap<Arc<str>, QuickMap<Arc<str>, Queues>>,
    batches: Slab<Batch>,
    /// When which batch is looked at.
    looks: BTreeSet<(i64, u32)>,
    next_lane: u64,
    messages: usize,
}

/// Queues of a topic, with their lanes.
type Queues = Vec<(i32, u64)>;

/// A queue as one group pops it.
struct Lane {
    group: Arc<str>,
    topic: Arc<str>,
    queue: i32,
    /// When it came into being: what was given out before, an earlier run gave out.
    since_ms: i64,
    /// Where the next pop reads.
    cursor: i64,
    /// The floor that the caller was told to commit.
    committed: i64,
    /// Which batch a message is in, by its offset.
    window: BTreeMap<i64, u32>,
    /// Acknowledged, at or above the cursor.
    ahead: BTreeSet<i64>,
    is_read: bool,
    is_wanted: bool,
    /// Newest pop whose messages may be noted in the log.
    noted_to: i64,
}

struct Batch {
    lane: u64,
    start: i64,
    pop_time: i64,
    invisible: i64,
    look_at: i64,
    /// From the first message to the last.
    span: u32,
    revive_queue: i32,
    left: u16,
    suspend: bool,
    /// There may be a note of it in the log: what becomes of its messages is to be noted, too.
    may_be_noted: bool,
    /// It is being noted in the log or written to the retry topic.
    leaves: Option<Way>,
}

impl Batch {
    fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible)
    }
}

impl Flight {
    /// Begins to read a queue that ends at `end`. `committed` is the offset that is committed for the group: where it is
    /// not what this told to commit, somebody moved the group, and it goes on there.
    pub fn begin(&mut self, group: &str, topic: &str, queue: i32, committed: i64, end: i64, now_ms: i64) -> Begin {
        let id = self.lane_of(group, topic, queue, committed, now_ms);
        let Some(lane) = self.lanes.get_mut(&id) else { return Begin::Empty };
        if lane.is_read {
            lane.is_wanted = true;
            return Begin::Busy;
        }
        if lane.cursor >= end {
            return Begin::Empty;
        }
        lane.is_read = true;
        let but_for = lane.ahead.iter().copied().collect();
        Begin::From { lane: id, offset: lane.cursor, but_for }
    }

    /// Ends a reading: `offsets`, in order, were given out, and what else is before `next` does not match.
    pub fn took(&mut self, lane_id: u64, offsets: &[i64], next: i64, pop: Pop, limits: Limits) -> Taken {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return Taken::default() };
        (lane.is_read, lane.cursor) = (false, lane.cursor.max(next));
        lane.ahead = lane.ahead.split_off(&lane.cursor);
        let is_wanted = std::mem::take(&mut lane.is_wanted);
        if let (Some(start), Some(last)) = (offsets.first(), offsets.last()) {
            let batch = Batch {
                lane: lane_id,
                start: *start,
                pop_time: pop.pop_time,
                invisible: pop.invisible,
                look_at: 0,
                // One read brings it: no queue has so many messages in one.
                span: (last - start) as u32,
                revive_queue: pop.revive_queue,
                left: 0,
                suspend: pop.suspend,
                may_be_noted: false,
                leaves: None,
            };
            self.put(batch, offsets, pop.now_ms, limits);
        }
        Taken { floor: self.floor(lane_id), is_wanted }
    }

    fn put(&mut self, mut batch: Batch, offsets: &[i64], now_ms: i64, limits: Limits) {
        let Some(lane) = self.lanes.get_mut(&batch.lane) else { return };
        // As many as an answer brings.
        batch.left = offsets.len() as u16;
        batch.look_at = batch.due().min(now_ms.saturating_add(limits.stay_ms));
        let look_at = batch.look_at;
        let id = self.batches.insert(batch);
        for offset in offsets {
            lane.window.insert(*offset, id);
        }
        self.messages += offsets.len();
        self.looks.insert((look_at, id));
    }

    /// Settles a message.
    pub fn ack(&mut self, delivery: Delivery<'_>, committed: Option<i64>, due: i64, now_ms: i64) -> Acked {
        let (lane_id, id) = match self.find(delivery, committed, now_ms) {
            Ok(found) => found,
            Err(Acked::Never) => return self.ack_ahead(delivery, due, now_ms),
            Err(other) => return other,
        };
        let is_noted = self.take_out(lane_id, id, delivery.offset);
        Acked::Done { floor: self.floor(lane_id), is_noted }
    }

    /// Settles a message that an earlier run of the broker gave out and this one has not come to.
    fn ack_ahead(&mut self, delivery: Delivery<'_>, due: i64, now_ms: i64) -> Acked {
        match self.take_ahead(delivery, due, now_ms) {
            Some(_) => Acked::Done { floor: None, is_noted: false },
            None => Acked::Never,
        }
    }

    /// Passes over such a message when it is read. Returns its lane.
    fn take_ahead(&mut self, delivery: Delivery<'_>, due: i64, now_ms: i64) -> Option<u64> {
        let id = self.lane_id(delivery.group, delivery.topic, delivery.queue)?;
        let lane = self.lanes.get_mut(&id)?;
        let is_earlier = delivery.pop_time < lane.since_ms && due > now_ms && lane.ahead.len() < MOST_AHEAD;
        // What is being read now is given out whatever is said here; and one that was said of is not said of again.
        (is_earlier && !lane.is_read && lane.ahead.insert(delivery.offset)).then_some(id)
    }

    /// Gives a message another invisible time, from now on. It is a new delivery, which has a time of its own.
    /// `due`: when the time of the old one is up.
    pub fn change(
        &mut self,
        delivery: Delivery<'_>,
        committed: Option<i64>,
        due: i64,
        pop: Pop,
        limits: Limits,
    ) -> Changed {
        let (lane, revive_queue, is_noted) = match self.find(delivery, committed, pop.now_ms) {
            Ok((lane, id)) => match self.batches.get(id) {
                Some(Batch { leaves: None, revive_queue, .. }) => {
                    let revive_queue = *revive_queue;
                    (lane, revive_queue, self.take_out(lane, id, delivery.offset))
                }
                _ => return Changed::Not(Acked::Elsewhere),
            },
            Err(Acked::Never) => match self.take_ahead(delivery, due, pop.now_ms) {
                Some(lane) => (lane, pop.revive_queue, false),
                None => return Changed::Not(Acked::Never),
            },
            Err(other) => return Changed::Not(other),
        };
        // Two deliveries of a message never have the same time.
        let pop_time = pop.now_ms.max(delivery.pop_time + 1);
        let batch = Batch {
            lane,
            start: delivery.offset,
            pop_time,
            invisible: pop.invisible,
            look_at: 0,
            span: 0,
            revive_queue,
            left: 0,
            suspend: pop.suspend,
            may_be_noted: false,
            leaves: None,
        };
        self.put(batch, &[delivery.offset], pop.now_ms, limits);
        Changed::Done { pop_time, revive_queue, is_noted }
    }

    /// Lane and batch of a delivery that is in memory.
    fn find(&mut self, delivery: Delivery<'_>, committed: Option<i64>, now_ms: i64) -> Result<(u64, u32), Acked> {
        let Delivery { group, topic, queue, offset, pop_time } = delivery;
        // Nobody of the group ever popped where nothing is committed.
        let committed = committed.ok_or(Acked::Never)?;
        let lane_id = self.lane_of(group, topic, queue, committed, now_ms);
        let lane = self.lanes.get(&lane_id).ok_or(Acked::Never)?;
        match lane.window.get(&offset) {
            Some(id) => {
                let batch = self.batches.get(*id).ok_or(Acked::Elsewhere)?;
                match batch.pop_time {
                    known if known != pop_time => Err(Acked::Again),
                    _ if batch.leaves == Some(Way::Revived) => Err(Acked::Revived),
                    _ => Ok((lane_id, *id)),
                }
            }
            None if offset >= lane.cursor => Err(Acked::Never),
            None if pop_time > lane.noted_to => Err(Acked::Before),
            None => Err(Acked::Elsewhere),
        }
    }

    /// Takes a message out of its batch. Says whether there may be a note of it in the log.
    fn take_out(&mut self, lane_id: u64, id: u32, offset: i64) -> bool {
        if let Some(lane) = self.lanes.get_mut(&lane_id)
            && lane.window.remove(&offset).is_some()
        {
            self.messages -= 1;
        }
        let Some(batch) = self.batches.get_mut(id) else { return false };
        batch.left -= 1;
        let may_be_noted = batch.may_be_noted;
        if batch.left == 0 && batch.leaves.is_none() {
            let look_at = batch.look_at;
            self.batches.remove(id);
            self.looks.remove(&(look_at, id));
        }
        may_be_noted
    }

    /// Batches that have been here for long enough, or whose time is up, `most` at a time; and the first ones while
    /// there are too many. Each is told of by [`Flight::left`] or [`Flight::stays`].
    pub fn leaving(&mut self, now_ms: i64, limits: Limits, most: usize) -> Vec<Leaving> {
        let mut leaving = Vec::new();
        while leaving.len() < most
            && let Some(&(look_at, id)) = self.looks.first()
        {
            let is_full = self.looks.len() > limits.batches;
            if look_at > now_ms && !is_full {
                break;
            }
            self.looks.remove(&(look_at, id));
            let Some(batch) = self.batches.get_mut(id) else { continue };
            let due = batch.due();
            if due > now_ms && due - now_ms <= limits.soon_ms && !is_full {
                batch.look_at = due;
                self.looks.insert((due, id));
                continue;
            }
            leaving.extend(self.leaves(id, if due <= now_ms { Way::Revived } else { Way::Noted }));
        }
        leaving
    }

    /// All batches, to be noted in the log: nothing stays in memory.
    pub fn all_leave(&mut self) -> Vec<Leaving> {
        let ids: Vec<u32> = std::mem::take(&mut self.looks).into_iter().map(|(_, id)| id).collect();
        ids.into_iter().filter_map(|id| self.leaves(id, Way::Noted)).collect()
    }

    fn leaves(&mut self, id: u32, way: Way) -> Option<Leaving> {
        let batch = self.batches.get_mut(id)?;
        let Some(lane) = self.lanes.get_mut(&batch.lane) else {
            self.batches.remove(id);
            return None;
        };
        batch.leaves = Some(way);
        if way == Way::Noted {
            batch.may_be_noted = true;
            lane.noted_to = lane.noted_to.max(batch.pop_time);
        }
        let offsets = lane.window.range(batch.start..=batch.start + i64::from(batch.span));
        let offsets = offsets.filter(|(_, of)| **of == id).map(|(offset, _)| *offset).collect();
        Some(Leaving {
            id,
            way,
            group: Arc::clone(&lane.group),
            topic: Arc::clone(&lane.topic),
            queue: lane.queue,
            start: batch.start,
            offsets,
            pop_time: batch.pop_time,
            invisible: batch.invisible,
            revive_queue: batch.revive_queue,
            suspend: batch.suspend,
        })
    }

    /// A batch has left: what was in it is kept elsewhere.
    pub fn left(&mut self, leaving: &Leaving) -> Option<Floor> {
        self.of(leaving)?;
        let batch = self.batches.remove(leaving.id)?;
        let lane = self.lanes.get_mut(&batch.lane)?;
        for offset in &leaving.offsets {
            if lane.window.get(offset) == Some(&leaving.id) {
                lane.window.remove(offset);
                self.messages -= 1;
            }
        }
        self.floor(batch.lane)
    }

    /// A batch could not leave: it is looked at again at some time.
    pub fn stays(&mut self, leaving: &Leaving, look_at: i64) {
        if self.of(leaving).is_none() {
            return;
        }
        let Some(batch) = self.batches.get_mut(leaving.id) else { return };
        (batch.leaves, batch.look_at) = (None, look_at);
        match batch.left {
            0 => drop(self.batches.remove(leaving.id)),
            _ => drop(self.looks.insert((look_at, leaving.id))),
        }
    }

    /// Forgets a topic, or a group.
    pub fn forget(&mut self, of: impl Fn(&str, &str) -> bool) {
        let gone = |lane: &Lane| of(&lane.group, &lane.topic);
        for lane in self.lanes.values().filter(|lane| gone(lane)) {
            if let Some(topics) = self.names.get_mut(&lane.group) {
                topics.remove(&lane.topic);
            }
            self.messages -= lane.window.len();
        }
        self.names.retain(|_, topics| !topics.is_empty());
        self.lanes.retain(|_, lane| !gone(lane));
        let (lanes, looks) = (&self.lanes, &mut self.looks);
        for id in self.batches.numbers(|batch| !lanes.contains_key(&batch.lane)) {
            if let Some(batch) = self.batches.remove(id) {
                looks.remove(&(batch.look_at, id));
            }
        }
    }

    fn lane_id(&self, group: &str, topic: &str, queue: i32) -> Option<u64> {
        let lanes = self.names.get(group)?.get(topic)?;
        lanes.iter().find(|(id, _)| *id == queue).map(|(_, lane)| *lane)
    }

    fn lane_of(&mut self, group: &str, topic: &str, queue: i32, committed: i64, now_ms: i64) -> u64 {
        if let Some(id) = self.lane_id(group, topic, queue) {
            if self.lanes.get(&id).is_some_and(|lane| lane.committed != committed && !lane.is_read) {
                self.move_to(id, committed);
            }
            return id;
        }
        let id = self.next_lane;
        self.next_lane += 1;
        let group = self.names.get_key_value(group).map_or_else(|| group.into(), |(group, _)| Arc::clone(group));
        let topics = self.names.entry(Arc::clone(&group)).or_default();
        let topic = topics.get_key_value(topic).map_or_else(|| topic.into(), |(topic, _)| Arc::clone(topic));
        topics.entry(Arc::clone(&topic)).or_default().push((queue, id));
        let lane = Lane {
            group,
            topic,
            queue,
            since_ms: now_ms,
            cursor: committed,
            committed,
            window: BTreeMap::new(),
            ahead: BTreeSet::new(),
            is_read: false,
            is_wanted: false,
            noted_to: now_ms - 1,
        };
        self.lanes.insert(id, lane);
        id
    }

    /// The group goes on elsewhere: what is in flight counts for nothing.
    fn move_to(&mut self, lane_id: u64, offset: i64) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        let window: Vec<(i64, u32)> = lane.window.iter().map(|(offset, id)| (*offset, *id)).collect();
        (lane.cursor, lane.committed) = (offset, offset);
        lane.ahead.clear();
        for (offset, id) in window {
            self.take_out(lane_id, id, offset);
        }
    }

    /// What is to be committed, if that changed.
    fn floor(&mut self, lane_id: u64) -> Option<Floor> {
        let lane = self.lanes.get_mut(&lane_id)?;
        let floor = lane.window.first_key_value().map_or(lane.cursor, |(first, _)| (*first).min(lane.cursor));
        if floor == lane.committed {
            return None;
        }
        let before = std::mem::replace(&mut lane.committed, floor);
        let (group, topic) = (Arc::clone(&lane.group), Arc::clone(&lane.topic));
        Some(Floor { group, topic, queue: lane.queue, offset: floor, before })
    }
}
