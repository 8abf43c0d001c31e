//! Message queues.

use std::cmp::Ordering;

use super::{MessageRequestMode, bodies};

bodies! {
    /// One queue of a topic on one broker (upstream `MessageQueue`); a key of many tables.
    #[derive(Eq, Hash)]
    MessageQueue {
        broker_name: String,
        queue_id: i32,
        topic: String,
    }

    /// A queue with an offset, for clients that cannot read objects as keys (upstream
    /// `MessageQueueForC`).
    #[derive(Eq)]
    MessageQueueForC {
        broker_name: String,
        offset: i64,
        queue_id: i32,
        topic: String,
    }

    /// A queue given to a consumer (upstream `MessageQueueAssignment`).
    MessageQueueAssignment {
        attachments: Option<std::collections::BTreeMap<String, String>>,
        message_queue: Option<MessageQueue>,
        mode: MessageRequestMode,
    }
}

impl MessageQueue {
    /// The queue of that topic, broker and number.
    pub fn new(topic: impl Into<String>, broker_name: impl Into<String>, queue_id: i32) -> Self {
        Self { topic: topic.into(), broker_name: broker_name.into(), queue_id }
    }
}

impl Ord for MessageQueue {
    /// By topic, broker, number: the order in which clients and brokers deal out queues.
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.topic, &self.broker_name, self.queue_id).cmp(&(&other.topic, &other.broker_name, other.queue_id))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
