//! Figures of topics, groups and brokers.

use std::collections::BTreeMap;

use super::{DataVersion, MessageQueue, bodies};

/// The field of `GET_CONSUME_STATS` by which brokers are asked to count the messages that match.
pub const COUNT_MATCHING: &str = "countMatching";

bodies! {
    /// Answer to `GET_TOPIC_STATS_INFO` (upstream `TopicStatsTable`).
    TopicStatsTable {
        offset_table: BTreeMap<MessageQueue, TopicOffset>,
        topic_put_tps: f64,
    }

    /// The range of a queue (upstream `TopicOffset`).
    #[derive(Eq)]
    TopicOffset {
        /// Store time of the last message, 0 without one.
        last_update_timestamp: i64,
        max_offset: i64,
        min_offset: i64,
    }

    /// Answer to `GET_CONSUME_STATS` (upstream `ConsumeStats`).
    ConsumeStats {
        consume_tps: f64,
        offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
    }

    /// Progress of a group in a queue (upstream `OffsetWrapper`).
    #[derive(Eq)]
    OffsetWrapper {
        /// The queue's end.
        broker_offset: i64,
        consumer_offset: i64,
        /// Store time of the message consumed last.
        last_timestamp: i64,
        /// So many of the unread messages match the group's subscription at least, where that was asked for
        /// ([`COUNT_MATCHING`]) and the subscription is known. Not a field of upstream's.
        matching_least: Option<u64>,
        /// And so many at most.
        matching_most: Option<u64>,
        pull_offset: i64,
    }

    /// Answer to `GET_BROKER_CONSUME_STATS` (upstream `ConsumeStatsList`).
    ConsumeStatsList {
        broker_addr: Option<String>,
        /// By group.
        consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        total_diff: i64,
        total_inflight_diff: i64,
    }

    /// Answer to `QUERY_CONSUME_TIME_SPAN` (upstream `QueryConsumeTimeSpanBody`).
    QueryConsumeTimeSpanBody {
        consume_time_span_set: Vec<QueueTimeSpan>,
    }

    /// Times of a queue's messages (upstream `QueueTimeSpan`). Readers derive the texts, written as
    /// `2026-11-21#03:01:41:731`, from the numbers.
    QueueTimeSpan {
        consume_time_stamp: i64,
        consume_time_stamp_str: Option<String>,
        delay_time: i64,
        max_time_stamp: i64,
        max_time_stamp_str: Option<String>,
        message_queue: Option<MessageQueue>,
        min_time_stamp: i64,
        min_time_stamp_str: Option<String>,
    }

    /// Answer to `VIEW_BROKER_STATS_DATA` (upstream `BrokerStatsData`).
    BrokerStatsData {
        stats_day: Option<BrokerStatsItem>,
        stats_hour: Option<BrokerStatsItem>,
        stats_minute: Option<BrokerStatsItem>,
    }

    /// A figure over a span of time (upstream `BrokerStatsItem`).
    BrokerStatsItem {
        /// Mean value per event.
        avgpt: f64,
        sum: i64,
        /// Per second.
        tps: f64,
    }

    /// Answer to `GET_TIMER_METRICS` (upstream `TimerMetricsSerializeWrapper`).
    TimerMetricsSerializeWrapper {
        data_version: Option<DataVersion>,
        /// By topic.
        timing_count: BTreeMap<String, TimerMetric>,
    }

    /// How many messages wait for their time (upstream `TimerMetrics.Metric`).
    TimerMetric {
        count: i64,
        time_stamp: i64,
    }
}
