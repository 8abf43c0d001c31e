//! What consumers tell of themselves; brokers relay it.

use std::collections::BTreeMap;

use super::{CMResult, MessageQueue, SubscriptionData, bodies};

bodies! {
    /// Answer to `CONSUME_MESSAGE_DIRECTLY` (upstream `ConsumeMessageDirectlyResult`).
    ConsumeMessageDirectlyResult {
        auto_commit: bool = true,
        #[serde(deserialize_with = "CMResult::if_known")]
        consume_result: Option<CMResult>,
        order: bool,
        remark: Option<String>,
        spent_time_mills: i64,
    }

    /// Answer to `GET_CONSUMER_RUNNING_INFO` (upstream `ConsumerRunningInfo`).
    ConsumerRunningInfo {
        jstack: Option<String>,
        mq_pop_table: BTreeMap<MessageQueue, PopProcessQueueInfo>,
        mq_table: BTreeMap<MessageQueue, ProcessQueueInfo>,
        properties: BTreeMap<String, String>,
        /// By topic.
        status_table: BTreeMap<String, ConsumeStatus>,
        subscription_set: Vec<SubscriptionData>,
        user_consumer_info: BTreeMap<String, String>,
    }

    /// A queue that a client pulls from (upstream `ProcessQueueInfo`).
    ProcessQueueInfo {
        cached_msg_count: i32,
        cached_msg_max_offset: i64,
        cached_msg_min_offset: i64,
        #[serde(rename = "cachedMsgSizeInMiB")]
        cached_msg_size_in_mib: i32,
        commit_offset: i64,
        droped: bool,
        last_consume_timestamp: i64,
        last_lock_timestamp: i64,
        last_pull_timestamp: i64,
        locked: bool,
        transaction_msg_count: i32,
        transaction_msg_max_offset: i64,
        transaction_msg_min_offset: i64,
        try_unlock_times: i64,
    }

    /// A queue that a client pops from (upstream `PopProcessQueueInfo`).
    PopProcessQueueInfo {
        droped: bool,
        last_pop_timestamp: i64,
        wait_ack_count: i32,
    }

    /// Rates of a client's consumer in a topic; times in milliseconds (upstream `ConsumeStatus`).
    ConsumeStatus {
        consume_failed_msgs: i64,
        #[serde(rename = "consumeFailedTPS")]
        consume_failed_tps: f64,
        #[serde(rename = "consumeOKTPS")]
        consume_ok_tps: f64,
        #[serde(rename = "consumeRT")]
        consume_rt: f64,
        #[serde(rename = "pullRT")]
        pull_rt: f64,
        #[serde(rename = "pullTPS")]
        pull_tps: f64,
    }
}
