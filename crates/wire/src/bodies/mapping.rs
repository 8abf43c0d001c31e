//! Static topics: global queues that are mapped to queues of brokers.

use std::collections::BTreeMap;

use super::{TopicFilterType, bodies};

bodies! {
    /// The part of a mapping that the name server keeps (upstream `TopicQueueMappingInfo`).
    TopicQueueMappingInfo {
        bname: Option<String>,
        /// Global queue id to this broker's queue id.
        curr_id_map: BTreeMap<i32, i32>,
        dirty: bool,
        epoch: i64,
        scope: String = "__global__".to_owned(),
        topic: Option<String>,
        total_queues: i32,
    }

    /// The mapping that a broker keeps (upstream `TopicQueueMappingDetail`).
    TopicQueueMappingDetail {
        bname: Option<String>,
        curr_id_map: BTreeMap<i32, i32>,
        dirty: bool,
        epoch: i64,
        /// Global queue id to where the queue lived, oldest first.
        hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
        scope: String = "__global__".to_owned(),
        topic: Option<String>,
        total_queues: i32,
    }

    /// One stay of a global queue on a broker (upstream `LogicQueueMappingItem`); -1: open.
    LogicQueueMappingItem {
        bname: Option<String>,
        end_offset: i64 = -1,
        #[serde(rename = "gen")]
        generation: i32,
        logic_offset: i64,
        queue_id: i32,
        start_offset: i64,
        time_of_end: i64 = -1,
        time_of_start: i64 = -1,
    }

    /// Response to `GET_TOPIC_CONFIG` (upstream `TopicConfigAndQueueMapping`).
    TopicConfigAndQueueMapping {
        attributes: BTreeMap<String, String>,
        mapping_detail: Option<TopicQueueMappingDetail>,
        order: bool,
        perm: i32 = 6,
        read_queue_nums: i32 = 16,
        topic_filter_type: TopicFilterType,
        topic_name: Option<String>,
        topic_sys_flag: i32,
        write_queue_nums: i32 = 16,
    }

    /// The file `topicQueueMapping.json` (upstream `TopicQueueMappingSerializeWrapper`).
    TopicQueueMappingSerializeWrapper {
        data_version: Option<super::DataVersion>,
        topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingDetail>,
    }

    /// A planned move of a static topic (upstream `TopicRemappingDetailWrapper`).
    TopicRemappingDetailWrapper {
        broker_config_map: BTreeMap<String, TopicConfigAndQueueMapping>,
        broker_to_map_in: Vec<String>,
        broker_to_map_out: Vec<String>,
        epoch: i64,
        topic: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
}
