//! Sending: `SEND_MESSAGE`, `SEND_MESSAGE_V2`, `SEND_BATCH_MESSAGE` (upstream
//! `SendMessageProcessor`).
//!
//! A message costs no allocation once a connection is warm: its properties are edited straight into
//! the record's tail, cut from the connection's arena; its body stays the slice of the read buffer
//! it came as; what the answer needs waits in a slot of the connection, which the store's answer
//! names by its number. What one read brought goes to the store together.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use apogee_message::names::{self, property};
use apogee_message::record::{Draft, NewMessage};
use apogee_message::{batch, properties};
use apogee_net::Conn;
use apogee_store::{Append, AppendDone, AppendError, Appended};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{HeaderError, SendMessageRequestHeader};
use apogee_wire::{Command, Encoding};
use bytes::{Bytes, BytesMut};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::settings::BrokerSettings;
use crate::stats::Kind;
use crate::topics::{Topic, perm};

/// Bytes that the arena of a connection grows by.
const ARENA: usize = 32 << 10;

/// What a connection has on its way into the store.
pub(crate) struct Sends {
    broker: Weak<Broker>,
    conn: Weak<Conn>,
    state: Mutex<State>,
    /// Requests of the connection that other threads work on.
    spawned: Arc<AtomicUsize>,
}

/// One of the places for requests that other threads work on; free again when dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    /// Edited properties, heads and tails of records.
    arena: BytesMut,
    /// Drafts of the requests of one read.
    outbox: Vec<Append>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The answer being made.
    answer: Command,
}

/// What the answer to one request needs.
#[derive(Default)]
struct Slot {
    opaque: i32,
    encoding: Encoding,
    /// False: nobody wants an answer.
    answered: bool,
    kind: Answer,
    topic: Option<Arc<str>>,
    /// Messages of the request that are not decided yet.
    left: u32,
    first: Option<Appended>,
    /// Ids of a batch's messages; of a single one it is made from `first`.
    ids: String,
    bytes: u64,
    unique_key: Bytes,
    error: Option<BrokerError>,
}

/// What kind of answer a request gets.
#[derive(Default, Clone, Copy, PartialEq)]
enum Answer {
    /// Where the message is.
    #[default]
    Sent,
    /// A code alone.
    Plain,
}

