//! Upstream's families of messages, by topic and group. The busiest are told by name.

use std::collections::HashMap;

use apogee_message::names;
use apogee_telemetry::{Family, Label, Ranked, Shown, Snapshot};

use super::collect::OTHER;
use super::traffic::{Received, SIZES};
use crate::broker::Broker;
use crate::message_type::MessageType;
use crate::settings::BrokerSettings;
use crate::stats::Kind;

/// Messages, bytes, the sum of sizes, and requests by size.
const IN: usize = 3 + SIZES.len() + 1;
/// Messages and bytes.
const OUT: usize = 2;

/// Which topics and groups are told by name.
#[derive(Default)]
pub(crate) struct Choice {
    received: Shown<IN>,
    sent: Shown<OUT>,
}

pub(super) fn families(broker: &Broker, settings: &BrokerSettings, choice: &mut Choice) -> Vec<Family> {
    let most = settings.metrics_otel_cardinality_limit;
    let mut families = received(broker, most, &mut choice.received);
    families.extend(sent(broker, most, &mut choice.sent));
    families
}

/// Retry topics and dead letters are left out, as upstream leaves them out.
fn is_counted(topic: &str) -> bool {
    !topic.starts_with(names::RETRY_PREFIX) && !topic.starts_with(names::DLQ_PREFIX)
}

fn received(broker: &Broker, most: usize, shown: &mut Shown<IN>) -> Vec<Family> {
    let all: Vec<(String, Ranked<IN>)> = broker.stats.received(|all| {
        let counted = all.filter(|(topic, ..)| is_counted(topic));
        counted.map(|(topic, kind, received)| (format!("{}@{topic}", kind.label()), ranked(&received))).collect()
    });
    let all: Vec<(&str, Ranked<IN>)> = all.iter().map(|(key, counts)| (&**key, *counts)).collect();
    let (named, rest) = shown.choose(&all, most);
    let mut messages = Family::counter("rocketmq_messages_in_total", "Messages that came in");
    let mut bytes = Family::counter("rocketmq_throughput_in_total", "Bytes of messages that came in");
    let mut sizes = Family::histogram("rocketmq_message_size", "", "Incoming messages size");
    let mut add = |labels: Vec<Label>, counts: Ranked<IN>| {
        messages.add(labels.clone(), counts[0] as f64);
        bytes.add(labels.clone(), counts[1] as f64);
        let bounds = SIZES.iter().map(|bound| *bound as f64).collect();
        sizes.add_histogram(labels, Snapshot { bounds, counts: counts[3..].to_vec(), sum: counts[2] as f64 });
    };
    for (key, counts) in named {
        let (kind, topic) = key.split_once('@').unwrap_or((MessageType::Normal.label(), key));
        let labels = vec![
            ("topic", topic.to_owned().into()),
            ("message_type", kind.to_owned().into()),
            ("is_system", flag(names::is_system_topic(topic))),
        ];
        add(labels, counts);
    }
    if let Some(rest) = rest {
        add(vec![("topic", OTHER.into()), ("message_type", OTHER.into()), ("is_system", flag(false))], rest);
    }
    vec![messages, bytes, sizes]
}

fn ranked(received: &Received) -> Ranked<IN> {
    let mut counts = [0; IN];
    counts[..3].copy_from_slice(&[received.messages, received.bytes, received.sizes_sum]);
    counts[3..].copy_from_slice(&received.sizes);
    counts
}

fn sent(broker: &Broker, most: usize, shown: &mut Shown<OUT>) -> Vec<Family> {
    let mut bytes: HashMap<Box<str>, u64> = broker.stats.sums(Kind::GroupGetSize).into_iter().collect();
    let nums = broker.stats.sums(Kind::GroupGetNums);
    let counted = nums.iter().filter(|(key, _)| is_counted(key));
    let all: Vec<(&str, Ranked<OUT>)> =
        counted.map(|(key, messages)| (&**key, [*messages, bytes.remove(key).unwrap_or(0)])).collect();
    let (named, rest) = shown.choose(&all, most);
    let mut messages = Family::counter("rocketmq_messages_out_total", "Messages that consumers got");
    let mut bytes = Family::counter("rocketmq_throughput_out_total", "Bytes of messages that consumers got");
    let mut add = |topic: &str, group: &str, is_system: bool, counts: Ranked<OUT>| {
        let labels = topic_and_group(topic, group, is_system);
        messages.add(labels.clone(), counts[0] as f64);
        bytes.add(labels, counts[1] as f64);
    };
    for (key, counts) in named {
        let (topic, group) = key.split_once('@').unwrap_or((key, ""));
        add(topic, group, names::is_system_topic(topic) || names::is_system_group(group), counts);
    }
    if let Some(rest) = rest {
        add(OTHER, OTHER, false, rest);
    }
    vec![messages, bytes]
}

/// The labels of a group in a topic.
pub(super) fn topic_and_group(topic: &str, group: &str, is_system: bool) -> Vec<Label> {
    vec![
        ("topic", topic.to_owned().into()),
        ("consumer_group", group.to_owned().into()),
        ("is_system", flag(is_system)),
    ]
}

pub(super) fn flag(is: bool) -> apogee_telemetry::Text {
    if is { "true".into() } else { "false".into() }
}
