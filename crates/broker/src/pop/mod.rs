//! POP: the broker gives messages out, one at a time to one consumer of a group whatever the queue, and those that are not
//! acknowledged in time to somebody else (upstream `PopMessageProcessor`, `PopBufferMergeService`, `PopReviveService`).
//!
//! Who holds what is in memory ([`flight`]) for some seconds: most is acknowledged by then. What is not is noted in the
//! log ([`notes`]), as upstream notes it, and comes back from there ([`reader`]) when its time is up.
//!
//! Invariant: the committed offset of a group never passes a message that is neither acknowledged, nor noted in the log,
//! nor written to the retry topic, durably.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::record::Draft;
use bytes::BytesMut;

use self::again::{Back, NotYet};
use self::flight::{Delivery, Flight, Floor, Leaving, Limits, Way};
use self::noted::Noted;
use self::notes::{Acks, Key};
use self::order_table::OrderTable;
pub(crate) use self::progress::Popping;
use self::reader::Reader;
use self::waiting::Waiters;
use crate::bell::Bell;
use crate::broker::Broker;
use crate::settings::BrokerSettings;
use crate::settled::is_kept;
use crate::topics::Topic;

pub(crate) mod again;
pub(crate) mod flight;
#[cfg(test)]
mod flight_tests;
pub(crate) mod handle;
mod noted;
pub(crate) mod notes;
pub(crate) mod order_table;
pub(crate) mod ordered;
mod progress;
pub(crate) mod reader;
mod recount;
mod slab;
mod to_pulls;
mod told;
pub(crate) mod waiting;

/// Groups and topics share so many locks.
const SHARDS: usize = 16;
/// Batches that leave memory together: they share a write and a flush.
const AT_ONCE: usize = 1_024;
/// Acknowledgements that wait to be noted.
const MOST_ACKS: usize = 1_000_000;
/// Longest sleep: a clock that is put forward is noticed after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause after a failure, in milliseconds.
const PAUSE_MS: i64 = 1_000;

/// See the module.
pub(crate) struct Pop {
    /// Rung when there is something to do sooner than thought.
    pub bell: Bell,
    pub waiters: Waiters,
    /// What groups hold that pop in order.
    pub orders: OrderTable,
    pub revive_topic: Arc<str>,
    shards: [Mutex<Flight>; SHARDS],
    hash: RandomState,
    /// Counts pops: spreads them over queues.
    turn: AtomicU64,
    /// The topic of notes is there.
    is_begun: AtomicBool,
    acks: Mutex<Vec<Acks>>,
    /// What is out by the log.
    noted: Mutex<Noted>,
    /// On a slave: the place in the log from which on its master needs it, as far as was told; the highest number there is
    /// where it needs nothing.
    held_by_master: AtomicI64,
    /// Held by the one who steps.
    reader: Mutex<Reader>,
}

impl Pop {
    pub fn new(cluster: &str, orders: OrderTable) -> Self {
        Self {
            bell: Bell::default(),
            waiters: Waiters::default(),
            orders,
            revive_topic: notes::revive_topic(cluster).into(),
            shards: Default::default(),
            hash: RandomState::new(),
            turn: AtomicU64::new(0),
            is_begun: AtomicBool::new(false),
            acks: Mutex::default(),
            noted: Mutex::default(),
            held_by_master: AtomicI64::new(0),
            reader: Mutex::default(),
        }
    }

