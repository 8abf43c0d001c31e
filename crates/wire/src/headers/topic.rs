//! Headers of topic management.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `CHECK_ROCKSDB_CQ_WRITE_PROGRESS`.
    CheckRocksdbCqWriteProgressRequestHeader<'a> {
        topic: &'a str = "topic",
        check_store_time: Option<i64> = "checkStoreTime",
    }

    /// Request of `UPDATE_AND_CREATE_TOPIC_LIST`.
    CreateTopicListRequestHeader<'a> {
        rpc: RpcFields<'a> = "",
    }

    /// Request of `UPDATE_AND_CREATE_TOPIC`, `UPDATE_AND_CREATE_STATIC_TOPIC`.
    CreateTopicRequestHeader<'a> {
        topic: &'a str = "topic",
        default_topic: &'a str = "defaultTopic",
        read_queue_nums: i32 = "readQueueNums",
        write_queue_nums: i32 = "writeQueueNums",
        perm: i32 = "perm",
        topic_filter_type: &'a str = "topicFilterType",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        order: bool = "order",
        attributes: Option<&'a str> = "attributes",
        force: Option<bool> = "force",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `DELETE_TOPIC_IN_BROKER`.
    DeleteTopicRequestHeader<'a> {
        topic: &'a str = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_ALL_TOPIC_CONFIG`.
    GetAllTopicConfigRequestHeader<'a> {
        topic_seq: i32 = "topicSeq",
        data_version: Option<&'a str> = "dataVersion",
        max_topic_num: Option<i32> = "maxTopicNum",
    }

    /// Response to `GET_ALL_TOPIC_CONFIG`.
    GetAllTopicConfigResponseHeader {
        total_topic_num: Option<i32> = "totalTopicNum",
    }

    /// Request of `GET_TOPIC_CONFIG`.
    GetTopicConfigRequestHeader<'a> {
        topic: &'a str = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_TOPIC_STATS_INFO`.
    GetTopicStatsInfoRequestHeader<'a> {
        topic: &'a str = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `QUERY_TOPIC_CONSUME_BY_WHO`.
    QueryTopicConsumeByWhoRequestHeader<'a> {
        topic: &'a str = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `QUERY_TOPICS_BY_CONSUMER`.
    QueryTopicsByConsumerRequestHeader<'a> {
        group: &'a str = "group",
        rpc: RpcFields<'a> = "",
    }
}
