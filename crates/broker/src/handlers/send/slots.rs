//! What a connection keeps of its requests until they are answered.

use std::net::SocketAddr;
use std::sync::Arc;

use apogee_store::{Append, Appended};
use apogee_wire::codes::response;
use apogee_wire::{Command, Encoding};
use bytes::{Bytes, BytesMut};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::stats::Kind;
use crate::timer::handle;

/// Bytes that the arena of a connection grows by.
const ARENA: usize = 32 << 10;

#[derive(Default)]
pub(super) struct State {
    /// Edited properties, heads and tails of records.
    pub arena: BytesMut,
    /// Drafts of the requests of one read.
    pub outbox: Vec<Append>,
    pub slots: Vec<Slot>,
    pub free: Vec<u32>,
    /// The answer being made.
    pub answer: Command,
}

/// What the answer to one request needs.
#[derive(Default)]
pub(super) struct Slot {
    pub opaque: i32,
    pub encoding: Encoding,
    /// False: nobody wants an answer.
    pub answered: bool,
    pub kind: Answer,
    pub topic: Option<Arc<str>>,
    /// Queue that the message is for, wherever it waits before.
    pub queue_id: i32,
    /// Messages of the request that are not decided yet.
    pub left: u32,
    pub first: Option<Appended>,
    /// Ids of a batch's messages; of a single one it is made from `first`.
    pub ids: String,
    pub bytes: u64,
    pub unique_key: Bytes,
    /// When it is to be delivered, in milliseconds since 1970.
    pub due: Option<i64>,
    pub error: Option<BrokerError>,
    /// First offset of the half message whose transaction the message commits.
    pub commits: Option<i64>,
}

/// What kind of answer a request gets.
#[derive(Default, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    /// Where the message is.
    #[default]
    Sent,
    /// A code alone.
    Plain,
}

impl State {
    pub fn arena(&mut self) -> &mut BytesMut {
        if self.arena.capacity() < ARENA / 4 {
            self.arena.reserve(ARENA);
        }
        &mut self.arena
    }

    pub fn slot(&mut self, request: &Command, kind: Answer, topic: Arc<str>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.opaque, slot.encoding, slot.answered) = (request.opaque, request.encoding, !request.is_oneway());
            (slot.kind, slot.topic) = (kind, Some(topic));
        }
        number
    }

    /// A request was refused: what it brought so far is not sent.
    pub fn take_back(&mut self, number: u32) {
        self.outbox.retain(|entry| entry.token != u64::from(number));
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.clear();
        }
        self.free.push(number);
    }
}

impl Slot {
    pub fn add(&mut self, appended: &Appended, host: SocketAddr) {
        use std::fmt::Write;
        if self.left > 1 || self.first.is_some() {
            let separator = if self.ids.is_empty() { "" } else { "," };
            let id = apogee_message::ids::OffsetId { host, offset: appended.physical_offset };
            // A String grows: writing to it cannot fail.
            let _ = write!(self.ids, "{separator}{id}");
        }
        self.first.get_or_insert(*appended);
    }

    pub fn count(&self, broker: &Broker) {
        if let (None, Some(topic)) = (&self.error, &self.topic) {
            let messages = self.ids.split(',').count() as u64;
            broker.stats.add(Kind::TopicPutNums, topic, messages);
            broker.stats.add(Kind::TopicPutSize, topic, self.bytes);
            broker.stats.add(Kind::BrokerPutNums, &broker.cluster, messages);
        }
    }

    pub fn answer(&self, broker: &Broker, answer: &mut Command) {
        let request = Command { opaque: self.opaque, encoding: self.encoding, ..Command::default() };
        answer.answer_to(&request, response::SUCCESS);
        if let Some(error) = &self.error {
            answer.code = error.code;
            answer.remark = Some(error.remark.to_string());
            return;
        }
        let (Some(first), Answer::Sent) = (self.first, self.kind) else { return };
        let id = apogee_message::ids::OffsetId { host: broker.store_host, offset: first.physical_offset };
        // Field by field, as `SendMessageResponseHeader` has them: the id needs no string of its own.
        let fields = &mut answer.fields;
        match self.ids.is_empty() {
            true => fields.set("msgId", id),
            false => fields.set_str("msgId", &self.ids),
        }
        fields.set("queueId", self.queue_id);
        fields.set("queueOffset", first.queue_offset);
        if let Some(key) = std::str::from_utf8(&self.unique_key).ok().filter(|key| !key.is_empty()) {
            fields.set_str("transactionId", key);
            // A blank separates a handle's fields.
            if let (Some(due), Some(topic), false) = (self.due, &self.topic, key.contains(' ')) {
                let settings = broker.settings.load();
                if settings.recall_message_enable {
                    fields.set_str("recallHandle", &handle::encode(topic, &settings.broker_name, due, key));
                }
            }
        }
        fields.set_str("MSG_REGION", &broker.region);
        fields.set("TRACE_ON", broker.trace_on());
    }

    pub fn clear(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        *self = Self { ids, ..Self::default() };
    }
}
