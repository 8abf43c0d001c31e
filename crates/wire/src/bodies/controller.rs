//! What controllers and brokers under one tell of replicas.

use std::collections::{BTreeMap, BTreeSet};

use super::{BrokerMemberGroup, bodies};

bodies! {
    /// Answer to `GET_BROKER_EPOCH_CACHE` (upstream `EpochEntryCache`).
    #[derive(Eq)]
    EpochEntryCache {
        broker_id: i64,
        broker_name: Option<String>,
        cluster_name: Option<String>,
        epoch_list: Vec<EpochEntry>,
        /// Where the broker's log ends.
        max_offset: i64,
    }

    /// What was written while one broker was the master (upstream `EpochEntry`).
    #[derive(Eq)]
    EpochEntry {
        /// The last one's is `i64::MAX`.
        end_offset: i64,
        epoch: i32,
        start_offset: i64,
    }

    /// Replicas that have all that was acknowledged (upstream `SyncStateSet`).
    #[derive(Eq)]
    SyncStateSet {
        sync_state_set: BTreeSet<i64>,
        sync_state_set_epoch: i32,
    }

    /// Answer to `CONTROLLER_ELECT_MASTER` (upstream `ElectMasterResponseBody`).
    ElectMasterResponseBody {
        broker_member_group: Option<BrokerMemberGroup>,
        sync_state_set: Option<BTreeSet<i64>>,
    }

    /// Answer to `CONTROLLER_GET_SYNC_STATE_DATA` (upstream `BrokerReplicasInfo`), by broker name.
    #[derive(Eq)]
    BrokerReplicasInfo {
        replicas_info_table: BTreeMap<String, ReplicasInfo>,
    }

    /// The replicas of one broker name (upstream `BrokerReplicasInfo.ReplicasInfo`).
    #[derive(Eq)]
    ReplicasInfo {
        in_sync_replicas: Vec<ReplicaIdentity>,
        master_address: Option<String>,
        master_broker_id: Option<i64>,
        master_epoch: i32,
        not_in_sync_replicas: Vec<ReplicaIdentity>,
        sync_state_set_epoch: i32,
    }

    /// A replica (upstream `BrokerReplicasInfo.ReplicaIdentity`).
    #[derive(Eq)]
    ReplicaIdentity {
        alive: Option<bool>,
        broker_address: Option<String>,
        broker_id: Option<i64>,
        broker_name: Option<String>,
    }
}
