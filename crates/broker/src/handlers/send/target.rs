//! Where a message goes: to its queue, or first to where it waits.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use apogee_message::names::{self, property};
use apogee_message::{light, properties};
use apogee_wire::codes::response;
use apogee_wire::headers::SendMessageRequestHeader;

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::lite;
use crate::message_type::MessageType;
use crate::settings::BrokerSettings;
use crate::timer::wish::Wish;
use crate::topics::{Topic, perm};

/// Properties that the broker sets and senders don't: the first so many of all messages, a few more of
/// dead letters, all of half messages.
const REPLACED: [&str; 12] = [
    property::POP_CK,
    property::MSG_REGION,
    property::TRACE_ON,
    property::CLUSTER,
    property::INNER_NUM,
    property::INNER_BASE,
    property::REAL_TOPIC,
    property::REAL_QUEUE_ID,
    property::DELAY,
    property::TRANSACTION_ID,
    property::TRANSACTION_CHECK_TIMES,
    property::TRANSACTION_PREPARED_QUEUE_OFFSET,
];
const REPLACED_ALWAYS: usize = 8;
const REPLACED_OF_DEAD: usize = 9;

/// What happens with a message before it is in its queue.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    /// Nothing.
    Now,
    /// It waits in the queue of a delay level, counted from 1.
    Level(usize),
    /// It waits for a time, in milliseconds since 1970.
    At(i64),
    /// It waits for the decision on its transaction.
    Half,
}

impl Route {
    /// Bytes of properties that are left free: a half message that is written again gets more.
    pub fn spare(&self) -> usize {
        if *self == Self::Half { 96 } else { 0 }
    }
}

/// Properties of a message that say what is to be done with it, all found in one scan.
pub(super) struct Given<'t> {
    level: Option<&'t str>,
    half: Option<&'t str>,
    sharding_key: Option<&'t str>,
    priority: Option<&'t str>,
    wish: Wish<'t>,
    pub unique_key: Option<&'t str>,
    producer_group: Option<&'t str>,
}

impl<'t> Given<'t> {
    pub fn of(text: &'t [u8]) -> Self {
        let [sec, ms, at, out, delete] = Wish::NAMES;
        let [level, half, sharding_key, priority, unique_key, producer_group, sec, ms, at, out, delete] =
            properties::pick(
                text,
                [
                    property::DELAY,
                    property::TRANSACTION_PREPARED,
                    property::SHARDING_KEY,
                    property::PRIORITY,
                    property::UNIQ_KEY,
                    property::PRODUCER_GROUP,
                    sec,
                    ms,
                    at,
                    out,
                    delete,
                ],
            );
        let wish = Wish::of([sec, ms, at, out, delete]);
        Self { level, half, sharding_key, priority, wish, unique_key, producer_group }
    }

    /// What metrics take the message for.
    pub fn message_type(&self) -> MessageType {
        match self {
            Self { half: Some(half), .. } if half.eq_ignore_ascii_case("true") => MessageType::Transaction,
            Self { sharding_key: Some(_), .. } => MessageType::Fifo,
            Self { level: Some(_), .. } => MessageType::Delay,
            given if given.wish.is_there() => MessageType::Delay,
            Self { priority: Some(_), .. } => MessageType::Priority,
            _ => MessageType::Normal,
        }
    }

    /// The priority, from 0 on. Where something else decides when the message is consumed there is none.
    fn priority(&self) -> Option<i32> {
        let priority = self.priority?.parse().ok().filter(|priority| *priority >= 0);
        priority.filter(|_| self.message_type() == MessageType::Priority)
    }
}

/// Where messages of one request go.
pub(super) struct Target<'b> {
    pub broker: &'b Broker,
    pub topic: Arc<Topic>,
    pub queue_id: i32,
    pub now_ms: i64,
    /// The message was consumed too often: it goes to the dead letters, and waits for nothing.
    pub is_dead: bool,
    /// The message was consumed before and comes from its consumer.
    pub is_retry: bool,
}

/// Where messages of one request come from.
pub(super) struct Origin<'r> {
    pub header: &'r SendMessageRequestHeader<'r>,
    pub born_host: SocketAddr,
    pub store_host: SocketAddr,
    pub settings: &'r BrokerSettings,
}

