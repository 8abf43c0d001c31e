//! Headers of subscription groups.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `DELETE_SUBSCRIPTIONGROUP`.
    DeleteSubscriptionGroupRequestHeader<'a> {
        group_name: &'a str = "groupName",
        clean_offset: Option<bool> = "cleanOffset",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_ALL_SUBSCRIPTIONGROUP_CONFIG`.
    GetAllSubscriptionGroupRequestHeader<'a> {
        group_seq: i32 = "groupSeq",
        data_version: Option<&'a str> = "dataVersion",
        max_group_num: Option<i32> = "maxGroupNum",
    }

    /// Response to `GET_ALL_SUBSCRIPTIONGROUP_CONFIG`.
    GetAllSubscriptionGroupResponseHeader {
        total_group_num: i32 = "totalGroupNum",
    }

    /// Request of `GET_SUBSCRIPTIONGROUP_CONFIG`.
    GetSubscriptionGroupConfigRequestHeader<'a> {
        group: &'a str = "group",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `QUERY_SUBSCRIPTION_BY_CONSUMER`.
    QuerySubscriptionByConsumerRequestHeader<'a> {
        group: &'a str = "group",
        topic: Option<&'a str> = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `UPDATE_AND_GET_GROUP_FORBIDDEN`.
    UpdateGroupForbiddenRequestHeader<'a> {
        group: &'a str = "group",
        topic: &'a str = "topic",
        readable: Option<bool> = "readable",
        rpc: RpcFields<'a> = "",
    }
}
