//! Looking for messages.

use std::time::SystemTime;

use apogee_message::ids::OffsetId;
use apogee_message::names::{self, property};
use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    PullMessageRequestHeader, QueryMessageRequestHeader, ResumeCheckHalfMessageRequestHeader, RpcFields,
    ViewMessageRequestHeader,
};
use bytes::Bytes;

use super::{Admin, milliseconds};
use crate::peers::{accepted, refused};
use crate::producer::ProducerBuilder;
use crate::route::MASTER;
use crate::{Codecs, Error, Message, Queue, Received, Sent};

/// Bit of a pull's system flag (upstream `PullSysFlag`): it brings its subscription.
const WITH_SUBSCRIPTION: i32 = 1 << 2;
/// Group of tools that read: every broker knows it.
const TOOLS: &str = "TOOLS_CONSUMER";
/// Group of tools that send.
const SENDERS: &str = "TOOLS_PRODUCER";
/// Properties that a message got on its way, or that say when it is to come.
const OF_ITS_WAY: &[&str] = &[
    property::UNIQ_KEY,
    property::WAIT,
    property::CRC32,
    property::DELAY,
    property::RETRY_TOPIC,
    property::ORIGIN_GROUP,
    property::ORIGIN_MESSAGE_ID,
    property::RECONSUME_TIME,
    property::MAX_RECONSUME_TIMES,
    property::REAL_TOPIC,
    property::REAL_QUEUE_ID,
    property::TRANSACTION_PREPARED,
    property::PRODUCER_GROUP,
    property::TRANSACTION_ID,
    property::TRANSACTION_CHECK_TIMES,
    property::TRANSACTION_PREPARED_QUEUE_OFFSET,
    property::CHECK_IMMUNITY_TIME_IN_SECONDS,
    property::REPLY_TO_CLIENT,
    property::PUSH_REPLY_TIME,
    property::MSG_REGION,
    property::TRACE_ON,
    property::CLUSTER,
    property::POP_CK,
    property::DLQ_ORIGIN_TOPIC,
    property::DLQ_ORIGIN_MESSAGE_ID,
    property::TIMER_DELAY_SEC,
    property::TIMER_DELAY_MS,
    property::TIMER_DELIVER_MS,
    property::TIMER_OUT_MS,
    property::TIMER_ROLL_TIMES,
    property::TIMER_DEL_UNIQKEY,
    property::TIMER_DELAY_LEVEL,
    "MIN_OFFSET",
    "MAX_OFFSET",
    "CONSUME_START_TIME",
    "TIMER_ENQUEUE_MS",
    "TIMER_DEQUEUE_MS",
    "TIMER_ROLL_LABEL",
    "1ST_POP_TIME",
    "INNER_NUM",
    "CORRELATION_ID",
    "ARRIVE_TIME",
    "TTL",
    "__BORNHOST",
];
/// Messages that one broker is asked for, unless the query says otherwise.
const MOST: u32 = 64;

/// Which messages of a topic are looked for.
///
/// ```no_run
/// use std::time::{Duration, SystemTime};
/// use apogee_client::admin::Query;
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let an_hour_ago = SystemTime::now() - Duration::from_secs(3_600);
/// for message in admin.find(&Query::key("Orders", "order-1").since(an_hour_ago)).await? {
///     println!("{} at {} of {}", message.message_id(), message.offset, message.queue);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Query {
    topic: String,
    key: String,
    by: By,
    after: Option<String>,
    begin: i64,
    end: i64,
    most: u32,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Key,
    Tag,
    MessageId,
}

impl By {
    /// As indexes name it.
    fn letter(self) -> char {
        match self {
            Self::Key => 'K',
            Self::Tag => 'T',
            Self::MessageId => 'U',
        }
    }
}

impl Query {
    /// Those with a key.
    pub fn key(topic: impl Into<String>, key: impl Into<String>) -> Self {
        let (topic, key) = (topic.into(), key.into());
        Self { topic, key, by: By::Key, after: None, begin: 0, end: i64::MAX, most: MOST }
    }

    /// Those with a tag.
    pub fn tag(topic: impl Into<String>, tag: impl Into<String>) -> Self {
        Self { by: By::Tag, ..Self::key(topic, tag) }
    }

    /// Those with the id that their sender gave them. That may be several: a message that was sent again has the same.
    pub fn message_id(topic: impl Into<String>, id: impl Into<String>) -> Self {
        Self { by: By::MessageId, ..Self::key(topic, id) }
    }