impl<'b> Target<'b> {
    pub fn find(
        broker: &'b Broker,
        settings: &BrokerSettings,
        header: &SendMessageRequestHeader<'_>,
    ) -> Result<Self, BrokerError> {
        let name = header.topic;
        if settings.broker_permission & perm::WRITE == 0 {
            let remark =
                format!("the broker[{}] sending message is forbidden (brokerPermission)", settings.broker_name);
            return Err(BrokerError::new(response::NO_PERMISSION, remark));
        }
        if names::is_closed_to_senders(name) {
            let remark = format!("Sending message to topic[{name}] is forbidden.");
            return Err(BrokerError::new(response::NO_PERMISSION, remark));
        }
        let topic = match name.strip_prefix(names::RETRY_PREFIX) {
            Some(group) => broker.retry_or_dead(group, header)?,
            // A name that is in the table was checked when it came there.
            None => match broker.topics.get(name) {
                // Messages of lite topics are sent to their parent.
                Some(topic) if lite::parts(name).is_none() => topic,
                _ => {
                    names::check_topic(name)?;
                    return Err(BrokerError::no_topic(name));
                }
            },
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
        let is_dead = !name.starts_with(names::DLQ_PREFIX) && topic.name.starts_with(names::DLQ_PREFIX);
        let queue_id = match header.queue_id {
            _ if is_dead => 0,
            given if given >= 0 => given,
            _ => broker.next_queue(topic.config.write_queue_nums),
        };
        Ok(Self {
            broker,
            topic,
            queue_id,
            now_ms: broker.now(),
            is_dead,
            is_retry: header.reconsume_times.is_some_and(|times| times > 0),
        })
    }

    /// What the properties ask for; refuses what this broker doesn't have.
    pub fn route(&self, given: &Given<'_>, is_lite: bool, settings: &BrokerSettings) -> Result<Route, BrokerError> {
        if self.is_dead {
            return Ok(Route::Now);
        }
        let level = given.level.and_then(|level| level.parse::<usize>().ok()).filter(|level| *level > 0);
        let is_half = given.half.is_some_and(|half| half.eq_ignore_ascii_case("true"));
        let (is_sharded, wish) = (given.sharding_key.is_some(), &given.wish);
        let level = level.map(|level| level.min(self.broker.delays.len())).filter(|level| *level > 0);
        if settings.enable_topic_message_type_check {
            let kind = match level {
                None if is_lite && !is_half && !wish.is_there() => MessageType::Lite,
                _ if is_half => MessageType::Transaction,
                Some(_) => MessageType::Delay,
                None if wish.is_there() => MessageType::Delay,
                None if is_sharded => MessageType::Fifo,
                None if given.priority.is_some() => MessageType::Priority,
                None => MessageType::Normal,
            };
            kind.check(&self.topic)?;
        }
        // A consumer's message that failed still says how it was sent; its transaction is long decided.
        let is_half = is_half && !self.is_retry;
        match level {
            None if is_half && !wish.is_there() => self.half(settings),
            _ if is_half => {
                let remark = "a transactional message cannot be delayed: leave out the delay, or the transaction";
                Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark))
            }
            None if wish.is_there() => Ok(wish.time(self.now_ms, settings)?.map_or(Route::Now, Route::At)),
            level => Ok(level.map_or(Route::Now, Route::Level)),
        }
    }

    /// The light queue that the message's lite topic is, below a topic that has such.
    pub fn lite(&self, text: &[u8]) -> Result<Option<String>, BrokerError> {
        if !self.topic.is_parent() || self.is_dead {
            return Ok(None);
        }
        let Some(name) = properties::get(text, property::LITE_TOPIC) else {
            let remark = format!(
                "topic[{}] takes messages of lite topics only: name one ({})",
                self.topic.name,
                property::LITE_TOPIC
            );
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        };
        lite::check_name(name)?;
        Ok(Some(lite::queue(&self.topic.name, name)))
    }

    /// Checks that the light queues that a message goes to may be there. Returns the bytes of properties that are left
    /// free for its offsets in them.
    pub fn light(&self, text: &[u8], lite: Option<&str>, settings: &BrokerSettings) -> Result<usize, BrokerError> {
        let named = || lite.or_else(|| light::dispatch(&self.topic.name, text));
        let named = if settings.enable_multi_dispatch { named() } else { None };
        let limit = settings.max_lmq_consume_queue_num;
        let own = self.broker.topics.is_light(&self.topic.name).then_some(&*self.topic.name);
        if settings.enable_lmq_quota && self.broker.store.light_queues() >= limit {
            let all = named.into_iter().flat_map(light::split).filter(|name| light::is_name(name)).chain(own);
            if let Some(new) = all.into_iter().find(|name| !self.broker.store.has_queues(name)) {
                let remark = format!(
                    "no room for the light queue {new}: there are {limit} (maxLmqConsumeQueueNum with enableLmqQuota)"
                );
                return Err(BrokerError::new(response::LMQ_QUOTA_EXCEEDED, remark));
            }
        }
        let offsets = named.map_or(0, |named| light::split(named).count() * light::OFFSET_LENGTH);
        Ok(if offsets > 0 { offsets + property::INNER_MULTI_QUEUE_OFFSET.len() + 2 } else { 0 })
    }

    /// A half message, unless these are refused at present.
    fn half(&self, settings: &BrokerSettings) -> Result<Route, BrokerError> {
        if settings.reject_transaction_message {
            let remark = "sending transaction message is forbidden (rejectTransactionMessage)";
            return Err(BrokerError::new(response::NO_PERMISSION, remark));
        }
        if self.broker.transactions.is_full() {
            let remark = "too many transactions are undecided: end some, or try another broker";
            return Err(BrokerError::new(response::SYSTEM_BUSY, remark));
        }
        Ok(Route::Half)
    }

    /// The queue that the message is for: a priority is one.
    pub fn queue_of(&self, given: &Given<'_>) -> i32 {
        let last = (self.topic.config.write_queue_nums - 1).max(0);
        given.priority().map_or(self.queue_id, |priority| priority.min(last))
    }

    /// The topic and queue that the message is stored in.
    pub fn queue(&self, route: &Route, given: &Given<'_>) -> (Arc<str>, i32) {
        let (topic, queue_id) = match route {
            Route::Now => (&self.topic.name, self.queue_of(given)),
            Route::Level(level) => (&self.broker.schedule_topic, *level as i32 - 1),
            Route::At(_) => (&self.broker.wheel_topic, 0),
            Route::Half => (&self.broker.half_topic, 0),
        };
        (Arc::clone(topic), queue_id)
    }

    /// Writes the properties that are stored: those given, those that the broker adds. `inner`: the messages that they
    /// are of, in a queue that keeps batches. Returns the unique
    /// key, one that is made here where none is given.
    pub fn edit_properties<'t>(
        &self,
        out: &mut Vec<u8>,
        text: &[u8],
        given: &Given<'t>,
        route: &Route,
        inner: Option<u16>,
        origin: &Origin<'_>,
    ) -> Cow<'t, str> {
        let replaced = match route {
            Route::Half => &REPLACED[..],
            _ if self.is_dead => &REPLACED[..REPLACED_OF_DEAD],
            _ => &REPLACED[..REPLACED_ALWAYS],
        };
        match given.priority.is_some() && given.priority().is_none() {
            true => properties::copy_without(out, text, &[replaced, &[property::PRIORITY]].concat()),
            false => properties::copy_without(out, text, replaced),
        }
        let unique_key = match given.unique_key {
            Some(key) => Cow::Borrowed(key),
            None => {
                let made = crate::unique_id::next(origin.store_host);
                properties::push(out, property::UNIQ_KEY, &made);
                Cow::Owned(made)
            }
        };
        properties::push(out, property::MSG_REGION, &origin.settings.region_id);
        properties::push(out, property::TRACE_ON, if origin.settings.trace_on { "true" } else { "false" });
        properties::push(out, property::CLUSTER, &origin.settings.broker_cluster_name);
        if let Some(messages) = inner {
            properties::push(out, property::INNER_NUM, &messages.to_string());
        }
        if *route != Route::Now {
            properties::push(out, property::REAL_TOPIC, &self.topic.name);
            properties::push(out, property::REAL_QUEUE_ID, &self.queue_id.to_string());
        }
        if let Route::At(time) = route {
            properties::push(out, property::TIMER_OUT_MS, &time.to_string());
        }
        if *route == Route::Half {
            properties::push(out, property::TRANSACTION_ID, &unique_key);
            if given.producer_group.is_none() {
                properties::push(out, property::PRODUCER_GROUP, origin.header.producer_group);
            }
        }
        unique_key
    }
}
