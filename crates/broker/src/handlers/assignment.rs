//! How groups ask for messages, and which members ask for those of which queues, where that is left to the broker
//! (upstream `QueryAssignmentProcessor`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apogee_message::names;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::allocation::Allocation;
use apogee_wire::bodies::{
    Body, MessageModel, MessageQueue, MessageQueueAssignment, MessageRequestMode, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, SetMessageRequestModeRequestBody, TopicRouteData,
};
use apogee_wire::codes::response;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::settings::{BrokerSettings, RequestMode};
use crate::topics::perm;

#[cfg(test)]
mod tests;

/// Queues that are shared of one topic.
const MOST: usize = 100_000;
/// Number that stands for any queue of a broker.
const ANY: i32 = -1;
/// Clients know the queues of static topics by the name of a broker that begins so.
const STATIC_BROKER: &str = "__syslo__";
/// What the scope of a static topic begins with where it is all clusters'.
const GLOBAL: &str = "__global__";

/// `QUERY_ASSIGNMENT`: which queues of a topic a member of a group reads, and whether it pulls or pops them. An answer
/// without any list, not even an empty one, lets the member go on with what it has.
///
/// # Errors
///
/// The body lacks something; or queues are to be shared in a way that only clients know: they do it themselves then.
pub(crate) async fn query(broker: &Broker, request: &Command) -> Result<Command, BrokerError> {
    let asked = QueryAssignmentRequestBody::decode(&request.body)?;
    let missing = |what| {
        BrokerError::new(response::INVALID_PARAMETER, format!("the request's body has no {what}, or a wrong one"))
    };
    let topic = asked.topic.as_deref().ok_or_else(|| missing("topic"))?;
    let group = asked.consumer_group.as_deref().ok_or_else(|| missing("consumerGroup"))?;
    let client = asked.client_id.as_deref().ok_or_else(|| missing("clientId"))?;
    let model = asked.message_model.ok_or_else(|| missing("messageModel"))?;
    let settings = broker.settings.load();
    let way = Way::of(broker, &settings, topic, group, model);
    let assigned = match queues(broker, &settings, topic, way).await {
        Some(queues) => {
            let part = part(broker, &settings, way, group, client, asked.strategy_name.as_deref(), queues)?;
            part.map(|queues| queues.into_iter().map(|queue| way.to(queue)).collect())
        }
        None => None,
    };
    Ok(answer::success(request).with_body(QueryAssignmentResponseBody { message_queue_assignments: assigned }.encode()))
}

/// How a group asks for the messages of a topic.
#[derive(Clone, Copy)]
enum Way {
    Pull,
    /// Each member pops the queues of so many others, too; 0 and less: all queues.
    Pop(i32),
    /// Each member gets all messages: that is done with pulls alone.
    Broadcast,
}

impl Way {
    fn of(broker: &Broker, settings: &BrokerSettings, topic: &str, group: &str, model: MessageModel) -> Self {
        if model == MessageModel::Broadcasting {
            return Self::Broadcast;
        }
        // What is given back to a group that pulls is pulled.
        if topic.starts_with(names::RETRY_PREFIX) {
            return Self::Pull;
        }
        let modes = broker.request_modes.get();
        match modes.message_request_mode_map.get(topic).and_then(|groups| groups.get(group)) {
            Some(set) if set.mode == MessageRequestMode::Pop => Self::Pop(set.pop_share_queue_num),
            Some(_) => Self::Pull,
            None if settings.default_message_request_mode == RequestMode::Pop => {
                Self::Pop(settings.default_pop_share_queue_num)
            }
            None => Self::Pull,
        }
    }

    fn to(self, queue: MessageQueue) -> MessageQueueAssignment {
        let mode = match self {
            Self::Pop(_) => MessageRequestMode::Pop,
            Self::Pull | Self::Broadcast => MessageRequestMode::Pull,
        };
        MessageQueueAssignment { message_queue: Some(queue), mode, ..MessageQueueAssignment::default() }
    }
}

