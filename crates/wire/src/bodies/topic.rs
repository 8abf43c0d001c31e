//! Topics and their versions.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::mapping::{TopicQueueMappingDetail, TopicQueueMappingInfo};
use super::{TopicFilterType, bodies};

bodies! {
    /// Version of a table, by which peers see that it changed (upstream `DataVersion`).
    #[derive(Copy, Eq, Hash)]
    DataVersion {
        counter: i64,
        state_version: i64,
        /// Milliseconds since the epoch.
        timestamp: i64,
    }

    /// One topic (upstream `TopicConfig`).
    #[derive(Eq)]
    TopicConfig {
        attributes: BTreeMap<String, String>,
        order: bool,
        /// Bits: 4 read, 2 write, 1 inherit.
        perm: i32 = 6,
        read_queue_nums: i32 = 16,
        topic_filter_type: TopicFilterType,
        topic_name: String,
        topic_sys_flag: i32,
        write_queue_nums: i32 = 16,
    }

    /// All topics of a broker; also the file `topics.json` (upstream `TopicConfigSerializeWrapper`).
    TopicConfigSerializeWrapper {
        data_version: Option<DataVersion>,
        topic_config_table: BTreeMap<String, TopicConfig>,
    }

    /// All topics of a broker and their mappings (upstream `TopicConfigAndMappingSerializeWrapper`):
    /// response to `GET_ALL_TOPIC_CONFIG`, part of a registration.
    TopicConfigAndMappingSerializeWrapper {
        data_version: Option<DataVersion>,
        mapping_data_version: Option<DataVersion>,
        topic_config_table: BTreeMap<String, TopicConfig>,
        topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
        topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
    }

    /// Request of `UPDATE_AND_CREATE_TOPIC_LIST` (upstream `CreateTopicListRequestBody`).
    CreateTopicListRequestBody {
        topic_config_list: Vec<TopicConfig>,
    }

    /// Names of topics (upstream `TopicList`).
    TopicList {
        broker_addr: Option<String>,
        topic_list: BTreeSet<String>,
    }

    /// Names and values (upstream `KVTable`).
    KVTable {
        table: BTreeMap<String, String>,
    }

    /// The file `kvConfig.json` of a name server, by namespace (upstream
    /// `KVConfigSerializeWrapper`).
    KVConfigSerializeWrapper {
        config_table: BTreeMap<String, BTreeMap<String, String>>,
    }
}

impl TopicConfig {
    /// A topic with as many queues to read as to write, readable and writable.
    pub fn new(topic: impl Into<String>, queues: i32) -> Self {
        Self { topic_name: topic.into(), read_queue_nums: queues, write_queue_nums: queues, ..Self::default() }
    }
}

impl DataVersion {
    /// The first version of a table.
    pub fn new(now_ms: i64) -> Self {
        Self { timestamp: now_ms, ..Self::default() }
    }

    /// The version after one more change.
    pub fn next(self, state_version: i64, now_ms: i64) -> Self {
        Self { counter: self.counter.wrapping_add(1), state_version, timestamp: now_ms }
    }
}

impl Ord for DataVersion {
    /// Later versions are greater.
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |version: &Self| (version.state_version, version.counter, version.timestamp);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for DataVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
