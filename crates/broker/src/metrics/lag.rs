//! How far groups are behind, by topic: upstream's families, of groups that are online, and ours, of all that have
//! offsets. Those that are furthest behind are told by name.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use apogee_message::names;
use apogee_store::{Matching, Spend};
use apogee_telemetry::Family;

use super::collect::OTHER;
use super::topics::{flag, topic_and_group};
use crate::broker::Broker;
use crate::pop::{Popping, handle};
use crate::settings::BrokerSettings;
use crate::topics::perm;

/// What one scrape may look at to count what groups want: a few milliseconds.
const SPEND: Spend = Spend { units: 200_000, records: 2_000 };

/// How far a group is in a topic.
#[derive(Default)]
pub(super) struct Lag {
    pub topic: String,
    pub group: String,
    /// Whether upstream's families tell of it: members are online, or pop without saying so.
    is_told: bool,
    /// Not consumed: in flight, or not read.
    pub messages: i64,
    /// Popped and not acknowledged. What was pulled and is not committed is not known.
    in_flight: i64,
    /// The first message of each queue that was not read, where there is any.
    unread: Vec<(i32, i64)>,
    /// The first one that is not consumed.
    open: Vec<(i32, i64)>,
}

/// Groups in topics: those that are furthest behind, as many as are told by name, and all others.
pub(super) fn ranked(broker: &Broker, settings: &BrokerSettings) -> (Vec<Lag>, Vec<Lag>) {
    let mut lags = all(broker, settings);
    // Ties by name, so that the same are told each time.
    lags.sort_unstable_by(|one, other| {
        (Reverse(one.messages), &one.topic, &one.group).cmp(&(Reverse(other.messages), &other.topic, &other.group))
    });
    let rest = lags.split_off(lags.len().min(settings.metrics_otel_cardinality_limit));
    (lags, rest)
}

/// Upstream's families and ours.
pub(super) fn families(broker: &Broker, settings: &BrokerSettings) -> (Vec<Family>, Vec<Family>) {
    let (lags, rest) = ranked(broker, settings);
    let mut messages = Family::gauge("rocketmq_consumer_lag_messages", "", "Messages that a group has not consumed");
    let mut latency =
        Family::gauge("rocketmq_consumer_lag_latency", "milliseconds", "Age of the first message not consumed");
    let mut inflight = Family::gauge("rocketmq_consumer_inflight_messages", "", "Messages popped and not acknowledged");
    let mut queueing =
        Family::gauge("rocketmq_consumer_queueing_latency", "milliseconds", "Age of the first message not pulled");
    let mut ready = Family::gauge("rocketmq_consumer_ready_messages", "", "Messages that were not pulled yet");
    let mut own_messages = Family::gauge("apogee_consumer_lag_messages", "", "Messages that a group has not consumed");
    let mut own_seconds =
        Family::gauge("apogee_consumer_lag_seconds", "seconds", "Age of the first message not consumed");
    let mut matching = Family::gauge(
        "apogee_consumer_lag_matching_messages",
        "",
        "Messages that a group which filters has not consumed and wants: at least and at most",
    );
    let mut spend = SPEND;
    let now = broker.now();
    for lag in &lags {
        let age_ms = lag.age_ms(broker, now);
        // A retry topic of popped messages counts for the topic that they are of.
        let origin = handle::origin(&lag.group, &lag.topic);
        let is_system = names::is_system_topic(&lag.topic) || names::is_system_group(&lag.group);
        let labels = topic_and_group(&lag.topic, &lag.group, is_system);
        own_messages.add(labels.clone(), lag.messages as f64);
        if let Some(Matching { least, most }) = lag.matching(broker, &mut spend) {
            for (bound, count) in [("least", least), ("most", most)] {
                let mut labels = labels.clone();
                labels.push(("bound", bound.into()));
                matching.add(labels, count as f64);
            }
        }
        own_seconds.add(labels.clone(), age_ms as f64 / 1e3);
        if !lag.is_told || origin.is_none() && lag.topic.starts_with(names::RETRY_PREFIX) {
            continue;
        }
        let mut labels = topic_and_group(origin.unwrap_or(&lag.topic), &lag.group, is_system);
        labels.push(("is_retry", flag(origin.is_some())));
        messages.add(labels.clone(), lag.messages as f64);
        latency.add(labels.clone(), age_ms as f64);
        inflight.add(labels.clone(), lag.in_flight as f64);
        queueing.add(labels.clone(), lag.age_of(&lag.unread, broker, now) as f64);
        ready.add(labels, (lag.messages - lag.in_flight) as f64);
    }
    if !rest.is_empty() {
        let sum = |all: &mut dyn Iterator<Item = &Lag>| all.map(|lag| lag.messages).sum::<i64>() as f64;
        let mut labels = topic_and_group(OTHER, OTHER, false);
        own_messages.add(labels.clone(), sum(&mut rest.iter()));
        labels.push(("is_retry", flag(false)));
        messages.add(labels, sum(&mut rest.iter().filter(|lag| lag.is_told)));
    }
    (vec![messages, latency, inflight, queueing, ready], vec![own_messages, matching, own_seconds])
}

