//! Upstream's families of clients.

use std::collections::BTreeMap;

use apogee_message::names;
use apogee_telemetry::{Family, Label};
use apogee_wire::bodies::{Connection, ConsumeType};
use apogee_wire::{Language, version};

use super::topics::flag;
use crate::broker::Broker;

pub(super) fn families(broker: &Broker) -> Vec<Family> {
    let mut producers = BTreeMap::<Vec<Label>, u64>::new();
    for group in broker.producers.groups() {
        for connection in broker.producers.connections(&group).into_iter().flatten() {
            *producers.entry(labels_of(&connection)).or_default() += 1;
        }
    }
    let mut consumers = BTreeMap::<Vec<Label>, u64>::new();
    for group in broker.consumers.groups() {
        let Some(online) = broker.consumers.connection(&group) else { continue };
        for connection in &online.connection_set {
            let mut labels = labels_of(connection);
            labels.push(("consumer_group", group.to_string().into()));
            labels.push(("consume_mode", mode(online.consume_type).into()));
            labels.push(("is_system", flag(names::is_system_group(&group))));
            *consumers.entry(labels).or_default() += 1;
        }
    }
    let counted = |counts: BTreeMap<Vec<Label>, u64>| counts.into_iter().map(|(labels, count)| (labels, count as f64));
    vec![
        Family::gauge("rocketmq_producer_connections", "", "Connections of producers").of_all(counted(producers)),
        Family::gauge("rocketmq_consumer_connections", "", "Connections of consumers").of_all(counted(consumers)),
    ]
}

/// What both have.
fn labels_of(connection: &Connection) -> Vec<Label> {
    let language = connection.language.map_or("other", Language::name);
    vec![
        ("language", language.to_lowercase().into()),
        ("version", version::name(connection.version).to_lowercase().into()),
        ("protocol_type", "remoting".into()),
    ]
}

/// As upstream calls it.
fn mode(kind: Option<ConsumeType>) -> &'static str {
    match kind {
        Some(ConsumeType::Actively) => "pull",
        Some(ConsumeType::Pop) => "pop",
        _ => "push",
    }
}
