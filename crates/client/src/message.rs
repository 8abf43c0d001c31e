//! Messages: to be sent, and received.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apogee_message::compression::{Compression, CompressionError};
use apogee_message::ids::OffsetId;
use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_message::record::Record;
use apogee_wire::headers::ReplyMessageRequestHeader;
use bytes::Bytes;

use crate::{Error, Queue};

/// A message to be sent.
///
/// ```
/// use std::time::Duration;
/// use apogee_client::Message;
///
/// let message = Message::new("Orders", "one book")
///     .tag("book")
///     .key("order-1")
///     .property("region", "eu")
///     .delay(Duration::from_secs(5));
/// assert_eq!(message.topic(), "Orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    topic: String,
    body: Bytes,
    flag: i32,
    properties: Vec<(String, String)>,
}

impl Message {
    /// A message of bytes for a topic.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), body: body.into(), flag: 0, properties: Vec::new() }
    }

    /// Gives it a tag, by which consumers choose.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.with(property::TAGS, tag)
    }

    /// Adds a key, by which it can be found. A blank separates keys, so one with a blank in it becomes two.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        match self.properties.iter_mut().find(|(name, _)| name == property::KEYS) {
            Some((_, keys)) => {
                keys.push(' ');
                keys.push_str(key.as_ref());
                self
            }
            None => self.with(property::KEYS, key.as_ref()),
        }
    }

    /// Gives it a property of the user's; one of the same name is replaced. Names that the system gives a
    /// meaning are used as such.
    pub fn property(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(name, value)
    }

    /// A number of the user's that goes with it.
    pub fn flag(mut self, flag: i32) -> Self {
        self.flag = flag;
        self
    }

    /// Messages with the same key go to the same queue, and are consumed in their order.
    pub fn sharding_key(self, key: impl Into<String>) -> Self {
        self.with(property::SHARDING_KEY, key)
    }

    /// Delivers it after the time of a delay level: 1 is 1 s, 18 is 2 h, unless the broker has others
    /// (`messageDelayLevel`).
    pub fn delay_level(self, level: u32) -> Self {
        self.with(property::DELAY, level.to_string())
    }

    /// Delivers it after a time, to the millisecond.
    pub fn delay(self, delay: Duration) -> Self {
        self.with(property::TIMER_DELAY_MS, delay.as_millis().to_string())
    }

    /// Delivers it at a time, to the millisecond; at once when that is past.
    pub fn deliver_at(self, time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.with(property::TIMER_DELIVER_MS, since.as_millis().to_string())
    }

    /// The answer to a request: sent as any message, it reaches who asked with [`crate::Producer::request`], or with a
    /// client of another language.
    ///
    /// ```no_run
    /// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
    /// use apogee_client::Message;
    ///
    /// let producer = client.producer("answerers")?;
    /// let mut consumer = client.consumer("answerers").subscribe("Questions").join().await?;
    /// while let Some(question) = consumer.next().await {
    ///     producer.send(Message::reply_to(&question, "42")?).await?;
    ///     question.ack();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When nobody waits for a reply to the message: it was not sent as a request.
    pub fn reply_to(request: &Received, body: impl Into<Bytes>) -> Result<Self, Error> {
        let given = |name| {
            request.property(name).ok_or_else(|| {
                let reason = format!("it is to answer message {}, which has no {name}", request.message_id());
                Error::message(request.topic(), reason)
            })
        };
        // In this order: what was not sent as a request has no id, whatever else it has.
        let (id, requester) = (given(property::CORRELATION_ID)?, given(property::REPLY_TO_CLIENT)?);
        let message = Self::new(names::reply_topic(given(property::CLUSTER)?), body)
            .with(property::MESSAGE_TYPE, names::REPLY)
            .with(property::CORRELATION_ID, id)
            .with(property::REPLY_TO_CLIENT, requester);
        Ok(match request.property(property::REPLY_TTL) {
            Some(ttl) => message.with(property::REPLY_TTL, ttl),
            None => message,
        })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn user_flag(&self) -> i32 {
        self.flag
    }

    /// The value of a property that was given to it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }

    pub(crate) fn is_delayed(&self) -> bool {
        let delays = [property::DELAY, property::TIMER_DELAY_MS, property::TIMER_DELAY_SEC, property::TIMER_DELIVER_MS];
        delays.into_iter().any(|delay| self.get(delay).is_some())
    }

    /// The properties that were given to it, in order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Sets a property in place, see [`Message::property`].
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.properties.retain(|(given, _)| *given != name);
        self.properties.push((name, value.into()));
    }

    /// Replaces the body in place.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
    }

    pub(crate) fn is_reply(&self) -> bool {
        self.get(property::MESSAGE_TYPE) == Some(names::REPLY)
    }

    pub(crate) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// The properties as they travel, with those that the client adds. Nothing of them is lost in silence: a
    /// separator in one is refused.
    pub(crate) fn properties_text(&self, own: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        let given = self.properties.iter().map(|(name, value)| (&**name, &**value));
        let added = own.iter().copied().filter(|(name, _)| self.get(name).is_none());
        let length = |(name, value): (&str, &str)| name.len() + value.len() + 2;
        let mut text = Vec::with_capacity(given.clone().map(length).chain(own.iter().copied().map(length)).sum());
        for (name, value) in given.chain(added) {
            let has_separator = |text: &str| text.contains(['\u{1}', '\u{2}']);
            if name.is_empty() || has_separator(name) || has_separator(value) {
                let reason = format!("its property {name:?} has no name, or a byte 1 or 2 in it");
                return Err(Error::message(&self.topic, reason));
            }
            // Upstream cannot tell an empty value from none.
            if !value.is_empty() {
                properties::push(&mut text, name, value);
            }
        }
        if text.len() > properties::MAX_LENGTH {
            let reason = format!("its properties are {} bytes long, over {}", text.len(), properties::MAX_LENGTH);
            return Err(Error::message(&self.topic, reason));
        }
        Ok(text)
    }
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The body, as the sender gave it.
    pub body: Bytes,
    /// Where it is.
    pub queue: Queue,
    /// Its offset in the queue.
    pub offset: i64,
    /// The sender's number.
    pub flag: i32,
    /// How often it was received without success.
    pub reconsume_times: i32,
    /// When its sender made it, in milliseconds since 1970, by the sender's clock.
    pub born_timestamp: i64,
    /// Where its sender was.
    pub born_host: SocketAddr,
    /// When the broker stored it, in milliseconds since 1970, by the broker's clock.
    pub store_timestamp: i64,
    /// The broker.
    pub store_host: SocketAddr,
    pub(crate) physical_offset: i64,
    record: Stored,
    /// Bytes of the topic's name that are the namespace of who receives it.
    namespace: usize,
    /// Where its queue ended when it was fetched; -1: not told.
    pub(crate) queue_end: i64,
    /// The body before codecs were undone.
    undecoded: Option<Bytes>,
    properties: Bytes,
}

