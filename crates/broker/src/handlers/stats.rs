//! Figures for operators (upstream `AdminBrokerProcessor`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_message::names;
use apogee_net::Conn;
use apogee_store::{Matching, Spend};
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, BrokerStatsData, BrokerStatsItem, COUNT_MATCHING, ConsumeStats, ConsumeStatsList, MessageQueue,
    OffsetWrapper, QueryConsumeTimeSpanBody, QueueTimeSpan,
};
use apogee_wire::codes::response;
use apogee_wire::headers::{
    GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader, QueryConsumeTimeSpanRequestHeader,
    ViewBrokerStatsDataRequestHeader,
};

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::pop::handle;
use crate::slave::{Marks, POPPED_FROM};
use crate::stats::{Kind, Window};

/// Separates topics in a header.
const TOPIC_SEPARATOR: char = ';';

/// What one question may cost: some tens of milliseconds, when nothing waits for the disk.
const SPEND: Spend = Spend { units: 1_000_000, records: 20_000 };

/// `GET_CONSUME_STATS`: how far a group is, in one topic, some, or all that it has offsets in.
pub(crate) fn of_group(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetConsumeStatsRequestHeader<'_> = request.header()?;
    let group = header.consumer_group;
    let given = |list: Option<&str>| -> Vec<String> {
        let topics = list.unwrap_or_default().split(TOPIC_SEPARATOR).map(str::trim);
        topics.filter(|topic| !topic.is_empty()).map(str::to_owned).collect()
    };
    let mut topics = given(header.topic_list);
    topics.extend(given(header.topic));
    if topics.is_empty() {
        topics.extend(topics_of(broker, group));
    }
    let mut spend = request.fields.get(COUNT_MATCHING).is_some_and(|wanted| wanted == "true").then_some(SPEND);
    let mut all = ConsumeStats::default();
    for topic in &topics {
        if let Some(mut stats) = progress(broker, group, topic, false) {
            if let Some(spend) = &mut spend {
                count_matching(broker, group, topic, &mut stats, spend);
            }
            all.consume_tps += stats.consume_tps;
            all.offset_table.extend(stats.offset_table);
        }
    }
    answer::body(request, &all)
}

/// Says of each queue how many of the unread messages match what the group subscribes to; nothing when no member is there
/// to tell that.
fn count_matching(broker: &Broker, group: &str, topic: &str, stats: &mut ConsumeStats, spend: &mut Spend) {
    let Some(subscription) = broker.consumers.newest_subscription(group, topic) else { return };
    for (queue, offsets) in &mut stats.offset_table {
        let unread = offsets.consumer_offset..offsets.broker_offset;
        let (first, end) = broker.store.queue_range(topic, queue.queue_id).unwrap_or_default();
        let matching = match subscription.is_of_all() {
            true => {
                let all = (unread.end.min(end) - unread.start.max(first)).max(0) as u64;
                Matching { least: all, most: all }
            }
            false => {
                let (filter, by_records) = (&mut subscription.picker(), subscription.needs_records());
                broker.store.count_matching(topic, queue.queue_id, unread, filter, by_records, spend)
            }
        };
        (offsets.matching_least, offsets.matching_most) = (Some(matching.least), Some(matching.most));
    }
}

/// `GET_BROKER_CONSUME_STATS`: how far all groups are.
pub(crate) fn of_broker(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetConsumeStatsInBrokerHeader = request.header()?;
    let mut list = ConsumeStatsList { broker_addr: Some(broker.advertised.clone()), ..Default::default() };
    for group in broker.groups.all() {
        let topics = topics_of(broker, &group.group_name);
        let topics = topics.iter().filter_map(|topic| progress(broker, &group.group_name, topic, header.is_order));
        let topics: Vec<_> = topics.collect();
        let queues = || topics.iter().flat_map(|topic| topic.offset_table.values());
        list.total_diff += queues().map(|queue| queue.broker_offset - queue.consumer_offset).sum::<i64>();
        list.total_inflight_diff += queues().map(|queue| queue.pull_offset - queue.consumer_offset).sum::<i64>();
        list.consume_stats_list.push(BTreeMap::from([(group.group_name.clone(), topics)]));
    }
    answer::body(request, &list)
}

/// Topics in which a group has offsets; and its retry topic, where messages may wait that it has not
/// begun with.
fn topics_of(broker: &Broker, group: &str) -> BTreeSet<String> {
    let mut topics = broker.offsets.topics_of(group);
    let retry = names::retry_topic(group);
    let has_messages = |queue_id| broker.store.queue_range(&retry, queue_id).is_some_and(|(_, max)| max > 0);
    if broker.topics.get(&retry).is_some_and(|topic| (0..topic.config.read_queue_nums).any(has_messages)) {
        topics.insert(retry);
    }
    topics.extend(broker.pop_retry_topics(group, &topics));
    topics
}