/// All queues of a topic that can be read, in order; `None` when nobody can be asked who else has it.
async fn queues(broker: &Broker, settings: &BrokerSettings, topic: &str, way: Way) -> Option<Vec<MessageQueue>> {
    let own = &settings.broker_name;
    if topic.starts_with(names::LMQ_PREFIX) {
        return Some(vec![MessageQueue::new(topic, own, 0)]);
    }
    let age = Duration::from_millis(settings.load_balance_poll_name_server_interval);
    let route = broker.routes.of(topic, age).await?;
    // Who pops asks brokers for what they have, also of queues that moved away since.
    let statics = if matches!(way, Way::Pop(_)) { BTreeSet::new() } else { static_queues(&route, topic) };
    if !statics.is_empty() {
        return Some(statics.into_iter().collect());
    }
    let others = route.queue_datas.iter().filter(|data| data.broker_name != *own && data.perm & perm::READ != 0);
    let others = others.map(|data| (&data.broker_name, data.read_queue_nums));
    // What this broker has itself it knows better.
    let here = broker.topics.get(topic).filter(|topic| topic.allows(perm::READ));
    let here = here.map(|topic| (own, topic.config.read_queue_nums));
    let all = others.chain(here).flat_map(|(name, count)| (0..count).map(move |id| MessageQueue::new(topic, name, id)));
    // A broker that is told of twice has its queues once.
    Some(all.take(MOST).collect::<BTreeSet<_>>().into_iter().collect())
}

/// The queues of a static topic, under the name by which clients know them.
fn static_queues(route: &TopicRouteData, topic: &str) -> BTreeSet<MessageQueue> {
    let mappings = route.topic_queue_mapping_by_broker.iter().flatten();
    let queues = mappings.flat_map(|(_, mapping)| {
        let scope = &mapping.scope;
        let name = if scope.starts_with(GLOBAL) { scope.strip_prefix("__").unwrap_or(scope) } else { scope };
        let name = format!("{STATIC_BROKER}{name}");
        (0..mapping.total_queues).map(move |id| MessageQueue::new(topic, name.as_str(), id))
    });
    queues.take(MOST).collect()
}

/// The part of one member; `None` while nobody is known to be in the group.
fn part(
    broker: &Broker,
    settings: &BrokerSettings,
    way: Way,
    group: &str,
    client: &str,
    allocation: Option<&str>,
    queues: Vec<MessageQueue>,
) -> Result<Option<Vec<MessageQueue>>, BrokerError> {
    if matches!(way, Way::Broadcast) || !settings.server_load_balancer_enable {
        return Ok(Some(queues));
    }
    // Always: a client that is refused at first shares them itself, one that is refused later gets no queues.
    let name = allocation.unwrap_or_default();
    let allocation = Allocation::named(name).ok_or_else(|| {
        let remark = format!(
            "queues cannot be shared by {name} here, only by AVG, AVG_BY_CIRCLE and CONSISTENT_HASH: the client has to do it"
        );
        BrokerError::new(response::INVALID_PARAMETER, remark)
    })?;
    let mut members = broker.consumers.client_ids(group);
    if members.is_empty() {
        return Ok(None);
    }
    members.sort_unstable();
    let place = members.iter().position(|member| **member == *client);
    let others = match way {
        Way::Pop(share) => match usize::try_from(share) {
            Ok(share) if (1..members.len() - 1).contains(&share) => share,
            _ => {
                let any = queues.into_iter().map(|queue| MessageQueue { queue_id: ANY, ..queue });
                return Ok(Some(any.collect::<BTreeSet<_>>().into_iter().collect()));
            }
        },
        Way::Pull | Way::Broadcast => 0,
    };
    let Some(place) = place else { return Ok(Some(Vec::new())) };
    if others > 0 && members.len() > queues.len() {
        // So that each has one.
        let queue = queues.iter().cycle().take(members.len()).nth(place);
        return Ok(Some(queue.cloned().into_iter().collect()));
    }
    let sharing = members.iter().cycle().skip(place).take(others + 1);
    let parts: BTreeSet<_> = sharing.flat_map(|member| allocation.part_of(member, &members, &queues)).collect();
    Ok(Some(parts.into_iter().collect()))
}

/// `SET_MESSAGE_REQUEST_MODE`: whether a group pulls a topic or pops it. Its members are told to ask again.
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
    if kind == MessageRequestMode::Pull {
        broker.leave_to_pulls(&group, &topic);
    }
    broker.clients(&broker.settings.load()).shares_anew(&group);
    answer::done(request)
}

/// `GET_ALL_MESSAGE_REQUEST_MODE`: all modes that were set.
pub(crate) fn modes(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    answer::body(request, &*broker.request_modes.get())
}
