//! Messages as upstream writes them.

use apogee_client::admin::{Track, TrackState};
use apogee_client::{Received, SendStatus};
use apogee_message::names::property;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::builder::NonEmptyStringValueParser;
use clap::builder::TypedValueParser;
use encoding_rs::Encoding;
use serde_json::{Map, Value, json};

use crate::cell::Cell;
use crate::report::{Fields, Report};

/// How bodies are read as text.
#[derive(Debug, Clone, Copy)]
pub struct Charset(&'static Encoding);

impl Charset {
    /// Reads its name on a command line.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        NonEmptyStringValueParser::new().try_map(|name| {
            let found = Encoding::for_label(name.trim().as_bytes());
            found
                .map(Self)
                .ok_or_else(|| format!("there is no charset {name}; give one such as UTF-8, GBK or Shift_JIS"))
        })
    }

    /// A body as text; nothing in it can steer the terminal.
    pub fn text(self, body: &[u8]) -> String {
        let (text, _) = self.0.decode_without_bom_handling(body);
        printable(&text)
    }
}

impl Default for Charset {
    fn default() -> Self {
        Self(encoding_rs::UTF_8)
    }
}

/// Characters that steer a terminal are written out.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => printable.push(character),
            _ if character.is_control() => printable.extend(character.escape_default()),
            _ => printable.push(character),
        }
    }
    printable
}

/// The body for machines: text where it is some, else base64.
fn json_body(message: &Received) -> (&'static str, Value) {
    match std::str::from_utf8(&message.body) {
        Ok(text) => ("body", text.into()),
        Err(_) => ("bodyBase64", STANDARD.encode(&message.body).into()),
    }
}

fn properties(message: &Received) -> Cell {
    let text: Vec<_> = message.properties().map(|(name, value)| format!("{name}={value}")).collect();
    let json: Map<_, _> = message.properties().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    Cell::both(printable(&format!("{{{}}}", text.join(", "))), json)
}

/// A message, one line for each thing.
pub fn fields(message: &Received, charset: Charset) -> Fields {
    let property = |name| message.property(name);
    let bracketed = |value: Option<&str>| Cell::both(format!("[{}]", value.unwrap_or("null")), value);
    let (key, body) = json_body(message);
    Fields::new(20, " ")
        .field("OffsetID:", "offsetId", message.offset_id())
        .field("Topic:", "topic", message.topic())
        .field("Tags:", "tags", bracketed(property(property::TAGS)))
        .field("Keys:", "keys", bracketed(property(property::KEYS)))
        .field("Queue ID:", "queue", message.queue.id)
        .field("Queue Offset:", "offset", message.offset)
        .field("CommitLog Offset:", "logOffset", message.log_offset())
        .field("Reconsume Times:", "reconsumeTimes", message.reconsume_times)
        .field("Born Timestamp:", "born", Cell::milliseconds(message.born_timestamp))
        .field("Store Timestamp:", "stored", Cell::milliseconds(message.store_timestamp))
        .field("Born Host:", "bornHost", message.born_host.to_string())
        .field("Store Host:", "storeHost", message.store_host.to_string())
        .field("System Flag:", "systemFlag", message.system_flag())
        .field("Properties:", "properties", properties(message))
        .field("Message Body:", key, Cell::both(charset.text(&message.body), body))
}

/// A message in one line; without its body where that is not wanted.
pub fn line(message: &Received, charset: Option<Charset>) -> String {
    let Received { queue, offset, flag, born_timestamp, born_host, store_timestamp, store_host, .. } = message;
    format!(
        "MSGID: {} MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={offset}, sysFlag={}, \
         bornTimestamp={born_timestamp}, bornHost=/{born_host}, storeTimestamp={store_timestamp}, \
         storeHost=/{store_host}, msgId={}, commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, \
         preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={flag}, properties={}, \
         body={} bytes}}] BODY: {}",
        message.message_id(),
        queue.broker,
        queue.id,
        message.stored_size(),
        message.system_flag(),
        message.offset_id(),
        message.log_offset(),
        message.body_crc(),
        message.reconsume_times,
        message.prepared_transaction_offset(),
        message.topic(),
        properties(message),
        message.body.len(),
        charset.map_or_else(|| "NOT PRINT BODY".to_owned(), |charset| charset.text(&message.body)),
    )
}

/// A message of several, for machines; without its body where that is not wanted.
pub fn json(message: &Received, with_body: bool) -> Value {
    let mut json = json!({
        "messageId": message.message_id(),
        "offsetId": message.offset_id(),
        "topic": message.topic(),
        "broker": &*message.queue.broker,
        "queue": message.queue.id,
        "offset": message.offset,
        "logOffset": message.log_offset(),
        "storedSize": message.stored_size(),
        "born": Cell::milliseconds(message.born_timestamp).to_json(),
        "bornHost": message.born_host,
        "stored": Cell::milliseconds(message.store_timestamp).to_json(),
        "storeHost": message.store_host,
        "flag": message.flag,
        "systemFlag": message.system_flag(),
        "reconsumeTimes": message.reconsume_times,
        "properties": properties(message).to_json(),
    });
    if with_body {
        let (key, body) = json_body(message);
        json[key] = body;
    }
    json
}

/// What became of a message in groups.
pub fn tracks(report: Report, tracks: &[Track]) -> Report {
    if tracks.is_empty() {
        return report.line("\n\nWARN: No Consumer").data("tracks", Value::Array(Vec::new()));
    }
    tracks.iter().fold(report.line("\n"), |report, track| {
        let kind = match track.state {
            TrackState::Broadcast => "CONSUME_BROADCASTING",
            _ if !track.is_online => "NOT_ONLINE",
            TrackState::Consumed => "CONSUMED",
            TrackState::Filtered => "CONSUMED_BUT_FILTERED",
            TrackState::Waiting => "NOT_CONSUME_YET",
        };
        let state = match track.state {
            TrackState::Broadcast => "broadcast",
            TrackState::Consumed => "consumed",
            TrackState::Filtered => "filtered",
            TrackState::Waiting => "waiting",
        };
        let group = &track.group;
        report
            .line(format!("MessageTrack [consumerGroup={group}, trackType={kind}, exceptionDesc=null]"))
            .data_item("tracks", json!({ "group": group, "online": track.is_online, "state": state }))
    })
}

/// How safe a message is, in upstream's words.
pub fn status(status: SendStatus) -> &'static str {
    match status {
        SendStatus::Ok => "SEND_OK",
        SendStatus::FlushTimeout => "FLUSH_DISK_TIMEOUT",
        SendStatus::ReplicaTimeout => "FLUSH_SLAVE_TIMEOUT",
        SendStatus::NoReplica => "SLAVE_NOT_AVAILABLE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cannot_steer_the_terminal() {
        let charset = Charset::default();
        assert_eq!(charset.text(b"two\nlines\x1b[2J"), "two\nlines\\u{1b}[2J");
        assert_eq!(charset.text(&[0xff, b'a']), "\u{fffd}a");
    }

    #[test]
    fn other_charsets_are_read() {
        let gbk = Charset(Encoding::for_label(b"GBK").expect("known"));
        assert_eq!(gbk.text(&[0xc4, 0xe3, 0xba, 0xc3]), "你好");
    }
}
