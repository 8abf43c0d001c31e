//! Sending.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::batch::{self, BatchMessage};
use apogee_message::compression::Compression;
use apogee_message::names::{self, AUTO_CREATE_TOPIC, property};
use apogee_message::tag::java_hash;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader, SendMessageResponseHeader};
use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

pub(crate) mod transaction;

use transaction::Check;
pub use transaction::{Decision, Transaction};

use crate::peers::refused;
use crate::route::Route;
use crate::shared::{DEFAULT_QUEUES, Shared};
use crate::{Error, Message, Queue};

/// Sends messages of a group; cheap to clone, and used from as many tasks as there are.
#[derive(Clone)]
pub struct Producer {
    sending: Arc<Sending>,
}

/// How a producer is to be.
#[derive(Clone)]
pub struct ProducerBuilder {
    shared: Arc<Shared>,
    group: String,
    settings: Settings,
    check: Option<Check>,
}

#[derive(Clone)]
struct Settings {
    timeout: Duration,
    retries: u32,
    max_size: usize,
    compress_from: usize,
    compression: Compression,
    max_pending_bytes: u32,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The id that the producer gave it.
    pub message_id: String,
    /// The id that names the broker and the place in its log; of a batch, those of all, separated by commas.
    pub offset_id: String,
    /// The queue.
    pub queue: Queue,
    /// Its offset in the queue; of a batch, that of the first.
    pub offset: i64,
    /// How safe it is.
    pub status: SendStatus,
    /// By which a message with a time of its own can be recalled.
    pub recall_handle: Option<String>,
}

/// How safe a message is that the broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As safe as the broker was told to make it.
    Ok,
    /// Stored, but its flush to the disk took too long (`SYNC_FLUSH`).
    FlushTimeout,
    /// Stored, but its replica took too long (`SYNC_MASTER`).
    ReplicaTimeout,
    /// Stored, but there is no replica (`SYNC_MASTER`).
    NoReplica,
}

pub(crate) struct Sending {
    shared: Arc<Shared>,
    group: String,
    settings: Settings,
    /// Decides on transactions that nobody ended.
    check: Option<Check>,
    /// Where the next message goes, among the queues of its topic.
    next: AtomicUsize,
    /// Brokers that failed, and until when they are avoided.
    avoided: Mutex<HashMap<Arc<str>, Instant>>,
    /// Bytes that may be under way.
    room: Semaphore,
    /// The brokers were told of it: they ask about its transactions.
    is_introduced: AtomicBool,
}

/// How long a broker that failed is avoided, where there are others.
const AVOIDED: Duration = Duration::from_secs(30);

impl ProducerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let settings = Settings {
            timeout: Duration::from_secs(3),
            retries: 2,
            max_size: 4 << 20,
            compress_from: 4 << 10,
            compression: Compression::Zlib,
            max_pending_bytes: 64 << 20,
        };
        Self { shared, group, settings, check: None }
    }

    /// How long a send may take, all attempts together (3 s).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How often a send is tried again, on another broker where there is one (2). Each attempt may store the
    /// message, although its answer is lost.
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.retries = retries;
        self
    }

    /// Longest body of a message, in bytes (4 MiB, what brokers take by default).
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.max_size = bytes;
        self
    }

    /// Bodies from so many bytes on are compressed (4 KiB); batches are not.
    pub fn compress_from(mut self, bytes: usize) -> Self {
        self.settings.compress_from = bytes;
        self
    }

    /// How bodies are compressed (zlib, which clients of all ages read).
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = compression;
        self
    }

    /// Bytes of bodies that may be under way (64 MiB); who sends more waits.
    pub fn max_pending_bytes(mut self, bytes: u32) -> Self {
        self.settings.max_pending_bytes = bytes.max(1);
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// When the group's name is none.
    pub fn build(self) -> Result<Producer, Error> {
        names::check_group(&self.group)?;
        let room = Semaphore::new(self.settings.max_pending_bytes as usize);
        let sending = Sending {
            shared: self.shared,
            group: self.group,
            settings: self.settings,
            check: self.check,
            next: AtomicUsize::default(),
            avoided: Mutex::default(),
            room,
            is_introduced: AtomicBool::default(),
        };
        let sending = Arc::new(sending);
        sending.shared.add_producer(&sending.group, &sending);
        Ok(Producer { sending })
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.shared.forget_producers(&self.group);
    }
}

impl Producer {
    /// Sends a message and waits until a broker has it. It goes to the queue of its sharding key, or to one
    /// after the other.
    ///
    /// # Errors
    /// The last attempt's, when none succeeded in time. The message may be stored all the same when an
    /// answer was lost.
    pub async fn send(&self, message: Message) -> Result<Sent, Error> {
        let outgoing = self.sending.outgoing(message)?;
        self.sending.send(&outgoing, None).await
    }

    /// Sends a message that nobody sees until the transaction is committed.
    ///
    /// # Errors
    /// See [`Producer::send`]; also when the message is delayed. It is not delivered then, unless a check commits it.
    pub async fn begin(&self, message: Message) -> Result<Transaction, Error> {
        transaction::begin(&self.sending, message).await
    }