impl Sends {
    /// The sends of a connection.
    pub fn of<'c>(broker: &Broker, conn: &'c Arc<Conn>) -> Option<&'c Arc<Self>> {
        let make = || {
            let (broker, conn) = (broker.weak(), Arc::downgrade(conn));
            Arc::new(Self { broker, conn, state: Mutex::default(), spawned: Arc::default() })
        };
        conn.state(make)
    }

    /// Whether a message is for a topic that isn't there yet.
    pub fn creates_topic(broker: &Broker, request: &Command) -> bool {
        let name = if request.code == request::SEND_MESSAGE { "topic" } else { "b" };
        request
            .fields
            .get(name)
            .is_some_and(|topic| !topic.starts_with(names::RETRY_PREFIX) && broker.topics.get(topic).is_none())
    }

    /// Takes a place for a request that another thread works on; `None` when all are taken.
    pub fn take_place(&self, most: usize) -> Option<Place> {
        let place = Place(Arc::clone(&self.spawned));
        (self.spawned.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    /// Takes one request.
    pub fn request(self: &Arc<Self>, broker: &Broker, conn: &Conn, request: &Command) -> Result<(), BrokerError> {
        let header = header_of(request)?;
        let settings = broker.settings.load();
        let target = Target::find(broker, &settings, &header)?;
        let origin =
            Origin { header: &header, born_host: conn.peer(), store_host: broker.store_host, settings: &settings };
        let mut state = self.lock();
        let slot = state.slot(request, Answer::Sent, Arc::clone(&target.topic.name));
        let is_batch = request.code == request::SEND_BATCH_MESSAGE || header.batch == Some(true);
        let queued = if is_batch {
            self.push_batch(&mut state, slot, &target, &origin, request.body.clone())
        } else {
            let text = header.properties.unwrap_or_default().as_bytes();
            self.push(&mut state, slot, &target, &origin, header.flag, text, request.body.clone())
        };
        if queued.is_err() {
            state.take_back(slot);
        }
        queued
    }

    /// Takes a message of the broker's own making; the request is answered with a code alone.
    pub fn message(self: &Arc<Self>, request: &Command, message: &NewMessage) -> Result<(), BrokerError> {
        let mut state = self.lock();
        let draft = Draft::new(message, state.arena())?;
        let slot = state.slot(request, Answer::Plain, Arc::clone(&message.topic));
        self.enqueue(&mut state, slot, draft);
        Ok(())
    }

    /// Passes on what was taken since the last call.
    pub fn flush(&self, broker: &Broker) {
        let mut outbox = std::mem::take(&mut self.lock().outbox);
        if outbox.is_empty() {
            return;
        }
        // Without the lock: with asynchronous flush the answers are made within this call.
        broker.store.append(outbox.drain(..));
        // The memory serves the next read, unless another thread has brought something meanwhile.
        let mut state = self.lock();
        if state.outbox.is_empty() {
            state.outbox = outbox;
        }
    }

    #[allow(clippy::too_many_arguments)] // The parts of one message.
    fn push(
        self: &Arc<Self>,
        state: &mut State,
        slot: u32,
        target: &Target,
        origin: &Origin<'_>,
        flag: i32,
        text: &[u8],
        body: Bytes,
    ) -> Result<(), BrokerError> {
        if body.len() > origin.settings.max_message_size {
            let remark = format!(
                "the message's body of {} bytes is over the limit of {} (maxMessageSize)",
                body.len(),
                origin.settings.max_message_size
            );
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        }
        let delay = target.delay(text)?;
        let arena = state.arena();
        let unique_key = edit_properties(arena, text, target, delay, origin);
        let properties = arena.split().freeze();
        if properties.len() > properties::MAX_LENGTH {
            let remark = format!(
                "the message's properties are {} bytes long with those that the broker adds, over the limit of {}",
                properties.len(),
                properties::MAX_LENGTH
            );
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        }
        let unique_key = properties.slice(unique_key);
        let (topic, queue_id) = match delay {
            Some(level) => (Arc::clone(&target.schedule_topic), level as i32 - 1),
            None => (Arc::clone(&target.topic.name), target.queue_id),
        };
        let message = NewMessage {
            topic,
            queue_id,
            flag,
            sys_flag: origin.header.sys_flag,
            born_timestamp: origin.header.born_timestamp,
            born_host: origin.born_host,
            store_host: origin.store_host,
            reconsume_times: origin.header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body,
            properties,
        };
        let draft = Draft::new(&message, state.arena())?;
        if let Some(slot) = state.slots.get_mut(slot as usize) {
            slot.unique_key = unique_key;
        }
        self.enqueue(state, slot, draft);
        Ok(())
    }

    fn push_batch(
        self: &Arc<Self>,
        state: &mut State,
        slot: u32,
        target: &Target,
        origin: &Origin<'_>,
        body: Bytes,
    ) -> Result<(), BrokerError> {
        if body.len() > origin.settings.max_message_size {
            let remark = format!(
                "the batch of {} bytes is over the limit of {} (maxMessageSize)",
                body.len(),
                origin.settings.max_message_size
            );
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        }
        let illegal = |remark: String| BrokerError::new(response::MESSAGE_ILLEGAL, remark);
        if target.topic.name.starts_with(names::RETRY_PREFIX) {
            return Err(illegal(format!("batches cannot be sent to the retry topic {}", target.topic.name)));
        }
        let messages = batch::split(body).collect::<Result<Vec<_>, _>>().map_err(|error| illegal(error.to_string()))?;
        if messages.is_empty() {
            return Err(illegal("the batch holds no message".to_owned()));
        }
        for message in messages {
            if target.delay(&message.properties)?.is_some() {
                return Err(illegal("a message of a batch cannot be delayed".to_owned()));
            }
            self.push(state, slot, target, origin, message.flag, &message.properties, message.body)?;
        }
        Ok(())
    }

    fn enqueue(self: &Arc<Self>, state: &mut State, slot: u32, draft: Draft) {
        let sends = Arc::clone(self);
        if let Some(slot) = state.slots.get_mut(slot as usize) {
            slot.left += 1;
            slot.bytes += draft.size() as u64;
        }
        state.outbox.push(Append { draft, done: sends, token: u64::from(slot) });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header_of(request: &Command) -> Result<SendMessageRequestHeader<'_>, HeaderError> {
    match request.code {
        request::SEND_MESSAGE => request.header(),
        _ => SendMessageRequestHeader::decode_v2(&request.fields),
    }
}

impl Broker {
    /// Creates the topic that a message is for, where that is allowed, and waits until a name server
    /// knows it. On threads that may wait.
    pub(crate) fn create_for(&self, request: &Command) -> Result<(), BrokerError> {
        let header = header_of(request)?;
        let settings = self.settings.load();
        // What else is wrong with the message must not leave a topic behind.
        names::check_topic(header.topic)?;
        if settings.broker_permission & perm::WRITE == 0 || names::is_closed_to_senders(header.topic) {
            return Ok(());
        }
        self.topics.get_or_create(
            header.topic,
            header.default_topic,
            header.default_topic_queue_nums,
            &settings,
            self.now(),
        )?;
        self.register_topics();
        Ok(())
    }
}

impl AppendDone for Sends {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        let (Some(broker), Some(conn)) = (self.broker.upgrade(), self.conn.upgrade()) else { return };
        let mut state = self.lock();
        let state = &mut *state;
        let Some(slot) = state.slots.get_mut(token as usize) else { return };
        match result {
            Ok(appended) => slot.add(appended, broker.store_host),
            Err(error) => slot.error = Some(BrokerError::from(error)),
        }
        slot.left -= 1;
        if slot.left > 0 {
            return;
        }
        slot.count(&broker);
        if slot.answered {
            slot.answer(&broker, &mut state.answer);
            conn.reply(&state.answer);
        }
        slot.clear();
        state.free.push(token as u32);
    }
}

impl State {
    fn arena(&mut self) -> &mut BytesMut {
        if self.arena.capacity() < ARENA / 4 {
            self.arena.reserve(ARENA);
        }
        &mut self.arena
    }

    fn slot(&mut self, request: &Command, kind: Answer, topic: Arc<str>) -> u32 {
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
    fn take_back(&mut self, number: u32) {
        self.outbox.retain(|entry| entry.token != u64::from(number));
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.clear();
        }
        self.free.push(number);
    }
}

impl Slot {
    fn add(&mut self, appended: &Appended, host: SocketAddr) {
        use std::fmt::Write;
        if self.left > 1 || self.first.is_some() {
            let separator = if self.ids.is_empty() { "" } else { "," };
            let id = apogee_message::ids::OffsetId { host, offset: appended.physical_offset };
            // A String grows: writing to it cannot fail.
            let _ = write!(self.ids, "{separator}{id}");
        }
        self.first.get_or_insert(*appended);
    }

    fn count(&self, broker: &Broker) {
        if let (None, Some(topic)) = (&self.error, &self.topic) {
            let messages = self.ids.split(',').count() as u64;
            broker.stats.add(Kind::TopicPutNums, topic, messages);
            broker.stats.add(Kind::TopicPutSize, topic, self.bytes);
            broker.stats.add(Kind::BrokerPutNums, &broker.cluster, messages);
        }
    }

    fn answer(&self, broker: &Broker, answer: &mut Command) {
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
        fields.set("queueId", first.queue_id);
        fields.set("queueOffset", first.queue_offset);
        if let Some(key) = std::str::from_utf8(&self.unique_key).ok().filter(|key| !key.is_empty()) {
            fields.set_str("transactionId", key);
        }
        fields.set_str("MSG_REGION", &broker.region);
        fields.set("TRACE_ON", broker.trace_on());
    }

    fn clear(&mut self) {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        *self = Self { ids, ..Self::default() };
    }
}

/// Where messages of one request go.
struct Target {
    topic: Arc<Topic>,
    queue_id: i32,
    schedule_topic: Arc<str>,
    /// Delay levels there are.
    levels: usize,
}

/// Where messages of one request come from.
struct Origin<'r> {
    header: &'r SendMessageRequestHeader<'r>,
    born_host: SocketAddr,
    store_host: SocketAddr,
    settings: &'r BrokerSettings,
}

