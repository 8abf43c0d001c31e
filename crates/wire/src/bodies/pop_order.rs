//! What consumer groups that pop in order hold.

use std::collections::BTreeMap;

use super::bodies;

bodies! {
    /// What groups hold that pop in order, as `consumerOrderInfo.json` keeps it (upstream
    /// `QueueLevelConsumerManager`). The keys are `topic@group`, and queues in them.
    ConsumerOrderInfo {
        table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
    }

    /// Messages of one queue that one pop in order brought, none of which may be passed (upstream `OrderInfo`).
    OrderInfo {
        /// The attempt that they were popped by: it gets them again.
        #[serde(rename = "a")]
        attempt_id: Option<String>,
        /// Which of them are acknowledged: a bit each, the lowest first.
        #[serde(rename = "cm")]
        commit_offset_bit: i64,
        #[serde(rename = "i")]
        invisible_time: Option<i64>,
        #[serde(rename = "l")]
        last_consume_timestamp: i64,
        /// Their offsets: the first, and how far behind it each of the others is.
        #[serde(rename = "o")]
        offset_list: Option<Vec<i64>>,
        /// How often messages were given out before.
        #[serde(rename = "oc")]
        offset_consumed_count: Option<BTreeMap<i64, i32>>,
        /// When those are visible that were given another time, in milliseconds since 1970.
        #[serde(rename = "ot")]
        offset_next_visible_time: Option<BTreeMap<i64, i64>>,
        pop_time: i64,
        /// Which of them were given back without having failed, a bit each; upstream has nothing of the kind, and passes over it.
        #[serde(rename = "s")]
        suspended: Option<i64>,
    }
}