/// What the record says of itself that consumers don't ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stored {
    size: u32,
    body_crc: u32,
    sys_flag: i32,
    prepared_transaction_offset: i64,
}

/// Most that a compressed body may become, in bytes: a small message must not fill the memory.
pub(crate) const MAX_BODY: usize = 64 << 20;

/// A body as its sender gave it; one that cannot be restored stays as it is, and the reason is told.
fn restore(sys_flag: i32, stored: Bytes) -> (Bytes, Option<CompressionError>) {
    match Compression::of(sys_flag).map(|compression| compression.decompress(&stored, MAX_BODY)) {
        None => (stored, None),
        Some(Ok(body)) => (body.into(), None),
        Some(Err(error)) => (stored, Some(error)),
    }
}

impl Received {
    /// Reads a record of a pull's answer, whose bytes are `whole`. A body that cannot be restored stays as it is
    /// stored, and the reason is told.
    pub(crate) fn read(record: &Record<'_>, whole: &Bytes, queue: &Queue) -> (Self, Option<Error>) {
        let (body, unreadable) = restore(record.sys_flag, whole.slice_ref(record.body));
        let unreadable = unreadable.map(|source| {
            let (id, topic) = (record.offset_id().to_string(), record.topic.to_owned());
            Error::Body { id, topic, source }
        });
        let message = Self {
            body,
            queue: queue.clone(),
            offset: record.queue_offset,
            physical_offset: record.physical_offset,
            record: Stored {
                size: record.size,
                body_crc: record.body_crc,
                sys_flag: record.sys_flag,
                prepared_transaction_offset: record.prepared_transaction_offset,
            },
            namespace: 0,
            queue_end: -1,
            undecoded: None,
            flag: record.flag,
            reconsume_times: record.reconsume_times,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_timestamp: record.store_timestamp,
            store_host: record.store_host,
            properties: whole.slice_ref(record.sent_properties()),
        };
        (message, unreadable)
    }

    /// Reads a reply that a broker passed on; `hosts` are its sender's and the broker's. It is in no queue.
    pub(crate) fn of_reply(
        header: &ReplyMessageRequestHeader<'_>,
        body: &Bytes,
        queue: Queue,
        [born_host, store_host]: [SocketAddr; 2],
    ) -> Result<Self, Error> {
        let (body, unreadable) = restore(header.sys_flag, body.clone());
        let message = Self {
            body,
            queue,
            offset: -1,
            physical_offset: -1,
            record: Stored { sys_flag: header.sys_flag, ..Stored::default() },
            namespace: 0,
            queue_end: -1,
            undecoded: None,
            flag: header.flag,
            reconsume_times: header.reconsume_times.unwrap_or_default(),
            born_timestamp: header.born_timestamp,
            born_host,
            store_timestamp: header.store_timestamp,
            store_host,
            properties: Bytes::copy_from_slice(header.properties.unwrap_or_default().as_bytes()),
        };
        match unreadable {
            None => Ok(message),
            Some(source) => {
                let (id, topic) = (message.message_id().into_owned(), message.topic().to_owned());
                Err(Error::Body { id, topic, source })
            }
        }
    }

