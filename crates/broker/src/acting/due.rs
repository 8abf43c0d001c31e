//! What comes due at a slave that stands in for its master: messages of delay levels, messages with a time of their own,
//! and half messages that nobody decided on. Only what the slave has in its copy of the log; nothing is written there.

use std::collections::{BTreeMap, HashSet, VecDeque};

use apogee_message::names;
use apogee_message::record::{NewMessage, Record};
use bytes::BytesMut;

use super::ledger::{self, Delivered};
use crate::broker::Broker;
use crate::schedule;
use crate::transactions::{self, HalfRecord, Transactions};

/// Messages that are taken together.
const BATCH: usize = 256;
/// Milliseconds after which one that could not be delivered is tried again.
const RETRY_MS: i64 = 3_000;
/// Messages that could not be delivered are remembered up to so many: then what comes after them waits.
const MOST_AGAIN: usize = 1 << 16;

/// Where a message waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Level,
    Timer,
    Half,
}

/// A message to deliver.
pub(super) struct Due {
    source: Source,
    entry: Delivered,
    pub message: NewMessage,
}

/// See the module. It begins when the slave begins to stand in, and ends with that.
pub(super) struct Waiting {
    /// Next offset to look at, by delay level from 1.
    cursors: BTreeMap<i32, i64>,
    /// What the log says was settled before, by places in the log.
    settled: HashSet<i64>,
    /// When half messages are due, and where they are in their queue; the last is the next.
    halves: Vec<(i64, i64)>,
    /// What could not be delivered, by places in the log: the first so many are to be tried now.
    again: VecDeque<(Source, i64)>,
    to_try: usize,
    retry_ms: i64,
}

impl Waiting {
    /// What waits now, as a start after a kill would find it. Reads of the log what the master's progress does not tell.
    pub fn begin(broker: &Broker) -> Result<Self, String> {
        let Broker { store, settled, offsets, ledger, .. } = broker;
        let settled_since = |follower| settled.since(store, follower);
        let decided = settled_since(transactions::FOLLOWER);
        let is_void = settled.is_void(transactions::FOLLOWER);
        let is_decided = |place| decided.contains(&place) || ledger.contains(place);
        let undecided = Transactions::open(store, offsets, is_void, is_decided, broker.now());
        let undecided = undecided.map_err(|error| format!("cannot read which transactions are undecided: {error}"))?;
        let rules = broker.transaction_rules();
        let (offsets, _) = undecided.undecided_offsets(ledger::MOST);
        let due = |offset: i64| {
            let bytes = store.record_at(store.unit(names::TRANS_HALF_TOPIC, 0, offset)?.physical_offset)?;
            let half = HalfRecord::read(&bytes)?;
            Some((half.record.store_timestamp + half.immunity_ms().unwrap_or(rules.timeout_ms), offset))
        };
        let mut halves: Vec<_> = offsets.into_iter().filter_map(due).collect();
        halves.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Self {
            cursors: broker.schedule.snapshot().offset_table,
            settled: settled_since(schedule::FOLLOWER),
            halves,
            again: VecDeque::new(),
            to_try: 0,
            retry_ms: 0,
        })
    }

    /// Takes some of what is due at `now_ms`. All of it comes back with [`Waiting::end`].
    pub fn take(&mut self, broker: &Broker, now_ms: i64) -> Vec<Due> {
        let mut due = Vec::new();
        if self.to_try == 0 && now_ms.abs_diff(self.retry_ms) >= RETRY_MS.unsigned_abs() {
            (self.to_try, self.retry_ms) = (self.again.len(), now_ms);
        }
        while due.len() < BATCH && self.to_try > 0 {
            self.to_try -= 1;
            let Some((source, offset)) = self.again.pop_front() else { break };
            due.extend(read(broker, source, offset));
        }
        if self.again.len() >= MOST_AGAIN || broker.ledger.len() >= ledger::MOST {
            return due;
        }
        for level in 1..=broker.delays.len() as i32 {
            self.take_level(broker, level, now_ms, &mut due);
        }
        while due.len() < BATCH
            && let Some((_, offset)) = self.halves.pop_if(|(due_ms, _)| *due_ms <= now_ms)
        {
            let unit = broker.store.unit(names::TRANS_HALF_TOPIC, 0, offset);
            due.extend(unit.and_then(|unit| read(broker, Source::Half, unit.physical_offset)));
        }
        let most = BATCH.saturating_sub(due.len());
        match broker.timer.take_due(&broker.store, now_ms, most, |offset| broker.ledger.contains(offset)) {
            Ok(taken) => due.extend(taken.into_iter().map(of_timer)),
            Err(error) => {
                tracing::error!(%error, "the timer's files cannot be used; trying again: see whether the disk is full or failed");
            }
        }
        due
    }

    /// Those that were delivered are, and are noted; the others are tried again later.
    pub fn end(&mut self, broker: &Broker, due: Vec<Due>, is_delivered: &[bool]) {
        let outcomes = || due.iter().zip(is_delivered.iter().chain(std::iter::repeat(&false)));
        let delivered: Vec<_> = outcomes().filter(|(_, done)| **done).map(|(due, _)| due.entry).collect();
        if !delivered.is_empty() {
            if let Err(error) = broker.ledger.add(&delivered) {
                tracing::error!(%error, "what was delivered for the master cannot be noted, and would come twice after a restart: see whether the disk is full or failed");
            }
            broker.timer.delivered_elsewhere(delivered.iter().map(|entry| entry.offset));
        }
        let others = outcomes().filter(|(_, done)| !**done).map(|(due, _)| (due.source, due.entry.offset));
        self.again.extend(others);
    }

    fn take_level(&mut self, broker: &Broker, level: i32, now_ms: i64, due: &mut Vec<Due>) {
        let (store, queue) = (&broker.store, level - 1);
        let Some((min, max)) = store.queue_range(names::SCHEDULE_TOPIC, queue) else { return };
        let cursor = self.cursors.entry(level).or_insert(min);
        *cursor = (*cursor).clamp(min, max);
        let delay = broker.delays.get(queue as usize).copied().unwrap_or_default();
        for unit in store.units(names::SCHEDULE_TOPIC, queue, *cursor, BATCH.saturating_sub(due.len())) {
            // A time further away than the delay comes from a clock that was wrong.
            if unit.tag_code > now_ms && unit.tag_code <= now_ms + delay {
                return;
            }
            *cursor += 1;
            if !self.settled.contains(&unit.physical_offset) && !broker.ledger.contains(unit.physical_offset) {
                due.extend(read(broker, Source::Level, unit.physical_offset));
            }
        }
    }
}

/// The message at a place of the log, as it is to be delivered; none if it is not.
fn read(broker: &Broker, source: Source, offset: i64) -> Option<Due> {
    if source == Source::Timer {
        return broker.timer.taken(&broker.store, offset).map(of_timer);
    }
    let bytes = broker.store.record_at(offset)?;
    let mut arena = BytesMut::new();
    let message = match source {
        Source::Half => HalfRecord::read(&bytes)?.sent(&mut arena)?,
        _ => schedule::restored(&bytes, &mut arena)?,
    };
    let stored_ms = Record::read(&bytes).ok()?.store_timestamp;
    Some(Due { source, entry: Delivered { offset, stored_ms }, message })
}

fn of_timer(due: crate::timer::Due) -> Due {
    let crate::timer::Due { offset, stored_ms, message } = due;
    Due { source: Source::Timer, entry: Delivered { offset, stored_ms }, message }
}
