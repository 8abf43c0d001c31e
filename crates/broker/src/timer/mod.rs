//! Messages that are delivered at a time of their own (upstream `TimerMessageStore`).
//!
//! They are stored in the wheel topic, as upstream stores them. The service follows that topic's
//! queue, keeps of each message when it is due and where it is ([`queue`]), and writes it to its
//! real topic when its time has come. A record so written names the one that it was made of
//! (`settled.rs`): what was delivered since the state was kept last is read from the log at start,
//! so that a crash at any moment neither loses nor repeats a message.
//!
//! Invariant: the state on disk, with what the log settled since, is what waits.
//! Invariant: nothing is delivered before all that stands in the wheel topic's queue was seen: a
//! recall that was answered takes effect.

mod counts;
mod elsewhere;
mod entry;
mod follow;
mod foreign;
mod handover;
mod kept;
mod merge;
#[cfg(test)]
mod mortal;
mod queue;
mod run;
mod saving;
mod settling;
mod waiting;
pub(crate) mod wish;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_base::disk::Disk;
use apogee_message::names::{self, property};
use apogee_message::record::{Draft, Record};
use apogee_store::{AppendError, Store};
use apogee_wire::bodies::TimerMetricsSerializeWrapper;
use bytes::BytesMut;

use self::counts::Counts;
pub(crate) use self::elsewhere::Due;
use self::entry::{Entry, Kind};
use self::foreign::{Deliveries, Foreign, PRECISION};
use self::handover::{Checkpoint, Pending, Purpose, Writer};
use self::kept::State;
use self::queue::{QueueState, TimerQueue};
use self::saving::Saving;
use self::waiting::{Recalled, Waiting};
use crate::bell::Bell;
use crate::metrics::rare::Rare;
use crate::settled;

/// Entries in memory; the others are in files.
const TABLE: usize = 16_384;
/// Entries merged in one step.
const SLICE: usize = 32_768;
/// Units of the wheel topic's queue read at a time.
const UNITS: usize = 1_024;
/// Messages delivered together: they share a write and a flush.
const BATCH: usize = 4_096;
/// Bytes of messages delivered together.
const BATCH_BYTES: u64 = 8 << 20;
/// Entries that are looked at for one batch.
const LOOKED_AT: usize = 4 * BATCH;
/// Longest sleep: a clock that is put forward is noticed after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// How far an Apache broker's timer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// What it had taken in was delivered when due before this time, in its milliseconds.
    pub read_time: i64,
    /// It had taken in the wheel topic's units before this offset.
    pub queue_offset: i64,
}

impl Inherited {
    /// The same as Apache's brokers keep it, in the file `timercheck`.
    pub fn checkpoint(self) -> Vec<u8> {
        Checkpoint::new(self.read_time, self.queue_offset, 0).fields().to_vec()
    }
}

/// The timer. One thread steps it.
pub(crate) struct Timer {
    /// Rung when a message comes to the wheel topic.
    pub bell: Bell,
    /// Messages that Apache's broker took may wait, too.
    pub is_heir: bool,
    /// Messages that were delivered, by topic.
    pub delivered: Arc<Rare<1>>,
    /// Held by the one who steps.
    work: Mutex<Work>,
    /// Held by the one who saves: meanwhile others step.
    saving: Mutex<()>,
}

struct Work {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    wheel: Arc<str>,
    delivered: Arc<Rare<1>>,
    foreign: Foreign,
    /// Until what Apache's broker took is taken in.
    foreign_deliveries: Deliveries,
    queue: TimerQueue,
    recalled: Recalled,
    counts: Counts,
    /// What [`State`] has.
    scanned: i64,
    scanned_end: i64,
    foreign_end: i64,
    /// The same of the state on disk.
    log_offset: i64,
    saved_ms: i64,
    is_saved: bool,
    /// Nothing is saved any more.
    is_handed_over: bool,
    /// Messages of the wheel topic's queue before this offset wait for nothing.
    done_to: i64,
    /// On a slave: deliveries that stand in the log before this offset are known to the queue.
    followed_to: Option<i64>,
    /// By their place in the log, entries that are out of the queue while somebody delivers them elsewhere.
    taken: BTreeMap<i64, Entry>,
}

