//! A message that waits for its time, as its record in the wheel topic tells.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_store::Store;
use bytes::{Bytes, BytesMut};

use super::entry::{Entry, Kind};
use super::foreign::PRECISION;
use crate::settled;

/// A message whose time is further away is written to the end of the log again when this has passed
/// (upstream `timerRollWindowSlot`): log files older than three days may be removed.
const WINDOW: i64 = 2 * 24 * 3600 * 1000;

/// What the timer reads of a record in the wheel topic.
pub(super) struct Waiting<'r> {
    pub record: &'r Record<'r>,
    /// As the record has it.
    pub out_ms: i64,
    /// When it is due.
    pub due: i64,
    /// When it is due, or is to be written again.
    pub time: i64,
}

impl<'r> Waiting<'r> {
    /// `None` for a record that has no time. Those before `foreign_end` are of Apache's broker.
    pub fn of(record: &'r Record<'r>, foreign_end: i64) -> Option<Self> {
        let out_ms: i64 = record.property(property::TIMER_OUT_MS)?.parse().ok()?;
        let is_foreign = record.queue_offset < foreign_end && out_ms % PRECISION == 0;
        let due = if is_foreign { out_ms.saturating_add(PRECISION) } else { out_ms };
        let beyond = due.saturating_sub(record.store_timestamp).saturating_sub(WINDOW);
        let time = match beyond {
            // The last leg shall not be a short one: who is recalled must have come to the end, too.
            0.. if beyond < WINDOW / 3 => record.store_timestamp + WINDOW / 2,
            0.. => record.store_timestamp + WINDOW,
            _ => due,
        };
        Some(Self { record, out_ms, due, time })
    }

    /// Whether its time has not come, but is too far away to leave it where it is.
    pub fn rolls(&self) -> bool {
        self.time < self.due
    }

    pub fn entry(&self) -> Entry {
        let is_delete = self.record.property(property::TIMER_DEL_UNIQKEY).is_some();
        let kind = if is_delete { Kind::Delete } else { Kind::Message };
        Entry { time: self.time, offset: self.record.physical_offset, size: self.record.size, kind }
    }

    /// What to write now: the message for its real topic, or once more for the wheel topic. `None`
    /// when it has no real topic.
    pub fn successor(&self, bytes: &Bytes, wheel: &Arc<str>, arena: &mut BytesMut) -> Option<Draft> {
        let record = self.record;
        if self.rolls() {
            let own = [property::TIMER_OUT_MS, property::TIMER_ROLL_TIMES];
            properties::copy_without(arena, record.properties, &own);
            let times =
                record.property(property::TIMER_ROLL_TIMES).and_then(|times| times.parse().ok()).unwrap_or(0u32);
            properties::push(arena, property::TIMER_OUT_MS, &self.due.to_string());
            properties::push(arena, property::TIMER_ROLL_TIMES, &times.saturating_add(1).to_string());
            let message = settled::successor(record, bytes, Arc::clone(wheel), 0, arena);
            return Draft::new(&message, arena).ok();
        }
        Draft::new(&self.delivered(bytes, arena)?, arena).ok()
    }

    /// The message for its real topic; `None` when it has none.
    pub fn delivered(&self, bytes: &Bytes, arena: &mut BytesMut) -> Option<NewMessage> {
        let record = self.record;
        let topic = record.property(property::REAL_TOPIC)?;
        let queue_id = record.property(property::REAL_QUEUE_ID)?.parse().ok()?;
        // The one topic whose messages are not consumed but decided on.
        if topic == names::TRANS_HALF_TOPIC {
            return None;
        }
        let own = [property::REAL_TOPIC, property::REAL_QUEUE_ID, property::TIMER_ROLL_TIMES];
        properties::copy_without(arena, record.properties, &own);
        Some(settled::successor(record, bytes, topic.into(), queue_id, arena))
    }
}

/// Messages that are not to be delivered, of one time.
#[derive(Default)]
pub(super) struct Recalled {
    pub time: i64,
    /// By hash of topic and key.
    markers: HashMap<u64, Entry>,
}

impl Recalled {
    /// Forgets those of an earlier time: keys are deleted at their own time only.
    pub fn at(&mut self, time: i64) {
        if self.time != time {
            self.time = time;
            self.markers = HashMap::new();
        }
    }

    /// Takes a marker.
    pub fn add(&mut self, marker: &Waiting<'_>) {
        let Some((topic, key)) = target(marker.record) else { return };
        for key in [Some(key), without_topic(topic, key)].into_iter().flatten() {
            self.markers.insert(hash(topic, key), marker.entry());
        }
    }

    /// Whether a message is one of them.
    pub fn contains(&self, message: &Waiting<'_>, store: &Store) -> bool {
        let topic = message.record.property(property::REAL_TOPIC);
        let (Some(topic), Some(key)) = (topic, message.record.property(property::UNIQ_KEY)) else { return false };
        let Some(marker) = self.markers.get(&hash(topic, key)) else { return false };
        let Some(bytes) = store.record_at(marker.offset) else { return false };
        let marker = Record::read(&bytes);
        let target = marker.as_ref().ok().and_then(target);
        target.is_some_and(|(of, deleted)| of == topic && (deleted == key || without_topic(of, deleted) == Some(key)))
    }

    pub fn markers(&self) -> impl Iterator<Item = Entry> + '_ {
        self.markers.values().copied()
    }
}

/// Topic and key of what a marker deletes.
fn target<'r>(marker: &Record<'r>) -> Option<(&'r str, &'r str)> {
    Some((marker.property(property::REAL_TOPIC)?, marker.property(property::TIMER_DEL_UNIQKEY)?))
}

/// The key of a marker written with upstream's `appendTopicForTimerDeleteKey`.
fn without_topic<'r>(topic: &str, key: &'r str) -> Option<&'r str> {
    key.strip_prefix(topic)?.strip_prefix('_')
}

fn hash(topic: &str, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, key).hash(&mut hasher);
    hasher.finish()
}
