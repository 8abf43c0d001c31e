//! Moving groups: `INVOKE_BROKER_TO_RESET_OFFSET` (upstream `AdminBrokerProcessor`, `Broker2Client`).

use std::collections::BTreeMap;
use std::sync::Arc;

use apogee_net::Conn;
use apogee_store::{Boundary, Store};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, MessageQueue, MessageQueueForC, ResetOffsetBody, ResetOffsetBodyForC};
use apogee_wire::codes::{request as code, response};
use apogee_wire::command::Language;
use apogee_wire::headers::ResetOffsetRequestHeader;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// Timestamp that means the end of a queue.
const TO_THE_END: i64 = -1;

/// Moves a group in a topic, or in one queue of it: here (`useServerSideResetOffset`), or by telling
/// its members.
pub(crate) fn reset(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: ResetOffsetRequestHeader<'_> = request.header()?;
    let (group, topic_name) = (header.group, header.topic);
    let topic = broker.topics.get(topic_name).ok_or_else(|| BrokerError::no_topic(topic_name))?;
    if broker.groups.get(group).is_none() {
        let remark = format!("Group {group} not exist!");
        return Err(BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let queues = topic.config.read_queue_nums.max(topic.config.write_queue_nums);
    let one = header.queue_id.filter(|queue_id| *queue_id >= 0);
    if let Some(queue_id) = one.filter(|queue_id| *queue_id >= queues) {
        let remark = format!("topic[{topic_name}] has {queues} queues, none with the number {queue_id}");
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    let mut targets = BTreeMap::new();
    for queue_id in one.map_or(0..queues, |queue_id| queue_id..queue_id + 1) {
        let offset = header.offset.filter(|offset| one.is_some() && *offset >= 0);
        targets.insert(queue_id, target(&broker.store, topic_name, queue_id, offset, header.timestamp)?);
    }
    if broker.settings.load().use_server_side_reset_offset {
        for (queue_id, offset) in &targets {
            broker.offsets.reset(group, topic_name, *queue_id, *offset);
        }
        // Who is told that a group was moved finds it there after a crash, too.
        broker.offsets.save(broker.now())?;
    } else {
        for (queue_id, target) in &mut targets {
            let Some(current) = broker.offsets.query(group, topic_name, *queue_id) else {
                let remark = format!("the group[{group}] has no offset in queue {queue_id} of topic[{topic_name}]");
                return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
            };
            // Messages are skipped only on purpose.
            *target = if header.is_force { *target } else { current.min(*target) };
        }
        tell_members(broker, request, &header, &targets)?;
    }
    tracing::info!(peer = %conn.peer(), group, topic = topic_name, ?targets, "a group's offsets are reset by remote request");
    answer::body(request, &ResetOffsetBody { offset_table: by_queue(broker, topic_name, &targets) })
}

/// Where the group goes in one queue: to an offset, or to a point in time.
fn target(store: &Store, topic: &str, queue_id: i32, offset: Option<i64>, timestamp: i64) -> Result<i64, BrokerError> {
    let (min, max) = store.queue_range(topic, queue_id).unwrap_or_default();
    match offset {
        Some(offset) if (min..=max + 1).contains(&offset) => Ok(offset),
        Some(offset) => {
            let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
            Err(BrokerError::new(response::SYSTEM_ERROR, remark))
        }
        None if timestamp == TO_THE_END => Ok(max),
        None => Ok(store.offset_by_time(topic, queue_id, timestamp, Boundary::Lower).unwrap_or(0)),
    }
}

fn by_queue(broker: &Broker, topic: &str, targets: &BTreeMap<i32, i64>) -> BTreeMap<MessageQueue, i64> {
    let settings = broker.settings.load();
    let name = |queue_id: &i32| MessageQueue::new(topic, &*settings.broker_name, *queue_id);
    targets.iter().map(|(queue_id, offset)| (name(queue_id), *offset)).collect()
}

/// Tells all members of a group, who commit what they were told.
fn tell_members(
    broker: &Broker,
    request: &Command,
    header: &ResetOffsetRequestHeader<'_>,
    targets: &BTreeMap<i32, i64>,
) -> Result<(), BrokerError> {
    let members = broker.consumers.channels(header.group);
    if members.is_empty() {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {} Topic: {} Timestamp: {}; \
             useServerSideResetOffset=true resets without consumers",
            header.group, header.topic, header.timestamp
        );
        return Err(BrokerError::new(response::CONSUMER_NOT_ONLINE, remark));
    }
    let offset_table = by_queue(broker, header.topic, targets);
    let body = if request.language == Language::from_name("CPP") {
        let entry = |(queue, offset): (MessageQueue, i64)| MessageQueueForC {
            broker_name: queue.broker_name,
            offset,
            queue_id: queue.queue_id,
            topic: queue.topic,
        };
        ResetOffsetBodyForC { offset_table: offset_table.into_iter().map(entry).collect() }.encode()
    } else {
        ResetOffsetBody { offset_table }.encode()
    };
    let notice = Command::request(code::RESET_CONSUMER_CLIENT_OFFSET).with_header(header).with_body(body);
    for member in members {
        member.send_oneway(notice.clone());
    }
    Ok(())
}
