//! Sending: `SEND_MESSAGE`, `SEND_MESSAGE_V2`, `SEND_BATCH_MESSAGE` (upstream
//! `SendMessageProcessor`).
//!
//! A message costs no allocation once a connection is warm: its properties are edited straight into
//! the record's tail, cut from the connection's arena; its body stays the slice of the read buffer
//! it came as; what the answer needs waits in a slot of the connection, which the store's answer
//! names by its number. What one read brought goes to the store together.

mod slots;
mod target;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use apogee_message::names::{self, property};
use apogee_message::record::{Draft, NewMessage};
use apogee_message::{batch, properties, sysflag};
use apogee_net::Conn;
use apogee_store::{Append, AppendDone, AppendError, Appended};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{HeaderError, SendMessageRequestHeader};
use bytes::Bytes;

use crate::broker::Broker;
use crate::compaction;
use crate::deduplication::{Claim, Window};
use crate::error::BrokerError;
use crate::required_codecs;
use crate::topics::perm;

use slots::{Answer, State, slot_of};
use target::{Given, Origin, Route, Target};

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

impl Sends {
    /// The sends of a connection.
    pub fn of<'c>(broker: &Broker, conn: &'c Arc<Conn>) -> Option<&'c Arc<Self>> {
        let make = || {
            let (broker, conn) = (broker.weak(), Arc::downgrade(conn));
            Arc::new(Self { broker, conn, state: Mutex::default(), spawned: Arc::default() })
        };
        conn.state(make)
    }

    /// Whether a message for a topic that isn't there may create it: retry topics belong to their groups.
    pub fn creates_topic(request: &Command) -> bool {
        let name = if request.code == request::SEND_MESSAGE { "topic" } else { "b" };
        request.fields.get(name).is_some_and(|topic| !topic.starts_with(names::RETRY_PREFIX))
    }

    /// Takes a place for a request that another thread works on; `None` when all are taken.
    pub fn take_place(&self, most: usize) -> Option<Place> {
        let place = Place(Arc::clone(&self.spawned));
        (self.spawned.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    /// Takes one request.
    pub fn request(self: &Arc<Self>, broker: &Broker, conn: &Conn, request: &Command) -> Result<(), BrokerError> {
        let under_way = broker.life.send().ok_or_else(stops)?;
        let header = header_of(request)?;
        let settings = broker.settings.load();
        let target = Target::find(broker, &settings, &header)?;
        let origin =
            Origin { header: &header, born_host: conn.peer(), store_host: broker.store_host, settings: &settings };
        let mut state = self.lock();
        let slot = state.slot(request, Answer::Sent, Arc::clone(&target.topic.name), under_way);
        let is_batch = request.code == request::SEND_BATCH_MESSAGE || header.batch == Some(true);
        let queued = if is_batch {
            self.push_batch(&mut state, slot, &target, &origin, request.body.clone())
        } else {
            let text = header.properties.unwrap_or_default().as_bytes();
            let given = Given::of(text);
            self.push(&mut state, slot, &target, &origin, header.flag, text, &given, None, request.body.clone())
        };
        let taken_back = queued.is_err().then(|| state.take_back(slot));
        drop(state);
        drop(taken_back);
        queued
    }

    /// Takes a message of the broker's own making; the request is answered with a code alone.
    pub fn message(self: &Arc<Self>, request: &Command, message: &NewMessage) -> Result<(), BrokerError> {
        self.plain(request, message, None)
    }

    /// Takes the message that commits a transaction, named by the first offset of its half message.
    pub fn commit(self: &Arc<Self>, request: &Command, message: &NewMessage, half: i64) -> Result<(), BrokerError> {
        self.plain(request, message, Some(half))
    }

    fn plain(self: &Arc<Self>, request: &Command, message: &NewMessage, half: Option<i64>) -> Result<(), BrokerError> {
        let broker = self.broker.upgrade();
        let under_way = broker.and_then(|broker| broker.life.send()).ok_or_else(stops)?;
        let mut state = self.lock();
        let draft = Draft::new(message, state.arena())?;
        let slot = state.slot(request, Answer::Plain, Arc::clone(&message.topic), under_way);
        if let Some(slot) = state.slots.get_mut(slot as usize) {
            slot.commits = half;
        }
        self.enqueue(&mut state, slot, draft);
        Ok(())
    }

    /// Passes on what was taken since the last call.
    pub fn flush(&self, broker: &Broker) {
        let (mut outbox, repeated) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.outbox), std::mem::take(&mut state.repeated))
        };
        for (token, appended) in repeated {
            self.done(token, &Ok(appended));
        }
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
        target: &Target<'_>,
        origin: &Origin<'_>,
        flag: i32,
        text: &[u8],
        given: &Given<'_>,
        inner: Option<u16>,
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
        if inner.is_none() {
            required_codecs::check(&target.topic, text, origin.header.sys_flag, &body)?;
            compaction::check(&target.topic, text)?;
        }
        let lite = if origin.settings.enable_lmq { target.lite(text)? } else { None };
        let route = target.route(given, lite.is_some(), origin.settings)?;
        let light = if origin.settings.enable_lmq { target.light(text, lite.as_deref(), origin.settings)? } else { 0 };
        let keeps_batches = target.topic.keeps_batches();
        if keeps_batches && route != Route::Now {
            let remark = format!(
                "the topic[{}] keeps batches: a message for it can neither be delayed nor transactional",
                target.topic.name
            );
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        }
        let messages = if keeps_batches { Some(inner.unwrap_or(1)) } else { None };
        let mut edited = std::mem::take(&mut state.properties);
        edited.clear();
        let unique_key = target.edit_properties(&mut edited, text, given, &route, messages, origin);
        if let Some(queue) = &lite {
            // Of two the last counts.
            properties::push(&mut edited, property::INNER_MULTI_DISPATCH, queue);
        }
        state.arena().extend_from_slice(&edited);
        state.properties = edited;
        let properties = state.arena.split().freeze();
        let limit = properties::MAX_LENGTH.saturating_sub(route.spare() + light);
        if properties.len() > limit {
            let remark = format!(
                "the message's properties are {} bytes long with those that the broker adds, over the limit of {limit}",
                properties.len(),
            );
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        }
        let (topic, queue_id) = target.queue(&route, given);
        // Whether it is a batch that is kept as one, the broker decides.
        let sys_flag = origin.header.sys_flag & !(sysflag::NEED_UNWRAP | sysflag::INNER_BATCH);
        let message = NewMessage {
            topic,
            queue_id,
            flag,
            sys_flag: match route {
                Route::Half => sys_flag & !sysflag::TRANSACTION,
                _ if inner.is_some() => sys_flag | sysflag::NEED_UNWRAP | sysflag::INNER_BATCH,
                _ => sys_flag,
            },
            born_timestamp: origin.header.born_timestamp,
            born_host: origin.born_host,
            store_host: origin.store_host,
            reconsume_times: origin.header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body,
            properties,
        };
        let draft = if keeps_batches { Draft::in_batch_queue } else { Draft::new };
        let draft = draft(&message, state.arena())?;
        if let Some(slot) = state.slots.get_mut(slot as usize) {
            slot.inner = inner;
            slot.unique_key.clear();
            slot.unique_key.push_str(&unique_key);
            slot.queue_id = Some(target.queue_of(given));
            // It counts for the topic that it is stored in.
            slot.waits_in = (route != Route::Now).then(|| Arc::clone(&message.topic));
            slot.message_type = given.message_type();
            slot.due = if let Route::At(time) = route { Some(time) } else { None };
        }
        // Keys that the broker makes up are new every time.
        let (Some(window), Some(key)) = (&target.topic.window, given.unique_key) else {
            self.enqueue(state, slot, draft);
            return Ok(());
        };
        self.enqueue_once(state, slot, draft, window, key, (target.now_ms, target.queue_of(given)))
    }

    /// Takes a message unless its unique key is that of one sent before.
    fn enqueue_once(
        self: &Arc<Self>,
        state: &mut State,
        slot: u32,
        draft: Draft,
        window: &Arc<Window>,
        key: &str,
        (now_ms, queue_id): (i64, i32),
    ) -> Result<(), BrokerError> {
        let token = state.token(slot);
        let sends: Arc<dyn AppendDone> = Arc::clone(self) as _;
        match window.claim(now_ms, key.as_bytes(), queue_id, &sends, token) {
            Claim::First(done) => {
                state.count(slot, &draft);
                state.outbox.push(Append { draft, done, token });
            }
            Claim::Unknown => self.enqueue(state, slot, draft),
            Claim::Pending => {
                state.count(slot, &draft);
                state.repeats(slot);
            }
            Claim::Stored(appended) => {
                state.count(slot, &draft);
                state.repeats(slot);
                state.repeated.push((token, appended));
            }
            Claim::TooMany => {
                let remark = "the message was sent many times already and is not stored yet: wait for answers";
                return Err(BrokerError::new(response::SYSTEM_BUSY, remark));
            }
        }
        Ok(())
    }

    fn push_batch(
        self: &Arc<Self>,
        state: &mut State,
        slot: u32,
        target: &Target<'_>,
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
        let messages =
            batch::split(body.clone()).collect::<Result<Vec<_>, _>>().map_err(|error| illegal(error.to_string()))?;
        if messages.is_empty() {
            return Err(illegal("the batch holds no message".to_owned()));
        }
        let is_lite = target.topic.is_parent();
        for message in &messages {
            if target.route(&Given::of(&message.properties), is_lite, origin.settings)? != Route::Now {
                return Err(illegal("a message of a batch cannot be delayed, nor transactional".to_owned()));
            }
        }
        let text = origin.header.properties.unwrap_or_default().as_bytes();
        let given = Given::of(text);
        // Without an id of its own, older clients take a batch for its messages.
        if target.topic.keeps_batches() && given.unique_key.is_some() {
            for message in &messages {
                required_codecs::check(&target.topic, &message.properties, 0, &message.body)?;
            }
            let most = i16::MAX as usize;
            if messages.len() > most {
                return Err(illegal(format!("the batch holds {} messages, over the limit of {most}", messages.len())));
            }
            let inner = Some(messages.len() as u16);
            return self.push(state, slot, target, origin, origin.header.flag, text, &given, inner, body);
        }
        for message in messages {
            let given = Given::of(&message.properties);
            self.push(state, slot, target, origin, message.flag, &message.properties, &given, None, message.body)?;
        }
        Ok(())
    }

    fn enqueue(self: &Arc<Self>, state: &mut State, slot: u32, draft: Draft) {
        state.count(slot, &draft);
        let token = state.token(slot);
        state.outbox.push(Append { draft, done: Arc::clone(self) as _, token });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No message is taken any more.
fn stops() -> BrokerError {
    BrokerError::new(response::SERVICE_NOT_AVAILABLE, "the broker stops: send to another one")
}

pub(super) fn header_of(request: &Command) -> Result<SendMessageRequestHeader<'_>, HeaderError> {
    match request.code {
        request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE => request.header(),
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
        let Some(broker) = self.broker.upgrade() else { return };
        let mut state = self.lock();
        let state = &mut *state;
        let Some((number, slot)) = slot_of(&mut state.slots, token) else { return };
        match result {
            Ok(appended) => slot.add(appended),
            Err(error) => slot.error = Some(BrokerError::from(error)),
        }
        slot.left -= 1;
        if slot.left > 0 {
            return;
        }
        slot.count(&broker);
        if let Some(half) = slot.commits {
            broker.end_transaction(half, slot.error.is_none());
        }
        if let Some(conn) = self.conn.upgrade().filter(|_| slot.answered) {
            slot.answer(&broker, &conn, &mut state.ids);
        }
        slot.clear();
        state.free.push(number);
    }
}
