//! What the log knows of popped messages: notes in the revive topic, as upstream writes and reads them.
//!
//! Each is a message with a time of its own: the timer delivers it to the revive topic when the time of the popped
//! messages is nearly up (what was popped), or up (what was acknowledged).

use std::sync::Arc;

use apogee_message::names::property;
use apogee_message::properties;
use apogee_message::record::{Draft, DraftError, NewMessage, Record};
use apogee_wire::bodies::{AckMsg, BatchAckMsg, Body, PopCheckPoint};
use bytes::BytesMut;

use super::flight::{Delivery, Leaving};
use crate::broker::Broker;

/// A note of popped messages comes so many milliseconds before those of acknowledgements.
pub(crate) const EARLIER: i64 = 1_000;
/// Messages that one note speaks of.
pub(crate) const MOST: usize = 32;

/// Stands where one offset would, in a note of several.
const NONE: i64 = -1;

pub(super) const POPPED: &str = "ck";
pub(super) const ACKED: &str = "ack";
pub(super) const ACKED_BATCH: &str = "bAck";

/// Which pop of a queue a note speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub group: String,
    pub topic: String,
    pub queue: i32,
    pub start: i64,
    pub pop_time: i64,
    pub broker: String,
}

impl Key {
    /// One of its messages.
    pub fn delivery(&self, offset: i64) -> Delivery<'_> {
        Delivery { group: &self.group, topic: &self.topic, queue: self.queue, offset, pop_time: self.pop_time }
    }
}

/// Acknowledgements of messages of one pop, to be noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acks {
    pub key: Key,
    pub offsets: Vec<i64>,
    /// When the time of the messages is up.
    pub due: i64,
    pub revive_queue: i32,
}

/// What a record of the revive topic says.
#[derive(Debug, PartialEq)]
pub(crate) enum Note {
    Popped(Key, PopCheckPoint),
    Acked(Key, Vec<i64>),
}

/// The name of the revive topic of a cluster.
pub(crate) fn revive_topic(cluster: &str) -> String {
    format!("rmq_sys_REVIVE_LOG_{cluster}")
}

/// The note of a pop's messages that are not acknowledged.
pub(crate) fn popped(broker: &Broker, leaving: &Leaving) -> Result<Draft, DraftError> {
    let Leaving { group, topic, queue, start, offsets, pop_time, invisible, suspend, .. } = leaving;
    let name = broker.name();
    let body = PopCheckPoint {
        bit_map: 0,
        broker_name: Some(name.clone()),
        consumer_group: Some(group.to_string()),
        // A batch spans no more than one read looks at.
        queue_offset_diff: Some(offsets.iter().map(|offset| (offset - start) as i32).collect()),
        invisible_time: *invisible,
        num: offsets.len() as i8,
        pop_time: *pop_time,
        queue_id: *queue,
        revive_offset: 0,
        re_put_times: None,
        start_offset: *start,
        suspend: *suspend,
        topic: Some(topic.to_string()),
    };
    let key = format!("{topic}@{queue}@{start}@{group}@{pop_time}@{name}@ck");
    let due = pop_time.saturating_add(*invisible).saturating_sub(EARLIER);
    draft(broker, POPPED, &key, body.encode(), due, leaving.revive_queue)
}

/// The note of acknowledgements.
pub(crate) fn acked(broker: &Broker, acks: &Acks) -> Result<Draft, DraftError> {
    let Key { group, topic, queue, start, pop_time, broker: name } = &acks.key;
    let (broker_name, consumer_group, of) = (Some(name.clone()), Some(group.clone()), Some(topic.clone()));
    if let [offset] = *acks.offsets {
        let body = AckMsg {
            ack_offset: offset,
            broker_name,
            consumer_group,
            pop_time: *pop_time,
            queue_id: *queue,
            start_offset: *start,
            topic: of,
        };
        let key = format!("{topic}@{queue}@{offset}@{group}@{pop_time}@{name}@ack");
        return draft(broker, ACKED, &key, body.encode(), acks.due, acks.revive_queue);
    }
    let body = BatchAckMsg {
        ack_offset: NONE,
        ack_offset_list: acks.offsets.clone(),
        broker_name,
        consumer_group,
        pop_time: *pop_time,
        queue_id: *queue,
        start_offset: *start,
        topic: of,
    };
    let key = format!("{topic}@{queue}@{NONE}@{group}@{pop_time}@{name}@ack");
    draft(broker, ACKED_BATCH, &key, body.encode(), acks.due, acks.revive_queue)
}

