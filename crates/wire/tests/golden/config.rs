//! Config files that Apache's broker and name server left are read, and written line for line.

use apogee_wire::bodies::{
    Body, ConsumerOffsetSerializeWrapper, DelayOffsetSerializeWrapper, KVConfigSerializeWrapper,
    MessageRequestModeSerializeWrapper, SubscriptionGroupWrapper, TimerMetricsSerializeWrapper,
    TopicConfigSerializeWrapper, TopicQueueMappingSerializeWrapper,
};

use super::{golden, json};

fn file(name: &str) -> String {
    std::fs::read_to_string(golden("config").join(name)).expect("the golden files are in the repository")
}

/// The lines without the commas that depend on the order, sorted: Java's maps have none.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.split('\n').map(|line| line.trim_end_matches(',')).collect();
    lines.sort_unstable();
    lines
}

fn kept<B: Body>(name: &str) {
    let golden = file(name);
    let written = B::decode(golden.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}")).encode_pretty();
    json::same(golden.as_bytes(), &written).unwrap_or_else(|difference| panic!("{name}: {difference}"));
    let written = String::from_utf8(written).expect("JSON is UTF-8");
    assert_eq!(lines(&written), lines(&golden), "{name}");
}

#[test]
fn config_files_of_a_broker() {
    kept::<TopicConfigSerializeWrapper>("topics.json");
    kept::<TopicQueueMappingSerializeWrapper>("topicQueueMapping.json");
    kept::<SubscriptionGroupWrapper>("subscriptionGroup.json");
    kept::<ConsumerOffsetSerializeWrapper>("consumerOffset.json");
    kept::<ConsumerOffsetSerializeWrapper>("lmqConsumerOffset.json");
    kept::<DelayOffsetSerializeWrapper>("delayOffset.json");
    kept::<MessageRequestModeSerializeWrapper>("messageRequestMode.json");
}

#[test]
fn files_that_are_kept_on_one_line() {
    let golden = file("kvConfig.json");
    let config = KVConfigSerializeWrapper::decode(golden.as_bytes()).expect("a golden file is well formed");
    json::same(golden.as_bytes(), &config.encode()).expect("equal");
    let golden = file("timermetrics");
    let metrics = TimerMetricsSerializeWrapper::decode(golden.as_bytes()).expect("a golden file is well formed");
    json::same(golden.as_bytes(), &metrics.encode()).expect("equal");
}
