//! How many messages wait for their time, by the topic that they are for (upstream `TimerMetrics`).

use std::collections::HashMap;

use apogee_message::names::property;
use apogee_message::record::Record;
use apogee_wire::bodies::{DataVersion, TimerMetric, TimerMetricsSerializeWrapper};

/// Topics for which nothing waits any more are kept until there are so many.
const MOST_IDLE: usize = 10_000;

/// See the module. A message is counted from when the timer has seen it to when it is delivered or dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    by_topic: HashMap<String, Count>,
    /// How often they changed, and when last.
    changes: i64,
    changed_ms: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    /// Below 0 for as long as it is known that messages were delivered, and not yet that they waited.
    waiting: i64,
    changed_ms: i64,
}

impl Counts {
    /// The record of the wheel topic is one more, or one less, that waits.
    pub fn add(&mut self, record: &Record<'_>, more: i64, now_ms: i64) {
        let Some(topic) = record.property(property::REAL_TOPIC) else { return };
        let count = match self.by_topic.get_mut(topic) {
            Some(count) => count,
            None => {
                if self.by_topic.len() >= MOST_IDLE {
                    self.by_topic.retain(|_, count| count.waiting != 0);
                }
                self.by_topic.entry(topic.to_owned()).or_default()
            }
        };
        count.waiting += more;
        count.changed_ms = now_ms;
        self.changes += 1;
        self.changed_ms = self.changed_ms.max(now_ms);
    }

    /// As peers get them, and as the state keeps them.
    pub fn metrics(&self) -> TimerMetricsSerializeWrapper {
        let metric = |count: &Count| TimerMetric { count: count.waiting, time_stamp: count.changed_ms };
        TimerMetricsSerializeWrapper {
            data_version: Some(DataVersion { state_version: 0, timestamp: self.changed_ms, counter: self.changes }),
            timing_count: self.by_topic.iter().map(|(topic, count)| (topic.clone(), metric(count))).collect(),
        }
    }
}

impl From<TimerMetricsSerializeWrapper> for Counts {
    fn from(kept: TimerMetricsSerializeWrapper) -> Self {
        let version = kept.data_version.unwrap_or_default();
        let count = |metric: TimerMetric| Count { waiting: metric.count, changed_ms: metric.time_stamp };
        let by_topic = kept.timing_count.into_iter().map(|(topic, metric)| (topic, count(metric)));
        Self { by_topic: by_topic.collect(), changes: version.counter, changed_ms: version.timestamp }
    }
}
