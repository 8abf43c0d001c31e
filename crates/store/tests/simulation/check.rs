//! What must be true at any moment.

use std::collections::BTreeMap;

use apogee_message::record::Record;
use apogee_store::{Boundary, ReadLimits, ReadStatus};

use crate::world::{Message, Place, QUEUES, START, TOPICS, World};

const ALL: ReadLimits = ReadLimits { messages: 32, bytes: 1 << 20, cold_messages: 32, cold_bytes: 1 << 20 };

fn places() -> impl Iterator<Item = Place> {
    (0..TOPICS).flat_map(|topic| (0..QUEUES).map(move |queue| (format!("T{topic}"), queue)))
}

impl World {
    /// Reads all queues to their ends: every message whole and where it was promised to be, nothing seen
    /// before has changed, and nothing is gone but what was to go. Where a power cut took one record that
    /// nobody was promised and left those behind it, an offset may have no message.
    pub fn consume(&mut self) {
        for place in places() {
            let messages = self.read(&place);
            let seed = self.seed;
            let refused = messages.values().find(|message| self.refused.contains(&message.number));
            assert_eq!(refused, None, "seed {seed}: a message that was refused is in {place:?}");
            let known = self.seen.get(&place).into_iter().chain(self.promised.get(&place)).flatten();
            for (offset, message) in known {
                match messages.get(offset) {
                    Some(found) => assert_eq!(found, message, "seed {seed}: offset {offset} of {place:?} has changed"),
                    None => assert!(message.physical < self.cut, "seed {seed}: {place:?} lost {offset}: {message:?}"),
                }
            }
            if self.is_trimmed
                && let Some((min, max)) = self.store().queue_range(&place.0, place.1)
            {
                let first = messages.keys().next().copied().unwrap_or(max);
                assert_eq!(min, first, "seed {seed}: where {place:?} begins, ends at {max}; {messages:?}");
            }
            self.seen.insert(place, messages);
        }
    }

    fn read(&self, (topic, queue): &Place) -> BTreeMap<i64, Message> {
        let seed = self.seed;
        let mut messages = BTreeMap::<i64, Message>::new();
        let mut offset = 0;
        loop {
            let read = self.store().read(topic, *queue, offset, ALL, &mut |_: i64| true);
            match read.status {
                ReadStatus::Found => {}
                // The beginning was removed.
                ReadStatus::OffsetTooSmall | ReadStatus::MessageWasRemoving if messages.is_empty() => {
                    assert!(read.next_offset > offset && self.cut > 0, "seed {seed}: {read:?}");
                }
                ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue if messages.is_empty() => {
                    return messages;
                }
                ReadStatus::NoMatchedMessage => assert!(read.next_offset > offset, "seed {seed}: {read:?}"),
                ReadStatus::OffsetOverflowOne => {
                    assert_eq!(offset, read.max_offset, "seed {seed}: {read:?}");
                    return messages;
                }
                _ => panic!("seed {seed}: {topic} {queue} at {offset}: {read:?}"),
            }
            for slice in &read.slices {
                for record in apogee_message::record::iter(slice) {
                    let record = record.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    assert!(record.body_is_intact(), "seed {seed}");
                    assert_eq!((record.topic, record.queue_id), (&**topic, *queue), "seed {seed}");
                    let after = messages.last_key_value().is_none_or(|(last, _)| *last < record.queue_offset);
                    assert!(after, "seed {seed}: {topic} {queue} is out of order");
                    let offsets = (record.queue_offset..).take(record.messages().into());
                    messages.extend(offsets.map(|offset| (offset, message(&record))));
                    let base = record.property("INNER_BASE").map(|base| base.parse().unwrap());
                    assert_eq!(base.unwrap_or(record.queue_offset), record.queue_offset, "seed {seed}");
                }
            }
            offset = read.next_offset;
        }
    }

    /// Looks for messages by time, as far as the clock went forward only.
    pub fn search_by_time(&mut self) {
        let time = START + self.random.below((self.now() - START).max(1) as u64 + 1_000) as i64;
        for place in places() {
            let Some((min, max)) = self.store().queue_range(&place.0, place.1) else { continue };
            let messages = self.read(&place);
            let (first, last) = (messages.keys().next().copied(), messages.keys().next_back().copied());
            let is_whole = first.zip(last).is_none_or(|(first, last)| last - first + 1 == messages.len() as i64);
            let is_ordered = is_whole && messages.values().is_sorted_by_key(|message| message.time);
            for boundary in [Boundary::Lower, Boundary::Upper] {
                let found = self.store().offset_by_time(&place.0, place.1, time, boundary).unwrap();
                let (mut before, mut after) = (None, None);
                for (offset, message) in &messages {
                    if message.time <= time {
                        before = Some(*offset);
                    }
                    if message.time >= time && after.is_none() {
                        after = Some(*offset);
                    }
                }
                let expected = match boundary {
                    Boundary::Lower => after.unwrap_or(max),
                    Boundary::Upper => before.unwrap_or(min),
                };
                assert!((min..=max).contains(&found), "seed {}: {found} of {min}..{max}", self.seed);
                if is_ordered && self.is_trimmed {
                    assert_eq!(found, expected, "seed {}: {boundary:?} {time} in {place:?} of {messages:?}", self.seed);
                }
            }
        }
    }

    /// Looks for some messages by their keys.
    pub fn search_by_key(&mut self) {
        for (place, messages) in &self.promised {
            if messages.is_empty() || !self.random.one_in(2) {
                continue;
            }
            let message = messages.values().nth(self.random.below(messages.len() as u64) as usize).unwrap();
            let (topic, number) = (&place.0, message.number);
            let found = self.store().query(topic, &format!("k{number}"), None, 8, 0, i64::MAX);
            let Ok(found) = found else {
                assert!(self.is_limited, "seed {}: {found:?}", self.seed);
                continue;
            };
            let records: Vec<_> = found.records.iter().map(|bytes| message_of(bytes)).collect();
            if message.physical >= self.store().log_min_offset() {
                // With asynchronous flush a message is promised a moment before it can be found.
                assert_eq!(records, [*message], "seed {}: message {number} in {topic}", self.seed);
            } else {
                assert_eq!(records, [], "seed {}: message {number} in {topic}", self.seed);
            }
        }
    }

    pub fn now(&self) -> i64 {
        apogee_base::clock::Clock::now_ms(&*self.clock)
    }
}

fn message_of(bytes: &[u8]) -> Message {
    message(&Record::read(bytes).unwrap())
}

fn message(record: &Record<'_>) -> Message {
    Message {
        number: u64::from_be_bytes(record.body[..8].try_into().unwrap()),
        physical: record.physical_offset,
        time: record.store_timestamp,
    }
}
