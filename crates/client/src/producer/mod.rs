//! Sending.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use apogee_message::compression::Compression;
use tokio::sync::Semaphore;

mod choice;
mod collect;
mod outgoing;
mod recall;
mod request;
mod sending;
pub(crate) mod transaction;

use choice::Choice;
use collect::{Bounds, Collected};
pub(crate) use request::{Replies, take_reply};
pub(crate) use sending::Sending;
use transaction::Check;
pub use transaction::{Decision, Transaction};

use crate::interceptor::{Hooks, Interceptor, Interceptors, SendKind, SendOutcome, Sends};
use crate::shared::Shared;
use crate::trace::Traced;
use crate::{Codecs, Error, Message, Queue};

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
    /// Whose turn it is first, among the queues of a topic.
    first: usize,
}

#[derive(Clone)]
struct Settings {
    timeout: Duration,
    retries: u32,
    max_size: usize,
    compress_from: usize,
    compression: Compression,
    max_pending_bytes: u32,
    /// `None`: each message goes by itself.
    collect: Option<Bounds>,
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
    /// What the tracer wants to know.
    pub(crate) traced: Option<Box<Traced>>,
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

/// The group of those who send traces.
const TRACE_GROUP: &str = "_INNER_TRACE_PRODUCER";

impl ProducerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let settings = Settings {
            timeout: Duration::from_secs(3),
            retries: 2,
            max_size: 4 << 20,
            compress_from: 4 << 10,
            compression: Compression::Zlib,
            max_pending_bytes: 64 << 20,
            collect: None,
        };
        let interceptors = shared.settings.interceptors.clone();
        Self { shared, group, settings, interceptors, check: None, first: 0 }
    }

    /// One that sends traces: nothing is told of those.
    pub(crate) fn of_traces(shared: Arc<Shared>, first: usize) -> Self {
        let builder = Self::new(shared, TRACE_GROUP.to_owned());
        Self { interceptors: Interceptors::default(), first, ..builder }
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

    /// Messages that are sent at the same time travel together: a batch leaves when its body has `bytes` (at most
    /// [`ProducerBuilder::max_message_size`]), or `linger` after its first message (upstream `autoBatch`, with 32 KiB and
    /// 10 ms). Each sender gets the place of its own message, or the error. This helps those who send from many tasks;
    /// one that waits for each answer just waits longer.
    ///
    /// By themselves go delayed messages, requests, replies, transactions, what is sent one way, and bodies that are long enough to be
    /// compressed. When a broker refuses a batch, its messages are sent one by one, so that one does not spoil it for
    /// others. A message whose sender stops waiting is sent all the same.
    ///
    /// ```no_run
    /// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
    /// use std::time::Duration;
    /// use apogee_client::Message;
    ///
    /// let producer = client.producer_builder("meters").collect(32 << 10, Duration::from_millis(5)).build()?;
    /// for reading in 0..1_000 {
    ///     let producer = producer.clone();
    ///     tokio::spawn(async move { producer.send(Message::new("Readings", reading.to_string())).await });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn collect(mut self, bytes: usize, linger: Duration) -> Self {
        self.settings.collect = Some(Bounds { bytes, linger });
        self
    }

    /// What bodies go through, instead of the client's codecs. Without any, long bodies are compressed, see
    /// [`ProducerBuilder::compress_from`].
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.interceptors.codecs = codecs;
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
    pub fn build(mut self) -> Result<Producer, Error> {
        if let Some(collect) = &mut self.settings.collect {
            collect.bytes = collect.bytes.min(self.settings.max_size);
        }
        self.group = self.shared.group(&self.group)?;
        let room = Arc::new(Semaphore::new(self.settings.max_pending_bytes as usize));
        let hooks = Hooks::new(&self.shared.id, &self.group, self.interceptors);
        let sending = Sending {
            hooks,
            shared: self.shared,
            group: self.group,
            settings: self.settings,
            check: self.check,
            choice: Choice::beginning_at(self.first),
            room,
            collected: Collected::default(),
            is_introduced: AtomicBool::default(),
        };
        let sending = Arc::new(sending);
        sending.shared.add_producer(&sending.group, &sending);
        Ok(Producer { sending })
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

    /// The same to a queue that `choose` picks, by its place among the topic's queues that can be sent to, in order
    /// (upstream `MessageQueueSelector`).
    ///
    /// ```no_run
    /// # async fn example(producer: apogee_client::Producer) -> Result<(), apogee_client::Error> {
    /// use apogee_client::Message;
    ///
    /// let customer = 4711;
    /// producer.send_by(Message::new("Orders", "one book"), |queues| customer % queues.len()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Producer::send`]; also when there is no queue in that place.
    pub async fn send_by(&self, message: Message, choose: impl FnOnce(&[Queue]) -> usize) -> Result<Sent, Error> {
        let mut sends = Sends::new(&self.sending.hooks, SendKind::Single);
        let picked = match self.sending.outgoing(message, &mut sends) {
            Ok(outgoing) => self.sending.pick(&outgoing.topic, choose).await.map(|queue| (outgoing, queue)),
            Err(error) => Err(error),
        };
        let (outgoing, queue) =
            picked.map_or_else(|error| (Err(error), None), |(outgoing, queue)| (Ok(outgoing), Some(queue)));
        self.sending.send(outgoing, sends, queue.as_ref()).await
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
        let topic = self.sending.shared.topic(topic)?;
        Ok(self.sending.shared.route_to_send(&topic).await?.writable.clone())
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
