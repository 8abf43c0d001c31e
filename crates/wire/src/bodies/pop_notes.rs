//! What a broker notes of popped messages in its revive topic.

use super::bodies;

bodies! {
    /// Messages of one queue that one pop brought and that are not all acknowledged (upstream `PopCheckPoint`).
    PopCheckPoint {
        /// Which of them are acknowledged: a bit each, the lowest first.
        #[serde(rename = "bm")]
        bit_map: i32,
        #[serde(rename = "bn")]
        broker_name: Option<String>,
        #[serde(rename = "c")]
        consumer_group: Option<String>,
        /// Their offsets, less the start offset. Without it they follow one another.
        #[serde(rename = "d")]
        queue_offset_diff: Option<Vec<i32>>,
        #[serde(rename = "it")]
        invisible_time: i64,
        #[serde(rename = "n")]
        num: i8,
        #[serde(rename = "pt")]
        pop_time: i64,
        #[serde(rename = "q")]
        queue_id: i32,
        #[serde(rename = "ro")]
        revive_offset: i64,
        /// How often it was noted again because messages could not be given back.
        #[serde(rename = "rp")]
        re_put_times: Option<String>,
        #[serde(rename = "so")]
        start_offset: i64,
        /// The next delivery does not count as a failure of this one.
        #[serde(rename = "sp")]
        suspend: bool,
        #[serde(rename = "t")]
        topic: Option<String>,
    }

    /// An acknowledgement of one message (upstream `AckMsg`).
    AckMsg {
        #[serde(rename = "ao")]
        ack_offset: i64,
        #[serde(rename = "bn")]
        broker_name: Option<String>,
        #[serde(rename = "c")]
        consumer_group: Option<String>,
        #[serde(rename = "pt")]
        pop_time: i64,
        #[serde(rename = "q")]
        queue_id: i32,
        #[serde(rename = "so")]
        start_offset: i64,
        #[serde(rename = "t")]
        topic: Option<String>,
    }

    /// Acknowledgements of several messages of one pop (upstream `BatchAckMsg`).
    BatchAckMsg {
        #[serde(rename = "ao")]
        ack_offset: i64,
        #[serde(rename = "aol")]
        ack_offset_list: Vec<i64>,
        #[serde(rename = "bn")]
        broker_name: Option<String>,
        #[serde(rename = "c")]
        consumer_group: Option<String>,
        #[serde(rename = "pt")]
        pop_time: i64,
        #[serde(rename = "q")]
        queue_id: i32,
        #[serde(rename = "so")]
        start_offset: i64,
        #[serde(rename = "t")]
        topic: Option<String>,
    }
}