/// What the search for messages that wait has found.
enum Held {
    /// One, at this place of the log.
    From(i64),
    Nothing,
    /// Nothing yet.
    LookOn,
}

impl Timer {
    /// Reads the state in the folder `timer` of `root`; without one, all that the wheel topic holds
    /// is looked at anew. `delivers`: not on a slave, which takes in what its master delivers, see [`Timer::follow`].
    pub fn open(disk: Arc<dyn Disk>, root: &Path, store: &Store, delivers: bool) -> io::Result<Self> {
        let folder = root.join("timer");
        disk.create_folder(&folder)?;
        disk.sync_folder(root)?;
        let foreign = if delivers { Foreign::read(&*disk, &root.join("config"))? } else { Foreign::default() };
        // One that knows deliveries behind the log's end is of before the log was cut.
        let fits = |state: &State| state.foreign_check == foreign.check && state.log_offset <= store.confirmed_offset();
        let state = State::load(&*disk, &folder)?.filter(fits);
        let open = |queue| TimerQueue::open(Arc::clone(&disk), folder.clone(), TABLE, queue);
        let opened = match &state {
            Some(state) => match open(state.queue.clone()) {
                Err(error) if is_damage(&error) => {
                    tracing::error!(%error, "the timer's files are damaged");
                    None
                }
                queue => Some(queue?),
            },
            None => None,
        };
        let is_whole = opened.is_some();
        let queue = match opened {
            Some(queue) => queue,
            None => open(QueueState::default())?,
        };
        let state = state.unwrap_or_default();
        let mut work = Work {
            disk,
            folder,
            wheel: names::WHEEL_TOPIC.into(),
            delivered: Arc::default(),
            foreign,
            foreign_deliveries: Deliveries::default(),
            queue,
            recalled: Recalled::default(),
            counts: state.counts,
            scanned: state.scanned,
            // What recovery found the log to lack is written anew.
            scanned_end: state.scanned_end.min(store.confirmed_offset()),
            foreign_end: state.foreign_end,
            log_offset: state.log_offset,
            saved_ms: 0,
            is_saved: is_whole,
            is_handed_over: false,
            done_to: 0,
            followed_to: None,
            taken: BTreeMap::new(),
        };
        if !delivers {
            work.begin_following(store, is_whole.then_some(state.log_offset));
        } else if is_whole {
            work.settle(store, state.log_offset, i64::MAX)?;
        } else {
            work.rebuild(store)?;
        }
        work.read_foreign_deliveries(store);
        Ok(Self {
            bell: Bell::default(),
            is_heir: work.foreign_end > 0,
            delivered: Arc::clone(&work.delivered),
            work: Mutex::new(work),
            saving: Mutex::default(),
        })
    }

    /// Takes in what is new and delivers what is due at `now_ms`. Returns how long to sleep until
    /// there is more to do.
    pub fn step(&self, store: &Store, now_ms: i64) -> Duration {
        self.stepped(store, |work| work.step(store, now_ms))
    }

    fn stepped(&self, store: &Store, step: impl FnOnce(&mut Work) -> io::Result<Duration>) -> Duration {
        let mut work = self.lock();
        step(&mut work).unwrap_or_else(|error| {
            if is_damage(&error) {
                tracing::error!(%error, "the timer's files are damaged: all that waits is read from the wheel topic");
                let begun = match work.followed_to {
                    Some(_) => {
                        work.begin_following(store, None);
                        Ok(())
                    }
                    None => work.rebuild(store),
                };
                work.read_foreign_deliveries(store);
                if let Err(error) = begun {
                    tracing::error!(%error, "the timer's files cannot be written; trying again: see whether the disk is full or failed");
                }
            } else {
                tracing::error!(%error, "the timer's files cannot be used; trying again: see whether the disk is full or failed");
            }
            PAUSE
        })
    }

    /// Messages of the wheel topic that are not taken in yet.
    pub fn behind(&self, store: &Store) -> i64 {
        let work = self.lock();
        let (_, end) = store.queue_range(&work.wheel, 0).unwrap_or_default();
        (end - work.scanned).max(0)
    }