/// How far a group is in a topic; `None` for a topic that is gone or that its members dropped.
fn progress(broker: &Broker, group: &str, topic_name: &str, ordered_only: bool) -> Option<ConsumeStats> {
    let topic = broker.topics.get(topic_name)?;
    let subscribed = handle::origin(group, topic_name).unwrap_or(topic_name);
    let dropped = broker.consumers.is_online(group)
        && !broker.consumers.topics_of(group).iter().any(|topic| topic == topic_name || topic == subscribed);
    if dropped || ordered_only && !topic.config.order {
        return None;
    }
    let settings = broker.settings.load();
    let queues = (0..topic.config.read_queue_nums).map(|queue_id| {
        let (_, broker_offset) = broker.store.queue_range(topic_name, queue_id).unwrap_or_default();
        let committed = broker.offsets.query(group, topic_name, queue_id).unwrap_or(0);
        // Of what was popped any may be acknowledged: as many as are consumed count, whichever.
        let popping = broker.popping(group, topic_name, queue_id);
        let consumer_offset = popping.map_or(committed, |popping| (popping.cursor - popping.in_flight).max(0));
        let last = (consumer_offset > 0).then(|| broker.store.store_time(topic_name, queue_id, consumer_offset - 1));
        let wrapper = OffsetWrapper {
            broker_offset,
            consumer_offset,
            last_timestamp: last.flatten().unwrap_or(0),
            matching_least: None,
            matching_most: None,
            // What was pulled and is not committed is not known: nothing of it counts as in flight.
            pull_offset: popping.map_or(consumer_offset, |popping| popping.cursor),
        };
        (MessageQueue::new(topic_name, &*settings.broker_name, queue_id), wrapper)
    });
    let [minute, ..] = broker.stats.windows(Kind::GroupGetNums, &format!("{topic_name}@{group}"));
    Some(ConsumeStats { consume_tps: minute.per_second, offset_table: queues.collect() })
}

/// `QUERY_CONSUME_TIME_SPAN`: how old the messages are that a group will get next.
pub(crate) fn time_span(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: QueryConsumeTimeSpanRequestHeader<'_> = request.header()?;
    let topic = broker.topics.get(header.topic).ok_or_else(|| BrokerError::no_topic(header.topic))?;
    let (settings, now) = (broker.settings.load(), broker.now());
    let spans = (0..topic.config.write_queue_nums).map(|queue_id| {
        let time = |offset| broker.store.store_time(header.topic, queue_id, offset);
        let (min, max) = broker.store.queue_range(header.topic, queue_id).unwrap_or_default();
        let min_time_stamp = time(min).unwrap_or(-1);
        let consumed = broker.offsets.query(header.group, header.topic, queue_id).unwrap_or(0);
        let next = time(consumed.max(min));
        QueueTimeSpan {
            consume_time_stamp: if consumed > 0 { time(consumed - 1).unwrap_or(-1) } else { min_time_stamp },
            delay_time: next.map_or(0, |next| (now - next).max(0)),
            max_time_stamp: time(max - 1).unwrap_or(-1),
            message_queue: Some(MessageQueue::new(header.topic, &*settings.broker_name, queue_id)),
            min_time_stamp,
            ..Default::default()
        }
    });
    answer::body(request, &QueryConsumeTimeSpanBody { consume_time_span_set: spans.collect() })
}

/// `VIEW_BROKER_STATS_DATA`: one counter.
pub(crate) fn counter(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: ViewBrokerStatsDataRequestHeader<'_> = request.header()?;
    let kind = Kind::from_name(header.stats_name).filter(|kind| broker.stats.total(*kind, header.stats_key) > 0);
    let Some(kind) = kind else {
        let remark = format!("The stats <{}> <{}> not exist", header.stats_name, header.stats_key);
        return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
    };
    let item = |window: Window| {
        let sum = window.sum.try_into().unwrap_or(i64::MAX);
        Some(BrokerStatsItem { avgpt: window.per_call, sum, tps: window.per_second })
    };
    let [minute, hour, day] = broker.stats.windows(kind, header.stats_key).map(item);
    answer::body(request, &BrokerStatsData { stats_day: day, stats_hour: hour, stats_minute: minute })
}

/// `GET_TIMER_CHECK_POINT`: how far the timer is, in the form of Apache's file.
pub(crate) fn timer_checkpoint(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    Ok(Some(answer::success(request).with_body(broker.timer.checkpoint(broker.now()))))
}

/// `GET_TIMER_METRICS`: how many messages wait for a time of their own, by topic.
pub(crate) fn timer_metrics(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    answer::body(request, &broker.timer.metrics())
}

/// `GET_ALL_DELAY_OFFSET`: how far the delay levels are; a slave of ours learns from where on the log tells the rest.
pub(crate) fn delay_offsets(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let (schedule, delays) = broker.schedule.marked_snapshot();
    let (transactions, inherited) = (broker.transactions.settled_from(), broker.timer.inherited());
    let marks = Marks { schedule, transactions, inherited };
    let mut answer = answer::success(request).with_body(delays.encode());
    marks.put(&mut answer);
    if let Some(from) = broker.pop.held_from(broker) {
        answer.fields.set_number(POPPED_FROM, from);
    }
    Ok(Some(answer))
}
