//! Topics in which a batch stays one record, and what is sent to them.

use apogee_message::batch::{self, BatchMessage};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use bytes::Bytes;

use super::Peer;

/// Files of queues of ten units.
pub const SETTINGS: &[&str] = &["mapperFileSizeBatchConsumeQueue=460"];

pub fn ask(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut command = Command::request(code);
    fields.iter().for_each(|(name, value)| command.fields.set(name, *value));
    command
}

/// Makes a topic of one queue with attributes.
pub fn create(peer: &mut Peer, topic: &str, attributes: &str) -> Command {
    peer.call(ask(
        request::UPDATE_AND_CREATE_TOPIC,
        &[
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", attributes),
        ],
    ))
}

/// Makes the topic `T` of batches.
pub fn create_t(peer: &mut Peer) {
    let created = create(peer, "T", "+queue.type=BatchCQ");
    assert_eq!(created.code, response::SUCCESS, "{created:?}");
}

pub fn body_of(texts: &[&str]) -> Bytes {
    let mut body = Vec::new();
    for text in texts {
        let properties = format!("KEYS\u{1}k-{text}\u{2}");
        batch::push(&mut body, &BatchMessage { flag: 7, body: text.to_string().into(), properties: properties.into() });
    }
    body.into()
}

/// The texts of messages that [`body_of`] put together.
pub fn texts_of(body: &[u8]) -> Vec<String> {
    let messages = batch::split(Bytes::copy_from_slice(body)).map(|message| message.expect("whole"));
    messages.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

pub fn batch_request(properties: &str, texts: &[&str]) -> Command {
    let mut command = Command::request(request::SEND_BATCH_MESSAGE).with_body(body_of(texts));
    super::send_header("T", 0, properties).encode_v2(&mut command.fields);
    command.fields.set("m", "true");
    command
}

/// Sends a batch with an id of its own to `T`, and returns the offset of its first message.
pub fn send(peer: &mut Peer, id: &str, texts: &[&str]) -> i64 {
    let answer = peer.call(batch_request(&format!("UNIQ_KEY\u{1}{id}\u{2}WAIT\u{1}true\u{2}"), texts));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let field = |name| answer.fields.get(name);
    assert_eq!((field("batchUniqId"), field("transactionId")), (Some(id), Some(id)));
    assert_eq!(field("msgId").map(str::len), Some(32), "one record has one id: {answer:?}");
    field("queueOffset").and_then(|offset| offset.parse().ok()).expect("an offset")
}