    /// Messages that came and were not taken in yet, and for how many milliseconds the first of them has been there.
    pub fn backlog(&self, store: &Store, now_ms: i64) -> (i64, i64) {
        let scanned = self.lock().scanned;
        let end = store.queue_range(names::WHEEL_TOPIC, 0).map_or(0, |(_, end)| end);
        let stored = (end > scanned).then(|| store.store_time(names::WHEEL_TOPIC, 0, scanned)).flatten();
        ((end - scanned).max(0), stored.map_or(0, |stored| (now_ms - stored).max(0)))
    }

    /// Milliseconds since the next delivery was due; 0 when it is not.
    pub fn late_ms(&self, now_ms: i64) -> i64 {
        self.lock().queue.next_time().map_or(0, |due| (now_ms - due).max(0))
    }

    /// All that is due before this time, and was stored before it was due, is delivered.
    pub fn delivered_to(&self, store: &Store, now_ms: i64) -> i64 {
        let (scanned, next) = {
            let work = self.lock();
            (work.scanned, work.queue.next_time())
        };
        let end = store.queue_range(names::WHEEL_TOPIC, 0).map_or(0, |(_, end)| end);
        let stored = (end > scanned).then(|| store.store_time(names::WHEEL_TOPIC, 0, scanned)).flatten();
        [next, stored].into_iter().flatten().fold(now_ms, i64::min)
    }

    /// How many messages are due before each of some times, in ascending order. Reads of the disk what it needs, while
    /// the timer goes on.
    pub fn due_before(&self, times: &[i64]) -> io::Result<Vec<u64>> {
        let (mut before, cursors) = self.lock().queue.look(times);
        for mut cursor in cursors {
            for (time, count) in times.iter().zip(&mut before) {
                *count += cursor.due_before(*time)?;
            }
        }
        Ok(before)
    }

    /// Saves the state when it is time to. The disk works while the timer goes on: what it takes in and
    /// delivers meanwhile, a start reads from the log. Call from time to time.
    pub fn save_step(&self, store: &Store, now_ms: i64) {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(saving) = self.begin_saving(store, now_ms) else { return };
        if let Err(error) = self.finish_saving(store, saving) {
            tracing::error!(%error, "the timer's state cannot be saved; trying again: see whether the disk is full or failed");
        }
    }

    fn begin_saving(&self, store: &Store, now_ms: i64) -> Option<Saving> {
        let mut work = self.lock();
        if work.is_handed_over || !work.is_to_save(store, now_ms) {
            return None;
        }
        work.saved_ms = now_ms;
        Some(work.saving(store))
    }

    fn finish_saving(&self, store: &Store, saving: Saving) -> io::Result<()> {
        let written = saving.write(store);
        self.lock().end_saving(saving, written)
    }

    /// The place in the log of the first message before `end` that waits for its time, or may; `None` when
    /// there is none. From there on the log is needed.
    pub fn held_from(&self, store: &Store, end: i64) -> Option<i64> {
        loop {
            // Held for a part at a time: messages shall not wait for all of them.
            match self.lock().look_for_held(store, end) {
                Held::From(place) => return Some(place),
                Held::Nothing => return None,
                Held::LookOn => {}
            }
        }
    }

    /// How far the timer is, as Apache's brokers write it.
    pub fn checkpoint(&self, now_ms: i64) -> Vec<u8> {
        let work = self.lock();
        Checkpoint::new(work.read_time(now_ms), work.scanned, now_ms).fields().to_vec()
    }

    /// How far an Apache broker's timer came before this one, when messages that it took may still be in the log:
    /// it delivered without a word of it in the log.
    pub fn inherited(&self) -> Option<Inherited> {
        let Foreign { read_time, queue_offset, .. } = self.lock().foreign;
        self.is_heir.then_some(Inherited { read_time, queue_offset })
    }

    /// How many messages wait, by topic.
    pub fn metrics(&self) -> TimerMetricsSerializeWrapper {
        let mut metrics = self.lock().counts.metrics();
        metrics.timing_count.values_mut().for_each(|metric| metric.count = metric.count.max(0));
        metrics
    }

    /// Writes the state, for the next start to have little to do.
    #[cfg(test)]
    pub fn save(&self, store: &Store) -> io::Result<()> {
        self.lock().save(store)
    }

