//! Messages that groups pop in order (upstream `QueueLevelConsumerManager`). Pure: told the time, does no I/O.
//!
//! Of each queue a group has one batch at a time: nobody of it gets what is behind, until each message of the batch is
//! acknowledged or its time is up. Then what is not acknowledged is given out again from the queue itself. The attempt
//! that popped a batch gets it again at any time: its answer may have been lost.
//!
//! Invariants: the committed offset of a group passes acknowledged messages only, and those that nobody wants; and
//! nothing holds up a queue for longer than somebody asked for, whatever the clock does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_base::hash::QuickMap;
use apogee_wire::bodies::ConsumerOrderInfo;

use self::batch::Batch;
pub(crate) use self::told::*;
use crate::table_file::Change;

mod batch;
#[cfg(test)]
mod tests;
mod told;

/// Between topic and group in keys of the file.
const AT: char = '@';
/// How often a message came is forgotten so long after its time was up.
const FORGOTTEN_MS: i64 = 24 * 3_600_000;

/// What groups hold that pop in order.
#[derive(Default)]
pub(crate) struct Ordered {
    /// By `topic@group` and queue.
    lanes: QuickMap<Arc<str>, BTreeMap<i32, Lane>>,
    /// When which lane is looked at: its batch may be given out again, or is to be forgotten.
    looks: BTreeSet<(i64, Arc<str>, i32)>,
    unsaved: BTreeSet<Arc<str>>,
    /// When this came into being: what was given out before, an earlier run gave out.
    since_ms: i64,
    /// When it was told the time last.
    told_ms: i64,
}

/// A queue as a group pops it.
#[derive(Default)]
struct Lane {
    batch: Option<Batch>,
    look_at: Option<i64>,
    is_read: bool,
    is_wanted: bool,
}

impl Place<'_> {
    fn key(&self) -> String {
        format!("{}{AT}{}", self.topic, self.group)
    }
}

impl Ordered {
    /// What was kept, with the changes since.
    pub fn new(kept: ConsumerOrderInfo, changes: impl Iterator<Item = Change<ConsumerOrderInfo>>, now_ms: i64) -> Self {
        let mut table = kept.table;
        for Change { removed, put } in changes {
            removed.iter().for_each(|key| drop(table.remove(key)));
            table.extend(put.table);
        }
        let mut ordered = Self { since_ms: now_ms, told_ms: now_ms, ..Self::default() };
        for (key, queues) in table {
            let key: Arc<str> = key.into();
            for (queue, info) in queues {
                match Batch::read(info, now_ms) {
                    Some(batch) => ordered.put(&key, queue, Some(batch)),
                    None => tracing::warn!(
                        of = &*key,
                        queue,
                        "what a group held in order cannot be read: it pops on from its offset"
                    ),
                }
            }
        }
        ordered.unsaved.clear();
        ordered
    }

