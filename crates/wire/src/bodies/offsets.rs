//! Offsets of consumers and queues.

use std::collections::{BTreeMap, BTreeSet};

use super::{DataVersion, MessageQueue, MessageQueueForC, SubscriptionData, bodies};

bodies! {
    /// All offsets of a broker, as `consumerOffset.json` keeps them (upstream
    /// `ConsumerOffsetSerializeWrapper`). The keys are `topic@group`.
    ConsumerOffsetSerializeWrapper {
        data_version: Option<DataVersion>,
        /// Topics by group; written only, derived from the offsets.
        group_topic_map: Option<BTreeMap<String, BTreeSet<String>>>,
        lmq_offset_table: Option<BTreeMap<String, i64>>,
        offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
        /// Where consumers pull, ahead of what they have committed.
        pull_offset_table: Option<BTreeMap<String, BTreeMap<i32, i64>>>,
    }

    /// Progress of the delay levels, as `delayOffset.json` keeps it (upstream
    /// `DelayOffsetSerializeWrapper`).
    DelayOffsetSerializeWrapper {
        data_version: Option<DataVersion>,
        offset_table: BTreeMap<i32, i64>,
    }

    /// Offsets to be taken, or taken, by consumers (upstream `ResetOffsetBody`).
    ResetOffsetBody {
        offset_table: BTreeMap<MessageQueue, i64>,
    }

    /// The same for clients that cannot read objects as keys (upstream `ResetOffsetBodyForC`).
    ResetOffsetBodyForC {
        offset_table: Vec<MessageQueueForC>,
    }

    /// Offsets as consumers have them (upstream `GetConsumerStatusBody`).
    GetConsumerStatusBody {
        /// By client id: the broker's answer.
        consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
        /// The client's answer.
        message_queue_table: BTreeMap<MessageQueue, i64>,
    }

    /// Answer to `QUERY_CORRECTION_OFFSET` (upstream `QueryCorrectionOffsetBody`).
    QueryCorrectionOffsetBody {
        correction_offsets: BTreeMap<i32, i64>,
    }

    /// Answer to `QUERY_CONSUME_QUEUE` (upstream `QueryConsumeQueueResponseBody`).
    QueryConsumeQueueResponseBody {
        filter_data: Option<String>,
        max_queue_index: i64,
        min_queue_index: i64,
        queue_data: Option<Vec<ConsumeQueueData>>,
        subscription_data: Option<SubscriptionData>,
    }

    /// One unit of a consume queue (upstream `ConsumeQueueData`).
    ConsumeQueueData {
        bit_map: Option<String>,
        /// Whether the subscription takes the message.
        eval: bool,
        extend_data_json: Option<String>,
        msg: Option<String>,
        physic_offset: i64,
        physic_size: i32,
        tags_code: i64,
    }
}
