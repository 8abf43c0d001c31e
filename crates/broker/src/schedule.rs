//! Delivery after delay levels (upstream `ScheduleMessageService`).
//!
//! Messages wait in the queue of their level in the schedule topic, in order of their time, which
//! stands in the queue unit's tag field: the next one due is always the one at the level's cursor,
//! and nothing is looked at before its time.

mod elsewhere;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_store::{Store, Unit};
use apogee_wire::bodies::DelayOffsetSerializeWrapper;
use bytes::{Bytes, BytesMut};

use crate::bell::Bell;
use crate::persist::{JsonFile, Kept, PersistError};
use crate::settled::{self, Settled, is_kept};

/// Messages delivered together: they share a write and a flush.
const BATCH: usize = 256;
/// Longest sleep: a clock that is put forward is noticed after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Pause after a delivery that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// The delay levels and how far each is delivered.
pub struct Schedule {
    file: JsonFile,
    /// Milliseconds of level 1, 2, …
    delays: Arc<[i64]>,
    settled: Arc<Settled>,
    progress: Mutex<Progress>,
    unsaved: AtomicBool,
    /// Rung when a message comes to the schedule topic.
    pub(crate) bell: Bell,
}

/// Name of the mark in [`Settled`].
pub(crate) const FOLLOWER: &str = "schedule";

struct Progress {
    /// Next offset to deliver, by level from 1.
    cursors: BTreeMap<i32, i64>,
    /// The cursors know what was delivered before this place of the log.
    mark: i64,
    /// By level and offset, messages behind the cursors that a slave delivered elsewhere.
    elsewhere: BTreeSet<(i32, i64)>,
}

impl Schedule {
    /// Reads the file `delayOffset.json`, and from the log what was delivered since it was written.
    pub fn open(
        file: JsonFile,
        delays: Arc<[i64]>,
        store: &Store,
        settled: Arc<Settled>,
    ) -> Result<Self, PersistError> {
        let range = |level: i32| store.queue_range(names::SCHEDULE_TOPIC, level - 1).unwrap_or_default();
        let mut kept: DelayOffsetSerializeWrapper = match file.load("what was delivered is read from the whole log")? {
            Kept::Content(kept) => kept,
            Kept::Never | Kept::Lost => {
                if (1..=delays.len() as i32).any(|level| range(level).1 > 0) {
                    settled.recall(store);
                }
                DelayOffsetSerializeWrapper::default()
            }
        };
        if settled.is_void(FOLLOWER) {
            kept = DelayOffsetSerializeWrapper::default();
        }
        settled.begin(FOLLOWER);
        let mut cursors = kept.offset_table;
        let (mut delivered, mut elsewhere) = (0, BTreeSet::new());
        for level in 1..=delays.len() as i32 {
            let kept = cursors.get(&level).copied().unwrap_or_else(|| range(level).0);
            // In a level a broker delivers messages in order; a slave in its place leaves out what nobody takes.
            let is_delivered = |offset| {
                let unit = store.unit(names::SCHEDULE_TOPIC, level - 1, offset);
                unit.is_some_and(|unit| settled.contains(unit.physical_offset))
            };
            let cursor = (kept..).find(|offset| !is_delivered(*offset)).unwrap_or(kept);
            elsewhere.extend(elsewhere::behind(store, level, cursor, &settled));
            if cursor > kept {
                cursors.insert(level, cursor);
                delivered += cursor - kept;
            }
        }
        if delivered > 0 {
            tracing::info!(delivered, "delayed messages were delivered shortly before the broker was killed");
        }
        let progress = Mutex::new(Progress { cursors, mark: 0, elsewhere });
        Ok(Self { file, delays, settled, progress, unsaved: AtomicBool::new(delivered > 0), bell: Bell::default() })
    }

    /// Delivers what is due at `now_ms`. Returns how long to sleep until the next is.
    #[cfg(test)]
    pub fn step(&self, store: &Store, now_ms: i64) -> Duration {
        self.step_telling(store, now_ms, |_, _| {})
    }

