//! Offsets of consumers and queues (upstream `ConsumerManageProcessor`, `AdminBrokerProcessor`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_message::names;
use apogee_net::Conn;
use apogee_store::Boundary as StoreBoundary;
use apogee_wire::Command;
use apogee_wire::bodies::{ConsumeQueueData, QueryConsumeQueueResponseBody, QueryCorrectionOffsetBody, TopicList};
use apogee_wire::codes::response;
use apogee_wire::headers::{
    Boundary, CloneGroupOffsetRequestHeader, GetEarliestMsgStoretimeRequestHeader,
    GetEarliestMsgStoretimeResponseHeader, GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader, GetMinOffsetResponseHeader, QueryConsumeQueueRequestHeader,
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader, QueryCorrectionOffsetHeader,
    QueryTopicsByConsumerRequestHeader, SearchOffsetRequestHeader, SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::lite;
use crate::offsets::OffsetTable;
use crate::topics::MOST_QUEUES;

/// Most units of a queue that one `QUERY_CONSUME_QUEUE` returns.
const MOST_UNITS: i32 = 1_024;

/// `QUERY_CONSUMER_OFFSET`: where a group is in a queue. A group that is new to a queue whose first
/// message is still in memory begins there; otherwise the client decides.
pub(crate) fn query(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: QueryConsumerOffsetRequestHeader<'_> = request.header()?;
    let (topic, queue_id) = (header.topic, header.queue_id);
    let from_zero = || {
        let unwanted = header.set_zero_if_not_found == Some(false);
        let store = &broker.store;
        (!unwanted && store.unit(topic, queue_id, 0).is_some() && !store.is_cold(topic, queue_id, 0)).then_some(0)
    };
    let Some(offset) = broker.offsets.query(header.consumer_group, topic, queue_id).or_else(from_zero) else {
        let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
        return Err(BrokerError::new(response::QUERY_NOT_FOUND, remark));
    };
    Ok(Some(answer::success(request).with_header(&QueryConsumerOffsetResponseHeader { offset })))
}

/// `UPDATE_CONSUMER_OFFSET`: a group got so far.
pub(crate) fn update(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: UpdateConsumerOffsetRequestHeader<'_> = request.header()?;
    let (group, topic) = (header.consumer_group, header.topic);
    if broker.groups.get(group).is_none() {
        let remark = format!("Group {group} not exist!");
        return Err(BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    if broker.topics.get(topic).is_none() {
        return Err(BrokerError::new(response::TOPIC_NOT_EXIST, format!("Topic {topic} not exist!")));
    }
    if !(0..MOST_QUEUES).contains(&header.queue_id) || header.commit_offset < 0 {
        let remark = format!("topic[{topic}]: no offset {} in queue {}", header.commit_offset, header.queue_id);
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    broker.offsets.commit(group, topic, header.queue_id, header.commit_offset);
    answer::done(request)
}

/// `SEARCH_OFFSET_BY_TIMESTAMP`.
pub(crate) fn search(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: SearchOffsetRequestHeader<'_> = request.header()?;
    let boundary = match header.boundary_type {
        Some(Boundary::Upper) => StoreBoundary::Upper,
        Some(Boundary::Lower) | None => StoreBoundary::Lower,
    };
    let queue = match header.lite_topic.filter(|name| !name.is_empty()) {
        Some(name) => {
            lite::check_name(name)?;
            Cow::Owned(lite::queue(header.topic, name))
        }
        None => Cow::Borrowed(header.topic),
    };
    let found = broker.store.offset_by_time(&queue, header.queue_id, header.timestamp, boundary);
    let head = SearchOffsetResponseHeader { offset: found.unwrap_or(0) };
    Ok(Some(answer::success(request).with_header(&head)))
}

/// `GET_MAX_OFFSET`: the end of a queue, 0 where there is none yet.
pub(crate) fn max(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetMaxOffsetRequestHeader<'_> = request.header()?;
    let (_, offset) = broker.store.queue_range(header.topic, header.queue_id).unwrap_or_default();
    Ok(Some(answer::success(request).with_header(&GetMaxOffsetResponseHeader { offset })))
}

/// `GET_MIN_OFFSET`: the beginning of a queue, 0 where there is none yet.
pub(crate) fn min(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetMinOffsetRequestHeader<'_> = request.header()?;
    let (offset, _) = broker.store.queue_range(header.topic, header.queue_id).unwrap_or_default();
    Ok(Some(answer::success(request).with_header(&GetMinOffsetResponseHeader { offset })))
}

/// `GET_EARLIEST_MSG_STORETIME`: when the first message of a queue was stored, -1 without one.
pub(crate) fn earliest_store_time(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetEarliestMsgStoretimeRequestHeader<'_> = request.header()?;
    let range = broker.store.queue_range(header.topic, header.queue_id);
    let time = range.and_then(|(first, _)| broker.store.store_time(header.topic, header.queue_id, first));
    let head = GetEarliestMsgStoretimeResponseHeader { timestamp: time.unwrap_or(-1) };
    Ok(Some(answer::success(request).with_header(&head)))
}

/// `GET_ALL_CONSUMER_OFFSET`: the offsets of all groups.
pub(crate) fn all(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let mut table = broker.offsets.snapshot();
    let mut topics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (topic, group) in table.offset_table.keys().filter_map(|key| key.split_once('@')) {
        topics.entry(group.to_owned()).or_default().insert(topic.to_owned());
    }
    table.group_topic_map = Some(topics);
    answer::body(request, &table)
}

/// `CLONE_GROUP_OFFSET`: a group begins where another is, in one topic or in all.
pub(crate) fn clone(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: CloneGroupOffsetRequestHeader<'_> = request.header()?;
    let (from, to) = (header.src_group, header.dest_group);
    names::check_group(to)?;
    let topics = match header.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => BTreeSet::from([topic.to_owned()]),
        None => broker.offsets.topics_of(from),
    };
    // Members of the group may have dropped a topic: only what they read is copied, unless all is
    // asked for.
    let read_by_members =
        (header.offline != Some(true) && broker.consumers.is_online(from)).then(|| broker.consumers.topics_of(from));
    for topic in topics {
        let read = read_by_members.as_ref().is_none_or(|read| read.contains(&topic));
        if read && broker.topics.get(&topic).is_some() {
            broker.offsets.copy(from, to, &topic);
            tracing::info!(peer = %conn.peer(), from, to, topic, "offsets are copied by remote request");
        }
    }
    broker.offsets.save(broker.now())?;
    answer::done(request)
}

/// `QUERY_CORRECTION_OFFSET`: by queue the lowest offset of all groups but some; the highest number
/// where the group that is compared is behind it.
pub(crate) fn correction(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: QueryCorrectionOffsetHeader<'_> = request.header()?;
    let left_out: BTreeSet<_> = header.filter_groups.unwrap_or_default().split(',').map(str::trim).collect();
    let first = |queue_id| broker.store.queue_range(header.topic, queue_id).map_or(0, |(first, _)| first);
    let correction_offsets = lowest(&broker.offsets, header.topic, header.compare_group, &left_out, first);
    answer::body(request, &QueryCorrectionOffsetBody { correction_offsets })
}

fn lowest(
    offsets: &OffsetTable,
    topic: &str,
    compared: &str,
    left_out: &BTreeSet<&str>,
    first: impl Fn(i32) -> i64,
) -> BTreeMap<i32, i64> {
    let mut lowest = BTreeMap::new();
    for group in offsets.groups_of(topic).iter().filter(|group| !left_out.contains(group.as_str())) {
        for (queue_id, offset) in offsets.queues(group, topic) {
            // A group whose messages are gone holds nobody up.
            if offset >= first(queue_id) {
                let known = lowest.entry(queue_id).or_insert(offset);
                *known = offset.min(*known);
            }
        }
    }
    for (queue_id, offset) in offsets.queues(compared, topic) {
        if let Some(known) = lowest.get_mut(&queue_id).filter(|known| **known > offset) {
            *known = i64::MAX;
        }
    }
    lowest
}

/// `QUERY_CONSUME_QUEUE`: units of a queue, for those who look into a store.
pub(crate) fn queue_units(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: QueryConsumeQueueRequestHeader<'_> = request.header()?;
    let (Some(topic), Some(queue_id), Some(index)) = (header.topic, header.queue_id, header.index) else {
        return Err(BrokerError::new(response::INVALID_PARAMETER, "topic, queueId and index are needed"));
    };
    let Some((min_queue_index, max_queue_index)) = broker.store.queue_range(topic, queue_id) else {
        return Err(BrokerError::new(response::SYSTEM_ERROR, format!("{queue_id}@{topic} is not exist!")));
    };
    let group = header.consumer_group.filter(|group| !group.is_empty());
    let subscription = group.and_then(|group| broker.consumers.newest_subscription(group, topic));
    let filter_data = group.map(|group| match subscription {
        // Upstream's text for a filter that is compiled from the subscription; tags have none.
        Some(_) => "null".to_owned(),
        None => format!("{group}@{topic} is not online!"),
    });
    let mut units = Vec::new();
    let count = header.count.unwrap_or(1).clamp(0, MOST_UNITS) as usize;
    while units.len() < count {
        let more = broker.store.units(topic, queue_id, index + units.len() as i64, count - units.len());
        if more.is_empty() {
            break;
        }
        units.extend(more.into_iter().map(|unit| ConsumeQueueData {
            physic_offset: unit.physical_offset,
            physic_size: unit.size as i32,
            tags_code: unit.tag_code,
            ..Default::default()
        }));
    }
    let body = QueryConsumeQueueResponseBody {
        filter_data,
        max_queue_index,
        min_queue_index,
        queue_data: Some(units),
        subscription_data: subscription.map(|subscription| subscription.data().clone()),
    };
    answer::body(request, &body)
}

/// `QUERY_TOPICS_BY_CONSUMER`: topics that a group has offsets in.
pub(crate) fn topics_of_group(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: QueryTopicsByConsumerRequestHeader<'_> = request.header()?;
    let topic_list = broker.offsets.topics_of(header.group);
    answer::body(request, &TopicList { broker_addr: Some(broker.advertised.clone()), topic_list })
}

#[cfg(test)]
mod tests {
    use apogee_base::disk::{Disk, SimDisk};

    use super::*;
    use crate::table_file::TableFile;

    #[test]
    fn the_lowest_offset_counts_unless_a_group_is_behind_it() {
        let disk = SimDisk::new(1);
        disk.create_folder(std::path::Path::new("/c")).unwrap();
        let offsets = OffsetTable::open(TableFile::new(Arc::new(disk), "/c/o.json".into()), 1).unwrap();
        for (group, queue_id, offset) in [("G", 0, 7), ("H", 0, 5), ("H", 1, 3), ("I", 1, 2), ("I", 0, 9)] {
            offsets.commit(group, "T", queue_id, offset);
        }
        let of =
            |compared, left_out: &[&str]| lowest(&offsets, "T", compared, &left_out.iter().copied().collect(), |_| 3);
        // What is before the queue's first message does not count.
        assert_eq!(of("G", &[]), BTreeMap::from([(0, 5), (1, 3)]));
        assert_eq!(of("I", &[]), BTreeMap::from([(0, 5), (1, i64::MAX)]));
        assert_eq!(of("H", &["H"]), BTreeMap::from([(0, i64::MAX)]));
    }
}
