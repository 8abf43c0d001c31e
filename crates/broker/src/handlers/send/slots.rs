//! What a connection keeps of its requests until they are answered.

use std::net::SocketAddr;
use std::sync::Arc;

use apogee_message::handle;
use apogee_message::ids::OffsetId;
use apogee_message::record::Draft;
use apogee_net::Conn;
use apogee_store::{Append, Appended};
use apogee_wire::codes::response;
use apogee_wire::fields::PutField;
use apogee_wire::{Command, Encoding};
use bytes::BytesMut;

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::life::UnderWay;
use crate::message_type::MessageType;
use crate::metrics::requests::{Begun, Outcome};
use crate::stats::Kind;

/// Bytes that the arena of a connection grows by.
const ARENA: usize = 32 << 10;

#[derive(Default)]
pub(super) struct State {
    /// Edited properties, heads and tails of records.
    pub arena: BytesMut,
    /// The properties being edited.
    pub properties: Vec<u8>,
    /// Drafts of the requests of one read.
    pub outbox: Vec<Append>,
    /// Requests of that read whose messages are in the store since they were sent before.
    pub repeated: Vec<(u64, Appended)>,
    pub slots: Vec<Slot>,
    pub free: Vec<u32>,
    /// The ids of the answer being made.
    pub ids: String,
}

/// What the answer to one request needs.
#[derive(Default)]
pub(super) struct Slot {
    /// Counts what the slot was used for: an outcome that comes too late must not be taken for another's.
    generation: u32,
    pub opaque: i32,
    pub encoding: Encoding,
    /// False: nobody wants an answer.
    pub answered: bool,
    pub kind: Answer,
    /// What is counted when it is answered.
    pub begun: Begun,
    /// While there is one, a stop of the broker waits for the answer.
    pub under_way: Option<UnderWay>,
    pub topic: Option<Arc<str>>,
    /// Topic that the message waits in before; none if it doesn't.
    pub waits_in: Option<Arc<str>>,
    pub message_type: MessageType,
    /// Queue that the message is for, wherever it waits before; none for one that was sent before.
    pub queue_id: Option<i32>,
    /// Messages of the request that are not decided yet.
    pub left: u32,
    /// The first of its messages in the log, of those that are decided.
    pub first: Option<Appended>,
    /// Where in the log they are, in order.
    stored: Vec<i64>,
    pub bytes: u64,
    pub unique_key: String,
    /// Messages of the batch that is kept as one record.
    pub inner: Option<u16>,
    /// When it is to be delivered, in milliseconds since 1970.
    pub due: Option<i64>,
    pub error: Option<BrokerError>,
    /// A message of it was not on enough other machines in time.
    lonely: bool,
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

    pub fn slot(&mut self, request: &Command, kind: Answer, topic: Arc<str>, under_way: UnderWay) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.opaque, slot.encoding, slot.answered) = (request.opaque, request.encoding, !request.is_oneway());
            (slot.kind, slot.topic, slot.under_way) = (kind, Some(topic), Some(under_way));
            slot.begun = Begun::now(request.code);
        }
        number
    }

    /// What the store calls a request.
    pub fn token(&self, number: u32) -> u64 {
        let generation = self.slots.get(number as usize).map_or(0, |slot| slot.generation);
        u64::from(generation) << 32 | u64::from(number)
    }

    /// Counts a message of a request.
    pub fn count(&mut self, number: u32, draft: &Draft) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.left += 1;
            slot.bytes += draft.size() as u64;
        }
    }

    /// The message is one that was sent before: its queue and its time are those that it had then.
    pub fn repeats(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.queue_id, slot.due) = (None, None);
        }
    }

    /// A request was refused: what it brought so far is not sent. Returns it, to be dropped without the
    /// lock on this.
    pub fn take_back(&mut self, number: u32) -> Vec<Append> {
        let token = self.token(number);
        let taken = self.outbox.extract_if(.., |entry| entry.token == token).collect();
        self.repeated.retain(|(repeated, _)| *repeated != token);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.clear();
        }
        self.free.push(number);
        taken
    }
}

/// The slot that a token names, with its number, if it is still the same request's.
pub(super) fn slot_of(slots: &mut [Slot], token: u64) -> Option<(u32, &mut Slot)> {
    let (number, generation) = (token as u32, (token >> 32) as u32);
    let slot = slots.get_mut(number as usize).filter(|slot| slot.generation == generation)?;
    Some((number, slot))
}

impl Slot {
    /// A message is in the store. Those of a batch come in any order: one part of it may be confirmed at once
    /// while the other waits for a flush.
    pub fn add(&mut self, appended: &Appended) {
        self.lonely |= !appended.copied;
        let at = self.stored.partition_point(|offset| *offset < appended.physical_offset);
        self.stored.insert(at, appended.physical_offset);
        if at == 0 {
            self.first = Some(*appended);
        }
    }

