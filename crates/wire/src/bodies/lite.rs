//! Lite topics: which ones clients read, and what brokers tell administrators of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{LiteSubscriptionAction, OffsetOptionType, OffsetWrapper, TopicOffset, bodies};

bodies! {
    /// Request of `LITE_SUBSCRIPTION_CTL` (upstream `LiteSubscriptionCtlRequestBody`).
    #[derive(Eq)]
    LiteSubscriptionCtlRequestBody {
        subscription_set: Vec<LiteSubscriptionDto>,
    }

    /// A change of what a client reads (upstream `LiteSubscriptionDTO`).
    #[derive(Eq)]
    LiteSubscriptionDto {
        action: Option<LiteSubscriptionAction>,
        client_id: Option<String>,
        group: Option<String>,
        lite_topic_set: Option<BTreeSet<String>>,
        offset_option: Option<OffsetOption>,
        /// The parent topic.
        topic: Option<String>,
        /// Of two complete changes the higher one counts.
        version: i64,
    }

    /// Where a group begins in a lite topic (upstream `OffsetOption`).
    #[derive(Eq)]
    OffsetOption {
        #[serde(rename = "type")]
        kind: OffsetOptionType,
        value: i64,
    }

    /// Answer to `GET_BROKER_LITE_INFO` (upstream `GetBrokerLiteInfoResponseBody`).
    #[derive(Eq)]
    GetBrokerLiteInfoResponseBody {
        cq_table_size: i32,
        /// Light queues that there are.
        current_lmq_num: i32,
        event_map_size: i32,
        /// Groups by parent topic.
        group_meta: BTreeMap<String, BTreeSet<String>>,
        lite_subscription_count: i32,
        /// Light queues that there may be.
        max_lmq_num: i32,
        offset_table_size: i32,
        order_info_count: i32,
        /// `default` or `defaultRocksDB`.
        store_type: Option<String>,
        /// For how many minutes lite topics live without use, by parent topic; -1: forever.
        topic_meta: BTreeMap<String, i32>,
    }

    /// Answer to `GET_PARENT_TOPIC_INFO` (upstream `GetParentTopicInfoResponseBody`).
    #[derive(Eq)]
    GetParentTopicInfoResponseBody {
        groups: Option<BTreeSet<String>>,
        lite_topic_count: i32,
        lmq_num: i32,
        topic: Option<String>,
        /// In minutes; -1: forever.
        ttl: i32,
    }

    /// Answer to `GET_LITE_TOPIC_INFO` (upstream `GetLiteTopicInfoResponseBody`).
    #[derive(Eq)]
    GetLiteTopicInfoResponseBody {
        lite_topic: Option<String>,
        parent_topic: Option<String>,
        /// This broker is the one that has it.
        sharding_to_broker: bool,
        subscriber: Option<Vec<ClientGroup>>,
        topic_offset: Option<TopicOffset>,
    }

    /// A client in a group (upstream `ClientGroup`).
    #[derive(Eq)]
    ClientGroup {
        client_id: Option<String>,
        group: Option<String>,
    }

    /// Answer to `GET_LITE_CLIENT_INFO` (upstream `GetLiteClientInfoResponseBody`).
    #[derive(Eq)]
    GetLiteClientInfoResponseBody {
        client_id: Option<String>,
        group: Option<String>,
        last_access_time: i64,
        last_consume_time: i64,
        /// -1 when the client is not known.
        lite_topic_count: i32,
        lite_topic_set: Option<BTreeSet<String>>,
        parent_topic: Option<String>,
    }

    /// Answer to `GET_LITE_GROUP_INFO` (upstream `GetLiteGroupInfoResponseBody`).
    #[derive(Eq)]
    GetLiteGroupInfoResponseBody {
        /// -1: there is none.
        earliest_unconsumed_timestamp: i64,
        group: Option<String>,
        lag_count_top_k: Option<Vec<LiteLagInfo>>,
        lag_timestamp_top_k: Option<Vec<LiteLagInfo>>,
        lite_topic: Option<String>,
        /// When one lite topic was asked for.
        lite_topic_offset_wrapper: Option<OffsetWrapper>,
        parent_topic: Option<String>,
        /// -1: not known.
        total_lag_count: i64,
    }

    /// How far a group is behind in a lite topic (upstream `LiteLagInfo`).
    #[derive(Eq)]
    LiteLagInfo {
        earliest_unconsumed_timestamp: i64,
        lag_count: i64,
        lite_topic: Option<String>,
    }
}
