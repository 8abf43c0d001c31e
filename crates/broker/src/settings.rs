//! The broker's settings: upstream's keys of `broker.conf`, each with its type, default and bounds.

use apogee_base::settings::{LogLevel, at_home};
use apogee_base::{settings, words};

use crate::retention::Hours;
use crate::role::BrokerRole;
use crate::settings_inert::{INERT, LOCAL};

words! {
    /// When a send is answered.
    pub enum FlushDiskType {
        /// Once the message is on disk: one flush serves all who wait.
        Sync = "SYNC_FLUSH",
        /// Once the message is written; the disk has it a moment later.
        Async = "ASYNC_FLUSH",
    }
}

words! {
    /// How a group asks for messages.
    pub enum RequestMode {
        /// Its members share the queues, and pull those of their own.
        Pull = "PULL",
        /// Its members pop any queue; see `pop/`.
        Pop = "POP",
    }
}

words! {
    /// How metrics leave the broker.
    pub enum MetricsExporterType {
        /// They don't.
        Disable = "DISABLE",
        /// Prometheus fetches them over HTTP.
        Prom = "PROM",
        /// They are pushed to a collector by OTLP over gRPC.
        OtlpGrpc = "OTLP_GRPC",
        /// They are written to the log.
        Log = "LOG",
    }
}

