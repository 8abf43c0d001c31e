//! Headers of client management: heartbeats, members, queue locks.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `GET_CONSUMER_CONNECTION_LIST`.
    GetConsumerConnectionListRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_CONSUMER_LIST_BY_GROUP`.
    GetConsumerListByGroupRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_CONSUMER_RUNNING_INFO`.
    GetConsumerRunningInfoRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        client_id: &'a str = "clientId",
        jstack_enable: Option<bool> = "jstackEnable",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `GET_PRODUCER_CONNECTION_LIST`.
    GetProducerConnectionListRequestHeader<'a> {
        producer_group: &'a str = "producerGroup",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `LOCK_BATCH_MQ`.
    LockBatchMqRequestHeader<'a> {
        rpc: RpcFields<'a> = "",
    }

    /// Request of `NOTIFY_CONSUMER_IDS_CHANGED`.
    NotifyConsumerIdsChangedRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `UNLOCK_BATCH_MQ`.
    UnlockBatchMqRequestHeader<'a> {
        rpc: RpcFields<'a> = "",
    }

    /// Request of `UNREGISTER_CLIENT`.
    UnregisterClientRequestHeader<'a> {
        client_id: &'a str = "clientID",
        producer_group: Option<&'a str> = "producerGroup",
        consumer_group: Option<&'a str> = "consumerGroup",
        rpc: RpcFields<'a> = "",
    }
}