    /// The same; `tell` learns of each message that is delivered: its topic, and its bytes in the log.
    pub fn step_telling(&self, store: &Store, now_ms: i64, mut tell: impl FnMut(&str, u64)) -> Duration {
        // Nothing is on its way now.
        self.lock().mark_at(store.confirmed_offset());
        let mut sleep = LONGEST_SLEEP;
        for level in 1..=self.delays.len() as i32 {
            match self.deliver(store, level, now_ms, &mut tell) {
                Ok(Some(due)) => sleep = sleep.min(Duration::from_millis((due - now_ms).max(0) as u64)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(level, %error, "delayed messages cannot be delivered now; trying again: the error says why messages are refused");
                    sleep = sleep.min(PAUSE);
                }
            }
        }
        sleep
    }

    /// Delivers a batch of a level. Returns when its next message is due: now, if more wait.
    fn deliver(
        &self,
        store: &Store,
        level: i32,
        now_ms: i64,
        tell: &mut impl FnMut(&str, u64),
    ) -> Result<Option<i64>, String> {
        let queue = level - 1;
        let Some((min, max)) = store.queue_range(names::SCHEDULE_TOPIC, queue) else { return Ok(None) };
        let mut cursor = self.lock().cursors.get(&level).copied().unwrap_or(0);
        if cursor < min || cursor > max {
            tracing::warn!(level, cursor, min, max, "the progress of a delay level is not in its queue; moved into it");
            cursor = cursor.clamp(min, max);
        }
        let units = store.units(names::SCHEDULE_TOPIC, queue, cursor, BATCH);
        let delay = self.delays[queue as usize];
        // A time further away than the delay comes from a clock that was wrong.
        let due = |time: i64| if time > now_ms + delay { now_ms } else { time };
        let elsewhere = self.lock().elsewhere_in(level, cursor, cursor + units.len() as i64);
        let is_done = |place: usize| elsewhere.binary_search(&(cursor + place as i64)).is_ok();
        let waits = |(place, unit): (usize, &Unit)| due(unit.tag_code) > now_ms && !is_done(place);
        let ready = units.iter().enumerate().position(waits).unwrap_or(units.len());
        let mut arena = BytesMut::new();
        let (mut drafts, mut places) = (Vec::with_capacity(ready), Vec::with_capacity(ready));
        for (place, unit) in units[..ready].iter().enumerate() {
            if is_done(place) {
                continue;
            }
            match store.record_at(unit.physical_offset).map(|bytes| restore(&bytes, &mut arena)) {
                Some(Some(draft)) => {
                    drafts.push(draft);
                    places.push(place);
                }
                Some(None) => {
                    tracing::error!(
                        offset = unit.physical_offset,
                        "a delayed message has no target; it is passed over: look at it with queryMsgByOffset"
                    )
                }
                None => tracing::warn!(offset = unit.physical_offset, "a delayed message is no longer in the log"),
            }
        }
        let topics: Vec<Arc<str>> = drafts.iter().map(|draft| Arc::clone(draft.topic())).collect();
        let outcomes = if drafts.is_empty() { Vec::new() } else { store.append_each(drafts) };
        for (topic, outcome) in topics.iter().zip(&outcomes) {
            outcome.iter().for_each(|appended| tell(topic, appended.size.into()));
        }
        let mut refused = places.into_iter().zip(outcomes).filter_map(|(place, outcome)| Some((place, outcome.err()?)));
        let refused = refused.next();
        let delivered = refused.as_ref().map_or(ready, |(place, _)| *place);
        if delivered > 0 {
            self.lock().pass(level, cursor + delivered as i64);
            self.unsaved.store(true, Ordering::Release);
        }
        if let Some((_, error)) = refused {
            return Err(error.to_string());
        }
        Ok(match units.get(ready) {
            Some(next) => Some(due(next.tag_code)),
            None if ready > 0 => Some(now_ms),
            None => None,
        })
    }