fn draft(broker: &Broker, tag: &str, key: &str, body: Vec<u8>, due: i64, queue: i32) -> Result<Draft, DraftError> {
    let mut text = BytesMut::new();
    let due = due.to_string();
    for (name, value) in [
        (property::TAGS, tag),
        (property::UNIQ_KEY, key),
        (property::TIMER_DELIVER_MS, &*due),
        (property::TIMER_OUT_MS, &*due),
        (property::REAL_TOPIC, &*broker.pop.revive_topic),
        (property::REAL_QUEUE_ID, &*queue.to_string()),
    ] {
        properties::push(&mut text, name, value);
    }
    let message = NewMessage {
        properties: text.freeze(),
        ..NewMessage::own(Arc::clone(&broker.wheel_topic), body, broker.store_host, broker.now())
    };
    Draft::new(&message, &mut BytesMut::new())
}

/// Reads a record of the revive topic. `None` for one that says nothing.
pub(crate) fn read(record: &Record<'_>) -> Option<Note> {
    let key = |group: Option<String>, topic: Option<String>, broker: Option<String>, queue, start, pop_time| {
        Some(Key { group: group?, topic: topic?, broker: broker.unwrap_or_default(), queue, start, pop_time })
    };
    match record.property(property::TAGS)? {
        POPPED => {
            let note = PopCheckPoint::decode(record.body).ok()?;
            let PopCheckPoint { consumer_group, topic, broker_name, queue_id, start_offset, pop_time, .. } =
                note.clone();
            Some(Note::Popped(key(consumer_group, topic, broker_name, queue_id, start_offset, pop_time)?, note))
        }
        ACKED => {
            let note = AckMsg::decode(record.body).ok()?;
            let AckMsg { consumer_group, topic, broker_name, queue_id, start_offset, pop_time, ack_offset } = note;
            let key = key(consumer_group, topic, broker_name, queue_id, start_offset, pop_time)?;
            Some(Note::Acked(key, vec![ack_offset]))
        }
        ACKED_BATCH => {
            let note = BatchAckMsg::decode(record.body).ok()?;
            let key = key(
                note.consumer_group,
                note.topic,
                note.broker_name,
                note.queue_id,
                note.start_offset,
                note.pop_time,
            )?;
            Some(Note::Acked(key, note.ack_offset_list))
        }
        _ => None,
    }
}

