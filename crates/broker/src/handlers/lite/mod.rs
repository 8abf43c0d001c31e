//! Lite topics (upstream `LiteManagerProcessor`): what administrators ask about them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_message::light;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{
    ClientGroup, GetBrokerLiteInfoResponseBody, GetLiteClientInfoResponseBody, GetLiteGroupInfoResponseBody,
    GetLiteTopicInfoResponseBody, GetParentTopicInfoResponseBody, LiteLagInfo, OffsetWrapper, TopicOffset,
};
use apogee_wire::headers::{
    GetLiteClientInfoRequestHeader, GetLiteGroupInfoRequestHeader, GetLiteTopicInfoRequestHeader,
    GetParentTopicInfoRequestHeader, TriggerLiteDispatchRequestHeader,
};

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::lite::subscriptions::Member;
use crate::lite::{self, parent_of, parts};
use crate::topics::Topic;

mod subscribe;

pub(crate) use subscribe::subscribe;

/// Lite topics that one answer names at most.
const MOST: i32 = 10_000;

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Minutes after which lite topics go; -1: never.
fn minutes(parent: &Topic) -> i32 {
    parent.lite_minutes().map_or(-1, |minutes| i32::try_from(minutes).unwrap_or(i32::MAX))
}

/// Groups that are bound to a parent.
fn groups_of(broker: &Broker, parent: &str) -> BTreeSet<String> {
    let groups = broker.groups.all();
    groups.iter().filter(|group| parent_of(group) == Some(parent)).map(|group| group.group_name.clone()).collect()
}

/// `GET_BROKER_LITE_INFO`: how much of it there is.
pub(crate) fn of_broker(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let parents: Vec<_> = broker.topics.all().into_iter().filter(|topic| topic.is_parent()).collect();
    let mut bound = BTreeMap::<String, BTreeSet<String>>::new();
    for group in broker.groups.all() {
        if let Some(parent) = parent_of(&group) {
            bound.entry(parent.to_owned()).or_default().insert(group.group_name.clone());
        }
    }
    let (subscriptions, clients) = broker.lite.with(|all| (all.len(), all.all().count()));
    let body = GetBrokerLiteInfoResponseBody {
        max_lmq_num: count(broker.settings.load().max_lmq_consume_queue_num),
        current_lmq_num: count(broker.store.light_queues()),
        lite_subscription_count: count(subscriptions),
        event_map_size: count(clients),
        order_info_count: count(broker.pop.orders.lock().len()),
        cq_table_size: count(broker.store.topics().len()),
        offset_table_size: count(broker.offsets.len()),
        store_type: Some("default".to_owned()),
        topic_meta: parents.iter().map(|topic| (topic.name.to_string(), minutes(topic))).collect(),
        group_meta: bound,
    };
    answer::body(request, &body)
}

/// `GET_PARENT_TOPIC_INFO`: a topic that has lite topics.
pub(crate) fn of_parent(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetParentTopicInfoRequestHeader<'_> = request.header()?;
    let parent = broker.parent(header.topic)?;
    let groups = groups_of(broker, header.topic);
    let body = GetParentTopicInfoResponseBody {
        groups: (!groups.is_empty()).then_some(groups),
        lite_topic_count: count(broker.lite_queues(header.topic).len()),
        lmq_num: count(broker.store.light_queues()),
        topic: Some(header.topic.to_owned()),
        ttl: minutes(&parent),
    };
    answer::body(request, &body)
}

/// `GET_LITE_TOPIC_INFO`: one of them.
pub(crate) fn of_topic(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetLiteTopicInfoRequestHeader<'_> = request.header()?;
    let (parent, name) = (header.parent_topic.unwrap_or_default(), header.lite_topic.unwrap_or_default());
    broker.parent(parent)?;
    lite::check_name(name)?;
    let queue = lite::queue(parent, name);
    let range = broker.store.queue_range(&queue, 0);
    let offsets = range.map(|(min_offset, max_offset)| {
        let last = if max_offset > min_offset { broker.store.store_time(&queue, 0, max_offset - 1) } else { None };
        TopicOffset { last_update_timestamp: last.unwrap_or(0), max_offset, min_offset }
    });
    let reader =
        |group: &str, client: &str| ClientGroup { client_id: Some(client.to_owned()), group: Some(group.to_owned()) };
    let readers = broker.lite.with(|all| {
        let named = all.readers_of(&queue).map(|member| reader(&member.group, &member.client));
        named.chain(all.wild_groups(parent).map(|group| reader(group, "*"))).collect()
    });
    let body = GetLiteTopicInfoResponseBody {
        lite_topic: Some(name.to_owned()),
        parent_topic: Some(parent.to_owned()),
        sharding_to_broker: true,
        subscriber: Some(readers),
        topic_offset: Some(offsets.unwrap_or_default()),
    };
    answer::body(request, &body)
}

