//! Headers of broker administration.

use super::headers;

headers! {
    /// Request of `ADD_BROKER`.
    AddBrokerRequestHeader<'a> {
        config_path: &'a str = "configPath",
    }

    /// Request of `REMOVE_BROKER`.
    RemoveBrokerRequestHeader<'a> {
        broker_cluster_name: &'a str = "brokerClusterName",
        broker_name: &'a str = "brokerName",
        broker_id: i64 = "brokerId",
    }

    /// Request of `EXCHANGE_BROKER_HA_INFO`.
    ExchangeHAInfoRequestHeader<'a> {
        master_ha_address: Option<&'a str> = "masterHaAddress",
        master_flush_offset: Option<i64> = "masterFlushOffset",
        master_address: Option<&'a str> = "masterAddress",
    }

    /// Response to `EXCHANGE_BROKER_HA_INFO`.
    ExchangeHAInfoResponseHeader<'a> {
        master_ha_address: Option<&'a str> = "masterHaAddress",
        master_flush_offset: Option<i64> = "masterFlushOffset",
        master_address: Option<&'a str> = "masterAddress",
    }

    /// Request of `EXPORT_ROCKSDB_CONFIG_TO_JSON`.
    ExportRocksDBConfigToJsonRequestHeader<'a> {
        config_type: &'a str = "configType",
    }

    /// Response to `GET_BROKER_CONFIG`.
    GetBrokerConfigResponseHeader<'a> {
        version: &'a str = "version",
    }

    /// Request of `NOTIFY_MIN_BROKER_ID_CHANGE`.
    NotifyMinBrokerIdChangeRequestHeader<'a> {
        min_broker_id: Option<i64> = "minBrokerId",
        broker_name: Option<&'a str> = "brokerName",
        min_broker_addr: Option<&'a str> = "minBrokerAddr",
        offline_broker_addr: Option<&'a str> = "offlineBrokerAddr",
        ha_broker_addr: Option<&'a str> = "haBrokerAddr",
    }

    /// Request of `RESET_MASTER_FLUSH_OFFSET`.
    ResetMasterFlushOffsetHeader {
        master_flush_offset: i64 = "masterFlushOffset",
    }

    /// Request of `VIEW_BROKER_STATS_DATA`.
    ViewBrokerStatsDataRequestHeader<'a> {
        stats_name: &'a str = "statsName",
        stats_key: &'a str = "statsKey",
    }
}