/// The messages that a note of a pop speaks of, but for those that it has as acknowledged.
pub(crate) fn offsets(note: &PopCheckPoint) -> Vec<i64> {
    let count = usize::try_from(note.num).unwrap_or_default().min(MOST);
    let all: Vec<i64> = match &note.queue_offset_diff {
        Some(diffs) if !diffs.is_empty() => {
            diffs.iter().take(count).map(|diff| note.start_offset + i64::from(*diff)).collect()
        }
        _ => (note.start_offset..).take(count).collect(),
    };
    let is_open = |place: usize| note.bit_map & 1 << place == 0;
    all.into_iter().enumerate().filter(|(place, _)| is_open(*place)).map(|(_, offset)| offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pop::flight::Way;
    use crate::testing::Running;

    fn read_as(tag: &str, body: &str) -> Option<Note> {
        let message = NewMessage {
            properties: format!("TAGS\u{1}{tag}\u{2}").into(),
            ..NewMessage::own("R", body.as_bytes().to_vec(), ([127, 0, 0, 1], 1), 1)
        };
        let bytes = Draft::new(&message, &mut BytesMut::new()).unwrap().to_vec();
        read(&Record::read(&bytes).unwrap())
    }

    /// What Apache's broker noted of a pop of `broker-w`, and of acknowledgements of it.
    const POPPED_THERE: &str = r#"{"bm":0,"bn":"broker-w","c":"C_pop","d":[0,1],"it":20000,"n":2,"pt":1795230127890,"q":0,"reviveTime":1795230147890,"ro":0,"so":1,"sp":false,"t":"T_raw"}"#;
    const ACKED_THERE: &str = r#"{"ao":0,"bn":"broker-w","c":"C_pop","pt":1795230126910,"q":1,"so":0,"t":"T_raw"}"#;
    const BATCH_THERE: &str =
        r#"{"ao":-1,"aol":[1,2],"bn":"broker-w","c":"C_pop","pt":1795230127890,"q":0,"so":1,"t":"T_raw"}"#;

    fn key() -> Key {
        Key {
            group: "C_pop".into(),
            topic: "T_raw".into(),
            queue: 0,
            start: 1,
            pop_time: 1_795_230_127_890,
            broker: "broker-w".into(),
        }
    }

    #[test]
    fn notes_of_apaches_broker_are_read() {
        let Some(Note::Popped(of, note)) = read_as("ck", POPPED_THERE) else { panic!("no note") };
        assert_eq!((of, offsets(&note), note.suspend), (key(), vec![1, 2], false));
        assert_eq!(note.pop_time + note.invisible_time, 1_795_230_147_890);
        assert_eq!(read_as("bAck", BATCH_THERE), Some(Note::Acked(key(), vec![1, 2])));
        let one = Key { queue: 1, start: 0, pop_time: 1_795_230_126_910, ..key() };
        assert_eq!(read_as("ack", ACKED_THERE), Some(Note::Acked(one, vec![0])));
        // Of one offset after the other, with bits; and what says nothing.
        let bits = PopCheckPoint { bit_map: 0b101, num: 4, start_offset: 7, ..PopCheckPoint::default() };
        assert_eq!(offsets(&bits), [8, 10]);
        for (tag, body) in [("ck", "{"), ("ck", "{}"), ("ack", "[]"), ("other", ACKED_THERE)] {
            assert_eq!(read_as(tag, body), None, "{tag} {body}");
        }
        assert_eq!(offsets(&PopCheckPoint { num: -1, ..PopCheckPoint::default() }), [0; 0]);
    }

    #[tokio::test]
    async fn notes_are_what_apaches_broker_writes() {
        let running = Running::start(1 << 30, |settings| {
            settings.broker_name = "broker-w".into();
            settings.broker_cluster_name = "WireCluster".into();
        })
        .await;
        let leaving = Leaving {
            id: 0,
            way: Way::Noted,
            group: "C_pop".into(),
            topic: "T_raw".into(),
            queue: 0,
            start: 1,
            offsets: vec![1, 2],
            pop_time: 1_795_230_127_890,
            invisible: 20_000,
            revive_queue: 1,
            suspend: false,
        };
        let is = |draft: Draft, body: &str, properties: [(&str, &str); 6]| {
            let bytes = draft.to_vec();
            let record = Record::read(&bytes).unwrap();
            // They leave out what is never read.
            let body = body.replace(r#""reviveTime":1795230147890,"#, "");
            assert_eq!((record.topic, std::str::from_utf8(record.body).unwrap()), ("rmq_sys_wheel_timer", &*body));
            properties.into_iter().for_each(|(name, value)| assert_eq!(record.property(name), Some(value), "{name}"));
        };
        let common = [("REAL_TOPIC", "rmq_sys_REVIVE_LOG_WireCluster"), ("REAL_QID", "1")];
        let of = |tag, key, due| {
            [common[0], common[1], ("TAGS", tag), ("UNIQ_KEY", key), ("TIMER_DELIVER_MS", due), ("TIMER_OUT_MS", due)]
        };
        let popped = popped(&running.broker, &leaving).unwrap();
        is(popped, POPPED_THERE, of("ck", "T_raw@0@1@C_pop@1795230127890@broker-w@ck", "1795230146890"));
        let acks = Acks { key: key(), offsets: vec![1, 2], due: 1_795_230_147_890, revive_queue: 1 };
        let several = acked(&running.broker, &acks).unwrap();
        is(several, BATCH_THERE, of("bAck", "T_raw@0@-1@C_pop@1795230127890@broker-w@ack", "1795230147890"));
        running.stop().await;
    }
}
