//! What every broker has.

use apogee_message::names;
use apogee_wire::bodies::TopicConfig;

use super::perm;
use crate::settings::BrokerSettings;

/// Topics that a broker has from its first start, as upstream's has.
pub(super) fn system_topics(settings: &BrokerSettings) -> Vec<TopicConfig> {
    const ALL: i32 = perm::READ | perm::WRITE;
    let topic =
        |name: &str, queues: i32, permission: i32| TopicConfig { perm: permission, ..TopicConfig::new(name, queues) };
    let levels = settings.message_delay_level.split_whitespace().count() as i32;
    let inherited = |enabled: bool| if enabled { ALL | perm::INHERIT } else { perm::INHERIT };
    let mut topics = vec![
        topic(names::SELF_TEST_TOPIC, 1, ALL),
        topic(names::BENCHMARK_TOPIC, 1024, ALL),
        topic(&settings.broker_cluster_name, 16, inherited(settings.cluster_topic_enable)),
        topic(&settings.broker_name, 1, inherited(settings.broker_topic_enable)),
        topic(&names::reply_topic(&settings.broker_cluster_name), 1, ALL),
        topic(names::OFFSET_MOVED_EVENT, 1, ALL),
        topic(names::SCHEDULE_TOPIC, levels.max(1), ALL),
        topic(names::TRANS_HALF_TOPIC, 1, ALL),
        topic(names::TRANS_OP_HALF_TOPIC, 1, ALL),
        topic(names::TRANS_CHECK_MAX_TIME_TOPIC, 1, ALL),
        topic(names::WHEEL_TOPIC, 1, ALL),
    ];
    if settings.enable_slave_acting_master {
        topics.push(topic(&names::member_topic(&settings.broker_name), 1, perm::INHERIT));
    }
    if settings.auto_create_topic_enable {
        topics.push(topic(names::AUTO_CREATE_TOPIC, settings.default_topic_queue_nums, ALL | perm::INHERIT));
    }
    if settings.trace_topic_enable {
        topics.push(topic(&settings.msg_trace_topic_name, 1, ALL));
    }
    topics
}