    /// Writes the state, and for Apache's broker what it needs to go on instead of this one. Nothing may be
    /// stepped after it.
    pub fn hand_over(&self, store: &Store, root: &Path, now_ms: i64) -> io::Result<()> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().hand_over(store, root, now_ms)
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn step(&mut self, store: &Store, now_ms: i64) -> io::Result<Duration> {
        let scanned = self.scan(store);
        let is_more = self.deliver(store, now_ms)?;
        scanned?;
        let merges = self.queue.merge(SLICE)?;
        Ok(match self.queue.next_time() {
            _ if is_more == Delivered::Refused => PAUSE,
            _ if merges || is_more == Delivered::Batch => Duration::ZERO,
            Some(time) => LONGEST_SLEEP.min(Duration::from_millis(time.saturating_sub(now_ms).max(0) as u64)),
            None => LONGEST_SLEEP,
        })
    }

    /// Looks at the next units of the wheel topic before `end` of the log. What waits is in the queue, and
    /// is due no earlier than the queue's first: a message of an earlier time is done with.
    fn look_for_held(&mut self, store: &Store, end: i64) -> Held {
        let Some((min, max)) = store.queue_range(&self.wheel, 0) else { return Held::Nothing };
        if self.done_to < min || self.done_to > max {
            self.done_to = min;
        }
        let taken = self.taken.values().map(|entry| entry.time).min();
        let next = self.queue.next_time().into_iter().chain(taken).min();
        let units = store.units(&self.wheel, 0, self.done_to, UNITS);
        if units.is_empty() {
            return Held::Nothing;
        }
        for unit in units {
            if unit.physical_offset >= end {
                return Held::Nothing;
            }
            let is_seen = self.done_to < self.scanned;
            let bytes = (!unit.is_blank()).then(|| store.record_at(unit.physical_offset)).flatten();
            let record = bytes.as_ref().and_then(|bytes| Record::read(bytes).ok());
            let waiting = record.as_ref().and_then(|record| Waiting::of(record, self.foreign_end));
            if let Some(waiting) = waiting
                && (!is_seen || next.is_some_and(|next| waiting.time >= next))
            {
                return Held::From(unit.physical_offset);
            }
            self.done_to += 1;
        }
        Held::LookOn
    }

    fn read_foreign_deliveries(&mut self, store: &Store) {
        if self.scanned < self.foreign_end {
            self.foreign_deliveries = Deliveries::since(store, self.foreign.read_time);
        }
    }

    /// Begins anew: with nothing but the log.
    fn rebuild(&mut self, store: &Store) -> io::Result<()> {
        self.queue.clear();
        (self.recalled, self.counts) = Default::default();
        (self.scanned, self.scanned_end, self.foreign_end, self.is_saved) = (0, 0, 0, false);
        let Some((min, max)) = store.queue_range(&self.wheel, 0).filter(|(min, max)| min < max) else { return Ok(()) };
        let is_foreign = self.foreign != Foreign::default();
        if is_foreign {
            tracing::info!(messages = max - min, "timers of Apache's broker are taken over");
            self.foreign_end = max;
        } else {
            tracing::warn!(
                messages = max - min,
                "the timer's state is missing; it is made from the log, which takes a while"
            );
        }
        // What we delivered stands behind the first message that we had to deliver.
        let first = if is_foreign { self.foreign.queue_offset.max(min) } else { min };
        let unit = store.unit(&self.wheel, 0, first);
        self.settle(store, unit.map_or(store.confirmed_offset(), |unit| unit.physical_offset), i64::MAX)?;
        Ok(())
    }

    /// Reads what was delivered between two places of the log. Returns where it came to: a record's begin.
    fn settle(&mut self, store: &Store, from: i64, to: i64) -> io::Result<i64> {
        let end = store.confirmed_offset();
        for bytes in store.records(from) {
            let at = Record::read(&bytes).map_or(from, |record| record.physical_offset);
            if at >= to {
                return Ok(at);
            }
            if let Some(settled) = settled::settled_by(&bytes) {
                self.settle_one(store, settled)?;
            }
        }
        Ok(end)
    }