impl Target {
    fn find(
        broker: &Broker,
        settings: &BrokerSettings,
        header: &SendMessageRequestHeader<'_>,
    ) -> Result<Self, BrokerError> {
        let name = header.topic;
        if settings.broker_permission & perm::WRITE == 0 {
            let remark =
                format!("the broker[{}] sending message is forbidden (brokerPermission)", settings.broker_name);
            return Err(BrokerError::new(response::NO_PERMISSION, remark));
        }
        names::check_topic(name)?;
        if names::is_closed_to_senders(name) {
            let remark = format!("Sending message to topic[{name}] is forbidden.");
            return Err(BrokerError::new(response::NO_PERMISSION, remark));
        }
        let topic = match name.strip_prefix(names::RETRY_PREFIX) {
            Some(group) => broker.retry_or_dead(group, header)?,
            None => broker.topics.get(name).ok_or_else(|| BrokerError::no_topic(name))?,
        };
        if !topic.allows(perm::WRITE) {
            let remark = format!("the topic[{}] sending message is forbidden", topic.name);
            return Err(BrokerError::new(response::NO_PERMISSION, remark));
        }
        let most = topic.config.write_queue_nums.max(topic.config.read_queue_nums);
        if header.queue_id >= most {
            let remark = format!("request queueId[{}] is illegal, topic [{name}] has {most} queues", header.queue_id);
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        let dead = !name.starts_with(names::DLQ_PREFIX) && topic.name.starts_with(names::DLQ_PREFIX);
        let queue_id = match header.queue_id {
            _ if dead => 0,
            given if given >= 0 => given,
            _ => broker.next_queue(topic.config.write_queue_nums),
        };
        Ok(Self { topic, queue_id, schedule_topic: Arc::clone(&broker.schedule_topic), levels: broker.delays.len() })
    }

    /// The delay level that the properties ask for; refuses what this broker doesn't have.
    fn delay(&self, text: &[u8]) -> Result<Option<usize>, BrokerError> {
        let mut level = None;
        for (name, value) in properties::iter(text) {
            let value = std::str::from_utf8(value).unwrap_or_default();
            match std::str::from_utf8(name).unwrap_or_default() {
                property::DELAY => level = value.parse::<usize>().ok().filter(|level| *level > 0),
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                    let remark = "this version delivers after the delay levels only, not at arbitrary times: use setDelayTimeLevel";
                    return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
                }
                property::TRANSACTION_PREPARED if value.eq_ignore_ascii_case("true") => {
                    let remark = "this version takes no transactional messages";
                    return Err(BrokerError::new(response::NO_PERMISSION, remark));
                }
                _ => {}
            }
        }
        Ok(level.map(|level| level.min(self.levels)).filter(|level| *level > 0))
    }
}