    /// The same to a queue of the caller's choice; nothing else is tried.
    ///
    /// # Errors
    /// See [`Producer::send`].
    pub async fn send_to(&self, queue: &Queue, message: Message) -> Result<Sent, Error> {
        let outgoing = self.sending.outgoing(message)?;
        self.sending.send(&outgoing, Some(queue)).await
    }

    /// Sends messages of one topic together; they get offsets in a row in one queue.
    ///
    /// # Errors
    /// See [`Producer::send`]; also when they are for several topics, together too long, or delayed.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<Sent, Error> {
        let outgoing = self.sending.batch(messages)?;
        self.sending.send(&outgoing, None).await
    }

    /// Sends a message that no answer is wanted for: it may be lost. Waits for a connection and for room.
    ///
    /// # Errors
    /// When there is no way to a broker.
    pub async fn send_one_way(&self, message: Message) -> Result<(), Error> {
        let outgoing = self.sending.outgoing(message)?;
        self.sending.send_one_way(&outgoing).await
    }

    /// Queues of a topic that can be sent to.
    ///
    /// # Errors
    /// When no name server answers, or there is no such topic.
    pub async fn queues(&self, topic: &str) -> Result<Vec<Queue>, Error> {
        names::check_topic(topic)?;
        Ok(self.sending.shared.route_to_send(topic).await?.writable.clone())
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.sending.group
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("group", &self.sending.group).finish_non_exhaustive()
    }
}

/// What travels, whichever broker it goes to.
struct Outgoing {
    topic: String,
    body: Bytes,
    properties: String,
    flag: i32,
    sys_flag: i32,
    born_timestamp: i64,
    is_batch: bool,
    message_id: String,
    sharding_key: Option<String>,
}

impl Sending {
    /// A message as it travels.
    fn outgoing(&self, message: Message) -> Result<Outgoing, Error> {
        let topic = message.topic();
        names::check_topic(topic)?;
        self.check_size(topic, message.body().len())?;
        let born_timestamp = self.shared.now_ms();
        let message_id = self.shared.message_ids.next(born_timestamp);
        let own = [(property::UNIQ_KEY, &*message_id), (property::WAIT, "true")];
        let properties = text(topic, message.properties_text(&own)?)?;
        let (mut body, mut sys_flag) = (message.body().clone(), 0);
        if body.len() >= self.settings.compress_from {
            let compression = self.settings.compression;
            let shorter = compression.compress(&body).map_err(|error| Error::message(topic, error.to_string()))?;
            if shorter.len() < body.len() {
                (body, sys_flag) = (shorter.into(), compression.flag());
            }
        }
        Ok(Outgoing {
            topic: topic.to_owned(),
            body,
            properties,
            flag: message.user_flag(),
            sys_flag,
            born_timestamp,
            is_batch: false,
            message_id: message.get(property::UNIQ_KEY).map_or(message_id, str::to_owned),
            sharding_key: message.get(property::SHARDING_KEY).map(str::to_owned),
        })
    }

    /// Messages of one topic as they travel together.
    fn batch(&self, messages: Vec<Message>) -> Result<Outgoing, Error> {
        let Some(topic) = messages.first().map(|message| message.topic().to_owned()) else {
            return Err(Error::message("", "a batch without messages"));
        };
        names::check_topic(&topic)?;
        let born_timestamp = self.shared.now_ms();
        let (mut body, mut ids) = (Vec::new(), Vec::new());
        for message in &messages {
            if message.topic() != topic {
                let reason = format!("the batch has a message for topic {}, too", message.topic());
                return Err(Error::message(&topic, reason));
            }
            if message.is_delayed() {
                return Err(Error::message(&topic, "messages of a batch cannot be delayed"));
            }
            let id = self.shared.message_ids.next(born_timestamp);
            let properties = message.properties_text(&[(property::UNIQ_KEY, &id), (property::WAIT, "true")])?;
            let (flag, own_body) = (message.user_flag(), message.body().clone());
            batch::push(&mut body, &BatchMessage { flag, body: own_body, properties: properties.into() });
            ids.push(message.get(property::UNIQ_KEY).map_or(id, str::to_owned));
        }
        self.check_size(&topic, body.len())?;
        Ok(Outgoing {
            topic,
            body: body.into(),
            properties: String::new(),
            flag: 0,
            sys_flag: 0,
            born_timestamp,
            is_batch: true,
            message_id: ids.join(","),
            sharding_key: None,
        })
    }

    fn check_size(&self, topic: &str, length: usize) -> Result<(), Error> {
        let limit = self.settings.max_size;
        if length <= limit {
            return Ok(());
        }
        Err(Error::message(topic, format!("it is {length} bytes long, over the limit of {limit} (max_message_size)")))
    }