    /// A time for a pop of these places: now, or later than what was popped of them before.
    pub fn pop_time<'n>(&self, places: impl Iterator<Item = Place<'n>>, now_ms: i64) -> i64 {
        let before = places.filter_map(|place| Some(self.batch(place)?.pop_time.saturating_add(1))).max();
        before.map_or(now_ms, |before| before.max(now_ms))
    }

    /// Begins to read a queue that ends at `end`. `committed` is the offset that is committed for the group: where it is
    /// not what this told to commit, somebody moved the group, and it goes on there.
    pub fn begin(&mut self, place: Place<'_>, committed: i64, end: i64, pop: Pop<'_>) -> Begin {
        self.move_to(place, committed);
        let lane = self.lanes.entry(place.key().into()).or_default().entry(place.queue).or_default();
        if lane.is_read {
            lane.is_wanted = true;
            return Begin::Busy;
        }
        let mut begin = Begin::From { offset: committed, most: usize::MAX, but_for: Vec::new() };
        if let Some(batch) = &lane.batch {
            let is_again = batch.is_of(pop.attempt);
            if !is_again && batch.due().is_some_and(|due| due > pop.now_ms) || batch.pop_time >= pop.pop_time {
                return Begin::Blocked;
            }
            let most = if is_again { batch.open().count() } else { usize::MAX };
            let acked = batch.messages.iter().filter(|message| message.is_acked && message.offset >= committed);
            begin = Begin::From { offset: committed, most, but_for: acked.map(|message| message.offset).collect() };
        }
        if committed >= end {
            self.tidy(place);
            return Begin::Empty;
        }
        lane.is_read = true;
        begin
    }

    /// Ends a reading: `offsets`, in order, were given out, and what else is before `next` does not match.
    pub fn took(&mut self, place: Place<'_>, offsets: &[i64], next: i64, pop: Pop<'_>) -> Taken {
        let key = place.key();
        let lane = self.lanes.get_mut(&*key).and_then(|queues| queues.get_mut(&place.queue));
        let Some(lane) = lane.filter(|lane| lane.is_read) else { return Taken::default() };
        lane.is_read = false;
        let is_wanted = std::mem::take(&mut lane.is_wanted);
        let before = lane.batch.take();
        let Some(first) = offsets.first().copied() else {
            let batch = before.map(|mut batch| {
                batch.pass(next);
                batch
            });
            let floor = batch.as_ref().map_or(next, Batch::floor).max(next);
            self.put(&key.into(), place.queue, batch);
            return Taken { floor: Some(floor), times: Vec::new(), is_wanted };
        };
        let is_again = before.as_ref().is_some_and(|batch| batch.is_of(pop.attempt));
        let mut times = before.as_ref().map(|batch| batch.times_after(is_again)).unwrap_or_default().split_off(&first);
        times.retain(|offset, _| *offset >= next || offsets.binary_search(offset).is_ok());
        while times.len() > batch::MOST {
            times.pop_last();
        }
        let known = offsets.iter().filter_map(|offset| Some((*offset, *times.get(offset)?))).collect();
        let batch = Batch {
            pop_time: pop.pop_time,
            invisible: pop.invisible,
            attempt: pop.attempt.map(str::to_owned),
            messages: batch::messages(offsets, before.as_ref(), pop.invisible, pop.now_ms),
            times,
            changed_at: pop.now_ms,
        };
        self.put(&key.into(), place.queue, Some(batch));
        Taken { floor: Some(first), times: known, is_wanted }
    }

    /// Settles a message.
    pub fn ack(&mut self, place: Place<'_>, delivery: Delivery, committed: Option<i64>, now_ms: i64) -> Acked {
        let Delivery { offset, end, pop_time, due } = delivery;
        // Nobody of the group ever popped where nothing is committed.
        let Some(committed) = committed else { return Acked::Never };
        self.move_to(place, committed);
        if offset < committed {
            return Acked::Before;
        }
        let lane = self.lane(place);
        if lane.is_some_and(|lane| lane.is_read) {
            return Acked::Again;
        }
        let Some(batch) = lane.and_then(|lane| lane.batch.as_ref()) else {
            // An earlier run of the broker, or another master, gave it out; one after the other nothing is passed.
            let is_next = offset == committed && pop_time < self.since_ms && due > now_ms;
            return if is_next { Acked::Done { floor: end, is_free: true } } else { Acked::Never };
        };
        if batch.pop_time != pop_time {
            return Acked::Again;
        }
        let Some(number) = batch.messages.iter().position(|message| message.offset == offset) else {
            return Acked::Never;
        };
        if batch.messages[number].is_acked {
            return Acked::Before;
        }
        let mut batch = batch.clone();
        (batch.messages[number].is_acked, batch.messages[number].end) = (true, end);
        batch.changed_at = now_ms;
        let floor = batch.floor();
        batch.times = batch.times.split_off(&floor);
        let is_free = batch.due().is_none_or(|due| due <= now_ms);
        self.put(&place.key().into(), place.queue, Some(batch));
        Acked::Done { floor, is_free }
    }

    /// Gives a message another invisible time, from now on. Returns when it is visible, in milliseconds since 1970.
    pub fn change(
        &mut self,
        place: Place<'_>,
        delivery: Delivery,
        committed: Option<i64>,
        (invisible, suspend): (i64, bool),
        now_ms: i64,
    ) -> Result<i64, Acked> {
        let committed = committed.ok_or(Acked::Never)?;
        self.move_to(place, committed);
        if delivery.offset < committed {
            return Err(Acked::Before);
        }
        let lane = self.lane(place).ok_or(Acked::Never)?;
        if lane.is_read {
            return Err(Acked::Again);
        }
        let mut batch = lane.batch.clone().ok_or(Acked::Never)?;
        if batch.pop_time != delivery.pop_time {
            return Err(Acked::Again);
        }
        let message = batch.messages.iter_mut().find(|message| message.offset == delivery.offset);
        let message = message.ok_or(Acked::Never)?;
        if message.is_acked {
            return Err(Acked::Before);
        }
        let visible_at = now_ms.saturating_add(invisible);
        (message.visible_at, message.invisible, message.suspend) = (visible_at, invisible, suspend);
        batch.changed_at = now_ms;
        self.put(&place.key().into(), place.queue, Some(batch));
        Ok(visible_at)
    }

    /// Where a pop of a queue goes on; `None` while somebody has messages of it or reads it.
    pub fn open(&self, place: Place<'_>, committed: i64, attempt: Option<&str>, now_ms: i64) -> Option<i64> {
        let Some(lane) = self.lane(place) else { return Some(committed) };
        let batch = lane.batch.as_ref().filter(|batch| batch.holds(committed) && !batch.is_of(attempt));
        let due = batch.and_then(|batch| batch.due_from(committed));
        (!lane.is_read && due.is_none_or(|due| due <= now_ms)).then_some(committed)
    }

    /// What a group that is at an offset has of a queue, and which messages of it are not acknowledged.
    pub fn outstanding(&self, place: Place<'_>, committed: i64, now_ms: i64) -> Option<(Outstanding, Vec<i64>)> {
        let batch = self.batch(place).filter(|batch| batch.holds(committed))?;
        let due = batch.due_from(committed)?;
        let end = batch.messages.last().map_or(committed, |last| last.end);
        let open = batch.open().map(|message| message.offset).filter(|offset| *offset >= committed);
        Some((Outstanding { floor: batch.floor().max(committed), end, is_due: due <= now_ms }, open.collect()))
    }

    /// Whether an attempt has messages of a queue.
    pub fn is_of(&self, place: Place<'_>, attempt: Option<&str>) -> bool {
        self.batch(place).is_some_and(|batch| batch.is_of(attempt))
    }

    /// Queues whose time is up.
    pub fn freed(&mut self, now_ms: i64) -> Vec<Freed> {
        if now_ms < self.told_ms {
            self.put_back(now_ms);
        }
        self.told_ms = now_ms;
        let mut freed = Vec::new();
        while let Some((look_at, key, queue)) = self.looks.first().cloned()
            && look_at <= now_ms
        {
            self.looks.pop_first();
            let Some(lane) = self.lanes.get_mut(&key).and_then(|queues| queues.get_mut(&queue)) else { continue };
            lane.look_at = None;
            let Some(batch) = &lane.batch else { continue };
            let due = batch.due().unwrap_or(batch.changed_at);
            if due.saturating_add(FORGOTTEN_MS) <= now_ms {
                if !lane.is_read {
                    self.put(&key, queue, None);
                }
                continue;
            }
            let look_at = due.max(now_ms).saturating_add(FORGOTTEN_MS);
            lane.look_at = Some(look_at);
            self.looks.insert((look_at, Arc::clone(&key), queue));
            if let Some((topic, group)) = key.split_once(AT) {
                freed.push(Freed { group: group.to_owned(), topic: topic.to_owned(), queue });
            }
        }
        freed
    }

    /// When a queue is to be looked at next.
    pub fn next_look(&self) -> Option<i64> {
        self.looks.first().map(|(look_at, ..)| *look_at)
    }

    /// Queues of which a group holds something, or may.
    pub fn len(&self) -> usize {
        self.lanes.values().map(BTreeMap::len).sum()
    }

    /// Forgets a topic, or a group: `of` is asked with group and topic.
    pub fn forget(&mut self, of: impl Fn(&str, &str) -> bool) {
        let gone = |key: &str| key.split_once(AT).is_some_and(|(topic, group)| of(group, topic));
        let keys: Vec<Arc<str>> = self.lanes.keys().filter(|key| gone(key)).cloned().collect();
        for key in keys {
            self.lanes.remove(&key);
            self.looks.retain(|(_, of, _)| *of != key);
            self.unsaved.insert(key);
        }
    }

    /// What changed since it was asked for last.
    pub fn take_unsaved(&mut self) -> Option<Change<ConsumerOrderInfo>> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let mut change = Change::<ConsumerOrderInfo>::default();
        for key in unsaved {
            let batches = self.lanes.get(&key).map(written).unwrap_or_default();
            match batches.is_empty() {
                true => change.removed.push(key.to_string()),
                false => drop(change.put.table.insert(key.to_string(), batches)),
            }
        }
        (change != Change::default()).then_some(change)
    }

    /// All of it, as the file has it.
    pub fn snapshot(&self) -> ConsumerOrderInfo {
        let table = self.lanes.iter().map(|(key, queues)| (key.to_string(), written(queues)));
        ConsumerOrderInfo { table: table.filter(|(_, batches)| !batches.is_empty()).collect() }
    }

    fn lane(&self, place: Place<'_>) -> Option<&Lane> {
        self.lanes.get(&*place.key())?.get(&place.queue)
    }

    fn batch(&self, place: Place<'_>) -> Option<&Batch> {
        self.lane(place)?.batch.as_ref()
    }

    /// The group is at an offset: if not where its batch says, then somebody moved it, or a crash did.
    fn move_to(&mut self, place: Place<'_>, committed: i64) {
        let Some(lane) = self.lane(place).filter(|lane| !lane.is_read) else { return };
        let Some(mut batch) = lane.batch.clone().filter(|batch| batch.floor() != committed) else { return };
        let holds = batch.holds(committed);
        batch.pass(committed);
        self.put(&place.key().into(), place.queue, holds.then_some(batch));
    }

    fn put(&mut self, key: &Arc<str>, queue: i32, batch: Option<Batch>) {
        let queues = self.lanes.entry(Arc::clone(key)).or_default();
        let lane = queues.entry(queue).or_default();
        lane.batch = batch.filter(|batch| !batch.is_over());
        let look_at = lane.batch.as_ref().map(|batch| batch.due().unwrap_or(batch.changed_at));
        let before = std::mem::replace(&mut lane.look_at, look_at);
        if lane.batch.is_none() && !lane.is_read {
            queues.remove(&queue);
        }
        if queues.is_empty() {
            self.lanes.remove(key);
        }
        if let Some(before) = before {
            self.looks.remove(&(before, Arc::clone(key), queue));
        }
        if let Some(look_at) = look_at {
            self.looks.insert((look_at, Arc::clone(key), queue));
        }
        self.unsaved.insert(Arc::clone(key));
    }

    /// Lets go of a queue that nobody has anything of.
    fn tidy(&mut self, place: Place<'_>) {
        if self.lane(place).is_some_and(|lane| lane.batch.is_none() && !lane.is_read) {
            let is_new = !self.unsaved.contains(&*place.key());
            self.put(&place.key().into(), place.queue, None);
            if is_new {
                self.unsaved.remove(&*place.key());
            }
        }
    }

    fn put_back(&mut self, now_ms: i64) {
        let all: Vec<(Arc<str>, i32, Batch)> = self
            .lanes
            .iter()
            .flat_map(|(key, queues)| queues.iter().map(move |(queue, lane)| (key, *queue, lane)))
            .filter_map(|(key, queue, lane)| Some((Arc::clone(key), queue, lane.batch.clone()?)))
            .collect();
        for (key, queue, mut batch) in all {
            batch.put_back(now_ms);
            self.put(&key, queue, Some(batch));
        }
    }
}

fn written(queues: &BTreeMap<i32, Lane>) -> BTreeMap<i32, apogee_wire::bodies::OrderInfo> {
    queues.iter().filter_map(|(queue, lane)| Some((*queue, lane.batch.as_ref()?.write()))).collect()
}