    /// Only those stored at or after a time.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.begin = milliseconds(time);
        self
    }

    /// Only those stored at or before a time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.end = milliseconds(time);
        self
    }

    /// At most so many of each broker, the newest ones (64). Brokers give no more than they are set to.
    pub fn at_most(mut self, messages: u32) -> Self {
        self.most = messages;
        self
    }

    /// Only those after the one with that index key, see [`Query::index_key`]. Brokers that index in RocksDB begin there;
    /// of what others give, those up to it are left out.
    pub fn after(mut self, index_key: impl Into<String>) -> Self {
        self.after = Some(index_key.into());
        self
    }

    /// By what a message is found in an index that is sorted: the hour in which it was stored, what this query is for, the
    /// message's id and its place in the log.
    ///
    /// ```no_run
    /// # use apogee_client::admin::Query;
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let query = Query::key("Orders", "order-1").at_most(10);
    /// let page = admin.find(&query).await?;
    /// if let Some(last) = page.last() {
    ///     let next = admin.find(&query.clone().after(query.index_key(last))).await?;
    ///     println!("{} and {} messages", page.len(), next.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn index_key(&self, message: &Received) -> String {
        const HOUR: i64 = 3_600_000;
        let hour = message.store_timestamp - message.store_timestamp.rem_euclid(HOUR);
        let (topic, kind, key) = (&self.topic, self.by.letter(), &self.key);
        format!("{hour}@{topic}@{kind}@{key}@{}@{}", message.message_id(), message.physical_offset)
    }

    /// What is looked for.
    pub(super) fn wanted(&self) -> &str {
        &self.key
    }

    /// Brokers compare hashes: messages with other keys may have the same.
    fn wants(&self, record: &Record<'_>) -> bool {
        let has = |name| record.property(name).unwrap_or_default();
        record.topic == self.topic
            && match self.by {
                By::Key => has(property::KEYS).split(' ').any(|key| key == self.key),
                By::Tag => has(property::TAGS) == self.key,
                By::MessageId => has(property::UNIQ_KEY) == self.key,
            }
    }
}

impl Admin {
    /// The message with an id that names the broker and the place in its log: 32 or 56 hexadecimal digits.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let message = admin.message("7F00000100002A9F0000000000000000").await?;
    /// println!("{} {:?}", message.topic(), message.body);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the id is none, or the broker doesn't have such a message or doesn't answer.
    pub async fn message(&self, offset_id: &str) -> Result<Received, Error> {
        let id: OffsetId =
            offset_id.parse().map_err(|error: apogee_message::ids::IdError| Error::Argument(error.to_string()))?;
        let address = id.host.to_string();
        let header = ViewMessageRequestHeader { topic: None, offset: id.offset };
        let answer = self.call(&address, &Command::request(request::VIEW_MESSAGE_BY_ID).with_header(&header)).await?;
        let record = record::iter(&answer.body).next();
        let record = record.ok_or_else(|| Error::Malformed {
            peer: address.clone(),
            reason: format!("it has no message for the id {offset_id}"),
        })?;
        let record = record.map_err(|error| Error::record(&address, error))?;
        self.received(&address, &record, &answer.body).await
    }

    /// The messages that a query is for, oldest first; those of slaves are not looked at.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the topic, and when one refuses or doesn't answer.
    pub async fn find(&self, query: &Query) -> Result<Vec<Received>, Error> {
        names::check_topic(&query.topic)?;
        let header = QueryMessageRequestHeader {
            topic: &query.topic,
            key: &query.key,
            max_num: super::count(query.most),
            begin_timestamp: query.begin,
            end_timestamp: query.end,
            index_type: (query.by == By::Tag).then_some("T"),
            last_key: query.after.as_deref(),
            rpc: RpcFields::default(),
        };
        let mut question = Command::request(request::QUERY_MESSAGE).with_header(&header);
        question.fields.set("_UNIQUE_KEY_QUERY", query.by == By::MessageId);
        let mut found = Vec::new();
        for address in self.readers_of(&query.topic).await? {
            let answer = self.ask(&address, &question).await?;
            if answer.code == response::QUERY_NOT_FOUND {
                continue;
            }
            let answer = accepted(&address, answer)?;
            for record in record::iter(&answer.body) {
                let record = record.map_err(|error| Error::record(&address, error))?;
                if query.wants(&record) {
                    found.push(self.received(&address, &record, &answer.body).await?);
                }
            }
        }
        found.sort_by_key(|message| (message.store_timestamp, message.physical_offset));
        let last = query.after.as_ref();
        if let Some(last) = last.and_then(|last| found.iter().position(|message| query.index_key(message) == *last)) {
            found.drain(..=last);
        }
        Ok(found)
    }