/// All groups in all their topics.
fn all(broker: &Broker, settings: &BrokerSettings) -> Vec<Lag> {
    let online: BTreeSet<String> = broker.consumers.groups().iter().map(ToString::to_string).collect();
    let known = broker.groups.all();
    let mut groups: BTreeSet<&str> = known.iter().map(|group| &*group.group_name).collect();
    groups.extend(online.iter().map(String::as_str));
    let mut lags = Vec::new();
    for group in groups {
        let is_online = online.contains(group);
        let mut topics = broker.offsets.topics_of(group);
        if is_online {
            let subscribed = broker.consumers.topics_of(group);
            // What its members dropped nobody will read.
            topics.retain(|topic| subscribed.contains(topic));
            topics.extend(subscribed);
        }
        let retries = broker.pop_retry_topics(group, &topics);
        let has_retries = !retries.is_empty();
        topics.extend(retries);
        let mut own: Vec<Lag> =
            topics.into_iter().filter_map(|topic| lag(broker, settings, group, topic, is_online)).collect();
        if has_retries {
            let told: BTreeSet<String> = own.iter().filter(|lag| lag.is_told).map(|lag| lag.topic.clone()).collect();
            for lag in &mut own {
                lag.is_told |= handle::origin(group, &lag.topic).is_some_and(|topic| told.contains(topic));
            }
        }
        lags.append(&mut own);
    }
    lags
}

fn lag(broker: &Broker, settings: &BrokerSettings, group: &str, topic: String, is_online: bool) -> Option<Lag> {
    let config = broker.topics.get(&topic)?;
    if config.config.perm & settings.broker_permission & (perm::READ | perm::WRITE) == 0 {
        return None;
    }
    let mut lag = Lag { topic, group: group.to_owned(), is_told: is_online, ..Lag::default() };
    let topic = &lag.topic;
    // What was given back is read from its beginning; a group that never committed in another queue begins where that ends.
    let is_retry = handle::origin(group, topic).is_some();
    let committed = broker.offsets.queues(group, topic);
    for queue_id in 0..config.config.write_queue_nums {
        let (min, max) = broker.store.queue_range(topic, queue_id).unwrap_or_default();
        let next = committed.get(&queue_id).copied().unwrap_or(if is_retry { min } else { max });
        let popping = broker.popping(group, topic, queue_id);
        let Popping { cursor, in_flight, first } =
            popping.unwrap_or(Popping { cursor: next, in_flight: 0, first: next });
        lag.is_told |= popping.is_some();
        lag.in_flight += in_flight;
        lag.messages += in_flight + (max - cursor).max(0);
        if cursor < max {
            lag.unread.push((queue_id, cursor.max(min)));
        }
        if first < max {
            lag.open.push((queue_id, first.max(min)));
        }
    }
    Some(lag)
}

impl Lag {
    /// How many of the unread messages the group wants. Of groups that filter, as long as members tell what they want.
    fn matching(&self, broker: &Broker, spend: &mut Spend) -> Option<Matching> {
        let wanted = broker.consumers.newest_subscription(&self.group, &self.topic).filter(|all| !all.is_of_all())?;
        // What was popped matched.
        let popped = self.in_flight.max(0) as u64;
        let mut sum = Matching { least: popped, most: popped };
        for (queue_id, from) in &self.unread {
            let (filter, by_records) = (&mut wanted.picker(), wanted.needs_records());
            let offsets = *from..i64::MAX;
            let found = broker.store.count_matching(&self.topic, *queue_id, offsets, filter, by_records, spend);
            sum = Matching { least: sum.least + found.least, most: sum.most + found.most };
        }
        Some(sum)
    }

    /// Milliseconds since the oldest message that is not consumed was stored; 0 when all are.
    pub fn age_ms(&self, broker: &Broker, now: i64) -> i64 {
        self.age_of(&self.open, broker, now)
    }

    fn age_of(&self, first: &[(i32, i64)], broker: &Broker, now: i64) -> i64 {
        let time = |(queue_id, offset): &(i32, i64)| broker.store.store_time(&self.topic, *queue_id, *offset);
        let oldest = first.iter().filter_map(time).min();
        oldest.map_or(0, |oldest| (now - oldest).max(0))
    }
}
