//! Who is connected.

use std::collections::BTreeMap;

use super::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData, bodies};
use crate::command::Language;

bodies! {
    /// A client's connection (upstream `Connection`).
    #[derive(Eq)]
    Connection {
        client_addr: Option<String>,
        client_id: Option<String>,
        language: Option<Language>,
        version: i32,
    }

    /// Answer to `GET_CONSUMER_CONNECTION_LIST` (upstream `ConsumerConnection`).
    ConsumerConnection {
        connection_set: Vec<Connection>,
        #[serde(deserialize_with = "ConsumeFromWhere::if_known")]
        consume_from_where: Option<ConsumeFromWhere>,
        #[serde(deserialize_with = "ConsumeType::if_known")]
        consume_type: Option<ConsumeType>,
        #[serde(deserialize_with = "MessageModel::if_known")]
        message_model: Option<MessageModel>,
        /// By topic.
        subscription_table: BTreeMap<String, SubscriptionData>,
    }

    /// Answer to `GET_PRODUCER_CONNECTION_LIST` (upstream `ProducerConnection`).
    ProducerConnection {
        connection_set: Vec<Connection>,
    }

    /// Answer to `GET_ALL_PRODUCER_INFO`, by group (upstream `ProducerTableInfo`).
    ProducerTableInfo {
        data: BTreeMap<String, Vec<ProducerInfo>>,
    }

    /// A producer's connection (upstream `ProducerInfo`).
    #[derive(Eq)]
    ProducerInfo {
        client_id: Option<String>,
        language: Option<Language>,
        last_update_timestamp: i64,
        #[serde(rename = "remoteIP")]
        remote_ip: Option<String>,
        version: i32,
    }

    /// Answer to `GET_CONSUMER_LIST_BY_GROUP` (upstream `GetConsumerListByGroupResponseBody`).
    GetConsumerListByGroupResponseBody {
        consumer_id_list: Vec<String>,
    }
}
