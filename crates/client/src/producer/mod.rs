//! Sending.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apogee_message::compression::Compression;
use apogee_message::names;
use apogee_wire::codes::response;
use apogee_wire::headers::SendMessageResponseHeader;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

mod choice;
mod outgoing;
pub(crate) mod transaction;

use outgoing::Outgoing;
use transaction::Check;
pub use transaction::{Decision, Transaction};

use crate::interceptor::{Hooks, Interceptor, Interceptors, SendKind, SendOutcome, Sends};
use crate::peers::refused;
use crate::route::Route;
use crate::shared::Shared;
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
    interceptors: Interceptors,
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
    hooks: Arc<Hooks>,
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
        let interceptors = shared.settings.interceptors.clone();
        Self { shared, group, settings, interceptors, check: None }
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

    /// Calls an interceptor before and after each send, after those of the client.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// When the group's name is none.
    pub fn build(self) -> Result<Producer, Error> {
        names::check_group(&self.group)?;
        let room = Semaphore::new(self.settings.max_pending_bytes as usize);
        let hooks = Hooks::new(&self.shared.id, &self.group, self.interceptors);
        let sending = Sending {
            hooks,
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
        self.sending.send_one(message, SendKind::Single, None).await
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
        self.sending.send_one(message, SendKind::Single, Some(queue)).await
    }

    /// Sends messages of one topic together; they get offsets in a row in one queue.
    ///
    /// # Errors
    /// See [`Producer::send`]; also when they are for several topics, together too long, or delayed.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<Sent, Error> {
        let mut sends = Sends::new(&self.sending.hooks, SendKind::Batch);
        let outgoing = self.sending.batch(messages, &mut sends);
        self.sending.send(outgoing, sends, None).await
    }

    /// Sends a message that no answer is wanted for: it may be lost. Waits for a connection and for room.
    ///
    /// # Errors
    /// When there is no way to a broker.
    pub async fn send_one_way(&self, message: Message) -> Result<(), Error> {
        let mut sends = Sends::new(&self.sending.hooks, SendKind::OneWay);
        let done = match self.sending.outgoing(message, &mut sends) {
            Ok(outgoing) => self.sending.send_one_way(&outgoing).await,
            Err(error) => Err(error),
        };
        sends.after(done.as_ref().map_or_else(SendOutcome::Failed, |()| SendOutcome::OneWay));
        done
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

impl Sending {
    /// Sends one message.
    async fn send_one(&self, message: Message, kind: SendKind, queue: Option<&Queue>) -> Result<Sent, Error> {
        let mut sends = Sends::new(&self.hooks, kind);
        let outgoing = self.outgoing(message, &mut sends);
        self.send(outgoing, sends, queue).await
    }

    /// Sends what is ready, and tells the interceptors what became of it.
    async fn send(
        &self,
        outgoing: Result<Outgoing, Error>,
        mut sends: Sends,
        queue: Option<&Queue>,
    ) -> Result<Sent, Error> {
        let sent = match outgoing {
            Ok(outgoing) => self.deliver(&outgoing, queue).await,
            Err(error) => Err(error),
        };
        sends.after(sent.as_ref().map_or_else(SendOutcome::Failed, SendOutcome::Sent));
        sent
    }

    /// Sends to one broker after the other until one has it.
    async fn deliver(&self, message: &Outgoing, queue: Option<&Queue>) -> Result<Sent, Error> {
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
}