    /// Takes in the units that are new.
    fn scan(&mut self, store: &Store) -> io::Result<()> {
        let Some((min, max)) = store.queue_range(&self.wheel, 0) else { return Ok(()) };
        if self.scanned < min || self.scanned > max {
            let scanned = self.scanned;
            if scanned != 0 {
                tracing::warn!(
                    scanned,
                    min,
                    max,
                    "the timer's progress is not in the wheel topic's queue; moved into it"
                );
            }
            // Those that it knows are told by where they are in the log.
            self.scanned = min;
        }
        while self.scanned < max {
            let units = store.units(&self.wheel, 0, self.scanned, UNITS.min((max - self.scanned) as usize));
            if units.is_empty() {
                return Err(io::Error::other("the wheel topic's queue cannot be read"));
            }
            for unit in units {
                self.make_room()?;
                if !unit.is_blank() && unit.physical_offset >= self.scanned_end {
                    self.take_in(store, unit.physical_offset);
                    self.scanned_end = unit.physical_offset + i64::from(unit.size);
                }
                self.scanned += 1;
                self.is_saved = false;
            }
        }
        self.foreign_deliveries = Deliveries::default();
        Ok(())
    }

    fn take_in(&mut self, store: &Store, offset: i64) {
        let Some(bytes) = store.record_at(offset) else {
            return tracing::warn!(offset, "a message of the wheel topic is no longer in the log");
        };
        let record = Record::read(&bytes).ok();
        let Some(waiting) = record.as_ref().and_then(|record| Waiting::of(record, self.foreign_end)) else {
            return tracing::error!(offset, "a message of the wheel topic has no time; it is passed over");
        };
        let rolled_at = waiting.rolls().then_some(waiting.time);
        let is_done = self.foreign.is_done(waiting.record.queue_offset, waiting.out_ms, rolled_at)
            || self.foreign_deliveries.contains(store, waiting.record);
        if !is_done {
            let entry = waiting.entry();
            if entry.kind == Kind::Message {
                self.counts.add(waiting.record, 1, waiting.record.store_timestamp);
            }
            self.queue.push(entry);
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.queue.is_full() {
            self.queue.make_room()?;
            // As much as comes in is merged, so that the files stay few.
            self.queue.merge(SLICE)?;
        }
        Ok(())
    }

    /// Delivers a batch of what is due.
    fn deliver(&mut self, store: &Store, now_ms: i64) -> io::Result<Delivered> {
        let (mut entries, mut drafts, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut arena = BytesMut::new();
        let mut looked_at = 0;
        let mut failure = None;
        while drafts.len() < BATCH && bytes < BATCH_BYTES && looked_at < LOOKED_AT {
            looked_at += 1;
            match self.queue.pop_due(now_ms) {
                Ok(Some(entry)) => {
                    self.is_saved = false;
                    if let Some(draft) = self.successor(store, &entry, now_ms, &mut arena) {
                        bytes += u64::from(entry.size);
                        let target = Some(draft.topic()).filter(|topic| ***topic != *self.wheel).map(Arc::clone);
                        entries.push((entry, target));
                        drafts.push(draft);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let is_batch = self.queue.next_time().is_some_and(|time| time <= now_ms);
        let mut delivered = if is_batch { Delivered::Batch } else { Delivered::All };
        if !drafts.is_empty() {
            for ((entry, target), outcome) in entries.into_iter().zip(store.append_each(drafts)) {
                match outcome {
                    Ok(_) => target.iter().for_each(|topic| self.delivered.add(topic)),
                    Err(error @ AppendError::TooLarge { .. }) => {
                        tracing::error!(offset = entry.offset, %error, "a message whose time has come cannot be delivered");
                    }
                    Err(error) => {
                        if delivered != Delivered::Refused {
                            tracing::warn!(offset = entry.offset, %error, "messages whose time has come cannot be delivered now; trying again");
                        }
                        self.queue.push(entry);
                        self.waits_on(store, &entry, now_ms);
                        delivered = Delivered::Refused;
                    }
                }
            }
        }
        failure.map_or(Ok(delivered), Err)
    }

    /// What to write for an entry whose time has come, if anything.
    fn successor(&mut self, store: &Store, entry: &Entry, now_ms: i64, arena: &mut BytesMut) -> Option<Draft> {
        let Some(bytes) = store.record_at(entry.offset) else {
            tracing::warn!(offset = entry.offset, "a message whose time has come is no longer in the log");
            return None;
        };
        let record = Record::read(&bytes).ok()?;
        let waiting = Waiting::of(&record, self.foreign_end).filter(|waiting| waiting.entry() == *entry);
        let Some(waiting) = waiting.filter(|_| record.topic == &*self.wheel) else {
            tracing::error!(offset = entry.offset, "where a message waited for its time stands another one");
            return None;
        };
        if entry.kind == Kind::Message {
            self.counts.add(&record, -1, now_ms);
        }
        if !waiting.rolls() {
            self.recalled.at(entry.time);
            if entry.kind == Kind::Delete {
                self.recalled.add(&waiting);
                return None;
            }
            if self.recalled.contains(&waiting, store) {
                return None;
            }
        }
        let draft = waiting.successor(&bytes, &self.wheel, arena);
        if draft.is_none() {
            tracing::error!(offset = entry.offset, "a message whose time has come has no target; it is passed over");
        }
        draft
    }

    /// A message that was to be delivered is not, for now.
    fn waits_on(&mut self, store: &Store, entry: &Entry, now_ms: i64) {
        let bytes = (entry.kind == Kind::Message).then(|| store.record_at(entry.offset)).flatten();
        if let Some(record) = bytes.as_ref().and_then(|bytes| Record::read(bytes).ok()) {
            self.counts.add(&record, 1, now_ms);
        }
    }

    /// Before which all is delivered that stands in the wheel topic's queue before where it was read to.
    fn read_time(&self, now_ms: i64) -> i64 {
        self.queue.next_time().map_or(now_ms, |time| time.min(now_ms)) - PRECISION
    }

    fn hand_over(&mut self, store: &Store, root: &Path, now_ms: i64) -> io::Result<()> {
        self.is_handed_over = true;
        let config = root.join("config");
        let last = self.scanned.checked_sub(1).and_then(|last| store.unit(&self.wheel, 0, last));
        let Some(last) = last.filter(|unit| !unit.is_blank()) else { return self.save(store) };
        let read_time = self.read_time(now_ms);
        let checkpoint = Checkpoint::new(read_time, self.scanned, now_ms);
        self.foreign = checkpoint.foreign;
        self.save(store)?;
        // A crash from here on makes Apache's broker read the whole topic, and this one its own state.
        Checkpoint::new(read_time, 0, now_ms).save(&*self.disk, &config)?;
        let mut writer = Writer::new(&*self.disk, root, now_ms)?;
        let is_recalling = self.queue.next_time() == Some(self.recalled.time);
        let mut markers: Vec<_> = self.recalled.markers().filter(|_| is_recalling).collect();
        while let Some(entry) = markers.pop().map_or_else(|| self.queue.pop_due(i64::MAX), |entry| Ok(Some(entry)))? {
            let Some(bytes) = store.record_at(entry.offset) else { continue };
            let Ok(record) = Record::read(&bytes) else { continue };
            let Some(waiting) = Waiting::of(&record, self.foreign_end) else { continue };
            let purpose = match entry.kind {
                _ if waiting.rolls() => Purpose::Roll,
                Kind::Delete => Purpose::Delete,
                Kind::Settled | Kind::Message => Purpose::Deliver,
            };
            // It rounds down, and is late by as much as this one adds to what it has rounded.
            let time = if waiting.rolls() { entry.time } else { waiting.out_ms };
            let topic = record.property(property::REAL_TOPIC).unwrap_or_default();
            writer.push(&Pending { time, offset: entry.offset, size: entry.size, purpose, topic })?;
        }
        writer.finish(last.physical_offset, last.size, read_time)?;
        checkpoint.save(&*self.disk, &config)
    }
}

/// How a delivery ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// Nothing more is due.
    All,
    /// More is due.
    Batch,
    /// The store takes nothing now.
    Refused,
}

/// Whether a file is not what was written: trying again does not help.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

#[cfg(test)]
mod tests;
