//! Headers of the controller: election, in-sync sets, broker identities.

use super::headers;

headers! {
    /// Request of `NOTIFY_BROKER_ROLE_CHANGED`.
    NotifyBrokerRoleChangedRequestHeader<'a> {
        master_address: Option<&'a str> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
        master_broker_id: Option<i64> = "masterBrokerId",
    }

    /// Request of `CONTROLLER_ALTER_SYNC_STATE_SET`.
    AlterSyncStateSetRequestHeader<'a> {
        broker_name: Option<&'a str> = "brokerName",
        master_broker_id: Option<i64> = "masterBrokerId",
        master_epoch: Option<i32> = "masterEpoch",
        invoke_time: Option<i64> = "invokeTime",
    }

    /// Response to `CONTROLLER_ALTER_SYNC_STATE_SET`.
    AlterSyncStateSetResponseHeader {
        new_sync_state_set_epoch: Option<i32> = "newSyncStateSetEpoch",
    }

    /// Request of `CONTROLLER_ELECT_MASTER`.
    ElectMasterRequestHeader<'a> {
        cluster_name: &'a str = "clusterName",
        broker_name: &'a str = "brokerName",
        broker_id: i64 = "brokerId",
        designate_elect: bool = "designateElect",
        invoke_time: Option<i64> = "invokeTime",
    }

    /// Response to `CONTROLLER_ELECT_MASTER`.
    ElectMasterResponseHeader<'a> {
        master_broker_id: Option<i64> = "masterBrokerId",
        master_address: Option<&'a str> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
    }

    /// Response to `CONTROLLER_GET_METADATA_INFO`.
    GetMetaDataResponseHeader<'a> {
        group: Option<&'a str> = "group",
        controller_leader_id: Option<&'a str> = "controllerLeaderId",
        controller_leader_address: Option<&'a str> = "controllerLeaderAddress",
        is_leader: Option<bool> = "isLeader",
        peers: Option<&'a str> = "peers",
    }

    /// Request of `CONTROLLER_GET_REPLICA_INFO`.
    GetReplicaInfoRequestHeader<'a> {
        broker_name: Option<&'a str> = "brokerName",
    }

    /// Response to `CONTROLLER_GET_REPLICA_INFO`.
    GetReplicaInfoResponseHeader<'a> {
        master_broker_id: Option<i64> = "masterBrokerId",
        master_address: Option<&'a str> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
    }

    /// Request of `CLEAN_BROKER_DATA`.
    CleanControllerBrokerDataRequestHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: &'a str = "brokerName",
        broker_controller_ids_to_clean: Option<&'a str> = "brokerControllerIdsToClean",
        is_clean_living_broker: Option<bool> = "isCleanLivingBroker",
        invoke_time: Option<i64> = "invokeTime",
    }

    /// Request of `CONTROLLER_APPLY_BROKER_ID`.
    ApplyBrokerIdRequestHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: Option<&'a str> = "brokerName",
        applied_broker_id: Option<i64> = "appliedBrokerId",
        register_check_code: Option<&'a str> = "registerCheckCode",
    }

    /// Response to `CONTROLLER_APPLY_BROKER_ID`.
    ApplyBrokerIdResponseHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: Option<&'a str> = "brokerName",
    }

    /// Request of `CONTROLLER_GET_NEXT_BROKER_ID`.
    GetNextBrokerIdRequestHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: Option<&'a str> = "brokerName",
    }

    /// Response to `CONTROLLER_GET_NEXT_BROKER_ID`.
    GetNextBrokerIdResponseHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: Option<&'a str> = "brokerName",
        next_broker_id: Option<i64> = "nextBrokerId",
    }

    /// Request of `CONTROLLER_REGISTER_BROKER`.
    RegisterBrokerToControllerRequestHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: Option<&'a str> = "brokerName",
        broker_id: Option<i64> = "brokerId",
        broker_address: Option<&'a str> = "brokerAddress",
        invoke_time: Option<i64> = "invokeTime",
    }

    /// Response to `CONTROLLER_REGISTER_BROKER`.
    RegisterBrokerToControllerResponseHeader<'a> {
        cluster_name: Option<&'a str> = "clusterName",
        broker_name: Option<&'a str> = "brokerName",
        master_broker_id: Option<i64> = "masterBrokerId",
        master_address: Option<&'a str> = "masterAddress",
        master_epoch: Option<i32> = "masterEpoch",
        sync_state_set_epoch: Option<i32> = "syncStateSetEpoch",
    }
}
