//! Upstream's families of the store.

use apogee_message::record::Record;
use apogee_telemetry::{Family, Label};

use crate::broker::Broker;

/// What upstream says of its local store.
pub(super) fn labels() -> Vec<Label> {
    vec![("storage_type", "local".into()), ("storage_medium", "disk".into())]
}

pub(super) fn families(broker: &Broker) -> Vec<Family> {
    let store = &broker.store;
    let one = |family: Family, number: f64| family.of_all([(labels(), number)]);
    let used = store.disk_space().map_or(0, |space| space.used);
    let unflushed = (store.log_max_offset() - store.flushed_offset()).max(0);
    let mut families = vec![
        one(Family::gauge("rocketmq_storage_size", "bytes", "Used bytes of the store's disk"), used as f64),
        one(
            Family::gauge("rocketmq_storage_flush_behind_bytes", "bytes", "Bytes of the log that are not flushed"),
            unflushed as f64,
        ),
        one(
            Family::gauge("rocketmq_storage_dispatch_behind_bytes", "bytes", "Bytes of the log that no queue knows"),
            store.dispatch_behind_bytes() as f64,
        ),
    ];
    if let Some(first) = earliest(broker) {
        let help = "Age of the oldest message";
        let age = (broker.now() - first).max(0);
        families.push(one(Family::gauge("rocketmq_storage_message_reserve_time", "milliseconds", help), age as f64));
    }
    families
}

/// When the oldest message was stored, in milliseconds since 1970.
fn earliest(broker: &Broker) -> Option<i64> {
    let bytes = broker.store.record_at(broker.store.log_min_offset())?;
    Record::read(&bytes).ok().map(|record| record.store_timestamp)
}
