//! Acknowledging many messages that were popped.

use super::bodies;

bodies! {
    /// Request of `BATCH_ACK_MESSAGE` (upstream `BatchAckMessageRequestBody`).
    BatchAckMessageRequestBody {
        broker_name: Option<String>,
        acks: Vec<BatchAck>,
    }

    /// Messages that one pop brought of one queue (upstream `BatchAck`).
    BatchAck {
        #[serde(rename = "c")]
        consumer_group: Option<String>,
        #[serde(rename = "t")]
        topic: Option<String>,
        /// `0`: of the topic itself; `1`, `2`: of the retry topic by its older and newer name.
        #[serde(rename = "r")]
        retry: Option<String>,
        #[serde(rename = "so")]
        start_offset: i64,
        #[serde(rename = "q")]
        queue_id: i32,
        #[serde(rename = "rq")]
        revive_queue_id: i32,
        #[serde(rename = "pt")]
        pop_time: i64,
        #[serde(rename = "it")]
        invisible_time: i64,
        /// Which offsets from the start on are acknowledged: bits, the lowest first, as base64.
        #[serde(rename = "b")]
        bit_set: Option<String>,
    }
}
