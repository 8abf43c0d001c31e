//! The forms of a transactional message: half, written again, committed, discarded, asked about.

use apogee_message::names::{self, property};
use apogee_message::record::{Draft, DraftError, NewMessage, Record};
use apogee_message::{properties, sysflag};
use apogee_wire::Command;
use apogee_wire::codes::request as code;
use apogee_wire::headers::{CheckTransactionStateRequestHeader, RpcFields};
use bytes::{Bytes, BytesMut};

/// A record of the half queue.
pub(crate) struct HalfRecord<'b> {
    bytes: &'b Bytes,
    /// As it is stored.
    pub record: Record<'b>,
}

impl<'b> HalfRecord<'b> {
    /// Reads it; `None` where the bytes are no message that waits for a decision.
    pub fn read(bytes: &'b Bytes) -> Option<Self> {
        let record = Record::read(bytes).ok()?;
        (record.topic == names::TRANS_HALF_TOPIC).then_some(Self { bytes, record })
    }

    /// Where it first was in the half queue: a check writes it again.
    pub fn first(&self) -> i64 {
        let own = self.record.queue_offset;
        let first = self.number(property::TRANSACTION_PREPARED_QUEUE_OFFSET);
        first.filter(|first| (0..own).contains(first)).unwrap_or(own)
    }

    /// Times its producer was asked.
    pub fn checks(&self) -> i64 {
        self.number(property::TRANSACTION_CHECK_TIMES).unwrap_or(0)
    }

    /// The key of its message, by which copies are known that don't say where the first was: Apache's broker
    /// writes those when it asks.
    pub fn unique_key(&self) -> Option<&'b str> {
        self.record.property(property::UNIQ_KEY).filter(|_| self.first() == self.record.queue_offset)
    }

    /// Milliseconds after its storing in which its producer wants not to be asked, where it says so.
    pub fn immunity_ms(&self) -> Option<i64> {
        let seconds = self.number(property::CHECK_IMMUNITY_TIME_IN_SECONDS).filter(|seconds| *seconds >= 0);
        seconds.map(|seconds| seconds.saturating_mul(1000))
    }

    /// Group of its producer.
    pub fn group(&self) -> &'b str {
        self.record.property(property::PRODUCER_GROUP).unwrap_or_default()
    }

    /// Where it goes when it is committed.
    pub fn target(&self) -> Option<(&'b str, i32)> {
        let topic = self.record.property(property::REAL_TOPIC)?;
        Some((topic, self.record.property(property::REAL_QUEUE_ID)?.parse().ok()?))
    }

    /// The message that consumers get. `prepared`: physical offset by which its decision is known.
    pub fn committed(&self, topic: &str, queue_id: i32, prepared: i64, arena: &mut BytesMut) -> NewMessage {
        let own = [property::REAL_TOPIC, property::REAL_QUEUE_ID, property::TRANSACTION_PREPARED];
        properties::copy_without(arena, self.record.properties, &own);
        let sys_flag = self.record.sys_flag | sysflag::TRANSACTION_COMMIT;
        self.message(topic, queue_id, sys_flag, prepared, arena.split().freeze())
    }

    /// The message as its producer sent it, for another broker to keep until it is decided.
    pub fn sent(&self, arena: &mut BytesMut) -> Option<NewMessage> {
        let (topic, queue_id) = self.target()?;
        let own = [
            property::REAL_TOPIC,
            property::REAL_QUEUE_ID,
            property::TRANSACTION_CHECK_TIMES,
            property::TRANSACTION_PREPARED_QUEUE_OFFSET,
        ];
        properties::copy_without(arena, self.record.properties, &own);
        let sys_flag = self.record.sys_flag | sysflag::TRANSACTION_PREPARED;
        Some(self.message(topic, queue_id, sys_flag, 0, arena.split().freeze()))
    }

    /// The same half message once more, after so many checks.
    pub fn again(&self, checks: i64, arena: &mut BytesMut) -> Result<Draft, DraftError> {
        self.edit(checks, arena);
        let text = arena.split().freeze();
        Draft::new(&self.message(names::TRANS_HALF_TOPIC, 0, self.record.sys_flag, 0, text), arena)
    }

    /// The message in the topic of those that nobody decided on.
    pub fn discarded(&self, prepared: i64, arena: &mut BytesMut) -> Result<Draft, DraftError> {
        arena.extend_from_slice(self.record.properties);
        let text = arena.split().freeze();
        Draft::new(&self.message(names::TRANS_CHECK_MAX_TIME_TOPIC, 0, self.record.sys_flag, prepared, text), arena)
    }

    /// The question to its producer. Its place is that of the copy that was just written.
    pub fn question(&self, checks: i64, place: &apogee_store::Appended, broker: &str) -> Option<Command> {
        let (topic, queue_id) = self.target()?;
        let mut arena = BytesMut::new();
        self.edit(checks, &mut arena);
        let text = arena.split().freeze();
        let mut draft = Draft::new(&self.message(topic, queue_id, self.record.sys_flag, 0, text), &mut arena).ok()?;
        draft.assign(place.queue_offset, place.physical_offset, place.store_timestamp);
        let id = apogee_message::ids::OffsetId { host: self.record.store_host, offset: place.physical_offset };
        let unique_key = self.record.property(property::UNIQ_KEY);
        let header = CheckTransactionStateRequestHeader {
            topic: Some(topic),
            tran_state_table_offset: place.queue_offset,
            commit_log_offset: place.physical_offset,
            msg_id: unique_key,
            transaction_id: unique_key,
            offset_msg_id: Some(&id.to_string()),
            rpc: RpcFields { broker_name: Some(broker), ..RpcFields::default() },
        };
        let body = Bytes::from(draft.to_vec());
        Some(Command::request(code::CHECK_TRANSACTION_STATE).with_header(&header).with_body(body))
    }

    fn edit(&self, checks: i64, arena: &mut BytesMut) {
        let own = [property::TRANSACTION_CHECK_TIMES, property::TRANSACTION_PREPARED_QUEUE_OFFSET];
        properties::copy_without(arena, self.record.properties, &own);
        properties::push(arena, property::TRANSACTION_CHECK_TIMES, &checks.to_string());
        properties::push(arena, property::TRANSACTION_PREPARED_QUEUE_OFFSET, &self.first().to_string());
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.record.property(name)?.parse().ok()
    }

    fn message(&self, topic: &str, queue_id: i32, sys_flag: i32, prepared: i64, properties: Bytes) -> NewMessage {
        NewMessage {
            topic: topic.into(),
            queue_id,
            flag: self.record.flag,
            sys_flag,
            born_timestamp: self.record.born_timestamp,
            born_host: self.record.born_host,
            store_host: self.record.store_host,
            reconsume_times: self.record.reconsume_times,
            prepared_transaction_offset: prepared,
            body: self.bytes.slice_ref(self.record.body),
            properties,
        }
    }
}

/// A discarded message as a half message that was never checked, as an administrator wants it; `None`
/// where the bytes are no discarded message.
pub(crate) fn resumed(bytes: &Bytes) -> Option<NewMessage> {
    let record = Record::read(bytes).ok().filter(|record| record.topic == names::TRANS_CHECK_MAX_TIME_TOPIC)?;
    let half = HalfRecord { bytes, record };
    half.target()?;
    let mut text = BytesMut::new();
    let own = [property::TRANSACTION_CHECK_TIMES, property::TRANSACTION_PREPARED_QUEUE_OFFSET];
    properties::copy_without(&mut text, half.record.properties, &own);
    Some(half.message(names::TRANS_HALF_TOPIC, 0, half.record.sys_flag, 0, text.freeze()))
}