    /// The number of a pop.
    pub fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// What is in flight of a group in a topic, and of others.
    pub fn flight(&self, group: &str, topic: &str) -> MutexGuard<'_, Flight> {
        let shard = self.hash.hash_one((group, topic)) as usize % SHARDS;
        lock(&self.shards[shard])
    }

    /// Messages in memory that are out.
    pub fn messages(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).messages()).sum()
    }

    /// Batches in memory.
    pub fn batches(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).batches()).sum()
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        lock(&self.noted)
    }

    /// How many messages of a queue are out to a group, in memory or by the log.
    pub fn out(&self, flight: &Flight, group: &str, topic: &str, queue: i32) -> usize {
        let in_memory = flight.progress(group, topic, queue).map_or(0, |progress| progress.out);
        in_memory + self.noted().out(group, topic, queue).0
    }

    /// Messages are out, and the log says so.
    fn noted_out(&self, batch: &Leaving, offsets: impl IntoIterator<Item = i64>) {
        let Leaving { group, topic, queue, pop_time, .. } = batch;
        let mut noted = self.noted();
        for offset in offsets {
            noted.popped(Delivery { group, topic, queue: *queue, offset, pop_time: *pop_time });
        }
    }

    fn noted_popped(&self, key: &Key, offsets: &[i64]) {
        let mut noted = self.noted();
        offsets.iter().for_each(|offset| noted.popped(key.delivery(*offset)));
    }

    fn noted_settled(&self, key: &Key, offsets: &[i64]) {
        let mut noted = self.noted();
        offsets.iter().for_each(|offset| noted.settled(key.delivery(*offset)));
    }

    /// Forgets a topic, or a group: `of` is asked with group and topic.
    pub fn forget(&self, of: impl Fn(&str, &str) -> bool) {
        self.orders.lock().forget(&of);
        self.shards.iter().for_each(|shard| lock(shard).forget(&of));
        self.noted().forget(of);
    }

    /// An acknowledgement is to be noted in the log. False when too many wait for that.
    pub fn note(&self, acks: Acks) -> bool {
        {
            let mut waiting = lock(&self.acks);
            if waiting.len() >= MOST_ACKS {
                return false;
            }
            self.noted_settled(&acks.key, &acks.offsets);
            waiting.push(acks);
        }
        self.bell.ring();
        true
    }

    /// The place in the log of the first message that is out and may have to come again; the log's beginning until it is known.
    /// A slave, which gives nothing back, goes by what its master told last.
    pub fn held_from(&self, broker: &Broker) -> Option<i64> {
        if !broker.role.delivers() {
            return Some(self.held_by_master.load(Ordering::Relaxed)).filter(|from| *from < i64::MAX);
        }
        broker.topics.get(&self.revive_topic)?;
        let Some(mut first) = self.noted().first_out() else { return Some(broker.store.log_min_offset()) };
        for shard in &self.shards {
            lock(shard).first_out(&mut first);
        }
        let places = first.iter().filter_map(|(topic, queue, offset)| broker.store.unit(topic, *queue, *offset));
        places.map(|unit| unit.physical_offset).min()
    }

    /// The master told from where on it needs the log for messages that are out; `None`: it needs nothing, or is Apache's
    /// and does not tell.
    pub fn learn_held(&self, from: Option<i64>) {
        self.held_by_master.store(from.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Notes what is to be noted and gives back what is due. Returns how long to sleep until there is more to do.
    pub fn step(&self, broker: &Broker) -> Duration {
        let (now, limits) = (broker.now(), limits(&broker.settings.load()));
        let mut reader = lock(&self.reader);
        self.note_acks(broker, &mut reader);
        let is_counting = reader.recount(self, broker);
        let mut next = if is_counting { now } else { now + LONGEST_SLEEP.as_millis() as i64 };
        let all = self.batches();
        let too_many = all.saturating_sub(limits.batches);
        for shard in &self.shards {
            let (own, leaving) = {
                let mut flight = lock(shard);
                let own = flight.batches();
                // Each shard has its part of what is too many.
                let batches = if too_many == 0 { own } else { own - (own * too_many).div_ceil(all).min(own) };
                (own, flight.leaving(now, Limits { batches, ..limits }, AT_ONCE))
            };
            if !leaving.is_empty() {
                self.let_go(broker, shard, &leaving, now);
            }
            let shard = lock(shard);
            next = next.min(shard.next_look().unwrap_or(next));
            if leaving.len() == AT_ONCE && shard.batches() < own {
                // There may be more.
                next = now;
            }
        }
        next = next.min(reader.step(broker, now)).min(self.orders.step(broker, now));
        Duration::from_millis((next - now).max(0) as u64)
    }

    /// Notes in the log all that is out: the broker stops.
    pub fn close(&self, broker: &Broker) {
        let mut reader = lock(&self.reader);
        self.note_acks(broker, &mut reader);
        for shard in &self.shards {
            let leaving = lock(shard).all_leave();
            for leaving in leaving.chunks(AT_ONCE) {
                self.let_go(broker, shard, leaving, broker.now());
            }
        }
    }

    fn let_go(&self, broker: &Broker, shard: &Mutex<Flight>, leaving: &[Leaving], now: i64) {
        let (mut drafts, mut counts, mut arena) = (Vec::new(), Vec::new(), BytesMut::new());
        for batch in leaving {
            let before = drafts.len();
            match batch.way {
                _ if batch.offsets.is_empty() => {}
                Way::Noted => drafts.extend(broker.noted(batch)),
                Way::Revived => {
                    let Leaving { group, topic, queue, pop_time, suspend, .. } = batch;
                    let (queue, pop_time, suspend) = (*queue, *pop_time, *suspend);
                    let back = |offset: &i64| Back { group, topic, queue, offset: *offset, pop_time, suspend };
                    let given = batch.offsets.iter().map(|offset| broker.given_back(back(offset), &mut arena));
                    match given.collect::<Result<Vec<_>, _>>() {
                        Ok(given) => drafts.extend(given.into_iter().flatten()),
                        Err(NotYet) => {
                            counts.push(None);
                            continue;
                        }
                    }
                }
            }
            counts.push(Some(drafts.len() - before));
        }
        let mut written = write(broker, drafts).into_iter();
        {
            let mut shard = lock(shard);
            for (batch, count) in leaving.iter().zip(counts) {
                if count.is_some_and(|count| is_whole(&mut written, count)) {
                    if batch.way == Way::Noted {
                        self.noted_out(batch, shard.held(batch));
                    }
                    broker.commit(shard.left(batch));
                } else {
                    shard.stays(batch, now + PAUSE_MS);
                }
            }
        }
        keep_offsets(broker);
    }

    /// Notes acknowledgements of messages that the log knows as popped.
    fn note_acks(&self, broker: &Broker, reader: &mut Reader) {
        let acks = std::mem::take(&mut *lock(&self.acks));
        if acks.is_empty() {
            return;
        }
        let mut by_pop: HashMap<Key, Acks> = HashMap::new();
        for acks in acks {
            reader.acked(&acks.key, &acks.offsets);
            let all = by_pop.entry(acks.key.clone()).or_insert_with(|| Acks { offsets: Vec::new(), ..acks.clone() });
            all.offsets.extend(acks.offsets);
        }
        let drafts = by_pop.into_values().filter_map(|acks| Some((notes::acked(broker, &acks).ok()?, acks)));
        let (drafts, acks): (Vec<Draft>, Vec<Acks>) = drafts.unzip();
        let written = write(broker, drafts);
        let left: Vec<Acks> =
            acks.into_iter().zip(written).filter(|(_, is_written)| !is_written).map(|(acks, _)| acks).collect();
        if left.is_empty() {
            return;
        }
        let (kept, late): (Vec<_>, Vec<_>) = left.into_iter().partition(|acks| acks.due > broker.now());
        if !late.is_empty() {
            let count = late.len();
            tracing::warn!(
                count,
                "acknowledgements of popped messages cannot be noted in time: those messages come again"
            );
        }
        // Until the log takes messages again; looked at with the next step.
        lock(&self.acks).extend(kept);
    }
}

/// Writes records; says of each whether it is there to stay.
fn write(broker: &Broker, drafts: Vec<Draft>) -> Vec<bool> {
    if drafts.is_empty() {
        return Vec::new();
    }
    broker.ensure_revive_topic();
    let outcomes = broker.store.append_each(drafts);
    if let Some(error) = outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
        tracing::warn!(%error, "popped messages cannot be noted or given back now; trying again");
    }
    let is_kept = is_kept(&broker.store, broker.store.log_max_offset());
    outcomes.into_iter().map(|outcome| is_kept && outcome.is_ok()).collect()
}

