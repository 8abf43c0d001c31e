//! Headers of reading messages: pull, query, view.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `PULL_MESSAGE`, `LITE_PULL_MESSAGE`.
    PullMessageRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        lite_topic: Option<&'a str> = "liteTopic",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        max_msg_nums: i32 = "maxMsgNums",
        sys_flag: i32 = "sysFlag",
        commit_offset: i64 = "commitOffset",
        suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        subscription: Option<&'a str> = "subscription",
        sub_version: i64 = "subVersion",
        expression_type: Option<&'a str> = "expressionType",
        max_msg_bytes: Option<i32> = "maxMsgBytes",
        request_source: Option<i32> = "requestSource",
        proxy_froward_client_id: Option<&'a str> = "proxyFrowardClientId",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `PULL_MESSAGE`, `LITE_PULL_MESSAGE`.
    PullMessageResponseHeader {
        suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        next_begin_offset: i64 = "nextBeginOffset",
        min_offset: i64 = "minOffset",
        max_offset: i64 = "maxOffset",
        offset_delta: Option<i64> = "offsetDelta",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        forbidden_type: Option<i32> = "forbiddenType",
    }

    /// Request of `QUERY_MESSAGE`.
    QueryMessageRequestHeader<'a> {
        topic: &'a str = "topic",
        key: &'a str = "key",
        max_num: i32 = "maxNum",
        begin_timestamp: i64 = "beginTimestamp",
        end_timestamp: i64 = "endTimestamp",
        index_type: Option<&'a str> = "indexType",
        last_key: Option<&'a str> = "lastKey",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `QUERY_MESSAGE`.
    QueryMessageResponseHeader {
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }

    /// Request of `VIEW_MESSAGE_BY_ID`.
    ViewMessageRequestHeader<'a> {
        topic: Option<&'a str> = "topic",
        offset: i64 = "offset",
    }
}