/// Writes the properties that are stored: those given, those that the broker adds. Returns where
/// the unique key stands in them.
fn edit_properties(
    arena: &mut BytesMut,
    text: &[u8],
    target: &Target,
    delay: Option<usize>,
    origin: &Origin<'_>,
) -> std::ops::Range<usize> {
    let replaced = [
        property::POP_CK,
        property::MSG_REGION,
        property::TRACE_ON,
        property::CLUSTER,
        property::REAL_TOPIC,
        property::REAL_QUEUE_ID,
    ];
    properties::copy_without(arena, text, &replaced);
    if properties::get(text, property::UNIQ_KEY).is_none() {
        properties::push(arena, property::UNIQ_KEY, &crate::unique_id::next(origin.store_host));
    }
    properties::push(arena, property::MSG_REGION, &origin.settings.region_id);
    properties::push(arena, property::TRACE_ON, if origin.settings.trace_on { "true" } else { "false" });
    properties::push(arena, property::CLUSTER, &origin.settings.broker_cluster_name);
    if delay.is_some() {
        properties::push(arena, property::REAL_TOPIC, &target.topic.name);
        properties::push(arena, property::REAL_QUEUE_ID, &target.queue_id.to_string());
    }
    let key = properties::get(arena, property::UNIQ_KEY).unwrap_or_default();
    let start = key.as_ptr() as usize - arena.as_ptr() as usize;
    if key.is_empty() { 0..0 } else { start..start + key.len() }
}
