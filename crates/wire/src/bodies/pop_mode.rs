//! Whether consumers pull or pop, and who gets which queue.

use std::collections::BTreeMap;

use super::{MessageModel, MessageQueueAssignment, MessageRequestMode, bodies};

bodies! {
    /// Request of `QUERY_ASSIGNMENT` (upstream `QueryAssignmentRequestBody`).
    QueryAssignmentRequestBody {
        client_id: Option<String>,
        consumer_group: Option<String>,
        #[serde(deserialize_with = "MessageModel::if_known")]
        message_model: Option<MessageModel>,
        /// Such as `AVG`.
        strategy_name: Option<String>,
        topic: Option<String>,
    }

    /// Answer to `QUERY_ASSIGNMENT` (upstream `QueryAssignmentResponseBody`).
    QueryAssignmentResponseBody {
        message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
    }

    /// Request of `SET_MESSAGE_REQUEST_MODE` (upstream `SetMessageRequestModeRequestBody`).
    SetMessageRequestModeRequestBody {
        consumer_group: Option<String>,
        mode: MessageRequestMode,
        /// How many consumers share a queue; 0: all.
        pop_share_queue_num: i32,
        topic: Option<String>,
    }

    /// All modes of a broker by topic and group, as `messageRequestMode.json` keeps them (upstream
    /// `MessageRequestModeSerializeWrapper`).
    MessageRequestModeSerializeWrapper {
        message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
    }
}
