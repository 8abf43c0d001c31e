//! Headers of POP consumption.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `ACK_MESSAGE`.
    AckMessageRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        extra_info: &'a str = "extraInfo",
        offset: i64 = "offset",
        lite_topic: Option<&'a str> = "liteTopic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `CHANGE_MESSAGE_INVISIBLETIME`.
    ChangeInvisibleTimeRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        extra_info: &'a str = "extraInfo",
        offset: i64 = "offset",
        invisible_time: i64 = "invisibleTime",
        lite_topic: Option<&'a str> = "liteTopic",
        suspend: Option<bool> = "suspend",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `CHANGE_MESSAGE_INVISIBLETIME`.
    ChangeInvisibleTimeResponseHeader {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_qid: i32 = "reviveQid",
    }

    /// Request of `NOTIFICATION`.
    NotificationRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        order: Option<bool> = "order",
        attempt_id: Option<&'a str> = "attemptId",
        exp_type: Option<&'a str> = "expType",
        exp: Option<&'a str> = "exp",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `NOTIFICATION`.
    NotificationResponseHeader {
        has_msg: bool = "hasMsg",
        polling_full: Option<bool> = "pollingFull",
    }

    /// Request of `PEEK_MESSAGE`.
    PeekMessageRequestHeader<'a> {
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        max_msg_nums: i32 = "maxMsgNums",
        consumer_group: &'a str = "consumerGroup",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `POLLING_INFO`.
    PollingInfoRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `POLLING_INFO`.
    PollingInfoResponseHeader {
        polling_num: i32 = "pollingNum",
    }

    /// Request of `POP_MESSAGE`.
    PopMessageRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        queue_id: i32 = "queueId",
        max_msg_nums: i32 = "maxMsgNums",
        invisible_time: i64 = "invisibleTime",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        init_mode: i32 = "initMode",
        exp_type: Option<&'a str> = "expType",
        exp: Option<&'a str> = "exp",
        order: Option<bool> = "order",
        attempt_id: Option<&'a str> = "attemptId",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `POP_MESSAGE`, `PEEK_MESSAGE`.
    PopMessageResponseHeader<'a> {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_qid: i32 = "reviveQid",
        rest_num: i64 = "restNum",
        start_offset_info: Option<&'a str> = "startOffsetInfo",
        msg_offset_info: Option<&'a str> = "msgOffsetInfo",
        order_count_info: Option<&'a str> = "orderCountInfo",
    }
}
