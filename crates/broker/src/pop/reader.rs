//! Reads the revive topic: what was popped, noted in the log, and not acknowledged, comes again when its time is up. The
//! notes may be of an earlier run of the broker, of another master or of Apache's.
//!
//! What is committed for the revive group is, as upstream has it, the last note that is dealt with, not the next one.
//!
//! Invariant: the revive group's committed offset reaches no note of a pop before its messages are acknowledged or in the
//! retry topic.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use apogee_message::record::Record;
use bytes::BytesMut;

use super::again::{Back, NotYet};
use super::notes::{self, Key, Note};
use super::recount::Recount;
use super::{Pop, is_whole, keep_offsets, write};
use crate::broker::Broker;

/// The group whose offsets tell how far the revive topic is read.
pub(crate) const GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// Notes in memory; no more are read meanwhile.
const MOST: usize = 100_000;
/// Notes read in one go.
const UNITS: usize = 256;
/// Notes that are dealt with together.
const AT_ONCE: usize = 256;
/// How long acknowledgements that were sent in time may be under way.
const GRACE_MS: i64 = 1_000;
/// Rest between looks while notes wait.
const LOOK_MS: i64 = 200;

/// Notes that were read and are not dealt with.
#[derive(Default)]
pub(super) struct Reader {
    /// Next offset to read, by queue.
    next: BTreeMap<i32, i64>,
    notes: HashMap<Key, Popped>,
    /// Notes by when the messages' time is up.
    by_due: BTreeMap<(i64, i32, i64), Key>,
    /// Places of notes that are not dealt with: queue and offset.
    open: BTreeSet<(i32, i64)>,
    recount: Recount,
}

struct Popped {
    offsets: Vec<i64>,
    due: i64,
    suspend: bool,
    /// Where the note is in the revive topic.
    place: (i32, i64),
}

impl Reader {
    /// Goes on to count what was noted before the start. Says whether there is more to do.
    pub fn recount(&mut self, pop: &Pop, broker: &Broker) -> bool {
        self.recount.step(pop, broker)
    }

    /// Messages were acknowledged.
    pub fn acked(&mut self, key: &Key, offsets: &[i64]) {
        if let Some(popped) = self.notes.get_mut(key) {
            popped.offsets.retain(|offset| !offsets.contains(offset));
        }
    }

    /// Reads what is new and gives back what is due. Returns when there is more to do.
    pub fn step(&mut self, broker: &Broker, now: i64) -> i64 {
        // First this: all that was due until then, and was noted in time, is in the topic.
        let delivered_to = broker.timer.delivered_to(&broker.store, now);
        if broker.topics.get(&broker.pop.revive_topic).is_none() {
            return i64::MAX;
        }
        let topic = broker.ensure_revive_topic();
        let mut is_all_read = true;
        for queue in 0..topic.config.read_queue_nums {
            is_all_read &= self.read(broker, queue);
        }
        let ready = if is_all_read { delivered_to } else { delivered_to.min(self.read_to(broker)) };
        let is_more = self.give_back(broker, ready);
        let mut is_moved = false;
        for queue in 0..topic.config.read_queue_nums {
            is_moved |= self.commit(broker, queue);
        }
        if is_moved {
            keep_offsets(broker);
        }
        match self.by_due.first_key_value() {
            _ if is_more || !is_all_read => now,
            Some(_) => now + LOOK_MS,
            None => i64::MAX,
        }
    }

    /// Reads a queue to its end; false if that would be too much.
    fn read(&mut self, broker: &Broker, queue: i32) -> bool {
        let topic = &*broker.pop.revive_topic;
        let Some((min, max)) = broker.store.queue_range(topic, queue) else { return true };
        let known = self.next.get(&queue).copied();
        let begin = || broker.offsets.query(GROUP, topic, queue).map_or(min, |last| last + 1);
        let mut next = known.unwrap_or_else(begin).clamp(min, max);
        while next < max && self.notes.len() < MOST {
            let units = broker.store.units(topic, queue, next, UNITS);
            if units.is_empty() {
                break;
            }
            for unit in units {
                let bytes = (!unit.is_blank()).then(|| broker.store.record_at(unit.physical_offset)).flatten();
                if let Some(record) = bytes.as_ref().and_then(|bytes| Record::read(bytes).ok()) {
                    self.take(&broker.pop, &record, queue, next);
                }
                next += 1;
            }
        }
        self.next.insert(queue, next);
        next >= max
    }