    /// One without properties.
    #[cfg(test)]
    pub(crate) fn sample(queue: &Queue, offset: i64, body: Vec<u8>) -> Self {
        let host = SocketAddr::from(([127, 0, 0, 1], 10911));
        Self {
            body: body.into(),
            queue: queue.clone(),
            offset,
            flag: 0,
            reconsume_times: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            physical_offset: 0,
            record: Stored::default(),
            namespace: 0,
            queue_end: -1,
            undecoded: None,
            properties: Bytes::new(),
        }
    }

    /// The body as it was sent, where codecs were undone.
    pub(crate) fn undecoded(&self) -> Option<&Bytes> {
        self.undecoded.as_ref()
    }

    /// Codecs were undone.
    pub(crate) fn decoded(&mut self, body: Bytes) {
        self.undecoded = Some(std::mem::replace(&mut self.body, body));
    }

    /// How many messages were behind it in its queue when it was fetched; `None` when that was not told, as by POP.
    pub fn behind(&self) -> Option<u64> {
        u64::try_from(self.queue_end - 1 - self.offset).ok()
    }

    /// The topic that it was sent to; one that comes again is in a queue of its group's retry topic meanwhile.
    pub fn topic(&self) -> &str {
        &self.full_topic()[self.namespace..]
    }

    /// Leaves a namespace out of the topic's name, where it is in it.
    pub(crate) fn hide(&mut self, namespace: &str) {
        let own = self.full_topic().strip_prefix(namespace).and_then(|rest| rest.strip_prefix('%'));
        self.namespace = own.filter(|_| !namespace.is_empty()).map_or(0, |_| namespace.len() + 1);
    }

    /// The topic as brokers know it.
    pub(crate) fn full_topic(&self) -> &str {
        let retried = self.queue.topic.starts_with(names::RETRY_PREFIX);
        retried.then(|| self.property(property::RETRY_TOPIC)).flatten().unwrap_or(&self.queue.topic)
    }

    /// The id that its sender gave it; that of its place when it gave none.
    pub fn message_id(&self) -> Cow<'_, str> {
        self.property(property::UNIQ_KEY).map_or_else(|| self.offset_id().into(), Cow::Borrowed)
    }

    /// The id that names the broker and the place in its log.
    pub fn offset_id(&self) -> String {
        OffsetId { host: self.store_host, offset: self.physical_offset }.to_string()
    }

    /// Where it is in the broker's log, in bytes; -1 for a reply, which is in none.
    pub fn log_offset(&self) -> i64 {
        self.physical_offset
    }

    /// Bytes of it in the broker's log, all together; 0 for a reply.
    pub fn stored_size(&self) -> u32 {
        self.record.size
    }

    /// CRC-32 of the body as it is stored; 0 for a reply.
    pub fn body_crc(&self) -> u32 {
        self.record.body_crc
    }

    /// Bits that say how it is stored, and its part in a transaction (upstream `MessageSysFlag`).
    pub fn system_flag(&self) -> i32 {
        self.record.sys_flag
    }

    /// Where in the broker's log the message is that it was made of, such as the half message of a transaction; 0 when it
    /// was made of none.
    pub fn prepared_transaction_offset(&self) -> i64 {
        self.record.prepared_transaction_offset
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.property(property::TAGS)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.property(property::KEYS).unwrap_or_default().split(' ').filter(|key| !key.is_empty())
    }

    /// A property's value, the system's ones included.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }

    /// All properties that are text, in order, the system's ones included.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        properties::iter(&self.properties)
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_those_given_and_those_added() {
        let message = Message::new("T", "b").tag("one").tag("two").key("k").key("l").property("empty", "");
        let text = message.properties_text(&[("WAIT", "true"), ("TAGS", "added")]).expect("written");
        assert_eq!(text, b"TAGS\x01two\x02KEYS\x01k l\x02WAIT\x01true\x02");
    }

    #[test]
    fn a_property_that_would_become_another_is_refused() {
        for message in [Message::new("T", "b").property("a\u{1}", "v"), Message::new("T", "b").tag("a\u{2}b")] {
            let error = message.properties_text(&[]).expect_err("refused").to_string();
            assert!(error.starts_with("the message for topic T cannot be sent: its property"), "{error}");
        }
        let long = Message::new("T", "b").property("long", "v".repeat(40_000));
        assert!(long.properties_text(&[]).is_err());
    }
}