/// Whether the next so many were written. Takes all of them.
fn is_whole(written: &mut impl Iterator<Item = bool>, count: usize) -> bool {
    written.take(count).filter(|is_written| !is_written).count() == 0
}

/// What is noted or given back was read: a start after a crash does not read it once more.
fn keep_offsets(broker: &Broker) {
    if let Err(error) = broker.offsets.save(broker.now()) {
        tracing::error!(%error, "consumer offsets cannot be saved; trying again: see whether the disk is full or failed");
    }
}

/// Notes messages that are out in the log; says whether that is there to stay. On threads that may wait.
pub(crate) fn write_note(broker: &Broker, batch: &Leaving) -> bool {
    let drafts: Vec<Draft> = broker.noted(batch).into_iter().collect();
    let is_written = !drafts.is_empty() && write(broker, drafts) == [true];
    if is_written {
        broker.pop.noted_out(batch, batch.offsets.iter().copied());
    }
    is_written
}

/// What is set about messages that are out.
pub(crate) fn limits(settings: &BrokerSettings) -> Limits {
    Limits {
        stay_ms: settings.pop_ck_stay_buffer_time,
        soon_ms: settings.pop_ck_stay_buffer_time_out,
        batches: settings.pop_ck_max_buffer_size,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker {
    /// Messages of a queue that a group may have out, where that is limited.
    pub(crate) fn pop_limit(&self) -> Option<usize> {
        let settings = self.settings.load();
        settings.enable_pop_message_threshold.then_some(settings.pop_inflight_message_threshold)
    }

    /// The name that handles and notes have of this broker.
    pub(crate) fn name(&self) -> String {
        self.settings.load().broker_name.clone()
    }

    /// The topic of notes, with as many queues as are set at least: after a crash it may have come back with fewer.
    fn ensure_revive_topic(&self) -> Arc<Topic> {
        let queues = self.settings.load().revive_queue_num;
        self.ensure_queues(&self.pop.revive_topic, queues)
    }

    /// Something is popped: slaves shall know that there will be notes before any offset rests on one.
    pub(crate) fn begin_to_pop(&self) {
        if !self.pop.is_begun.swap(true, Ordering::Relaxed) {
            self.ensure_revive_topic();
        }
    }

    /// Commits what a group's pops came to, unless it was moved meanwhile, as by members that pull. Under the lock of what
    /// is in flight, so that the newest comes last.
    pub(crate) fn commit(&self, floor: Option<Floor>) {
        if let Some(Floor { group, topic, queue, offset, before }) = floor
            && self.offsets.query(&group, &topic, queue) == Some(before)
        {
            // One that an administrator moved is told so by its next pop.
            let _ = self.offsets.commit(&group, &topic, queue, offset);
        }
    }

    /// Where a group is in a queue, by what is committed or where an administrator wants it. Under the lock of what is
    /// in flight.
    pub(crate) fn popped_to(&self, delivery: Delivery<'_>) -> Option<i64> {
        let Delivery { group, topic, queue, .. } = delivery;
        // A pop needs no more telling than that.
        let moved = self.offsets.take_reset(group, topic, queue);
        moved.or_else(|| self.offsets.query(group, topic, queue))
    }

    fn noted(&self, batch: &Leaving) -> Option<Draft> {
        let note = notes::popped(self, batch);
        note.inspect_err(|error| tracing::error!(topic = &*batch.topic, %error, "popped messages cannot be noted")).ok()
    }
}
