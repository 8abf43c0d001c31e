//! Messages as they travel.

use apogee_message::batch::{self, BatchMessage};
use apogee_message::names::{AUTO_CREATE_TOPIC, property};
use apogee_wire::Command;
use apogee_wire::codes::request;
use apogee_wire::fields::PutField;
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader};
use bytes::Bytes;

use super::Sending;
use crate::interceptor::Sends;
use crate::shared::DEFAULT_QUEUES;
use crate::{Error, Message, Queue};

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    #[default]
    Single,
    Batch,
    /// The answer to a request: the broker passes it on to who asked.
    Reply,
}

/// What travels, whichever broker it goes to.
#[derive(Default)]
pub(super) struct Outgoing {
    pub topic: String,
    pub body: Bytes,
    pub properties: String,
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub kind: Kind,
    pub message_id: String,
    pub sharding_key: Option<String>,
}

impl Sending {
    /// A message as it travels, when no interceptor refuses it.
    pub(super) fn outgoing(&self, mut message: Message, sends: &mut Sends) -> Result<Outgoing, Error> {
        let born_timestamp = self.shared.now_ms();
        let message_id = self.id_of(&message, born_timestamp);
        let kept = sends.before(&mut message, &message_id)?;
        let outgoing = self.encode(&message, &message_id, born_timestamp);
        sends.watch(message, &message_id, kept);
        outgoing
    }

    pub(super) fn id_of(&self, message: &Message, born_timestamp: i64) -> String {
        let given = message.get(property::UNIQ_KEY).map(str::to_owned);
        given.unwrap_or_else(|| self.shared.message_ids.next(born_timestamp))
    }

    pub(super) fn encode(&self, message: &Message, message_id: &str, born_timestamp: i64) -> Result<Outgoing, Error> {
        // Replies go to a topic of the system, whatever the namespace.
        let is_reply = message.is_reply();
        let topic = if is_reply { message.topic().to_owned() } else { self.shared.topic(message.topic())? };
        self.check_size(&topic, message.body().len())?;
        let own = [(property::UNIQ_KEY, message_id), (property::WAIT, "true")];
        let properties = text(&topic, message.properties_text(&own)?)?;
        let (mut body, mut sys_flag) = (message.body().clone(), 0);
        if body.len() >= self.settings.compress_from && !self.hooks.has_codecs() {
            let compression = self.settings.compression;
            let shorter = compression.compress(&body).map_err(|error| Error::message(&topic, error.to_string()))?;
            if shorter.len() < body.len() {
                (body, sys_flag) = (shorter.into(), compression.flag());
            }
        }
        Ok(Outgoing {
            topic,
            body,
            properties,
            flag: message.user_flag(),
            sys_flag,
            born_timestamp,
            kind: if is_reply { Kind::Reply } else { Kind::Single },
            message_id: message_id.to_owned(),
            sharding_key: message.get(property::SHARDING_KEY).map(str::to_owned),
        })
    }

    /// Messages of one topic as they travel together.
    pub(super) fn batch(&self, messages: Vec<Message>, sends: &mut Sends) -> Result<Outgoing, Error> {
        let Some(topic) = messages.first().map(|message| message.topic().to_owned()) else {
            return Err(Error::message("", "a batch without messages"));
        };
        let full_topic = self.shared.topic(&topic)?;
        let born_timestamp = self.shared.now_ms();
        let (mut body, mut ids) = (Vec::new(), Vec::new());
        for mut message in messages {
            let id = self.id_of(&message, born_timestamp);
            let kept = sends.before(&mut message, &id)?;
            let encoded = encode_member(&message, &topic, &id);
            sends.watch(message, &id, kept);
            batch::push(&mut body, &encoded?);
            ids.push(id);
        }
        self.check_size(&topic, body.len())?;
        Ok(Outgoing {
            topic: full_topic,
            body: body.into(),
            properties: String::new(),
            flag: 0,
            sys_flag: 0,
            born_timestamp,
            kind: Kind::Batch,
            message_id: ids.join(","),
            sharding_key: None,
        })
    }

    pub(super) fn check_size(&self, topic: &str, length: usize) -> Result<(), Error> {
        check_not_empty(topic, length)?;
        let limit = self.settings.max_size;
        if length <= limit {
            return Ok(());
        }
        Err(Error::message(topic, format!("it is {length} bytes long, over the limit of {limit} (max_message_size)")))
    }

    /// A request without its header.
    pub(super) fn head(&self, message: &Outgoing) -> Command {
        let code = match message.kind {
            Kind::Single => request::SEND_MESSAGE_V2,
            Kind::Batch => request::SEND_BATCH_MESSAGE,
            Kind::Reply => request::SEND_REPLY_MESSAGE_V2,
        };
        self.shared.own_binary(Command::request(code).with_body(message.body.clone()))
    }

    /// Its header.
    pub(super) fn write(&self, message: &Outgoing, queue: &Queue, fields: &mut impl PutField) {
        let header = SendMessageRequestHeader {
            producer_group: &self.group,
            topic: &message.topic,
            default_topic: AUTO_CREATE_TOPIC,
            default_topic_queue_nums: DEFAULT_QUEUES,
            queue_id: queue.id,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            flag: message.flag,
            properties: Some(&message.properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(message.kind == Kind::Batch),
            max_reconsume_times: None,
            broker_name: Some(&queue.broker),
            rpc: RpcFields::default(),
        };
        header.encode_v2(fields);
    }
}

/// Apache's broker fails over an empty body, and the Java client sends none.
fn check_not_empty(topic: &str, length: usize) -> Result<(), Error> {
    if length == 0 { Err(Error::message(topic, "its body is empty, which not all brokers take")) } else { Ok(()) }
}

/// A message of a batch as it travels.
pub(super) fn encode_member(message: &Message, topic: &str, id: &str) -> Result<BatchMessage, Error> {
    if message.topic() != topic {
        return Err(Error::message(topic, format!("the batch has a message for topic {}, too", message.topic())));
    }
    if message.is_delayed() {
        return Err(Error::message(topic, "messages of a batch cannot be delayed"));
    }
    if message.is_reply() {
        return Err(Error::message(topic, "replies cannot be sent as a batch"));
    }
    check_not_empty(topic, message.body().len())?;
    let properties = message.properties_text(&[(property::UNIQ_KEY, id), (property::WAIT, "true")])?;
    Ok(BatchMessage { flag: message.user_flag(), body: message.body().clone(), properties: properties.into() })
}

pub(super) fn text(topic: &str, properties: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(properties).map_err(|error| Error::message(topic, error.to_string()))
}
