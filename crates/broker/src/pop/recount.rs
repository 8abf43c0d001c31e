//! What was noted before the start and waits in the timer: read once, in slices, so that figures are right again. Nothing else
//! depends on it.

use apogee_message::names::WHEEL_TOPIC;
use apogee_message::record::Record;
use apogee_message::tag::tag_code;
use apogee_store::Boundary;

use super::Pop;
use super::notes::{self, EARLIER, Note};
use crate::broker::Broker;

/// What waits longer is written to the end of the wheel topic's queue again every two days; and an hour to be sure.
const WRITTEN_WITHIN_MS: i64 = 49 * 3600 * 1000;
/// Units looked at in one step, and at a time.
const SLICE: usize = 65_536;
const UNITS: usize = 1_024;

/// How far it is.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Recount {
    #[default]
    NotBegun,
    /// Next offset in the wheel topic's queue. What was due before this time stood in the revive topic when it began.
    At {
        next: i64,
        delivered_to: i64,
    },
    Done,
}

impl Recount {
    /// Goes on. Says whether there is more to do.
    pub fn step(&mut self, pop: &Pop, broker: &Broker) -> bool {
        let store = &broker.store;
        if matches!(self, Self::NotBegun) {
            let end = store.queue_range(WHEEL_TOPIC, 0).map_or(0, |(_, end)| end);
            let last = store.store_time(WHEEL_TOPIC, 0, end - 1).unwrap_or_else(|| broker.now());
            let first = store.offset_by_time(WHEEL_TOPIC, 0, last - WRITTEN_WITHIN_MS, Boundary::Lower);
            let is_any = first.is_some() && broker.topics.get(&pop.revive_topic).is_some();
            let next = if is_any { first.unwrap_or_default() } else { end };
            *self = Self::At { next, delivered_to: broker.timer.delivered_to(store, broker.now()) };
        }
        let Self::At { next, delivered_to } = self else { return false };
        for _ in 0..SLICE / UNITS {
            let units = store.units(WHEEL_TOPIC, 0, *next, UNITS);
            if units.is_empty() {
                *self = Self::Done;
                pop.noted().told_all();
                return false;
            }
            *next += units.len() as i64;
            let notes = units.iter().filter(|unit| !unit.is_blank() && is_note(unit.tag_code));
            for bytes in notes.filter_map(|unit| store.record_at(unit.physical_offset)) {
                if let Ok(record) = Record::read(&bytes) {
                    take(pop, &record, *delivered_to);
                }
            }
        }
        true
    }
}

fn is_note(code: i64) -> bool {
    [notes::POPPED, notes::ACKED, notes::ACKED_BATCH].into_iter().any(|tag| tag_code(Some(tag)) == code)
}

fn take(pop: &Pop, record: &Record<'_>, delivered_to: i64) {
    match notes::read(record) {
        // What the revive topic has of the others its reader tells.
        Some(Note::Popped(key, note))
            if note.pop_time.saturating_add(note.invisible_time) - EARLIER >= delivered_to =>
        {
            pop.noted_popped(&key, &notes::offsets(&note));
        }
        Some(Note::Acked(key, offsets)) => pop.noted_settled(&key, &offsets),
        _ => {}
    }
}