    /// Sends to one broker after the other until one has it.
    async fn send(&self, message: &Outgoing, queue: Option<&Queue>) -> Result<Sent, Error> {
        let (deadline, mut last) = (Instant::now() + self.settings.timeout, None);
        let _room = self.room_for(message, deadline).await?;
        let mut failed: Option<(Arc<Route>, Arc<str>)> = None;
        for _ in 0..=self.settings.retries {
            let attempt = async {
                // It may have moved.
                if let Some((route, _)) = &failed {
                    self.shared.refresh(&message.topic, route).await;
                }
                let route = self.shared.route_to_send(&message.topic).await?;
                let queue = match queue {
                    Some(queue) => queue.clone(),
                    None => self.choose(&route, message, failed.as_ref().map(|(_, broker)| &**broker))?,
                };
                failed = Some((Arc::clone(&route), Arc::clone(&queue.broker)));
                self.attempt(&route, queue, message, deadline).await
            };
            let error = match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Ok(sent)) => return Ok(sent),
                Ok(Err(error)) => error,
                Err(_) => {
                    let last = last.map_or_else(|| "it gave no answer".to_owned(), |last: Error| last.to_string());
                    return Err(Error::Timeout(self.settings.timeout, last));
                }
            };
            if !error.is_of_one_broker() || self.shared.is_closed() {
                return Err(error);
            }
            tracing::debug!(topic = message.topic, %error, "a send failed");
            if let Some((_, broker)) = &failed {
                self.avoid(broker);
            }
            last = Some(error);
        }
        Err(last.unwrap_or(Error::Closed))
    }

    async fn attempt(&self, route: &Route, queue: Queue, message: &Outgoing, deadline: Instant) -> Result<Sent, Error> {
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self.shared.peers.ask(address, self.request(message, &queue), left).await?;
        let status = match answer.code {
            response::SUCCESS => SendStatus::Ok,
            response::FLUSH_DISK_TIMEOUT => SendStatus::FlushTimeout,
            response::FLUSH_SLAVE_TIMEOUT => SendStatus::ReplicaTimeout,
            response::SLAVE_NOT_AVAILABLE => SendStatus::NoReplica,
            code => return Err(refused(address, code, answer)),
        };
        let header: SendMessageResponseHeader<'_> = answer.header().map_err(|error| Error::header(address, &error))?;
        Ok(Sent {
            message_id: message.message_id.clone(),
            offset_id: header.msg_id.to_owned(),
            queue: Queue { id: header.queue_id, ..queue },
            offset: header.queue_offset,
            status,
            recall_handle: header.recall_handle.map(str::to_owned),
        })
    }

    async fn send_one_way(&self, message: &Outgoing) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.timeout;
        let _room = self.room_for(message, deadline).await?;
        let route = self.shared.route_to_send(&message.topic).await?;
        let queue = self.choose(&route, message, None)?;
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        self.shared.peers.conn(address).await?.send_oneway(self.request(message, &queue));
        Ok(())
    }

    /// Waits until as many bytes may be under way.
    async fn room_for(&self, message: &Outgoing, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        self.shared.check_open()?;
        // One that is longer than all room there is goes alone.
        let bytes = (message.body.len() as u32).clamp(1, self.settings.max_pending_bytes);
        match tokio::time::timeout_at(deadline, self.room.acquire_many(bytes)).await {
            Ok(room) => room.map_err(|_| Error::Closed),
            Err(_) => {
                let reason = format!("{} bytes are under way already", self.settings.max_pending_bytes);
                Err(Error::Timeout(self.settings.timeout, reason))
            }
        }
    }

    /// The queue of the message's sharding key, or the next one, of a broker that did not fail lately.
    fn choose(&self, route: &Route, message: &Outgoing, failed: Option<&str>) -> Result<Queue, Error> {
        let queues = &route.writable;
        let none = || Error::NoQueue { topic: message.topic.clone(), action: "write to" };
        if let Some(key) = &message.sharding_key {
            // As the Java client's choice by hash: the key of an order means the same queue to both.
            let number = java_hash(key).unsigned_abs() as usize % queues.len().max(1);
            return queues.get(number).cloned().ok_or_else(none);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = || (0..queues.len()).map(|nth| &queues[(first.wrapping_add(nth)) % queues.len()]);
        let avoided = self.avoided_now();
        let good = in_turn().find(|queue| failed != Some(&*queue.broker) && !avoided.contains(&queue.broker));
        let other = || in_turn().find(|queue| failed != Some(&*queue.broker));
        good.or_else(other).or_else(|| in_turn().next()).cloned().ok_or_else(none)
    }

    fn avoid(&self, broker: &Arc<str>) {
        self.lock_avoided().insert(Arc::clone(broker), Instant::now() + AVOIDED);
    }

    fn avoided_now(&self) -> Vec<Arc<str>> {
        let mut avoided = self.lock_avoided();
        if avoided.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        avoided.retain(|_, until| *until > now);
        avoided.keys().cloned().collect()
    }

    fn lock_avoided(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, message: &Outgoing, queue: &Queue) -> Command {
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
            batch: Some(message.is_batch),
            max_reconsume_times: None,
            broker_name: Some(&queue.broker),
            rpc: RpcFields::default(),
        };
        let code = if message.is_batch { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
        let mut command = Command::request(code).with_body(message.body.clone());
        header.encode_v2(&mut command.fields);
        self.shared.own(command)
    }
}

fn text(topic: &str, properties: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(properties).map_err(|error| Error::message(topic, error.to_string()))
}
