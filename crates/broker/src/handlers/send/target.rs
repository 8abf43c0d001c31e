//! Where a message goes: to its queue, or first to where it waits.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_wire::codes::response;
use apogee_wire::headers::SendMessageRequestHeader;
use bytes::BytesMut;

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::message_type::MessageType;
use crate::settings::BrokerSettings;
use crate::timer::wish::Wish;
use crate::topics::{Topic, perm};

/// Properties that the broker sets and senders don't: the first so many of all messages, a few more of
/// dead letters, all of half messages.
const REPLACED: [&str; 10] = [
    property::POP_CK,
    property::MSG_REGION,
    property::TRACE_ON,
    property::CLUSTER,
    property::REAL_TOPIC,
    property::REAL_QUEUE_ID,
    property::DELAY,
    property::TRANSACTION_ID,
    property::TRANSACTION_CHECK_TIMES,
    property::TRANSACTION_PREPARED_QUEUE_OFFSET,
];
const REPLACED_ALWAYS: usize = 6;
const REPLACED_OF_DEAD: usize = 7;

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

/// Where messages of one request go.
pub(super) struct Target {
    pub topic: Arc<Topic>,
    pub queue_id: i32,
    pub schedule_topic: Arc<str>,
    /// Delay levels there are.
    pub levels: usize,
    pub half_topic: Arc<str>,
    pub wheel_topic: Arc<str>,
    pub now_ms: i64,
    /// Why half messages are refused at present.
    pub refuses_halves: Option<(i32, &'static str)>,
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

impl Target {
    pub fn find(
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
        let is_dead = !name.starts_with(names::DLQ_PREFIX) && topic.name.starts_with(names::DLQ_PREFIX);
        let queue_id = match header.queue_id {
            _ if is_dead => 0,
            given if given >= 0 => given,
            _ => broker.next_queue(topic.config.write_queue_nums),
        };
        let refuses_halves = if settings.reject_transaction_message {
            Some((response::NO_PERMISSION, "sending transaction message is forbidden (rejectTransactionMessage)"))
        } else if broker.transactions.is_full() {
            Some((response::SYSTEM_BUSY, "too many transactions are undecided: end some, or try another broker"))
        } else {
            None
        };
        Ok(Self {
            topic,
            queue_id,
            schedule_topic: Arc::clone(&broker.schedule_topic),
            levels: broker.delays.len(),
            half_topic: Arc::clone(&broker.half_topic),
            wheel_topic: Arc::clone(&broker.wheel_topic),
            now_ms: broker.now(),
            refuses_halves,
            is_dead,
            is_retry: header.reconsume_times.is_some_and(|times| times > 0),
        })
    }

    /// What the properties ask for; refuses what this broker doesn't have.
    pub fn route(&self, text: &[u8], settings: &BrokerSettings) -> Result<Route, BrokerError> {
        if self.is_dead {
            return Ok(Route::Now);
        }
        let (mut level, mut is_half, mut is_sharded, mut wish) = (None, false, false, Wish::default());
        for (name, value) in properties::iter(text) {
            let value = std::str::from_utf8(value).unwrap_or_default();
            match std::str::from_utf8(name).unwrap_or_default() {
                property::DELAY => level = value.parse::<usize>().ok().filter(|level| *level > 0),
                property::TRANSACTION_PREPARED => is_half = value.eq_ignore_ascii_case("true"),
                property::SHARDING_KEY => is_sharded = true,
                name => wish.add(name, value),
            }
        }
        let level = level.map(|level| level.min(self.levels)).filter(|level| *level > 0);
        if settings.enable_topic_message_type_check {
            let kind = match level {
                _ if is_half => MessageType::Transaction,
                Some(_) => MessageType::Delay,
                None if wish.is_there() => MessageType::Delay,
                None if is_sharded => MessageType::Fifo,
                None => MessageType::Normal,
            };
            kind.check(&self.topic)?;
        }
        // A consumer's message that failed still says how it was sent; its transaction is long decided.
        let is_half = is_half && !self.is_retry;
        match level {
            None if is_half && !wish.is_there() => self.half(),
            _ if is_half => {
                let remark = "a transactional message cannot be delayed: leave out the delay, or the transaction";
                Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark))
            }
            None if wish.is_there() => Ok(wish.time(self.now_ms, settings)?.map_or(Route::Now, Route::At)),
            level => Ok(level.map_or(Route::Now, Route::Level)),
        }
    }

    fn half(&self) -> Result<Route, BrokerError> {
        match self.refuses_halves {
            Some((code, remark)) => Err(BrokerError::new(code, remark)),
            None => Ok(Route::Half),
        }
    }

    /// The topic and queue that the message is stored in.
    pub fn queue(&self, route: &Route) -> (Arc<str>, i32) {
        match route {
            Route::Now => (Arc::clone(&self.topic.name), self.queue_id),
            Route::Level(level) => (Arc::clone(&self.schedule_topic), *level as i32 - 1),
            Route::At(_) => (Arc::clone(&self.wheel_topic), 0),
            Route::Half => (Arc::clone(&self.half_topic), 0),
        }
    }

    /// Writes the properties that are stored: those given, those that the broker adds. Returns where
    /// the unique key stands in them.
    pub fn edit_properties(
        &self,
        arena: &mut BytesMut,
        text: &[u8],
        route: &Route,
        origin: &Origin<'_>,
    ) -> Range<usize> {
        let replaced = match route {
            Route::Half => &REPLACED[..],
            _ if self.is_dead => &REPLACED[..REPLACED_OF_DEAD],
            _ => &REPLACED[..REPLACED_ALWAYS],
        };
        properties::copy_without(arena, text, replaced);
        let made;
        let id = match properties::get(text, property::UNIQ_KEY) {
            Some(id) => id,
            None => {
                made = crate::unique_id::next(origin.store_host);
                properties::push(arena, property::UNIQ_KEY, &made);
                &made
            }
        };
        properties::push(arena, property::MSG_REGION, &origin.settings.region_id);
        properties::push(arena, property::TRACE_ON, if origin.settings.trace_on { "true" } else { "false" });
        properties::push(arena, property::CLUSTER, &origin.settings.broker_cluster_name);
        if *route != Route::Now {
            properties::push(arena, property::REAL_TOPIC, &self.topic.name);
            properties::push(arena, property::REAL_QUEUE_ID, &self.queue_id.to_string());
        }
        if let Route::At(time) = route {
            properties::push(arena, property::TIMER_OUT_MS, &time.to_string());
        }
        if *route == Route::Half {
            properties::push(arena, property::TRANSACTION_ID, id);
            if properties::get(text, property::PRODUCER_GROUP).is_none() {
                properties::push(arena, property::PRODUCER_GROUP, origin.header.producer_group);
            }
        }
        let key = properties::get(arena, property::UNIQ_KEY).unwrap_or_default();
        let start = key.as_ptr() as usize - arena.as_ptr() as usize;
        if key.is_empty() { 0..0 } else { start..start + key.len() }
    }
}