    /// The place in the log of the first message that is not delivered; `None` when all are. From there
    /// on the log is needed.
    pub fn held_from(&self, store: &Store) -> Option<i64> {
        let cursors = self.lock().cursors.clone();
        let first = |level: i32| {
            let queue = level - 1;
            let (min, _) = store.queue_range(names::SCHEDULE_TOPIC, queue)?;
            let cursor = cursors.get(&level).map_or(min, |cursor| min.max(*cursor));
            Some(store.unit(names::SCHEDULE_TOPIC, queue, cursor)?.physical_offset)
        };
        (1..=self.delays.len() as i32).filter_map(first).min()
    }

    /// What a slave's progress is to be, by its master's word; durably. What it speaks of is in the log here.
    pub fn take_over(&self, theirs: &DelayOffsetSerializeWrapper) -> Result<(), PersistError> {
        {
            let mut progress = self.lock();
            if progress.cursors == theirs.offset_table && !self.unsaved.load(Ordering::Acquire) {
                return Ok(());
            }
            progress.cursors = theirs.offset_table.clone();
        }
        self.unsaved.store(true, Ordering::Release);
        self.file.save(&self.snapshot())?;
        self.unsaved.store(false, Ordering::Release);
        Ok(())
    }

    /// The place in the log before which the progress knows all that was delivered, and the progress.
    pub fn marked_snapshot(&self) -> (i64, DelayOffsetSerializeWrapper) {
        let progress = self.lock();
        (progress.mark, DelayOffsetSerializeWrapper { data_version: None, offset_table: progress.cursors.clone() })
    }

    /// Progress of the levels as peers and the file have it.
    pub fn snapshot(&self) -> DelayOffsetSerializeWrapper {
        DelayOffsetSerializeWrapper { data_version: None, offset_table: self.lock().cursors.clone() }
    }

    /// Writes the file if something changed since it was written, and moves the mark.
    pub fn save(&self, store: &Store) -> Result<(), PersistError> {
        // The mark first: what is delivered meanwhile is above it.
        let mark = self.lock().mark;
        if self.unsaved.swap(false, Ordering::AcqRel) {
            let snapshot = self.snapshot();
            // What the file takes for delivered must not be lost, to a power cut or to another master.
            if !is_kept(store, store.log_max_offset()) {
                self.unsaved.store(true, Ordering::Release);
                return Ok(());
            }
            self.file.save(&snapshot).inspect_err(|_| self.unsaved.store(true, Ordering::Release))?;
        }
        self.settled.mark(FOLLOWER, mark);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record of the message as it goes to its real topic.
fn restore(bytes: &Bytes, arena: &mut BytesMut) -> Option<Draft> {
    Draft::new(&restored(bytes, arena)?, arena).ok()
}

/// The message as it goes to its real topic.
pub(crate) fn restored(bytes: &Bytes, arena: &mut BytesMut) -> Option<NewMessage> {
    let record = Record::read(bytes).ok()?;
    let topic = record.property(property::REAL_TOPIC)?;
    let queue_id = record.property(property::REAL_QUEUE_ID)?.parse().ok()?;
    // The one topic whose messages are not consumed but decided on.
    if topic == names::TRANS_HALF_TOPIC {
        return None;
    }
    let own = [property::DELAY, property::REAL_TOPIC, property::REAL_QUEUE_ID];
    properties::copy_without(arena, record.properties, &own);
    Some(settled::successor(&record, bytes, topic.into(), queue_id, arena))
}

/// Reads a table of delays such as `1s 5s 1m 2h 1d`, in milliseconds.
pub fn parse_delays(text: &str) -> Result<Vec<i64>, String> {
    let level = |word: &str| {
        let unit = match word.chars().last() {
            Some('s') => 1_000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => return Err(format!("messageDelayLevel: `{word}` does not end with one of the units s, m, h, d")),
        };
        let number = word[..word.len() - 1].parse::<i64>();
        let number = number.ok().filter(|number| (1..=36_500).contains(number));
        number
            .map(|number| number * unit)
            .ok_or_else(|| format!("messageDelayLevel: `{word}` is not a number with a unit"))
    };
    text.split_whitespace().map(level).collect()
}

#[cfg(test)]
mod tests;