    /// The message at an offset of a queue; `None` when there is none.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let queue = admin.topic_stats("Orders").await?.queues.remove(0);
    /// if let Some(last) = admin.message_at(&queue.queue, queue.end - 1).await? {
    ///     println!("{:?}", last.body);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the broker refuses or doesn't answer.
    pub async fn message_at(&self, queue: &Queue, offset: i64) -> Result<Option<Received>, Error> {
        let header = PullMessageRequestHeader {
            consumer_group: TOOLS,
            topic: &queue.topic,
            lite_topic: None,
            queue_id: queue.id,
            queue_offset: offset,
            max_msg_nums: 1,
            sys_flag: WITH_SUBSCRIPTION,
            commit_offset: 0,
            suspend_timeout_millis: 0,
            subscription: Some("*"),
            sub_version: 0,
            expression_type: Some("TAG"),
            max_msg_bytes: None,
            request_source: None,
            proxy_froward_client_id: None,
            rpc: RpcFields { broker_name: Some(&queue.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::PULL_MESSAGE).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, self.timeout).await?;
        match answer.code {
            response::SUCCESS => {}
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED => {
                return Ok(None);
            }
            code => return Err(refused(&address, code, answer)),
        }
        for record in record::iter(&answer.body) {
            let record = record.map_err(|error| Error::record(&address, error))?;
            // Brokers may answer with the next one that is there.
            if record.queue_offset == offset {
                return readable(Received::read(&record, &answer.body, queue)).map(Some);
            }
        }
        Ok(None)
    }

    /// Sends a message again, as a new one: without its delay and what else it got on its way. A message that was
    /// consumed without success, a dead letter, too, goes to the topic that it was sent to first.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let message = admin.message("7F00000100002A9F0000000000000000").await?;
    /// println!("it is {} now", admin.send_again(&message).await?.message_id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`crate::Producer::send`] has them, and when the client has a namespace that the topic is not in.
    pub async fn send_again(&self, message: &Received) -> Result<Sent, Error> {
        let died = message.queue.topic.starts_with(names::DLQ_PREFIX);
        let origin =
            || message.property(property::DLQ_ORIGIN_TOPIC).or_else(|| message.property(property::RETRY_TOPIC));
        let topic = died.then(origin).flatten().unwrap_or_else(|| message.full_topic());
        if self.shared.topic(topic)? != topic {
            let reason = "is not in the namespace of this client, which cannot send to it";
            return Err(Error::Argument(format!("topic {topic} {reason}")));
        }
        // Its body went through the codecs that its properties name already.
        let body = message.undecoded().unwrap_or(&message.body);
        let mut again = Message::new(topic, body.clone()).flag(message.flag);
        for (name, value) in message.properties().filter(|(name, _)| !OF_ITS_WAY.contains(name)) {
            again.set(name, value);
        }
        let producer = ProducerBuilder::new(self.shared.clone(), SENDERS.to_owned()).codecs(Codecs::default());
        producer.build()?.send(again).await
    }

    /// Has the producer of a half message asked again whether it is to be committed. The message is named by the id of
    /// its place, in the topic of half messages.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.check_again("RMQ_SYS_TRANS_HALF_TOPIC", "7F00000100002A9F0000000000000000").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the id is none, or the broker refuses or doesn't answer.
    pub async fn check_again(&self, topic: &str, offset_id: &str) -> Result<(), Error> {
        let id: OffsetId =
            offset_id.parse().map_err(|error: apogee_message::ids::IdError| Error::Argument(error.to_string()))?;
        let header = ResumeCheckHalfMessageRequestHeader { topic: Some(topic), msg_id: Some(offset_id) };
        let question = Command::request(request::RESUME_CHECK_HALF_MESSAGE).with_header(&header);
        self.call(&id.host.to_string(), &question).await.map(drop)
    }

    /// A record that a broker gave, whose bytes are `whole`. The record doesn't say what the broker's name is; without
    /// a route the address stands for it.
    async fn received(&self, address: &str, record: &Record<'_>, whole: &Bytes) -> Result<Received, Error> {
        let route = self.shared.route(record.topic).await.ok();
        let named = route.as_ref().and_then(|route| {
            let mut brokers = route.brokers.iter();
            brokers.find(|(_, addresses)| addresses.values().any(|one| one == address)).map(|(name, _)| name.clone())
        });
        let queue = Queue::new(record.topic, &named.unwrap_or_else(|| address.into()), record.queue_id);
        readable(Received::read(record, whole, &queue))
    }
}

/// A message whose body cannot be restored is an error.
fn readable((message, unreadable): (Received, Option<Error>)) -> Result<Received, Error> {
    unreadable.map_or(Ok(message), Err)
}
