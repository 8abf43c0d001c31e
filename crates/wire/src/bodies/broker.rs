//! State of a broker for its operators.

use std::collections::BTreeMap;

use super::bodies;

bodies! {
    /// Answer to `GET_BROKER_HA_STATUS` (upstream `HARuntimeInfo`).
    HARuntimeInfo {
        ha_client_runtime_info: HAClientRuntimeInfo,
        ha_connection_info: Vec<HAConnectionRuntimeInfo>,
        in_sync_slave_nums: i32,
        master: bool,
        master_commit_log_max_offset: i64,
    }

    /// A slave's own view (upstream `HARuntimeInfo.HAClientRuntimeInfo`).
    HAClientRuntimeInfo {
        last_read_timestamp: i64,
        last_write_timestamp: i64,
        master_addr: Option<String>,
        master_flush_offset: i64,
        max_offset: i64,
        transferred_byte_in_second: i64,
    }

    /// A master's view of a slave (upstream `HARuntimeInfo.HAConnectionRuntimeInfo`).
    HAConnectionRuntimeInfo {
        addr: Option<String>,
        diff: i64,
        in_sync: bool,
        slave_ack_offset: i64,
        transfer_from_where: i64,
        transferred_byte_in_second: i64,
    }

    /// Answer to `CHECK_ROCKSDB_CQ_WRITE_PROGRESS` (upstream `CheckRocksdbCqWriteResult`).
    CheckRocksdbCqWriteResult {
        check_result: Option<String>,
        check_status: i32,
    }

    /// Answer to `GET_COLD_DATA_FLOW_CTR_INFO`: how many bytes that aren't in memory each group
    /// may read in a while.
    ColdDataFlowCtrInfo {
        runtime_table: BTreeMap<String, ColdDataFlow>,
        /// Thresholds by group.
        config_table: BTreeMap<String, i64>,
        cg_cold_read_threshold: i64,
        global_cold_read_threshold: i64,
        global_acc: i64,
    }

    /// What a group has read of cold data (upstream `AccAndTimeStamp`).
    ColdDataFlow {
        cold_acc: i64,
        create_time_mills: i64,
        last_cold_read_time_mills: i64,
    }
}
