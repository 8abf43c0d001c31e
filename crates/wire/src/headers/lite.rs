//! Headers of lite topics.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `GET_LITE_CLIENT_INFO`.
    GetLiteClientInfoRequestHeader<'a> {
        parent_topic: Option<&'a str> = "parentTopic",
        group: Option<&'a str> = "group",
        client_id: Option<&'a str> = "clientId",
        max_count: Option<i32> = "maxCount",
    }

    /// Request of `GET_LITE_GROUP_INFO`.
    GetLiteGroupInfoRequestHeader<'a> {
        group: &'a str = "group",
        lite_topic: Option<&'a str> = "liteTopic",
        top_k: Option<i32> = "topK",
    }

    /// Request of `GET_LITE_TOPIC_INFO`.
    GetLiteTopicInfoRequestHeader<'a> {
        parent_topic: Option<&'a str> = "parentTopic",
        lite_topic: Option<&'a str> = "liteTopic",
    }

    /// Request of `GET_PARENT_TOPIC_INFO`.
    GetParentTopicInfoRequestHeader<'a> {
        topic: &'a str = "topic",
    }

    /// Request of `LITE_SUBSCRIPTION_CTL`.
    LiteSubscriptionCtlRequestHeader<'a> {
        rpc: RpcFields<'a> = "",
    }

    /// Request of `NOTIFY_UNSUBSCRIBE_LITE`.
    NotifyUnsubscribeLiteRequestHeader<'a> {
        lite_topic: &'a str = "liteTopic",
        consumer_group: &'a str = "consumerGroup",
        client_id: &'a str = "clientId",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `POP_LITE_MESSAGE`.
    PopLiteMessageRequestHeader<'a> {
        client_id: &'a str = "clientId",
        consumer_group: &'a str = "consumerGroup",
        topic: &'a str = "topic",
        max_msg_num: i32 = "maxMsgNum",
        invisible_time: i64 = "invisibleTime",
        poll_time: i64 = "pollTime",
        born_time: i64 = "bornTime",
        attempt_id: Option<&'a str> = "attemptId",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `POP_LITE_MESSAGE`.
    PopLiteMessageResponseHeader<'a> {
        pop_time: i64 = "popTime",
        invisible_time: i64 = "invisibleTime",
        revive_qid: i32 = "reviveQid",
        start_offset_info: Option<&'a str> = "startOffsetInfo",
        msg_offset_info: Option<&'a str> = "msgOffsetInfo",
        order_count_info: Option<&'a str> = "orderCountInfo",
    }

    /// Request of `TRIGGER_LITE_DISPATCH`.
    TriggerLiteDispatchRequestHeader<'a> {
        group: &'a str = "group",
        client_id: Option<&'a str> = "clientId",
    }
}
