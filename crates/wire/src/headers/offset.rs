//! Headers of consumer and queue offsets.

use super::headers;
use super::{Boundary, RpcFields};

headers! {
    /// Request of `CLONE_GROUP_OFFSET`.
    CloneGroupOffsetRequestHeader<'a> {
        src_group: &'a str = "srcGroup",
        dest_group: &'a str = "destGroup",
        topic: Option<&'a str> = "topic",
        offline: Option<bool> = "offline",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_BROKER_CONSUME_STATS`.
    GetConsumeStatsInBrokerHeader {
        is_order: bool = "isOrder",
    }

    /// Request of `GET_CONSUME_STATS`.
    GetConsumeStatsRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: Option<&'a str> = "topic",
        topic_list: Option<&'a str> = "topicList",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_CONSUMER_STATUS_FROM_CLIENT`, `INVOKE_BROKER_TO_GET_CONSUMER_STATUS`.
    GetConsumerStatusRequestHeader<'a> {
        topic: &'a str = "topic",
        group: &'a str = "group",
        client_addr: Option<&'a str> = "clientAddr",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_EARLIEST_MSG_STORETIME`.
    GetEarliestMsgStoretimeRequestHeader<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `GET_EARLIEST_MSG_STORETIME`.
    GetEarliestMsgStoretimeResponseHeader {
        timestamp: i64 = "timestamp",
    }

    /// Request of `GET_MAX_OFFSET`.
    GetMaxOffsetRequestHeader<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        committed: Option<bool> = "committed",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `GET_MAX_OFFSET`.
    GetMaxOffsetResponseHeader {
        offset: i64 = "offset",
    }

    /// Request of `GET_MIN_OFFSET`.
    GetMinOffsetRequestHeader<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `GET_MIN_OFFSET`.
    GetMinOffsetResponseHeader {
        offset: i64 = "offset",
    }

    /// Request of `QUERY_CONSUME_QUEUE`.
    QueryConsumeQueueRequestHeader<'a> {
        topic: Option<&'a str> = "topic",
        queue_id: Option<i32> = "queueId",
        index: Option<i64> = "index",
        count: Option<i32> = "count",
        consumer_group: Option<&'a str> = "consumerGroup",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `QUERY_CONSUME_TIME_SPAN`.
    QueryConsumeTimeSpanRequestHeader<'a> {
        topic: &'a str = "topic",
        group: &'a str = "group",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `QUERY_CONSUMER_OFFSET`.
    QueryConsumerOffsetRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `QUERY_CONSUMER_OFFSET`.
    QueryConsumerOffsetResponseHeader {
        offset: i64 = "offset",
    }

    /// Request of `QUERY_CORRECTION_OFFSET`.
    QueryCorrectionOffsetHeader<'a> {
        filter_groups: Option<&'a str> = "filterGroups",
        compare_group: &'a str = "compareGroup",
        topic: &'a str = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `RESET_CONSUMER_CLIENT_OFFSET`, `INVOKE_BROKER_TO_RESET_OFFSET`.
    ResetOffsetRequestHeader<'a> {
        group: &'a str = "group",
        topic: &'a str = "topic",
        queue_id: Option<i32> = "queueId",
        offset: Option<i64> = "offset",
        timestamp: i64 = "timestamp",
        is_force: bool = "isForce",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `SEARCH_OFFSET_BY_TIMESTAMP`.
    SearchOffsetRequestHeader<'a> {
        topic: &'a str = "topic",
        lite_topic: Option<&'a str> = "liteTopic",
        queue_id: i32 = "queueId",
        timestamp: i64 = "timestamp",
        boundary_type: Option<Boundary> = "boundaryType",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `SEARCH_OFFSET_BY_TIMESTAMP`.
    SearchOffsetResponseHeader {
        offset: i64 = "offset",
    }

    /// Request of `UPDATE_CONSUMER_OFFSET`.
    UpdateConsumerOffsetRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        commit_offset: i64 = "commitOffset",
        rpc: RpcFields<'a> = "",
    }
}