    pub fn count(&self, broker: &Broker) {
        if let (None, Some(topic)) = (&self.error, self.waits_in.as_ref().or(self.topic.as_ref())) {
            let messages = self.inner.map_or(self.stored.len() as u64, u64::from);
            // What is made of a message that waited, or failed, came in long ago.
            let kind = (self.kind == Answer::Sent).then_some(self.message_type);
            broker.stats.add_put(topic, kind, messages, self.bytes);
            broker.stats.add(Kind::BrokerPutNums, &broker.cluster, messages);
        }
        if let (None, Some(due), Some(topic)) = (&self.error, self.due, &self.topic) {
            let stored = self.first.map_or(due, |first| first.store_timestamp);
            broker.counters.events.put_off(topic, due - stored);
        }
        let code = self.error.as_ref().map_or(response::SUCCESS, |error| error.code);
        let outcome = if self.answered { Outcome::Answered } else { Outcome::Oneway };
        self.begun.ended(&broker.counters.requests, code, outcome);
    }

    /// Answers the request. `ids` is memory to write in.
    pub fn answer(&self, broker: &Broker, conn: &Conn, ids: &mut String) {
        let mut head = Command::response(self.opaque, self.encoding, response::SUCCESS);
        if let Some(error) = &self.error {
            head.code = error.code;
            return conn.reply(&head.with_remark(&*error.remark));
        }
        let (Some(first), Answer::Sent) = (self.first, self.kind) else { return conn.reply(&head) };
        // It is stored all the same: the sender learns where, and may send it again.
        if self.lonely {
            head.code = response::FLUSH_SLAVE_TIMEOUT;
        }
        ids.clear();
        write_ids(broker.store_host, &self.stored, ids);
        let key = &*self.unique_key;
        let handle = self.recall_handle(broker);
        // Field by field, as `SendMessageResponseHeader` has them.
        conn.reply_with(&head, |fields| {
            fields.text("msgId", ids);
            fields.number("queueId", self.queue_id.unwrap_or(first.queue_id).into());
            fields.number("queueOffset", first.queue_offset);
            if !key.is_empty() {
                fields.text("transactionId", key);
            }
            if self.inner.is_some() {
                fields.text("batchUniqId", key);
            }
            if let Some(handle) = &handle {
                fields.text("recallHandle", handle);
            }
            fields.text("MSG_REGION", &broker.region);
            fields.text("TRACE_ON", if broker.trace_on() { "true" } else { "false" });
        });
    }

    /// By what a message with a time of its own can be recalled.
    fn recall_handle(&self, broker: &Broker) -> Option<String> {
        let (due, topic, key) = (self.due?, self.topic.as_ref()?, &*self.unique_key);
        // A blank separates a handle's fields.
        if key.is_empty() || key.contains(' ') {
            return None;
        }
        let settings = broker.settings.load();
        settings.recall_message_enable.then(|| handle::encode(topic, &settings.broker_name, due, key))
    }

    pub fn clear(&mut self) {
        let (mut stored, mut unique_key) = (std::mem::take(&mut self.stored), std::mem::take(&mut self.unique_key));
        stored.clear();
        unique_key.clear();
        let generation = self.generation.wrapping_add(1);
        *self = Self { stored, unique_key, generation, ..Self::default() };
    }
}

/// Writes the ids of messages at some places of the log, as an answer has them.
fn write_ids(host: SocketAddr, offsets: &[i64], text: &mut String) {
    for (nth, &offset) in offsets.iter().enumerate() {
        if nth > 0 {
            text.push(',');
        }
        OffsetId { host, offset }.write_to(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_confirmed_out_of_order_is_answered_with_its_first_message_and_its_ids_in_order() {
        let mut slot = Slot::default();
        for nth in [3, 4, 0, 1, 2] {
            let (physical_offset, queue_offset) = (1_000 + nth * 100, 70 + nth);
            let (size, queue_id, store_timestamp, copied) = (100, 2, 5, true);
            slot.add(&Appended { physical_offset, size, queue_id, queue_offset, store_timestamp, copied });
        }
        assert_eq!(slot.first.map(|first| first.queue_offset), Some(70));
        let host = SocketAddr::from(([127, 0, 0, 1], 10_911));
        let one = |offset| OffsetId { host, offset }.to_string();
        let mut ids = String::new();
        write_ids(host, &slot.stored, &mut ids);
        assert_eq!(ids, [1_000, 1_100, 1_200, 1_300, 1_400].map(one).join(","));
    }
}
