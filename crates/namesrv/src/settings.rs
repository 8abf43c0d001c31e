//! The name server's settings: upstream's keys of `namesrv.conf`.

use apogee_base::settings;
use apogee_base::settings::{LogLevel, at_home};

settings! {
    /// Settings of a name server (upstream `NamesrvConfig`, `NettyServerConfig`).
    pub struct NamesrvSettings {
        /// Port for clients and brokers.
        listen_port: u16 = "listenPort", 9876, Local;
        /// Address to listen on.
        bind_address: String = "bindAddress", "0.0.0.0".into(), Local;
        /// File of the key-value configuration.
        kv_config_path: String = "kvConfigPath", at_home("namesrv/kvConfig.json"), Local;
        /// File that settings changed by remote request are kept in.
        config_store_path: String = "configStorePath", at_home("namesrv/namesrv.properties"), Local;
        /// Keys that cannot be changed by remote request, separated by semicolons.
        config_black_list: String = "configBlackList", "configBlackList;configStorePath;kvConfigPath".into(), Local;
        /// Add the order configuration of a topic to its route.
        order_message_enable: bool = "orderMessageEnable", false, Live;
        /// Answer a registering broker with the order configuration of all topics.
        return_order_topic_config_to_broker: bool = "returnOrderTopicConfigToBroker", true, Live;
        /// Milliseconds between two looks for brokers that gave no sign of life.
        scan_not_active_broker_interval: u64 = "scanNotActiveBrokerInterval", 5_000, Restart, 10..=60_000;
        /// Let the slave with the lowest id stand in for a master that is gone.
        support_acting_master: bool = "supportActingMaster", false, Live;
        /// Answer requests for the list of all topics.
        enable_all_topic_list: bool = "enableAllTopicList", true, Live;
        /// Answer requests for lists of topics by cluster or unit.
        enable_topic_list: bool = "enableTopicList", true, Live;
        /// Tell the brokers of a group when the lowest id among them changes.
        notify_min_broker_id_changed: bool = "notifyMinBrokerIdChanged", false, Live;
        /// Refuse route requests for some time after the start, until brokers have registered.
        need_wait_for_service: bool = "needWaitForService", false, Restart;
        /// Seconds after the start in which needWaitForService refuses route requests.
        wait_seconds_for_service: u64 = "waitSecondsForService", 45, Restart, 0..=3_600;
        /// Forget a topic of a broker that registers without it.
        delete_topic_with_broker_registration: bool = "deleteTopicWithBrokerRegistration", false, Live;
        /// Seconds after which a connection that completes no request is closed.
        server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds", 120, Restart, 1..=86_400;
        /// Run a controller, which elects the masters of groups of brokers, in the name server's process; its keys stand
        /// in the same file (docs/controller.md).
        enable_controller_in_namesrv: bool = "enableControllerInNamesrv", false, Restart;
        /// Port that answers /health/live and /health/ready over HTTP; 0: none. No key of upstream.
        health_port: u16 = "healthPort", 0, Local;
        /// What is logged: error, warn, info, debug or trace and what is worse; empty: as APOGEE_LOG says. No key of
        /// upstream.
        log_level: LogLevel = "logLevel", LogLevel::AsStarted, Live;
    }
    pinned {
        "useTLS" = "false",
    }
    inert: INERT;
    local: &["rocketmqHome"]
}

/// Upstream's keys that mean nothing here, with upstream's defaults.
const INERT: &[(&str, &str)] = &[
    ("channelNotActiveInterval", "60000"),
    ("clientAsyncSemaphoreValue", "65535"),
    ("clientCallbackExecutorThreads", "2"),
    ("clientChannelMaxIdleTimeSeconds", "120"),
    ("clientCloseSocketIfTimeout", "true"),
    ("clientOnewaySemaphoreValue", "65535"),
    ("clientPooledByteBufAllocatorEnable", "false"),
    ("clientRequestThreadPoolNums", "8"),
    ("clientRequestThreadPoolQueueCapacity", "50000"),
    ("clientSocketRcvBufSize", "0"),
    ("clientSocketSndBufSize", "0"),
    ("clientWorkerThreads", "4"),
    ("clusterTest", "false"),
    ("connectTimeoutMillis", "3000"),
    ("defaultThreadPoolNums", "16"),
    ("defaultThreadPoolQueueCapacity", "10000"),
    ("disableCallbackExecutor", "false"),
    ("disableNettyWorkerGroup", "false"),
    ("enableReconnectForGoAway", "true"),
    ("enableShutdownGracefully", "false"),
    ("isScanAvailableNameSrv", "true"),
    ("maxReconnectIntervalTimeSeconds", "60"),
    ("productEnvName", "center"),
    ("rocketmqHome", ""),
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
    ("socksProxyConfig", "{}"),
    ("unRegisterBrokerQueueCapacity", "3000"),
    ("useEpollNativeSelector", "false"),
    ("writeBufferHighWaterMark", "0"),
    ("writeBufferLowWaterMark", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        apogee_base::settings::assert_consistent::<NamesrvSettings>();
        apogee_base::settings::remote::assert_nothing_local_is_open::<NamesrvSettings>();
    }
}