/// `GET_LITE_CLIENT_INFO`: the lite topics that a client reads.
pub(crate) fn of_client(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetLiteClientInfoRequestHeader<'_> = request.header()?;
    let (parent, group) = (header.parent_topic.unwrap_or_default(), header.group.unwrap_or_default());
    broker.lite(group, parent)?;
    let client = header.client_id.unwrap_or_default();
    let member = Member { group: group.into(), client: client.into() };
    let most = header.max_count.unwrap_or(MOST).clamp(0, MOST) as usize;
    let known = broker.lite.with(|all| all.get(&member).cloned());
    let queues = |queues: &BTreeSet<Arc<str>>| queues.iter().take(most).map(|queue| queue.to_string()).collect();
    let body = GetLiteClientInfoResponseBody {
        client_id: Some(client.to_owned()),
        group: Some(group.to_owned()),
        last_access_time: known.as_ref().map_or(-1, |reader| reader.seen_ms),
        last_consume_time: known.as_ref().map_or(0, |reader| reader.consumed_ms),
        lite_topic_count: known.as_ref().map_or(-1, |reader| count(reader.queues.len())),
        lite_topic_set: known.as_ref().map(|reader| queues(&reader.queues)),
        parent_topic: Some(parent.to_owned()),
    };
    answer::body(request, &body)
}

/// `GET_LITE_GROUP_INFO`: how far a group is behind.
pub(crate) fn of_group(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetLiteGroupInfoRequestHeader<'_> = request.header()?;
    let config = broker.lite_group(header.group)?;
    let parent = parent_of(&config).unwrap_or_default();
    let mut body = GetLiteGroupInfoResponseBody {
        earliest_unconsumed_timestamp: -1,
        group: Some(header.group.to_owned()),
        parent_topic: Some(parent.to_owned()),
        ..GetLiteGroupInfoResponseBody::default()
    };
    if let Some(name) = header.lite_topic.filter(|name| !name.is_empty()) {
        lite::check_name(name)?;
        let queue = lite::queue(parent, name);
        body.lite_topic = Some(name.to_owned());
        body.total_lag_count = -1;
        if let Some((min, max)) = broker.store.queue_range(&queue, light::QUEUE) {
            let next = broker.offsets.query(header.group, &queue, light::QUEUE).unwrap_or(min);
            let lag = lag(broker, header.group, &queue);
            body.total_lag_count = lag.lag_count;
            body.earliest_unconsumed_timestamp = lag.earliest_unconsumed_timestamp;
            let consumed = if next > min { broker.store.store_time(&queue, light::QUEUE, next - 1) } else { None };
            body.lite_topic_offset_wrapper = Some(OffsetWrapper {
                broker_offset: max,
                consumer_offset: next,
                last_timestamp: consumed.unwrap_or(0),
                ..OffsetWrapper::default()
            });
        }
        return answer::body(request, &body);
    }
    let most = header.top_k.unwrap_or(20).clamp(0, MOST) as usize;
    let mut queues = broker.lite_queues(parent);
    if !lite::is_wild(&config) {
        // What nobody of it reads, nor ever read, it is not behind in.
        let reads = |queue: &str| {
            broker.lite.with(|all| all.readers_of(queue).any(|member| *member.group == *header.group))
                || broker.offsets.query(header.group, queue, light::QUEUE).is_some()
        };
        queues.retain(|queue| reads(queue));
    }
    let behind = queues.into_iter().map(|queue| lag(broker, header.group, &queue));
    let mut behind: Vec<LiteLagInfo> = behind.filter(|lag| lag.lag_count > 0).collect();
    body.total_lag_count = behind.iter().map(|lag| lag.lag_count).sum();
    let known = |lag: &&LiteLagInfo| lag.earliest_unconsumed_timestamp >= 0;
    let earliest = behind.iter().filter(known).map(|lag| lag.earliest_unconsumed_timestamp).min();
    body.earliest_unconsumed_timestamp = earliest.unwrap_or(-1);
    behind.sort_by(|one, other| one.lite_topic.cmp(&other.lite_topic));
    behind.sort_by_key(|lag| lag.earliest_unconsumed_timestamp);
    body.lag_timestamp_top_k = Some(behind.iter().filter(known).take(most).cloned().collect());
    behind.sort_by_key(|lag| Reverse(lag.lag_count));
    behind.truncate(most);
    body.lag_count_top_k = Some(behind);
    answer::body(request, &body)
}

/// How far a group is behind in a lite topic.
fn lag(broker: &Broker, group: &str, queue: &str) -> LiteLagInfo {
    let (min, max) = broker.store.queue_range(queue, 0).unwrap_or_default();
    let next = broker.offsets.query(group, queue, 0).unwrap_or(min).max(min);
    let time = if next < max { broker.store.store_time(queue, 0, next) } else { None };
    LiteLagInfo {
        earliest_unconsumed_timestamp: time.unwrap_or(-1),
        lag_count: (max - next).max(0),
        lite_topic: parts(queue).map(|(_, name)| name.to_owned()),
    }
}

/// `TRIGGER_LITE_DISPATCH`: pops of a group, or of one of its clients, look again.
pub(crate) fn trigger(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: TriggerLiteDispatchRequestHeader<'_> = request.header()?;
    broker.lite_group(header.group)?;
    let client = header.client_id.filter(|client| !client.is_empty());
    let is_meant =
        |member: &&Member| *member.group == *header.group && client.is_none_or(|client| client == &*member.client);
    let members: Vec<Member> =
        broker.lite.with(|all| all.all().map(|(member, _)| member).filter(is_meant).cloned().collect());
    for member in &members {
        broker.look_for(member);
        broker.wake_member(member);
    }
    answer::done(request)
}
