//! Headers of the name server.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `GET_BROKER_MEMBER_GROUP`.
    GetBrokerMemberGroupRequestHeader<'a> {
        cluster_name: &'a str = "clusterName",
        broker_name: &'a str = "brokerName",
    }

    /// Request of `GET_TOPICS_BY_CLUSTER`.
    GetTopicsByClusterRequestHeader<'a> {
        cluster: &'a str = "cluster",
    }

    /// Request of `ADD_WRITE_PERM_OF_BROKER`.
    AddWritePermOfBrokerRequestHeader<'a> {
        broker_name: &'a str = "brokerName",
    }

    /// Response to `ADD_WRITE_PERM_OF_BROKER`.
    AddWritePermOfBrokerResponseHeader {
        add_topic_count: i32 = "addTopicCount",
    }

    /// Request of `BROKER_HEARTBEAT`.
    BrokerHeartbeatRequestHeader<'a> {
        cluster_name: &'a str = "clusterName",
        broker_addr: &'a str = "brokerAddr",
        broker_name: &'a str = "brokerName",
        broker_id: Option<i64> = "brokerId",
        epoch: Option<i32> = "epoch",
        max_offset: Option<i64> = "maxOffset",
        confirm_offset: Option<i64> = "confirmOffset",
        heartbeat_timeout_mills: Option<i64> = "heartbeatTimeoutMills",
        election_priority: Option<i32> = "electionPriority",
    }

    /// Request of `DELETE_KV_CONFIG`.
    DeleteKVConfigRequestHeader<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
    }

    /// Request of `DELETE_TOPIC_IN_NAMESRV`.
    DeleteTopicFromNamesrvRequestHeader<'a> {
        topic: &'a str = "topic",
        cluster_name: Option<&'a str> = "clusterName",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_KV_CONFIG`.
    GetKVConfigRequestHeader<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
    }

    /// Response to `GET_KV_CONFIG`.
    GetKVConfigResponseHeader<'a> {
        value: Option<&'a str> = "value",
    }

    /// Request of `GET_KVLIST_BY_NAMESPACE`.
    GetKVListByNamespaceRequestHeader<'a> {
        namespace: &'a str = "namespace",
    }

    /// Request of `GET_ROUTEINFO_BY_TOPIC`.
    GetRouteInfoRequestHeader<'a> {
        topic: &'a str = "topic",
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `PUT_KV_CONFIG`.
    PutKVConfigRequestHeader<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
        value: &'a str = "value",
    }

    /// Request of `QUERY_DATA_VERSION`.
    QueryDataVersionRequestHeader<'a> {
        broker_name: &'a str = "brokerName",
        broker_addr: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// Response to `QUERY_DATA_VERSION`.
    QueryDataVersionResponseHeader {
        changed: bool = "changed",
    }

    /// Request of `REGISTER_BROKER`.
    RegisterBrokerRequestHeader<'a> {
        broker_name: &'a str = "brokerName",
        broker_addr: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        ha_server_addr: &'a str = "haServerAddr",
        broker_id: i64 = "brokerId",
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        enable_acting_master: Option<bool> = "enableActingMaster",
        compressed: Option<bool> = "compressed",
        body_crc32: Option<i32> = "bodyCrc32",
    }

    /// Response to `REGISTER_BROKER`.
    RegisterBrokerResponseHeader<'a> {
        ha_server_addr: Option<&'a str> = "haServerAddr",
        master_addr: Option<&'a str> = "masterAddr",
    }

    /// Request of `REGISTER_TOPIC_IN_NAMESRV`.
    RegisterTopicRequestHeader<'a> {
        topic: &'a str = "topic",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `UNREGISTER_BROKER`.
    UnRegisterBrokerRequestHeader<'a> {
        broker_name: &'a str = "brokerName",
        broker_addr: &'a str = "brokerAddr",
        cluster_name: &'a str = "clusterName",
        broker_id: i64 = "brokerId",
    }

    /// Request of `WIPE_WRITE_PERM_OF_BROKER`.
    WipeWritePermOfBrokerRequestHeader<'a> {
        broker_name: &'a str = "brokerName",
    }

    /// Response to `WIPE_WRITE_PERM_OF_BROKER`.
    WipeWritePermOfBrokerResponseHeader {
        wipe_topic_count: i32 = "wipeTopicCount",
    }
}
