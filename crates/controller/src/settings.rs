//! The controller's settings: upstream's keys of `controller.conf`.

use apogee_base::settings;
use apogee_base::settings::{LogLevel, at_home};

settings! {
    /// Settings of a controller (upstream `ControllerConfig`).
    pub struct ControllerSettings {
        /// Name of the group of controllers that decide together.
        controller_d_leger_group: String = "controllerDLegerGroup", "group1".into(), Local;
        /// All controllers of the group as ID-HOST:PORT, separated by semicolons; a controller listens at its own port.
        controller_d_leger_peers: String = "controllerDLegerPeers", String::new(), Local;
        /// Which of controllerDLegerPeers this one is; may be empty where there is only one.
        controller_d_leger_self_id: String = "controllerDLegerSelfId", String::new(), Local;
        /// Folder of the controller's state; empty: ~/DledgerController/ID.
        controller_store_path: String = "controllerStorePath", String::new(), Local;
        /// Address to listen on.
        bind_address: String = "bindAddress", "0.0.0.0".into(), Local;
        /// File that settings changed by remote request are kept in.
        config_store_path: String = "configStorePath", at_home("controller/controller.properties"), Local;
        /// Keys that cannot be changed by remote request, separated by semicolons.
        config_black_list: String = "configBlackList", "configBlackList;configStorePath".into(), Local;
        /// Elect a broker that lacks acknowledged messages when no other is alive: they are lost then.
        enable_elect_unclean_master: bool = "enableElectUncleanMaster", false, Live;
        /// Tell the brokers of a group when its master changes; otherwise they learn it when they ask.
        notify_broker_role_changed: bool = "notifyBrokerRoleChanged", true, Live;
        /// Milliseconds between two looks for brokers that fell silent; a closed connection is noticed at once.
        scan_not_active_broker_interval: u64 = "scanNotActiveBrokerInterval", 500, Live, 10..=60_000;
        /// Seconds after which a connection that completes no request is closed.
        server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds", 120, Restart, 1..=86_400;
        /// Port that answers /metrics, /health/live and /health/ready over HTTP; 0: none. No key of upstream.
        health_port: u16 = "healthPort", 0, Local;
        /// What is logged: error, warn, info, debug or trace and what is worse; empty: as APOGEE_LOG says. No key of
        /// upstream.
        log_level: LogLevel = "logLevel", LogLevel::AsStarted, Live;
    }
    pinned {
        "controllerType" = "DLedger",
        "useTLS" = "false",
    }
    inert: INERT;
    local: &["rocketmqHome", "listenPort", "metricsGrpcExporterTarget", "metricsPromExporterHost", "metricsPromExporterPort"]
}

impl ControllerSettings {
    /// Folder of the controller's state.
    pub fn store_path(&self) -> String {
        match &*self.controller_store_path {
            "" => at_home(&format!("DledgerController/{}", self.controller_d_leger_self_id)),
            path => path.to_owned(),
        }
    }
}

/// Upstream's keys that mean nothing here, with upstream's defaults.
const INERT: &[(&str, &str)] = &[
    ("controllerRequestThreadPoolQueueCapacity", "50000"),
    ("controllerThreadPoolNums", "16"),
    ("electMasterMaxRetryCount", "3"),
    ("enableShutdownGracefully", "false"),
    ("isProcessReadEvent", "false"),
    ("jRaftControllerRPCAddr", "localhost:9770,localhost:9771,localhost:9772"),
    ("jRaftElectionTimeoutMs", "1000"),
    ("jRaftGroupId", "jRaft-Controller"),
    ("jRaftInitConf", "localhost:9880,localhost:9881,localhost:9882"),
    ("jRaftScanWaitTimeoutMs", "1000"),
    ("jRaftServerId", "localhost:9880"),
    ("jRaftSnapshotIntervalSecs", "3600"),
    ("listenPort", "9878"),
    ("mappedFileSize", "1073741824"),
    ("metricGrpcExporterIntervalInMills", "60000"),
    ("metricGrpcExporterTimeOutInMills", "3000"),
    ("metricLoggingExporterIntervalInMills", "10000"),
    ("metricsExporterType", "DISABLE"),
    ("metricsGrpcExporterHeader", ""),
    ("metricsGrpcExporterTarget", ""),
    ("metricsInDelta", "false"),
    ("metricsLabel", ""),
    ("metricsPromExporterHost", ""),
    ("metricsPromExporterPort", "5557"),
    ("rocketmqHome", ""),
    ("scanInactiveMasterInterval", "5000"),
    ("serverAsyncSemaphoreValue", "64"),
    ("serverCallbackExecutorThreads", "0"),
    ("serverNettyWorkerGroupEnable", "true"),
    ("serverOnewaySemaphoreValue", "256"),
    ("serverPooledByteBufAllocatorEnable", "true"),
    ("serverSelectorThreads", "3"),
    ("serverSocketBacklog", "1024"),
    ("serverSocketRcvBufSize", "0"),
    ("serverSocketSndBufSize", "0"),
    ("serverWorkerThreads", "8"),
    ("shutdownWaitTimeSeconds", "30"),
    ("useEpollNativeSelector", "false"),
    ("writeBufferHighWaterMark", "0"),
    ("writeBufferLowWaterMark", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        apogee_base::settings::assert_consistent::<ControllerSettings>();
        apogee_base::settings::remote::assert_nothing_local_is_open::<ControllerSettings>();
    }
}
