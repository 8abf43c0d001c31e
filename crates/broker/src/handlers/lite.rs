//! Lite topics (upstream `LiteManagerProcessor`). There are none here: no topic can be given the type `LITE`, and no
//! group be bound to one. Who asks is answered as upstream answers for topics and groups of other kinds.

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::GetBrokerLiteInfoResponseBody;
use apogee_wire::codes::response;
use apogee_wire::headers::GetLiteClientInfoRequestHeader;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// `GET_BROKER_LITE_INFO`: how much of it there is.
pub(crate) fn of_broker(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let body = GetBrokerLiteInfoResponseBody {
        max_lmq_num: count(broker.settings.load().max_lmq_consume_queue_num),
        current_lmq_num: count(broker.store.light_queues()),
        cq_table_size: count(broker.store.topics().len()),
        offset_table_size: count(broker.offsets.len()),
        store_type: Some("default".to_owned()),
        ..GetBrokerLiteInfoResponseBody::default()
    };
    answer::body(request, &body)
}

/// `GET_PARENT_TOPIC_INFO`, `GET_LITE_TOPIC_INFO`: one topic that has lite topics.
pub(crate) fn of_topic(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let topic = request.fields.get("topic").or_else(|| request.fields.get("parentTopic"));
    Err(other_topic(broker, topic.unwrap_or_default()))
}

/// `GET_LITE_CLIENT_INFO`: the lite topics that a client reads.
pub(crate) fn of_client(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetLiteClientInfoRequestHeader<'_> = request.header()?;
    Err(other_topic(broker, header.parent_topic.unwrap_or_default()))
}

/// `GET_LITE_GROUP_INFO`, `TRIGGER_LITE_DISPATCH`: a group that reads lite topics.
pub(crate) fn of_group(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let group = request.fields.get("group").unwrap_or_default();
    Err(match broker.groups.get(group) {
        None => BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group [{group}] not exist.")),
        Some(_) => BrokerError::new(response::INVALID_PARAMETER, format!("Group [{group}] is not a LITE group.")),
    })
}

fn other_topic(broker: &Broker, topic: &str) -> BrokerError {
    match broker.topics.get(topic) {
        None => BrokerError::new(response::TOPIC_NOT_EXIST, format!("Topic [{topic}] not exist.")),
        Some(_) => BrokerError::new(response::INVALID_PARAMETER, format!("Topic [{topic}] type not match.")),
    }
}