settings! {
    /// Settings of a broker (upstream `BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`).
    pub struct BrokerSettings {
        /// Name servers to register with: `host:port`, separated by semicolons.
        namesrv_addr: String = "namesrvAddr", String::new(), Restart;
        /// Port for clients.
        listen_port: u16 = "listenPort", 10911, Local;
        /// Address to listen on.
        bind_address: String = "bindAddress", "0.0.0.0".into(), Local;
        /// Address or host name that clients are told; empty: one that is found by itself.
        broker_ip1: String = "brokerIP1", String::new(), Local;
        /// Address that slaves are told; empty: as brokerIP1.
        broker_ip2: String = "brokerIP2", String::new(), Local;
        /// Name of the broker: masters and slaves of one group share it.
        broker_name: String = "brokerName", "broker-a".into(), Restart;
        /// Cluster that the broker belongs to.
        broker_cluster_name: String = "brokerClusterName", "DefaultCluster".into(), Restart;
        /// 0 for the master, another for each slave of its group. In controller mode the controller gives it, and upstream's files say -1.
        broker_id: i64 = "brokerId", 0, Restart, -1..=1_000_000;
        /// What the broker is in its group: a master whose senders don't wait for slaves (ASYNC_MASTER), one whose senders
        /// do (SYNC_MASTER), or a SLAVE, which copies what its master has and serves readers.
        broker_role: BrokerRole = "brokerRole", BrokerRole::AsyncMaster, Restart;
        /// Master whose log a slave copies, as host:port of its haListenPort; empty: the one that a name server tells.
        ha_master_address: String = "haMasterAddress", String::new(), Local;
        /// Port that slaves connect to; 0: the one behind listenPort, as upstream has it.
        ha_listen_port: u16 = "haListenPort", 0, Local;
        /// Brokers that must have a message before its sender is told, the master counted, on a SYNC_MASTER. Upstream's
        /// default is 1, with which a SYNC_MASTER waits for nobody; here it is 2.
        in_sync_replicas: u32 = "inSyncReplicas", 2, Live, 1..=100;
        /// Brokers that must be there for messages to be taken, the master counted: with enableAutoInSyncReplicas, and
        /// where a controller elects the master.
        min_in_sync_replicas: u32 = "minInSyncReplicas", 1, Live, 1..=100;
        /// Wait for as many brokers as are there, from minInSyncReplicas to inSyncReplicas.
        enable_auto_in_sync_replicas: bool = "enableAutoInSyncReplicas", false, Live;
        /// Where a controller elects the master: wait for all replicas in sync, not for inSyncReplicas. Upstream's
        /// default is false; here it is true: no elected master lacks what was acknowledged.
        all_ack_in_sync_state_set: bool = "allAckInSyncStateSet", true, Live;
        /// Milliseconds that a sender waits for slaves before it is told that its message is on the master alone
        /// (FLUSH_SLAVE_TIMEOUT).
        slave_timeout: i64 = "slaveTimeout", 3_000, Restart, 1..=600_000;
        /// Bytes of the log that a slave may lack and still count as being there.
        ha_max_gap_not_in_sync: i64 = "haMaxGapNotInSync", 268_435_456, Live, 0..=1_099_511_627_776;
        /// Milliseconds after which a replica that lacks something is not in sync any more.
        ha_max_time_slave_not_catchup: i64 = "haMaxTimeSlaveNotCatchup", 15_000, Live, 100..=3_600_000;
        /// Milliseconds after which master and slave tell each other that they are there when nothing else is said.
        ha_send_heartbeat_interval: u64 = "haSendHeartbeatInterval", 5_000, Live, 10..=600_000;
        /// Milliseconds without a word after which master and slave close their connection.
        ha_housekeeping_interval: u64 = "haHousekeepingInterval", 20_000, Live, 100..=3_600_000;
        /// Most bytes of the log in one frame for a slave.
        ha_transfer_batch_size: usize = "haTransferBatchSize", 32_768, Live, 1_024..=8_388_608;
        /// A slave that lacks more than 16 MiB is sent the log no faster than `maxHaTransferByteInSecond`, so that one that
        /// catches up leaves the disk and the network to the others. Slower than messages come, a slave stays behind.
        ha_flow_control_enable: bool = "haFlowControlEnable", false, Live;
        /// Bytes of the log a second that one slave that catches up is sent at most, with `haFlowControlEnable`.
        max_ha_transfer_byte_in_second: u64 = "maxHaTransferByteInSecond", 104_857_600, Live, 1_048_576..=1_099_511_627_776;
        /// An empty slave begins with the last file of its master's log, not with all of it. Without a controller it is
        /// the master's setting that counts; there upstream's masters do so in any case.
        is_sync_from_last_file: bool = "syncFromLastFile", false, Live;
        /// This slave copies its master's log and has no part in elections.
        async_learner: bool = "asyncLearner", false, Restart;
        /// Serve pulls on a slave, and send consumers there that are far behind on a master. Upstream's default is
        /// false: consumers would get nothing while the master is gone.
        slave_read_enable: bool = "slaveReadEnable", true, Live;
        /// Tell a consumer that its offset is not there when a slave does not have it. By default the pull waits: the
        /// master may have it, or the slave soon.
        offset_check_in_slave: bool = "offsetCheckInSlave", false, Live;
        /// Let a controller choose the master of the group.
        enable_controller_mode: bool = "enableControllerMode", false, Restart;
        /// Controllers: `host:port`, separated by semicolons.
        controller_addr: String = "controllerAddr", String::new(), Restart;
        /// Milliseconds between two heartbeats to controllers, and to name servers where enableSlaveActingMaster is set.
        broker_heartbeat_interval: u64 = "brokerHeartbeatInterval", 1_000, Restart, 50..=60_000;
        /// Milliseconds without a heartbeat after which controllers count the broker as gone.
        controller_heart_beat_timeout_mills: u64 = "controllerHeartBeatTimeoutMills", 10_000, Restart, 200..=600_000;
        /// Milliseconds between two questions to the controller who the master is; it tells of changes by itself, too.
        sync_broker_metadata_period: u64 = "syncBrokerMetadataPeriod", 5_000, Restart, 100..=600_000;
        /// Of several brokers that can be elected, those with the lowest priority come first.
        broker_election_priority: i32 = "brokerElectionPriority", i32::MAX, Restart, 0..=2_147_483_647;
        /// File that says which broker this is; empty: `brokerIdentity` in the store's folder.
        store_path_broker_identity: String = "storePathBrokerIdentity", String::new(), Local;
        /// Let the slave of the lowest id stand in for a master that is gone: readers and locks of queues are served
        /// there. All brokers of the group have it, and the name servers `supportActingMaster=true`.
        enable_slave_acting_master: bool = "enableSlaveActingMaster", false, Restart;
        /// Let a slave that stands in for its master deliver what comes due, through other brokers that have a master of
        /// the topic: delayed messages, and half messages that nobody decided on. With enableSlaveActingMaster only.
        enable_remote_escape: bool = "enableRemoteEscape", false, Live;
        /// Milliseconds of silence after which the name servers count the broker as gone, where
        /// enableSlaveActingMaster is set; without, they wait for two minutes.
        broker_not_active_timeout_millis: i64 = "brokerNotActiveTimeoutMillis", 10_000, Restart, 500..=600_000;
        /// Milliseconds between two questions to the name servers for who of the group is up, where
        /// enableSlaveActingMaster is set.
        sync_broker_member_group_period: u64 = "syncBrokerMemberGroupPeriod", 1_000, Live, 50..=60_000;
        /// Speak to name servers as those before version 5.0 understand it, where enableSlaveActingMaster is set.
        compatible_with_old_name_srv: bool = "compatibleWithOldNameSrv", true, Live;
        /// What clients may do with the whole broker: 2 write, 4 read, 6 both.
        broker_permission: i32 = "brokerPermission", 6, Live, 0..=7;
        /// Queues of a topic that is created without a number of its own.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums", 8, Live, 1..=1024;
        /// Create a topic when the first message is sent to it.
        auto_create_topic_enable: bool = "autoCreateTopicEnable", true, Live;
        /// Offer a topic with the cluster's name, on which any broker of it can be reached.
        cluster_topic_enable: bool = "clusterTopicEnable", true, Restart;
        /// Offer a topic with the broker's name.
        broker_topic_enable: bool = "brokerTopicEnable", true, Restart;
        /// Create a subscription group when its first consumer comes.
        auto_create_subscription_group: bool = "autoCreateSubscriptionGroup", true, Live;
        /// Topic of the clients' traces.
        msg_trace_topic_name: String = "msgTraceTopicName", "RMQ_SYS_TRACE_TOPIC".into(), Restart;
        /// Create the trace topic at start. Upstream's default is false; here it is true: without
        /// autoCreateTopicEnable the clients' traces would be lost.
        trace_topic_enable: bool = "traceTopicEnable", true, Restart;
        /// Milliseconds between two savings of consumer offsets.
        flush_consumer_offset_interval: u64 = "flushConsumerOffsetInterval", 5_000, Restart, 100..=600_000;
        /// Milliseconds between two savings of delivery offsets of delayed messages.
        flush_delay_offset_interval: u64 = "flushDelayOffsetInterval", 10_000, Restart, 100..=600_000;
        /// Milliseconds between two registrations with the name servers.
        register_name_server_period: u64 = "registerNameServerPeriod", 30_000, Restart, 10_000..=60_000;
        /// Milliseconds that a registration may take.
        register_broker_timeout_mills: u64 = "registerBrokerTimeoutMills", 24_000, Live, 100..=120_000;
        /// Send the whole registration even when the name server has this version of it.
        force_register: bool = "forceRegister", false, Live;
        /// Evaluate SQL92 expressions of subscriptions. Upstream's default is false.
        enable_property_filter: bool = "enablePropertyFilter", true, Live;
        /// Let a pull that finds nothing wait for a message.
        long_polling_enable: bool = "longPollingEnable", true, Live;
        /// Milliseconds that a pull waits when long polling is off.
        short_polling_time_mills: u64 = "shortPollingTimeMills", 1_000, Live, 1..=60_000;
        /// Have light queues, `%LMQ%name`: each is a topic of one queue without settings of its own.
        enable_lmq: bool = "enableLmq", false, Restart;
        /// Put messages into the light queues that they name, too. Needs enableLmq; a slave needs what its master has.
        enable_multi_dispatch: bool = "enableMultiDispatch", false, Restart;
        /// Refuse messages for new light queues when there are maxLmqConsumeQueueNum.
        enable_lmq_quota: bool = "enableLmqQuota", false, Live;
        /// Light queues that there may be, with enableLmqQuota.
        max_lmq_consume_queue_num: usize = "maxLmqConsumeQueueNum", 20_000, Live, 1..=100_000_000;
        /// Lite topics that clients may read, each counted for each client.
        max_lite_subscription_count: usize = "maxLiteSubscriptionCount", 100_000, Live, 1..=100_000_000;
        /// Lite topics that may wait to be looked into for one client, where its group does not say (lite.sub.client.max.event.cnt).
        max_client_event_count: usize = "maxClientEventCount", 100, Live, 10..=100_000_000;
        /// Milliseconds between two looks at all lite topics that clients read.
        lite_event_full_dispatch_delay_time: u64 = "liteEventFullDispatchDelayTime", 10_000, Restart, 100..=86_400_000;
        /// Milliseconds between two looks for lite topics that were not used for as long as their parent says.
        lite_ttl_check_interval: u64 = "liteTtlCheckInterval", 120_000, Restart, 100..=86_400_000;
        /// Milliseconds for which a lite topic stays at least, whatever its parent says.
        min_lite_ttl: i64 = "minLiteTTl", 900_000, Live, 1_000..=2_592_000_000;
        /// Milliseconds after which a client that says nothing reads its lite topics no more.
        lite_subscription_check_timeout_mills: i64 = "liteSubscriptionCheckTimeoutMills", 180_000, Live, 1_000..=86_400_000;
        /// Count messages of light queues by their names, as those of topics.
        enable_lmq_stats: bool = "enableLmqStats", false, Live;
        /// Pops of one group and topic that may wait for messages.
        pop_polling_size: usize = "popPollingSize", 1_024, Live, 1..=100_000;
        /// Pops that may wait for messages altogether.
        max_pop_polling_size: usize = "maxPopPollingSize", 100_000, Live, 1..=1_000_000;
        /// Percentage of pops that look for messages to be retried before they look for others; the others do so after.
        pop_from_retry_probability: u64 = "popFromRetryProbability", 20, Live, 0..=100;
        /// Percentage of pops by priority that look for messages to be retried before they look for others.
        pop_from_retry_probability_for_priority: u64 = "popFromRetryProbabilityForPriority", 0, Live, 0..=100;
        /// Of the queues of a topic of priorities the last is popped first; otherwise the first is.
        priority_order_asc: bool = "priorityOrderAsc", true, Live;
        /// Popped messages wait to be retried in a queue with the number of their own, so that a priority is kept.
        use_separate_retry_queue: bool = "useSeparateRetryQueue", false, Live;
        /// Name the topics in which popped messages wait to be retried `%RETRY%group+topic`, so that no group and topic
        /// share one with another group and topic.
        enable_retry_topic_v2: bool = "enableRetryTopicV2", false, Live;
        /// With such names, look for messages in topics with names of the older kind, too.
        retrieve_message_from_pop_retry_topic_v1: bool = "retrieveMessageFromPopRetryTopicV1", true, Live;
        /// Hand out messages that are retried with the name of their retry topic, not with that of their own.
        pop_response_return_actual_retry_topic: bool = "popResponseReturnActualRetryTopic", false, Live;
        /// A group that begins at the end of a topic gets all its messages, if they are in memory since the first.
        init_pop_offset_by_check_msg_in_mem: bool = "initPopOffsetByCheckMsgInMem", true, Live;
        /// Milliseconds that popped messages are only in memory: those that are not acknowledged by then are noted in
        /// the log. After a crash those of the last so many milliseconds come again at once.
        pop_ck_stay_buffer_time: i64 = "popCkStayBufferTime", 10_000, Live, 100..=600_000;
        /// Milliseconds before the time of popped messages is up in which they are not noted in the log any more.
        pop_ck_stay_buffer_time_out: i64 = "popCkStayBufferTimeOut", 3_000, Live, 0..=60_000;
        /// Pops whose messages are only in memory; where there are more, the oldest are noted in the log. Up to 180
        /// bytes for each, and 30 for each message more.
        pop_ck_max_buffer_size: usize = "popCkMaxBufferSize", 200_000, Live, 1_000..=100_000_000;
        /// Limit how many messages of a queue may be out to a group: handed out and neither acknowledged nor come again.
        enable_pop_message_threshold: bool = "enablePopMessageThreshold", false, Live;
        /// That limit. A pop brings up to 32 messages; the last one before the limit may pass it by that.
        pop_inflight_message_threshold: usize = "popInflightMessageThreshold", 10_000, Live, 1..=100_000_000;
        /// Queues of the topic in which popped messages are noted.
        revive_queue_num: i32 = "reviveQueueNum", 8, Restart, 1..=128;
        /// Popped messages don't come again to a group that is gone.
        pop_revive_skip_if_group_absent: bool = "popReviveSkipIfGroupAbsent", true, Live;
        /// Tell the members of a group when it changes, so that they share the queues anew at once.
        notify_consumer_ids_changed_enable: bool = "notifyConsumerIdsChangedEnable", true, Live;
        /// Milliseconds after its last heartbeat that a client counts as gone.
        channel_expired_timeout: u64 = "channelExpiredTimeout", 120_000, Live, 1_000..=3_600_000;
        /// How a group asks for messages that no administrator set a mode for, where it asks the broker which queues to read.
        default_message_request_mode: RequestMode = "defaultMessageRequestMode", RequestMode::Pull, Live;
        /// With `defaultMessageRequestMode=POP`: the queues of how many other members a member pops beside its own; 0 and
        /// less: all.
        default_pop_share_queue_num: i32 = "defaultPopShareQueueNum", -1, Live, -1..=1_000_000;
        /// Share the queues among the members of groups that ask the broker which to read. Without, each gets all of them.
        server_load_balancer_enable: bool = "serverLoadBalancerEnable", true, Live;
        /// Milliseconds for which it is remembered where other brokers have a topic that is shared so.
        load_balance_poll_name_server_interval: u64 = "loadBalancePollNameServerInterval", 30_000, Live, 100..=600_000;
        /// Region noted in messages and told to producers.
        region_id: String = "regionId", "DefaultRegion".into(), Restart;
        /// Tell producers that traces are wanted.
        trace_on: bool = "traceOn", true, Live;
        /// Refuse changes of system topics by administrators.
        validate_system_topic_when_update_topic: bool = "validateSystemTopicWhenUpdateTopic", true, Live;
        /// Reset consumer offsets in the broker, without the consumers' help.
        use_server_side_reset_offset: bool = "useServerSideResetOffset", true, Live;
        /// Keys that cannot be changed by remote request, separated by semicolons.
        config_black_list: String = "configBlackList", "configBlackList;brokerConfigPath".into(), Local;
        /// Folder of everything the broker keeps.
        store_path_root_dir: String = "storePathRootDir", at_home("store"), Local;
        /// Folder of the commit log; empty: `commitlog` in the store's folder.
        store_path_commit_log: String = "storePathCommitLog", String::new(), Local;
        /// Bytes of one commit log file.
        mapped_file_size_commit_log: u64 = "mappedFileSizeCommitLog", 1 << 30, Restart, 65_536..=2_147_483_647;
        /// Bytes of one consume queue file; rounded up to a multiple of 20.
        mapped_file_size_consume_queue: u64 = "mappedFileSizeConsumeQueue", 6_000_000, Restart, 20..=2_147_483_640;
        /// Bytes of one file of a queue that keeps batches; rounded up to a multiple of 46.
        mapper_file_size_batch_consume_queue: u64 = "mapperFileSizeBatchConsumeQueue", 13_800_000, Restart, 46..=2_147_483_640;
        /// Whether a send is answered before or after its message is on disk. Upstream's default is
        /// ASYNC_FLUSH; here it is SYNC_FLUSH: an answer is a promise.
        flush_disk_type: FlushDiskType = "flushDiskType", FlushDiskType::Sync, Restart;
        /// Milliseconds between two flushes of the commit log with ASYNC_FLUSH: the most that a power
        /// cut can take. Upstream's default is 500.
        flush_interval_commit_log: u64 = "flushIntervalCommitLog", 50, Restart, 1..=10_000;
        /// Milliseconds that a write or a flush of the commit log may take: while one takes longer, messages are
        /// refused as by a busy broker, so that clients try another one. Upstream's default is 5000, after which
        /// it answers FLUSH_DISK_TIMEOUT.
        sync_flush_timeout: i64 = "syncFlushTimeout", 2_000, Restart, 1..=600_000;
        /// Milliseconds between two flushes of consume queues.
        flush_interval_consume_queue: u64 = "flushIntervalConsumeQueue", 1_000, Restart, 10..=60_000;
        /// Have topics with `cleanup.policy=COMPACTION`, of which the newest message of each key is kept for ever. Without,
        /// such a topic loses old messages as all others do.
        enable_compaction: bool = "enableCompaction", true, Restart;
        /// Milliseconds between two compactions of a queue.
        compaction_schedule_internal: i64 = "compactionScheduleInternal", 900_000, Live, 100..=86_400_000;
        /// Bytes of a file of a compacted log, rounded to a multiple of a file of its queue, five at least. Queues that
        /// have files go on with theirs.
        compaction_mapped_file_size: u64 = "compactionMappedFileSize", 104_857_600, Restart, 460..=2_147_483_647;
        /// Bytes of a file of a compacted log's queue: 46 for each message.
        compaction_cq_mapped_file_size: u64 = "compactionCqMappedFileSize", 10_485_760, Restart, 92..=429_496_729;
        /// Queues that are compacted at a time; no more than there are processors.
        compaction_thread_num: usize = "compactionThreadNum", 6, Live, 1..=256;
        /// Bytes of memory that the keys of all queues that are being compacted may take. A queue with more new keys than
        /// have room is compacted in several rounds.
        max_offset_map_size: usize = "maxOffsetMapSize", 104_857_600, Live, 1_024..=2_147_483_647;
        /// Hours that messages are kept at least: a log file whose messages are all older is expired.
        file_reserved_time: i64 = "fileReservedTime", 72, Live, 0..=876_000;
        /// Hours of the day, UTC, in which expired files are removed, separated by semicolons.
        delete_when: Hours = "deleteWhen", Hours::at(4), Live;
        /// Percentage of the disk above which expired files are removed at any hour.
        disk_max_used_space_ratio: i64 = "diskMaxUsedSpaceRatio", 75, Live, 1..=100;
        /// Percentage of the disk above which the oldest files are removed even if they are not expired, where
        /// cleanFileForciblyEnable allows it.
        disk_space_clean_forcibly_ratio: i64 = "diskSpaceCleanForciblyRatio", 85, Live, 1..=100;
        /// Percentage of the disk above which messages are refused.
        disk_space_warning_level_ratio: i64 = "diskSpaceWarningLevelRatio", 90, Live, 1..=100;
        /// Remove files that are not expired rather than refuse messages when the disk gets full. Upstream's
        /// default is true; here it is false: nothing is removed before its time that nobody asked to remove.
        clean_file_forcibly_enable: bool = "cleanFileForciblyEnable", false, Live;
        /// Milliseconds between two looks for files to remove.
        clean_resource_interval: u64 = "cleanResourceInterval", 10_000, Live, 100..=3_600_000;
        /// Milliseconds between the removals of two files of the log.
        delete_commit_log_files_interval: u64 = "deleteCommitLogFilesInterval", 100, Live, 0..=10_000;
        /// Most files of the log that are removed in one round.
        delete_file_batch_max: usize = "deleteFileBatchMax", 10, Live, 1..=1_000;
        /// Most bytes of a message's body.
        max_message_size: usize = "maxMessageSize", 4 << 20, Live, 1..=12_582_912;
        /// Unique keys that the window of a topic with the attribute `deduplication.window.ms` may hold: some
        /// 230 bytes each. When it is full, the oldest are forgotten. Not a setting of upstream's.
        deduplication_max_keys: usize = "deduplicationMaxKeys", 1_000_000, Restart, 1..=100_000_000;
        /// Seconds between two looks of the broker for what is wrong with it, its clients and its machine; 0: it does not
        /// look. See docs/doctor.md. Not a setting of upstream's.
        doctor_interval: u64 = "doctorInterval", 60, Live, 0..=86_400;
        /// Check every record's CRC when the store is recovered.
        check_crc_on_recover: bool = "checkCRCOnRecover", true, Restart;
        /// Give each record a check sum over all of it, offsets included, as its last property
        /// `__CRC32#` (20 bytes). Upstream's default is false; here it is true: no byte is served
        /// unchecked.
        enabled_append_prop_crc: bool = "enabledAppendPropCRC", true, Restart;
        /// Take a record without such a check sum for damaged. Only for a log whose records all have
        /// one.
        force_verify_prop_crc: bool = "forceVerifyPropCRC", false, Restart;
        /// Index messages by their keys.
        message_index_enable: bool = "messageIndexEnable", true, Restart;
        /// Hash slots of one index file.
        max_hash_slot_num: u32 = "maxHashSlotNum", 5_000_000, Restart, 16..=100_000_000;
        /// Entries of one index file.
        max_index_num: u32 = "maxIndexNum", 20_000_000, Restart, 16..=100_000_000;
        /// Most messages that one query by key returns.
        max_msgs_num_batch: i32 = "maxMsgsNumBatch", 64, Live, 1..=1_024;
        /// Most bytes that one pull returns from memory.
        max_transfer_bytes_on_message_in_memory: usize = "maxTransferBytesOnMessageInMemory", 262_144, Live, 1..=16_777_216;
        /// Most messages that one pull returns from memory.
        max_transfer_count_on_message_in_memory: usize = "maxTransferCountOnMessageInMemory", 32, Live, 1..=1_024;
        /// Most bytes that one pull returns from disk.
        max_transfer_bytes_on_message_in_disk: usize = "maxTransferBytesOnMessageInDisk", 65_536, Live, 1..=16_777_216;
        /// Most messages that one pull returns from disk.
        max_transfer_count_on_message_in_disk: usize = "maxTransferCountOnMessageInDisk", 8, Live, 1..=1_024;
        /// Limit what each group, and all together, may read of messages that are on disk only. Limits that an
        /// administrator sets for single groups hold in any case.
        cold_data_flow_control_enable: bool = "coldDataFlowControlEnable", false, Live;
        /// Bytes that a group may read of such messages in 5 seconds.
        cg_cold_read_threshold: i64 = "cgColdReadThreshold", 3_145_728, Live, 1..=1_099_511_627_776;
        /// Bytes that all groups together may read of such messages in 5 seconds.
        global_cold_read_threshold: i64 = "globalColdReadThreshold", 104_857_600, Live, 1..=1_099_511_627_776;
        /// Let the system read the log ahead of what is asked for, as it thinks best. Upstream's default is true;
        /// here it is false: what is needed is asked for by itself, and no more.
        data_read_ahead_enable: bool = "dataReadAheadEnable", false, Live;
        /// Percentage of the memory that the newest part of the log is expected to be cached in.
        access_message_in_memory_max_ratio: u64 = "accessMessageInMemoryMaxRatio", 40, Live, 1..=100;
        /// Delays of the levels 1, 2, … with the units s, m, h and d.
        message_delay_level: String = "messageDelayLevel",
            "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h".into(), Restart;
        /// Store the replies to requests, beside passing them on.
        store_reply_message_enable: bool = "storeReplyMessageEnable", true, Live;
        /// Refuse messages whose type is not that of their topic (attribute `message.type`); a key of
        /// upstream's proxy.
        enable_topic_message_type_check: bool = "enableTopicMessageTypeCheck", false, Live;
        /// Allow topics for messages of all types (`message.type=MIXED`).
        enable_mixed_message_type: bool = "enableMixedMessageType", false, Live;
        /// Refuse transactional messages.
        reject_transaction_message: bool = "rejectTransactionMessage", false, Live;
        /// Milliseconds after which the producer of a half message is asked for its decision, unless the
        /// message itself says when.
        transaction_time_out: i64 = "transactionTimeOut", 6_000, Live, 100..=86_400_000;
        /// Milliseconds between two questions for one decision.
        transaction_check_interval: i64 = "transactionCheckInterval", 30_000, Live, 100..=86_400_000;
        /// Questions for one decision; a message without an answer to the last is discarded.
        transaction_check_max: i64 = "transactionCheckMax", 15, Live, 1..=1_000_000;
        /// Most bytes of a message that notes decided transactions.
        transaction_op_msg_max_size: usize = "transactionOpMsgMaxSize", 4_096, Live, 32..=1_048_576;
        /// Milliseconds that a decision waits for others to be noted with.
        transaction_op_batch_interval: i64 = "transactionOpBatchInterval", 3_000, Live, 10..=60_000;
        /// Take messages that are to be delivered at a time of their own. Those that wait are delivered in
        /// any case.
        timer_wheel_enable: bool = "timerWheelEnable", true, Live;
        /// Seconds by which a message can be delayed. Upstream's default is 259200, three days; here it is
        /// ten years.
        timer_max_delay_sec: i64 = "timerMaxDelaySec", 315_360_000, Live, 1..=3_153_600_000;
        /// Tell producers how to recall messages that wait for a time of their own, and do it. Upstream's
        /// default is false.
        recall_message_enable: bool = "recallMessageEnable", true, Live;
        /// Seconds after which a connection that completes no request is closed.
        server_channel_max_idle_time_seconds: u64 = "serverChannelMaxIdleTimeSeconds", 120, Restart, 1..=86_400;
        /// How metrics leave the broker: PROM, OTLP_GRPC, LOG or DISABLE. Upstream's default is DISABLE.
        metrics_exporter_type: MetricsExporterType = "metricsExporterType", MetricsExporterType::Prom, Restart;
        /// Port that Prometheus fetches metrics from; 0: any that is free.
        metrics_prom_exporter_port: u16 = "metricsPromExporterPort", 5557, Local;
        /// IP address that Prometheus fetches metrics from; empty: bindAddress. Upstream's default is brokerIP1.
        metrics_prom_exporter_host: String = "metricsPromExporterHost", String::new(), Local;
        /// Collector that metrics are pushed to: http://host:port or https://host:port.
        metrics_grpc_exporter_target: String = "metricsGrpcExporterTarget", String::new(), Local;
        /// Headers of each push, as name:value, separated by commas.
        metrics_grpc_exporter_header: String = "metricsGrpcExporterHeader", String::new(), Local;
        /// Milliseconds that a push may take.
        metric_grpc_exporter_time_out_in_mills: u64 = "metricGrpcExporterTimeOutInMills", 3_000, Restart, 100..=60_000;
        /// Milliseconds from one push to the next.
        metric_grpc_exporter_interval_in_mills: u64 = "metricGrpcExporterIntervalInMills", 60_000, Restart, 100..=3_600_000;
        /// Milliseconds from one writing of metrics to the log to the next.
        metric_logging_exporter_interval_in_mills: u64 = "metricLoggingExporterIntervalInMills", 10_000, Restart, 100..=3_600_000;
        /// Labels of all metrics, as name:value, separated by commas.
        metrics_label: String = "metricsLabel", String::new(), Restart;
        /// Push what was counted since the last push, not since the start.
        metrics_in_delta: bool = "metricsInDelta", false, Restart;
        /// Most series of one metric that are told by name; what is above goes to one series `__other__`. Upstream's
        /// default is 50000.
        metrics_otel_cardinality_limit: usize = "metricsOtelCardinalityLimit", 1_000, Live, 1..=100_000;
        /// Most series in one push.
        metrics_export_batch_max_data_points: usize = "metricsExportBatchMaxDataPoints", 1_000, Restart, 1..=100_000;
        /// Tell metrics of requests by their kind.
        enable_remoting_metrics: bool = "enableRemotingMetrics", true, Live;
        /// Tell metrics of the store.
        enable_message_store_metrics: bool = "enableMessageStoreMetrics", true, Live;
        /// Tell metrics of POP.
        enable_pop_metrics: bool = "enablePopMetrics", true, Live;
        /// Tell metrics of clients' connections.
        enable_connection_metrics: bool = "enableConnectionMetrics", true, Live;
        /// Tell metrics of transactions.
        enable_transaction_metrics: bool = "enableTransactionMetrics", true, Live;
        /// Tell metrics of the broker as a whole.
        enable_stats_metrics: bool = "enableStatsMetrics", true, Live;
        /// Tell metrics of messages by topic and group.
        enable_request_metrics: bool = "enableRequestMetrics", true, Live;
        /// Tell metrics of lags and dead letters.
        enable_lag_and_dlq_metrics: bool = "enableLagAndDlqMetrics", true, Live;
        /// Port that answers /health/live and /health/ready over HTTP; 0: none. Those pages are on the port of
        /// metrics, too. No key of upstream.
        health_port: u16 = "healthPort", 0, Local;
        /// What is logged: error, warn, info, debug or trace and what is worse; empty: as APOGEE_LOG says. No key of
        /// upstream.
        log_level: LogLevel = "logLevel", LogLevel::AsStarted, Live;
    }
    pinned {
        "storeType" = "default",
        "enableDLegerCommitLog" = "false",
        "enableConsumeQueueExt" = "false",
        "authenticationEnabled" = "false",
        "authorizationEnabled" = "false",
        "useTLS" = "false",
    }
    inert: INERT;
    local: LOCAL
}

impl BrokerSettings {
    /// Milliseconds that messages are kept at least.
    pub(crate) fn file_reserved_ms(&self) -> i64 {
        self.file_reserved_time * 3_600_000
    }

    /// Milliseconds by which a message can be delayed.
    pub(crate) fn timer_max_delay_ms(&self) -> i64 {
        self.timer_max_delay_sec * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        apogee_base::settings::assert_consistent::<BrokerSettings>();
        apogee_base::settings::remote::assert_nothing_local_is_open::<BrokerSettings>();
    }
}
