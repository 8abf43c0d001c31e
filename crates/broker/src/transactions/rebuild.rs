//! The table of undecided half messages after a start: from the half queue and the op queue, each
//! from its progress on.

use std::collections::HashMap;
use std::io;

use apogee_message::names;
use apogee_message::record::Record;
use apogee_store::Store;

use super::half::HalfRecord;
use super::table::Table;
use super::{GROUP, Transactions, ops};
use crate::offsets::OffsetTable;

/// Queue units read in one go.
const STEP: usize = 1024;

impl Transactions {
    /// Reads what is undecided. `is_settled`: whether the log says so of the half message at a physical
    /// offset. `is_void`: the progress of both queues counts for nothing. An error where a queue cannot be read.
    pub fn open(
        store: &Store,
        offsets: &OffsetTable,
        is_void: bool,
        is_settled: impl Fn(i64) -> bool,
        now_ms: i64,
    ) -> io::Result<Self> {
        let (half, op) = (names::TRANS_HALF_TOPIC, names::TRANS_OP_HALF_TOPIC);
        let (half_from, half_end) = range(store, offsets, half, is_void);
        let (op_from, op_end) = range(store, offsets, op, is_void);
        let mut table = Table::new(half_end, op_end);
        let mut done = Done::new(half_from, half_end);
        each(store, op, op_from, op_end, |offset, physical| {
            let Some(bytes) = store.record_at(physical) else { return };
            let Ok(record) = Record::read(&bytes) else { return };
            let highest = ops::parse(record.body).inspect(|noted| done.insert(*noted)).max();
            table.noted(offset, highest.unwrap_or(-1));
        })?;
        let mut copies = Copies::default();
        each(store, half, half_from, half_end, |offset, physical| {
            if done.contains(offset) {
                return;
            }
            let Some(bytes) = store.record_at(physical) else { return };
            let Some(read) = HalfRecord::read(&bytes) else { return };
            table.restored(read.first(), offset, now_ms, now_ms);
            copies.add(&read);
        })?;
        if !copies.0.is_empty() {
            // One that is decided decides the others.
            each(store, half, half_from, half_end, |offset, physical| {
                if done.contains(offset) {
                    let bytes = store.record_at(physical);
                    bytes.as_ref().and_then(HalfRecord::read).iter().for_each(|read| copies.decided(read));
                }
            })?;
        }
        // What is settled but not noted is behind the first of these: so is its decision.
        let place = |offset: i64| store.unit(half, 0, offset).map(|unit| unit.physical_offset);
        let first_places = table.undecided().filter_map(|(first, offset)| place(first).or_else(|| place(offset)));
        let settled_from = first_places.fold(store.log_max_offset(), i64::min);
        let is_settled = |offset: i64| place(offset).is_some_and(&is_settled);
        for offset in copies.superseded(is_settled) {
            table.dropped(offset, now_ms);
        }
        let ended = table.undecided().filter(|(first, offset)| is_settled(*first) || is_settled(*offset));
        for (_, offset) in ended.collect::<Vec<_>>() {
            table.dropped(offset, now_ms);
        }
        if table.len() > 0 {
            tracing::info!(undecided = table.len(), "transactional messages wait for a decision");
        }
        Ok(Self::new(table, settled_from))
    }
}

/// Undecided half messages by their unique keys, in order. More than one of a key are copies of each other
/// that don't say so: Apache's broker writes one when it asks, and forgets that when it is killed.
#[derive(Default)]
struct Copies(HashMap<Box<str>, OfOne>);

#[derive(Default)]
struct OfOne {
    offsets: Vec<i64>,
    is_decided: bool,
}

impl Copies {
    fn add(&mut self, read: &HalfRecord<'_>) {
        let Some(key) = read.unique_key() else { return };
        let of_one = self.0.entry(key.into()).or_default();
        if read.checks() == 0 {
            // Another message, whatever its producer calls it.
            of_one.offsets.clear();
        }
        of_one.offsets.push(read.record.queue_offset);
    }

    fn decided(&mut self, read: &HalfRecord<'_>) {
        let of_one = read.unique_key().and_then(|key| self.0.get_mut(key));
        if let Some(of_one) = of_one {
            of_one.is_decided |= read.checks() > 0;
        }
    }

    /// Those that are decided by another copy, or for which a later one stands.
    fn superseded(self, is_settled: impl Fn(i64) -> bool) -> Vec<i64> {
        let of_one = |OfOne { mut offsets, is_decided }| {
            if !is_decided && !offsets.iter().any(|offset| is_settled(*offset)) {
                offsets.pop();
            }
            offsets
        };
        self.0.into_values().flat_map(of_one).collect()
    }
}

/// Where to go on in a queue, and its end.
fn range(store: &Store, offsets: &OffsetTable, topic: &str, is_void: bool) -> (i64, i64) {
    let (min, max) = store.queue_range(topic, 0).unwrap_or((0, 0));
    let from = offsets.query(GROUP, topic, 0).filter(|_| !is_void).unwrap_or(min);
    (from.clamp(min, max.max(min)), max)
}

/// Calls with offset and physical offset of each message of a queue.
fn each(store: &Store, topic: &str, from: i64, end: i64, mut call: impl FnMut(i64, i64)) -> io::Result<()> {
    let mut offset = from;
    while offset < end {
        let units = store.units(topic, 0, offset, STEP);
        if units.is_empty() {
            return Err(io::Error::other(format!(
                "queue 0 of {topic} ends before offset {offset}, and should at {end}"
            )));
        }
        for unit in units {
            if !unit.is_blank() {
                call(offset, unit.physical_offset);
            }
            offset += 1;
        }
    }
    Ok(())
}

/// Half offsets of a range that are done: a bit each.
struct Done {
    from: i64,
    bits: Vec<u64>,
}

impl Done {
    fn new(from: i64, end: i64) -> Self {
        Self { from, bits: vec![0; ((end - from).max(0) as usize).div_ceil(64)] }
    }

    fn insert(&mut self, offset: i64) {
        if let Some((word, bit)) = self.place(offset)
            && let Some(word) = self.bits.get_mut(word)
        {
            *word |= bit;
        }
    }

    fn contains(&self, offset: i64) -> bool {
        self.place(offset).is_some_and(|(word, bit)| self.bits.get(word).is_some_and(|word| word & bit != 0))
    }

    fn place(&self, offset: i64) -> Option<(usize, u64)> {
        let at = usize::try_from(offset.checked_sub(self.from)?).ok()?;
        Some((at / 64, 1 << (at % 64)))
    }
}
