//! Messages that consumers could not consume: `CONSUMER_SEND_MSG_BACK`, and what clients send to
//! retry topics themselves (upstream `AbstractSendMessageProcessor.consumerSendMsgBack`).

use std::sync::Arc;

use apogee_message::names::{self, property};
use apogee_message::record::{NewMessage, Record};
use apogee_message::{properties, sysflag};
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{ConsumerSendMsgBackRequestHeader, SendMessageRequestHeader};
use bytes::BytesMut;

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::handlers::send::Sends;
use crate::retry;
use crate::stats::Kind;
use crate::topics::{Topic, perm};

#[cfg(test)]
mod tests;

/// Version of clients from which on they say how often a message may be consumed (V3_4_9).
const KNOWS_MAX_RECONSUME: i32 = 111;
/// Delay level of a first retry, less the number of times the message was consumed.
const FIRST_LEVEL: i32 = 3;

/// `CONSUMER_SEND_MSG_BACK`: the message goes to the group's retry topic after a delay that grows,
/// or to its dead-letter topic. Answered when it is stored.
pub(crate) fn send_back(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Result<Option<Command>, BrokerError> {
    let header: ConsumerSendMsgBackRequestHeader<'_> = request.header()?;
    let settings = broker.settings.load();
    let group = broker.groups.get(header.group).ok_or_else(|| {
        let remark = format!("subscription group not exist, {}", header.group);
        BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
    })?;
    if settings.broker_permission & perm::WRITE == 0 {
        let remark = format!("the broker[{}] sending message is forbidden (brokerPermission)", settings.broker_name);
        return Err(BrokerError::new(response::NO_PERMISSION, remark));
    }
    if group.retry_queue_nums <= 0 {
        return Ok(Some(Command::response_to(request, response::SUCCESS)));
    }
    let bytes = broker.store.record_at(header.offset).ok_or_else(|| {
        BrokerError::new(response::SYSTEM_ERROR, format!("look message by offset failed, {}", header.offset))
    })?;
    let record = Record::read(&bytes).map_err(|error| BrokerError::new(response::SYSTEM_ERROR, error.to_string()))?;
    if record.sys_flag & sysflag::INNER_BATCH != 0 {
        // It would come back with all others of its batch. Clients send it to the retry topic themselves then.
        let remark = "the message is one of a batch that is kept as one record: send it to the retry topic";
        return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
    }

    let given = header.max_reconsume_times.filter(|_| request.version >= KNOWS_MAX_RECONSUME);
    let most = given.filter(|most| *most >= 0).unwrap_or(group.retry_max_times);
    let dead = record.reconsume_times >= most || header.delay_level < 0;
    let (topic, queue_id) = if dead {
        (broker.dead_letter_topic(header.group), 0)
    } else {
        let topic = broker.ensure_retry_topic(header.group, group.retry_queue_nums);
        let queue_id = broker.next_queue(topic.config.write_queue_nums);
        (topic, queue_id)
    };
    if !topic.allows(perm::WRITE) {
        let remark = format!("the topic[{}] sending message is forbidden", topic.name);
        return Err(BrokerError::new(response::NO_PERMISSION, remark));
    }

    // What the consumer says comes before what its group says.
    let of_group = retry::delay_ms(&group.group_retry_policy, record.reconsume_times);
    let of_group = of_group.filter(|_| header.delay_level == 0 && !dead);
    let at = of_group.filter(|_| settings.timer_wheel_enable);
    let at = at.map(|delay| broker.now() + delay.min(settings.timer_max_delay_ms()));

    let mut text = BytesMut::new();
    let own = [
        property::INNER_NUM,
        property::INNER_BASE,
        property::DELAY,
        property::REAL_TOPIC,
        property::REAL_QUEUE_ID,
        property::WAIT,
        property::TIMER_OUT_MS,
        property::TIMER_ROLL_TIMES,
    ];
    // Where a timed message has been it keeps in mind, unless it goes there again.
    let own = if at.is_some() { &own[..] } else { &own[..6] };
    properties::copy_without(&mut text, record.properties, own);
    if record.property(property::RETRY_TOPIC).is_none() {
        properties::push(&mut text, property::RETRY_TOPIC, record.topic);
    }
    if record.property(property::ORIGIN_MESSAGE_ID).is_none() {
        properties::push(&mut text, property::ORIGIN_MESSAGE_ID, &record.offset_id().to_string());
    }
    let (topic, queue_id) = if dead {
        properties::push(
            &mut text,
            property::DLQ_ORIGIN_TOPIC,
            record.property(property::RETRY_TOPIC).unwrap_or(record.topic),
        );
        properties::push(&mut text, property::DLQ_ORIGIN_MESSAGE_ID, &record.offset_id().to_string());
        tracing::info!(group = header.group, topic = record.topic, "a message goes to the dead letters");
        let origin = record.property(property::RETRY_TOPIC).unwrap_or(record.topic);
        broker.counters.events.dead(origin, header.group);
        (Arc::clone(&topic.name), queue_id)
    } else {
        properties::push(&mut text, property::REAL_TOPIC, &topic.name);
        properties::push(&mut text, property::REAL_QUEUE_ID, &queue_id.to_string());
        match at {
            Some(time) => {
                properties::push(&mut text, property::TIMER_OUT_MS, &time.to_string());
                (Arc::clone(&broker.wheel_topic), 0)
            }
            None => {
                let level = match header.delay_level {
                    0 => of_group.map_or(FIRST_LEVEL + record.reconsume_times, |delay| broker.level_of(delay)),
                    level => level,
                };
                let level = level.clamp(1, broker.delays.len().max(1) as i32);
                properties::push(&mut text, property::DELAY, &level.to_string());
                (Arc::clone(&broker.schedule_topic), level - 1)
            }
        }
    };
    let message = NewMessage {
        topic,
        queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_host: broker.store_host,
        reconsume_times: record.reconsume_times + 1,
        prepared_transaction_offset: 0,
        body: bytes.slice_ref(record.body),
        properties: text.freeze(),
    };
    let key = format!("{}@{}", record.topic, header.group);
    broker.stats.add(Kind::SendBackNums, &key, 1);
    let Some(sends) = Sends::of(broker, conn) else { return Ok(None) };
    sends.message(request, &message)?;
    Ok(None)
}

impl Broker {
    /// Where a message goes that a client sends to a retry topic: to the dead letters once it was
    /// consumed often enough. Orderly consumers try in place, and send only what they give up.
    pub(crate) fn retry_or_dead(
        &self,
        group: &str,
        header: &SendMessageRequestHeader<'_>,
    ) -> Result<Arc<Topic>, BrokerError> {
        names::check_group(group)?;
        let config = self.groups.get(group).ok_or_else(|| {
            let remark = format!("subscription group not exist, {group}");
            BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
        })?;
        let most = header.max_reconsume_times.filter(|most| *most >= 0).unwrap_or(config.retry_max_times);
        if header.reconsume_times.unwrap_or(0) > most || self.locks.is_group_locked(group, self.now()) {
            tracing::info!(group, "a message goes to the dead letters");
            self.counters.events.dead(header.topic, group);
            return Ok(self.dead_letter_topic(group));
        }
        Ok(self.ensure_retry_topic(group, config.retry_queue_nums))
    }

    /// The first delay level that is as long as a delay in milliseconds; the last when none is.
    fn level_of(&self, delay_ms: i64) -> i32 {
        let longer = self.delays.iter().position(|level| *level >= delay_ms);
        longer.map_or(i32::MAX, |index| index as i32 + 1)
    }

    fn dead_letter_topic(&self, group: &str) -> Arc<Topic> {
        self.ensure_topic(&names::dlq_topic(group), 1, perm::READ | perm::WRITE)
    }
}
