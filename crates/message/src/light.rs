//! Light queues: one message in many queues beside that of its topic (upstream LMQ).
//!
//! The sender names them in a property, `INNER_MULTI_DISPATCH` = `%LMQ%a,%LMQ%b`. The broker notes at which offset the
//! message is in each, `INNER_MULTI_QUEUE_OFFSET` = `7,0`; behind a name that is none of a light queue stands nothing.

use crate::names::property::{INNER_MULTI_DISPATCH, INNER_MULTI_QUEUE_OFFSET};
use crate::names::{DLQ_PREFIX, LMQ_PREFIX, RETRY_PREFIX, is_system_topic};
use crate::properties;
use crate::record::Record;

/// The only queue that a light queue, taken for a topic, has.
pub const QUEUE: i32 = 0;
/// Longest name, in bytes: that of a folder.
const MAX_NAME: usize = 255;
/// Most bytes that one offset takes among the properties, with the comma.
pub const OFFSET_LENGTH: usize = 20;

/// Whether a topic, or a group, is one of light queues.
pub fn is_light(name: &str) -> bool {
    name.starts_with(LMQ_PREFIX)
}

/// Whether a name can be that of a light queue.
pub fn is_name(name: &str) -> bool {
    is_light(name) && (LMQ_PREFIX.len() + 1..=MAX_NAME).contains(&name.len()) && !name.contains(['/', '\0'])
}

/// The names of a message's queues, as its sender wrote them. `None` when it names none, or waits in its topic or comes
/// again by it: it was in its light queues already, or will be once it is delivered.
pub fn dispatch<'p>(topic: &str, properties: &'p [u8]) -> Option<&'p str> {
    let names = properties::get(properties, INNER_MULTI_DISPATCH)?;
    let passes = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX) || is_system_topic(topic);
    (!passes).then_some(names)
}

/// The parts of a [`dispatch`].
pub fn split(names: &str) -> impl Iterator<Item = &str> {
    names.split(',')
}

/// The light queues of a stored message, with its offset in each.
pub fn places<'p>(topic: &str, properties: &'p [u8]) -> impl Iterator<Item = (&'p str, i64)> + use<'p> {
    let both = dispatch(topic, properties).zip(properties::get(properties, INNER_MULTI_QUEUE_OFFSET));
    both.into_iter().flat_map(|(names, offsets)| split(names).zip(split(offsets))).filter_map(|(name, offset)| {
        // Offsets near the end of all numbers are none that a queue ever reaches.
        let offset = offset.parse().ok().filter(|offset| (0..i64::MAX / 64).contains(offset))?;
        is_name(name).then_some((name, offset))
    })
}

/// The offset of a record in a queue: that of a light one is among its properties.
pub fn offset_in(record: &Record<'_>, queue: &str) -> Option<i64> {
    if record.topic == queue {
        return Some(record.queue_offset);
    }
    places(record.topic, record.properties).find(|(name, _)| *name == queue).map(|(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored<'p>(topic: &str, properties: &'p str) -> Vec<(&'p str, i64)> {
        places(topic, properties.as_bytes()).collect()
    }

    #[test]
    fn a_message_is_in_the_queues_that_it_names() {
        let both = "INNER_MULTI_DISPATCH\x01%LMQ%a,other,%LMQ%b\x02INNER_MULTI_QUEUE_OFFSET\x017,,0\x02";
        assert_eq!(stored("T", both), [("%LMQ%a", 7), ("%LMQ%b", 0)]);
        for topic in ["%RETRY%G", "%DLQ%G", "SCHEDULE_TOPIC_XXXX", "rmq_sys_wheel_timer", "RMQ_SYS_TRANS_HALF_TOPIC"] {
            assert_eq!(stored(topic, both), [], "{topic}");
        }
        assert_eq!(stored("T", "INNER_MULTI_DISPATCH\x01%LMQ%a\x02"), [], "it has no offset yet");
    }

    #[test]
    fn what_cannot_be_a_queue_or_an_offset_is_passed_over() {
        for (name, offset) in [
            ("%LMQ%", "1"),
            ("%LMQ%a/b", "1"),
            ("lmq", "1"),
            ("%LMQ%a", "-1"),
            ("%LMQ%a", "9223372036854775807"),
            ("%LMQ%a", "x"),
        ] {
            let properties = format!("INNER_MULTI_DISPATCH\x01{name}\x02INNER_MULTI_QUEUE_OFFSET\x01{offset}\x02");
            assert_eq!(stored("T", &properties), [], "{name} {offset}");
        }
        assert!(!is_name(&format!("%LMQ%{}", "x".repeat(251))) && is_name(&format!("%LMQ%{}", "x".repeat(250))));
    }
}
