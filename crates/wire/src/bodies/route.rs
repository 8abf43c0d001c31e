//! Where topics and brokers are.

use std::collections::{BTreeMap, BTreeSet};

use super::bodies;
use super::mapping::TopicQueueMappingInfo;

bodies! {
    /// Where a topic's queues are (upstream `TopicRouteData`).
    TopicRouteData {
        broker_datas: Vec<BrokerData>,
        filter_server_table: BTreeMap<String, Vec<String>>,
        order_topic_conf: Option<String>,
        queue_datas: Vec<QueueData>,
        topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
    }

    /// A topic's queues on one broker (upstream `QueueData`).
    #[derive(Eq)]
    QueueData {
        broker_name: String,
        perm: i32,
        read_queue_nums: i32,
        /// Old releases spell it `topicSynFlag`.
        #[serde(alias = "topicSynFlag")]
        topic_sys_flag: i32,
        write_queue_nums: i32,
    }

    /// The addresses of one broker's replicas (upstream `BrokerData`).
    #[derive(Eq)]
    BrokerData {
        /// By broker id; 0 is the master.
        broker_addrs: BTreeMap<i64, String>,
        broker_name: String,
        cluster: Option<String>,
        enable_acting_master: bool,
        zone_name: Option<String>,
    }

    /// Response to `GET_BROKER_CLUSTER_INFO` (upstream `ClusterInfo`).
    ClusterInfo {
        broker_addr_table: BTreeMap<String, BrokerData>,
        cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
    }

    /// One broker and its replicas (upstream `BrokerMemberGroup`).
    BrokerMemberGroup {
        broker_addrs: BTreeMap<i64, String>,
        broker_name: Option<String>,
        cluster: Option<String>,
    }

    /// Response to `GET_BROKER_MEMBER_GROUP` (upstream `GetBrokerMemberGroupResponseBody`).
    GetBrokerMemberGroupResponseBody {
        broker_member_group: Option<BrokerMemberGroup>,
    }
}
