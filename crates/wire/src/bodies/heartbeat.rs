//! Heartbeats of clients and what they subscribe to.

use std::collections::BTreeSet;

use apogee_message::tag::java_hash;

use super::{Body, ConsumeFromWhere, ConsumeType, MessageModel, bodies};

bodies! {
    /// What a consumer wants of a topic (upstream `SubscriptionData`).
    #[derive(Eq)]
    SubscriptionData {
        class_filter_mode: bool,
        /// Java hash codes of the tags.
        code_set: BTreeSet<i32>,
        /// `TAG` or `SQL92`.
        expression_type: Option<String> = Some("TAG".to_owned()),
        filter_class_source: Option<String>,
        sub_string: Option<String>,
        /// Grows when the client changes its subscription; milliseconds in practice.
        sub_version: i64,
        /// Empty: all messages.
        tags_set: BTreeSet<String>,
        topic: String,
    }

    /// One consumer group of a client (upstream `ConsumerData`).
    #[derive(Eq)]
    ConsumerData {
        #[serde(deserialize_with = "ConsumeFromWhere::if_known")]
        consume_from_where: Option<ConsumeFromWhere>,
        #[serde(deserialize_with = "ConsumeType::if_known")]
        consume_type: Option<ConsumeType>,
        group_name: String,
        #[serde(deserialize_with = "MessageModel::if_known")]
        message_model: Option<MessageModel>,
        subscription_data_set: Vec<SubscriptionData>,
        unit_mode: bool,
    }

    /// One producer group of a client (upstream `ProducerData`).
    #[derive(Eq)]
    ProducerData {
        group_name: String,
    }

    /// Request of `HEART_BEAT` (upstream `HeartbeatData`).
    #[derive(Eq)]
    HeartbeatData {
        #[serde(rename = "clientID")]
        client_id: String,
        consumer_data_set: Vec<ConsumerData>,
        /// 0: a client without heartbeats of version 2.
        heartbeat_fingerprint: i32,
        producer_data_set: Vec<ProducerData>,
        /// Subscriptions are left out; the fingerprint stands for them.
        without_sub: bool,
    }

    /// Request of `CHECK_CLIENT_CONFIG` (upstream `CheckClientRequestBody`).
    CheckClientRequestBody {
        client_id: Option<String>,
        group: Option<String>,
        namespace: Option<String>,
        subscription_data: Option<SubscriptionData>,
    }

    /// Answer to `QUERY_SUBSCRIPTION_BY_CONSUMER` (upstream `QuerySubscriptionResponseBody`).
    QuerySubscriptionResponseBody {
        group: Option<String>,
        subscription_data: Option<SubscriptionData>,
        topic: Option<String>,
    }
}

impl HeartbeatData {
    /// The fingerprint of what is subscribed: the Java hash of the body without what changes from
    /// one heartbeat or client to the next. Clients compare it with their own only, so that the
    /// order of sets need not be theirs.
    pub fn compute_fingerprint(&self) -> i32 {
        let mut canonical = self.clone();
        canonical.client_id.clear();
        canonical.heartbeat_fingerprint = 0;
        canonical.without_sub = false;
        for consumer in &mut canonical.consumer_data_set {
            for subscription in &mut consumer.subscription_data_set {
                subscription.sub_version = 0;
            }
        }
        java_hash(&String::from_utf8_lossy(&canonical.encode()))
    }
}
