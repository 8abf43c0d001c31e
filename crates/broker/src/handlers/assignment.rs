//! How groups ask for messages (upstream `QueryAssignmentProcessor`).

use std::sync::Arc;

use apogee_message::names;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, SetMessageRequestModeRequestBody};
use apogee_wire::codes::response;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// `SET_MESSAGE_REQUEST_MODE`: whether a group pulls a topic or pops it. Kept, and told to who asks.
pub(crate) fn set_mode(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let mode = SetMessageRequestModeRequestBody::decode(&request.body)?;
    let (topic, group) = (mode.topic.clone().unwrap_or_default(), mode.consumer_group.clone().unwrap_or_default());
    if topic.starts_with(names::RETRY_PREFIX) {
        return Err(BrokerError::new(response::NO_PERMISSION, "retry topic is not allowed to set mode"));
    }
    if broker.topics.get(&topic).is_none() {
        return Err(BrokerError::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")));
    }
    if broker.groups.get(&group).is_none() {
        let remark = format!("subscription group does not exist: {group}");
        return Err(BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let (kind, share) = (mode.mode, mode.pop_share_queue_num);
    broker.request_modes.change(|modes| {
        modes.message_request_mode_map.entry(topic.clone()).or_default().insert(group.clone(), mode);
        Ok(())
    })?;
    tracing::info!(peer = %conn.peer(), topic, group, ?kind, share, "a group's mode is set by remote request");
    answer::done(request)
}

/// `GET_ALL_MESSAGE_REQUEST_MODE`: all modes that were set.
pub(crate) fn modes(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    answer::body(request, &*broker.request_modes.get())
}
