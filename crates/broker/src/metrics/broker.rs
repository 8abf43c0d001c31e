//! Upstream's families of the broker as a whole.

use apogee_telemetry::Family;

use crate::broker::Broker;
use crate::settings::BrokerSettings;

/// Upstream's pools of threads, whose queues it tells the lengths of.
const PROCESSORS: [&str; 12] = [
    "ack",
    "admin",
    "async_put",
    "client_manager",
    "consumer_manager",
    "heartbeat",
    "lite_pull",
    "pull",
    "query_message",
    "reply",
    "send",
    "transaction",
];

pub(super) fn families(broker: &Broker, settings: &BrokerSettings) -> Vec<Family> {
    // Requests wait in no queues of threads.
    let watermarks = PROCESSORS.iter().map(|processor| (vec![("processor", (*processor).into())], 0.0));
    vec![
        Family::gauge("rocketmq_processor_watermark", "", "Requests that wait for a thread").of_all(watermarks),
        Family::gauge("rocketmq_broker_permission", "", "What clients may do: 2 write, 4 read, 6 both")
            .of(settings.broker_permission.into()),
        Family::gauge("rocketmq_topic_number", "", "Topics").of(broker.topics.len() as f64),
        Family::gauge("rocketmq_consumer_group_number", "", "Subscription groups").of(broker.groups.len() as f64),
    ]
}
