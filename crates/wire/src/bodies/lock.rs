//! Locks of queues for orderly consumers.

use super::{MessageQueue, bodies};

bodies! {
    /// Request of `LOCK_BATCH_MQ` (upstream `LockBatchRequestBody`).
    LockBatchRequestBody {
        client_id: Option<String>,
        consumer_group: Option<String>,
        mq_set: Vec<MessageQueue>,
        /// The broker shall not ask its replicas.
        only_this_broker: bool,
    }

    /// Answer to `LOCK_BATCH_MQ`: what is locked (upstream `LockBatchResponseBody`).
    LockBatchResponseBody {
        #[serde(rename = "lockOKMQSet")]
        lock_ok_mq_set: Vec<MessageQueue>,
    }

    /// Request of `UNLOCK_BATCH_MQ` (upstream `UnlockBatchRequestBody`).
    UnlockBatchRequestBody {
        client_id: Option<String>,
        consumer_group: Option<String>,
        mq_set: Vec<MessageQueue>,
        only_this_broker: bool,
    }
}