    fn take(&mut self, pop: &Pop, record: &Record<'_>, queue: i32, offset: i64) {
        match notes::read(record) {
            Some(Note::Popped(key, note)) => {
                let due = note.pop_time.saturating_add(note.invisible_time);
                let place = (queue, offset);
                let offsets = notes::offsets(&note);
                pop.noted_popped(&key, &offsets);
                let popped = Popped { offsets, due, suspend: note.suspend, place };
                self.by_due.insert((due, queue, offset), key.clone());
                self.open.insert(place);
                if let Some(older) = self.notes.insert(key, popped) {
                    self.by_due.remove(&(older.due, older.place.0, older.place.1));
                    self.open.remove(&older.place);
                }
            }
            Some(Note::Acked(key, offsets)) => {
                pop.noted_settled(&key, &offsets);
                self.acked(&key, &offsets);
            }
            None => tracing::warn!(queue, offset, "a record of the revive topic says nothing; it is passed over"),
        }
    }

    /// When too much waits, what is read is in order of time: later notes wait, earlier ones are complete.
    fn read_to(&self, broker: &Broker) -> i64 {
        let topic = &*broker.pop.revive_topic;
        let times = self.next.iter().filter_map(|(queue, next)| broker.store.store_time(topic, *queue, *next));
        times.min().unwrap_or(i64::MAX)
    }

    /// Writes messages to their retry topics whose time was up before. Says whether there are more.
    fn give_back(&mut self, broker: &Broker, before: i64) -> bool {
        let due = self.by_due.range(..(before.saturating_sub(GRACE_MS), i32::MIN, i64::MIN));
        let due: Vec<_> = due.take(AT_ONCE).map(|(at, key)| (*at, key.clone())).collect();
        let (mut drafts, mut counts, mut arena) = (Vec::new(), Vec::new(), BytesMut::new());
        for (_, key) in &due {
            let begin = drafts.len();
            if let Some(popped) = self.notes.get(key) {
                let Key { group, topic, queue, pop_time, .. } = key;
                let back = |offset: &i64| {
                    let suspend = popped.suspend;
                    Back { group, topic, queue: *queue, offset: *offset, pop_time: *pop_time, suspend }
                };
                let given = popped.offsets.iter().map(|offset| broker.given_back(back(offset), &mut arena));
                match given.collect::<Result<Vec<_>, _>>() {
                    Ok(given) => drafts.extend(given.into_iter().flatten()),
                    Err(NotYet) => {
                        counts.push(None);
                        continue;
                    }
                }
            }
            counts.push(Some(drafts.len() - begin));
        }
        let mut written = write(broker, drafts).into_iter();
        let mut is_refused = false;
        for ((at, key), count) in due.iter().zip(counts) {
            if !count.is_some_and(|count| is_whole(&mut written, count)) {
                is_refused = true;
                continue;
            }
            self.by_due.remove(at);
            if let Some(popped) = self.notes.remove(key) {
                broker.pop.noted_settled(key, &popped.offsets);
                self.open.remove(&popped.place);
            }
        }
        due.len() == AT_ONCE && !is_refused
    }

    /// Says whether there was anything to commit.
    fn commit(&self, broker: &Broker, queue: i32) -> bool {
        let topic = &*broker.pop.revive_topic;
        let Some(next) = self.next.get(&queue) else { return false };
        let first = self.open.range((queue, i64::MIN)..=(queue, i64::MAX)).next();
        let last = first.map_or(*next, |(_, offset)| *offset) - 1;
        last >= 0
            && broker.offsets.query(GROUP, topic, queue) != Some(last)
            && broker.offsets.commit(GROUP, topic, queue, last)
    }
}
