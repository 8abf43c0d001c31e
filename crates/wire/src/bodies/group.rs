//! Subscription groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{DataVersion, GroupRetryPolicyType, bodies};

bodies! {
    /// What a broker knows of a consumer group (upstream `SubscriptionGroupConfig`).
    #[derive(Eq)]
    SubscriptionGroupConfig {
        attributes: BTreeMap<String, String>,
        broker_id: i64,
        consume_broadcast_enable: bool = true,
        consume_enable: bool = true,
        consume_from_min_enable: bool = true,
        consume_message_orderly: bool,
        consume_timeout_minute: i32 = 15,
        group_name: String,
        group_retry_policy: GroupRetryPolicy,
        group_sys_flag: i32,
        notify_consumer_ids_changed_enable: bool = true,
        retry_max_times: i32 = 16,
        retry_queue_nums: i32 = 1,
        subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
        which_broker_when_consume_slowly: i64 = 1,
    }

    /// Delays between retries (upstream `GroupRetryPolicy`).
    #[derive(Eq)]
    GroupRetryPolicy {
        customized_retry_policy: Option<CustomizedRetryPolicy>,
        exponential_retry_policy: Option<ExponentialRetryPolicy>,
        #[serde(rename = "type")]
        kind: GroupRetryPolicyType,
    }

    /// Delays as a list, in milliseconds (upstream `CustomizedRetryPolicy`).
    #[derive(Eq)]
    CustomizedRetryPolicy {
        next: Vec<i64> = vec![
            1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
            540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
        ],
    }

    /// Delays that grow by a factor, in milliseconds (upstream `ExponentialRetryPolicy`).
    #[derive(Eq)]
    ExponentialRetryPolicy {
        initial: i64 = 5_000,
        max: i64 = 7_200_000,
        multiplier: i64 = 2,
    }

    /// What a group subscribes to, as the proxy reports it (upstream `SimpleSubscriptionData`).
    #[derive(Eq)]
    SimpleSubscriptionData {
        expression: Option<String>,
        expression_type: Option<String>,
        topic: Option<String>,
        version: i64,
    }

    /// All groups of a broker, as `subscriptionGroup.json` keeps them (upstream
    /// `SubscriptionGroupWrapper`).
    SubscriptionGroupWrapper {
        data_version: Option<DataVersion>,
        /// Forbidden bits by group and topic; bit 2 forbids reading.
        forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
    }

    /// Request of `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST` (upstream `SubscriptionGroupList`).
    SubscriptionGroupList {
        group_config_list: Vec<SubscriptionGroupConfig>,
    }

    /// Answer to `UPDATE_AND_GET_GROUP_FORBIDDEN` (upstream `GroupForbidden`).
    GroupForbidden {
        group: Option<String>,
        readable: Option<bool>,
        topic: Option<String>,
    }

    /// Names of groups (upstream `GroupList`).
    GroupList {
        group_list: BTreeSet<String>,
    }
}

impl SubscriptionGroupConfig {
    /// A group with upstream's defaults.
    pub fn new(group: impl Into<String>) -> Self {
        Self { group_name: group.into(), ..Self::default() }
    }
}
