//! Request and response codes, each declared once with its number.

/// Declares codes as constants, with the reverse look-up for logs and error texts.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)+) => {
        $($(#[$doc])* pub const $name: i32 = $value;)+

        /// The upstream name of a code, `None` for a number that is not in the table.
        pub fn name(code: i32) -> Option<&'static str> {
            match code {
                $($value => Some(stringify!($name)),)+
                _ => None,
            }
        }
    };
}

/// Request codes (upstream `RequestCode`), with who answers them.
pub mod request {
    codes! {
        /// Answered by: broker.
        SEND_MESSAGE = 10,
        /// Answered by: broker.
        PULL_MESSAGE = 11,
        /// Answered by: broker.
        QUERY_MESSAGE = 12,
        /// Declared upstream, answered by nobody.
        QUERY_BROKER_OFFSET = 13,
        /// Answered by: broker.
        QUERY_CONSUMER_OFFSET = 14,
        /// Answered by: broker.
        UPDATE_CONSUMER_OFFSET = 15,
        /// Answered by: broker.
        UPDATE_AND_CREATE_TOPIC = 17,
        /// Answered by: broker.
        UPDATE_AND_CREATE_TOPIC_LIST = 18,
        /// Answered by: broker.
        GET_ALL_TOPIC_CONFIG = 21,
        /// Declared upstream, answered by nobody.
        GET_TOPIC_CONFIG_LIST = 22,
        /// Declared upstream, answered by nobody.
        GET_TOPIC_NAME_LIST = 23,
        /// Answered by: broker, container.
        UPDATE_BROKER_CONFIG = 25,
        /// Answered by: broker, container.
        GET_BROKER_CONFIG = 26,
        /// Declared upstream, answered by nobody.
        TRIGGER_DELETE_FILES = 27,
        /// Answered by: broker.
        GET_BROKER_RUNTIME_INFO = 28,
        /// Answered by: broker.
        SEARCH_OFFSET_BY_TIMESTAMP = 29,
        /// Answered by: broker.
        GET_MAX_OFFSET = 30,
        /// Answered by: broker.
        GET_MIN_OFFSET = 31,
        /// Answered by: broker.
        GET_EARLIEST_MSG_STORETIME = 32,
        /// Answered by: broker.
        VIEW_MESSAGE_BY_ID = 33,
        /// Answered by: broker.
        HEART_BEAT = 34,
        /// Answered by: broker.
        UNREGISTER_CLIENT = 35,
        /// Answered by: broker.
        CONSUMER_SEND_MSG_BACK = 36,
        /// Answered by: broker.
        END_TRANSACTION = 37,
        /// Answered by: broker.
        GET_CONSUMER_LIST_BY_GROUP = 38,
        /// Answered by: client.
        CHECK_TRANSACTION_STATE = 39,
        /// Answered by: client.
        NOTIFY_CONSUMER_IDS_CHANGED = 40,
        /// Answered by: broker.
        LOCK_BATCH_MQ = 41,
        /// Answered by: broker.
        UNLOCK_BATCH_MQ = 42,
        /// Answered by: broker.
        GET_ALL_CONSUMER_OFFSET = 43,
        /// Answered by: broker.
        GET_ALL_DELAY_OFFSET = 45,
        /// Answered by: broker.
        CHECK_CLIENT_CONFIG = 46,
        /// Declared upstream, answered by nobody.
        GET_CLIENT_CONFIG = 47,
        /// Answered by: broker.
        GET_TIMER_CHECK_POINT = 60,
        /// Answered by: broker.
        GET_TIMER_METRICS = 61,
        /// Answered by: name server.
        PUT_KV_CONFIG = 100,
        /// Answered by: name server.
        GET_KV_CONFIG = 101,
        /// Answered by: name server.
        DELETE_KV_CONFIG = 102,
        /// Answered by: name server.
        REGISTER_BROKER = 103,
        /// Answered by: name server.
        UNREGISTER_BROKER = 104,
        /// Answered by: name server.
        GET_ROUTEINFO_BY_TOPIC = 105,
        /// Answered by: name server.
        GET_BROKER_CLUSTER_INFO = 106,
        /// Answered by: broker.
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200,
        /// Answered by: broker.
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201,
        /// Answered by: broker.
        GET_TOPIC_STATS_INFO = 202,
        /// Answered by: broker.
        GET_CONSUMER_CONNECTION_LIST = 203,
        /// Answered by: broker.
        GET_PRODUCER_CONNECTION_LIST = 204,
        /// Answered by: name server.
        WIPE_WRITE_PERM_OF_BROKER = 205,
        /// Answered by: name server.
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206,
        /// Answered by: broker.
        DELETE_SUBSCRIPTIONGROUP = 207,
        /// Answered by: broker.
        GET_CONSUME_STATS = 208,
        /// Declared upstream, answered by nobody.
        SUSPEND_CONSUMER = 209,
        /// Declared upstream, answered by nobody.
        RESUME_CONSUMER = 210,
        /// Declared upstream, answered by nobody.
        RESET_CONSUMER_OFFSET_IN_CONSUMER = 211,
        /// Declared upstream, answered by nobody.
        RESET_CONSUMER_OFFSET_IN_BROKER = 212,
        /// Declared upstream, answered by nobody.
        ADJUST_CONSUMER_THREAD_POOL = 213,
        /// Declared upstream, answered by nobody.
        WHO_CONSUME_THE_MESSAGE = 214,
        /// Answered by: broker.
        DELETE_TOPIC_IN_BROKER = 215,
        /// Answered by: name server.
        DELETE_TOPIC_IN_NAMESRV = 216,
        /// Answered by: name server.
        REGISTER_TOPIC_IN_NAMESRV = 217,
        /// Answered by: name server.
        GET_KVLIST_BY_NAMESPACE = 219,
        /// Answered by: client.
        RESET_CONSUMER_CLIENT_OFFSET = 220,
        /// Answered by: client.
        GET_CONSUMER_STATUS_FROM_CLIENT = 221,
        /// Answered by: broker.
        INVOKE_BROKER_TO_RESET_OFFSET = 222,
        /// Answered by: broker.
        INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223,
        /// Answered by: name server.
        GET_TOPICS_BY_CLUSTER = 224,
        /// Answered by: broker.
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225,
        /// Answered by: broker.
        QUERY_TOPIC_CONSUME_BY_WHO = 300,
        /// Declared upstream, answered by nobody.
        REGISTER_FILTER_SERVER = 301,
        /// Declared upstream, answered by nobody.
        REGISTER_MESSAGE_FILTER_CLASS = 302,
        /// Answered by: broker.
        QUERY_CONSUME_TIME_SPAN = 303,
        /// Answered by: name server.
        GET_SYSTEM_TOPIC_LIST_FROM_NS = 304,
        /// Answered by: broker.
        GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305,
        /// Answered by: broker.
        CLEAN_EXPIRED_CONSUMEQUEUE = 306,
        /// Answered by: broker, client.
        GET_CONSUMER_RUNNING_INFO = 307,
        /// Answered by: broker.
        QUERY_CORRECTION_OFFSET = 308,
        /// Answered by: broker, client.
        CONSUME_MESSAGE_DIRECTLY = 309,
        /// Answered by: broker.
        SEND_MESSAGE_V2 = 310,
        /// Answered by: name server.
        GET_UNIT_TOPIC_LIST = 311,
        /// Answered by: name server.
        GET_HAS_UNIT_SUB_TOPIC_LIST = 312,
        /// Answered by: name server.
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313,
        /// Answered by: broker.
        CLONE_GROUP_OFFSET = 314,
        /// Answered by: broker.
        VIEW_BROKER_STATS_DATA = 315,
        /// Answered by: broker.
        CLEAN_UNUSED_TOPIC = 316,
        /// Answered by: broker.
        GET_BROKER_CONSUME_STATS = 317,
        /// Answered by: name server.
        UPDATE_NAMESRV_CONFIG = 318,
        /// Answered by: name server.
        GET_NAMESRV_CONFIG = 319,
        /// Answered by: broker.
        SEND_BATCH_MESSAGE = 320,
        /// Answered by: broker.
        QUERY_CONSUME_QUEUE = 321,
        /// Answered by: name server.
        QUERY_DATA_VERSION = 322,
        /// Answered by: broker.
        RESUME_CHECK_HALF_MESSAGE = 323,
        /// Answered by: broker.
        SEND_REPLY_MESSAGE = 324,
        /// Answered by: broker.
        SEND_REPLY_MESSAGE_V2 = 325,
        /// Answered by: client.
        PUSH_REPLY_MESSAGE_TO_CLIENT = 326,
        /// Answered by: name server.
        ADD_WRITE_PERM_OF_BROKER = 327,
        /// Answered by: broker.
        GET_ALL_PRODUCER_INFO = 328,
        /// Answered by: broker.
        DELETE_EXPIRED_COMMITLOG = 329,
        /// Answered by: broker.
        QUERY_TOPICS_BY_CONSUMER = 343,
        /// Answered by: broker.
        QUERY_SUBSCRIPTION_BY_CONSUMER = 345,
        /// Answered by: broker.
        GET_TOPIC_CONFIG = 351,
        /// Answered by: broker.
        GET_SUBSCRIPTIONGROUP_CONFIG = 352,
        /// Answered by: broker.
        UPDATE_AND_GET_GROUP_FORBIDDEN = 353,
        /// Answered by: broker.
        CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354,
        /// Answered by: broker.
        EXPORT_ROCKSDB_CONFIG_TO_JSON = 355,
        /// Answered by: broker.
        LITE_PULL_MESSAGE = 361,
        /// Answered by: broker.
        RECALL_MESSAGE = 370,
        /// Answered by: broker.
        QUERY_ASSIGNMENT = 400,
        /// Answered by: broker.
        SET_MESSAGE_REQUEST_MODE = 401,
        /// Answered by: broker.
        GET_ALL_MESSAGE_REQUEST_MODE = 402,
        /// Answered by: broker.
        UPDATE_AND_CREATE_STATIC_TOPIC = 513,
        /// Answered by: name server.
        GET_BROKER_MEMBER_GROUP = 901,
        /// Answered by: container.
        ADD_BROKER = 902,
        /// Answered by: container.
        REMOVE_BROKER = 903,
        /// Answered by: name server, controller.
        BROKER_HEARTBEAT = 904,
        /// Answered by: broker.
        NOTIFY_MIN_BROKER_ID_CHANGE = 905,
        /// Answered by: broker.
        EXCHANGE_BROKER_HA_INFO = 906,
        /// Answered by: broker.
        GET_BROKER_HA_STATUS = 907,
        /// Answered by: broker.
        RESET_MASTER_FLUSH_OFFSET = 908,
        /// Answered by: controller.
        CONTROLLER_ALTER_SYNC_STATE_SET = 1001,
        /// Answered by: controller.
        CONTROLLER_ELECT_MASTER = 1002,
        /// Answered by: controller.
        CONTROLLER_REGISTER_BROKER = 1003,
        /// Answered by: controller.
        CONTROLLER_GET_REPLICA_INFO = 1004,
        /// Answered by: controller.
        CONTROLLER_GET_METADATA_INFO = 1005,
        /// Answered by: controller.
        CONTROLLER_GET_SYNC_STATE_DATA = 1006,
        /// Answered by: broker.
        GET_BROKER_EPOCH_CACHE = 1007,
        /// Answered by: broker.
        NOTIFY_BROKER_ROLE_CHANGED = 1008,
        /// Answered by: controller.
        UPDATE_CONTROLLER_CONFIG = 1009,
        /// Answered by: controller.
        GET_CONTROLLER_CONFIG = 1010,
        /// Answered by: controller.
        CLEAN_BROKER_DATA = 1011,
        /// Answered by: controller.
        CONTROLLER_GET_NEXT_BROKER_ID = 1012,
        /// Answered by: controller.
        CONTROLLER_APPLY_BROKER_ID = 1013,
        /// Answered by: controller.
        BROKER_CLOSE_CHANNEL_REQUEST = 1014,
        /// Answered by: controller.
        CHECK_NOT_ACTIVE_BROKER_REQUEST = 1015,
        /// Answered by: controller.
        GET_BROKER_LIVE_INFO_REQUEST = 1016,
        /// Answered by: controller.
        GET_SYNC_STATE_DATA_REQUEST = 1017,
        /// Answered by: controller.
        RAFT_BROKER_HEART_BEAT_EVENT_REQUEST = 1018,
        /// Answered by: broker.
        UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001,
        /// Answered by: broker.
        REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002,
        /// Answered by: broker.
        GET_COLD_DATA_FLOW_CTR_INFO = 2003,
        /// Answered by: broker.
        SET_COMMITLOG_READ_MODE = 2004,
        /// Answered by: broker.
        AUTH_CREATE_USER = 3001,
        /// Answered by: broker.
        AUTH_UPDATE_USER = 3002,
        /// Answered by: broker.
        AUTH_DELETE_USER = 3003,
        /// Answered by: broker.
        AUTH_GET_USER = 3004,
        /// Answered by: broker.
        AUTH_LIST_USER = 3005,
        /// Answered by: broker.
        AUTH_CREATE_ACL = 3006,
        /// Answered by: broker.
        AUTH_UPDATE_ACL = 3007,
        /// Answered by: broker.
        AUTH_DELETE_ACL = 3008,
        /// Answered by: broker.
        AUTH_GET_ACL = 3009,
        /// Answered by: broker.
        AUTH_LIST_ACL = 3010,
        /// Answered by: broker.
        SWITCH_TIMER_ENGINE = 5001,
        /// Ours, no code of upstream's: a controller's Raft log entries. Answered by: controller.
        CONTROLLER_RAFT_APPEND = 30001,
        /// Ours, no code of upstream's: a controller asks for a vote. Answered by: controller.
        CONTROLLER_RAFT_VOTE = 30002,
        /// Ours, no code of upstream's: a part of a snapshot of the controllers' state. Answered by: controller.
        CONTROLLER_RAFT_SNAPSHOT = 30003,
        /// Answered by: broker.
        POP_MESSAGE = 200050,
        /// Answered by: broker.
        ACK_MESSAGE = 200051,
        /// Answered by: broker.
        PEEK_MESSAGE = 200052,
        /// Answered by: broker.
        CHANGE_MESSAGE_INVISIBLETIME = 200053,
        /// Answered by: broker.
        NOTIFICATION = 200054,
        /// Answered by: broker.
        POLLING_INFO = 200055,
        /// Answered by: broker.
        POP_ROLLBACK = 200056,
        /// Answered by: broker.
        POP_LITE_MESSAGE = 200070,
        /// Answered by: broker.
        LITE_SUBSCRIPTION_CTL = 200071,
        /// Declared upstream, answered by nobody.
        ACK_LITE_MESSAGE = 200072,
        /// Answered by: client.
        NOTIFY_UNSUBSCRIBE_LITE = 200073,
        /// Answered by: broker.
        GET_BROKER_LITE_INFO = 200074,
        /// Answered by: broker.
        GET_PARENT_TOPIC_INFO = 200075,
        /// Answered by: broker.
        GET_LITE_TOPIC_INFO = 200076,
        /// Answered by: broker.
        GET_LITE_CLIENT_INFO = 200077,
        /// Answered by: broker.
        GET_LITE_GROUP_INFO = 200078,
        /// Answered by: broker.
        TRIGGER_LITE_DISPATCH = 200079,
        /// Answered by: broker.
        BATCH_ACK_MESSAGE = 200151,
    }
}

/// Response codes (upstream `ResponseCode` and `RemotingSysResponseCode`).
pub mod response {
    codes! {
        /// Rpc time out.
        RPC_TIME_OUT = -1006,
        /// Rpc send to channel failed.
        RPC_SEND_TO_CHANNEL_FAILED = -1004,
        /// Rpc addr is null.
        RPC_ADDR_IS_NULL = -1002,
        /// Rpc unknown.
        RPC_UNKNOWN = -1000,
        /// Ok.
        SUCCESS = 0,
        /// Exception / default.
        SYSTEM_ERROR = 1,
        /// Rejected: queue wait too long or page cache busy (client retries other broker).
        SYSTEM_BUSY = 2,
        /// No processor for request code.
        REQUEST_CODE_NOT_SUPPORTED = 3,
        /// Half message op failed.
        TRANSACTION_FAILED = 4,
        /// Sync flush did not finish in time (message stored).
        FLUSH_DISK_TIMEOUT = 10,
        /// No usable slave for sync replication (message stored).
        SLAVE_NOT_AVAILABLE = 11,
        /// Slave ack timed out (message stored).
        FLUSH_SLAVE_TIMEOUT = 12,
        /// Message or topic failed validation.
        MESSAGE_ILLEGAL = 13,
        /// Store not writeable / shutting down / slave.
        SERVICE_NOT_AVAILABLE = 14,
        /// Version not supported.
        VERSION_NOT_SUPPORTED = 15,
        /// Topic or broker lacks permission, or ACL denial.
        NO_PERMISSION = 16,
        /// Topic unknown (namesrv and broker).
        TOPIC_NOT_EXIST = 17,
        /// Topic exist already.
        TOPIC_EXIST_ALREADY = 18,
        /// No new message (client: NO_NEW_MSG).
        PULL_NOT_FOUND = 19,
        /// Offset valid but nothing matched, retry at nextBeginOffset (client: NO_MATCHED_MSG).
        PULL_RETRY_IMMEDIATELY = 20,
        /// Offset out of range, use nextBeginOffset (client: OFFSET_ILLEGAL).
        PULL_OFFSET_MOVED = 21,
        /// No result (query by key/id, consumer offset not found).
        QUERY_NOT_FOUND = 22,
        /// Subscription expression cannot be parsed.
        SUBSCRIPTION_PARSE_FAILED = 23,
        /// Group has no subscription for the topic.
        SUBSCRIPTION_NOT_EXIST = 24,
        /// Broker has older subscription version than request.
        SUBSCRIPTION_NOT_LATEST = 25,
        /// Consumer group unknown and auto-create off.
        SUBSCRIPTION_GROUP_NOT_EXIST = 26,
        /// Filter data missing.
        FILTER_DATA_NOT_EXIST = 27,
        /// Filter data older than request.
        FILTER_DATA_NOT_LATEST = 28,
        /// Bad parameter.
        INVALID_PARAMETER = 29,
        /// Transaction should commit.
        TRANSACTION_SHOULD_COMMIT = 200,
        /// Transaction should rollback.
        TRANSACTION_SHOULD_ROLLBACK = 201,
        /// Transaction state unknow.
        TRANSACTION_STATE_UNKNOW = 202,
        /// Transaction state group wrong.
        TRANSACTION_STATE_GROUP_WRONG = 203,
        /// No buyer id.
        NO_BUYER_ID = 204,
        /// Not in current unit.
        NOT_IN_CURRENT_UNIT = 205,
        /// Consumer group offline.
        CONSUMER_NOT_ONLINE = 206,
        /// Client consume timed out.
        CONSUME_MSG_TIMEOUT = 207,
        /// Ack / change-invisible target not found.
        NO_MESSAGE = 208,
        /// Too many waiting pops.
        POLLING_FULL = 209,
        /// Pop long poll ended without message.
        POLLING_TIMEOUT = 210,
        /// Broker name unknown (proxy/namesrv lookups).
        BROKER_NOT_EXIST = 211,
        /// RocksDB / dispatch not finished.
        BROKER_DISPATCH_NOT_COMPLETE = 212,
        /// Group is broadcast, operation refused.
        BROADCAST_CONSUMPTION = 213,
        /// Flow control.
        FLOW_CONTROL = 215,
        /// Static topic: this broker is not the leader of the logic queue.
        NOT_LEADER_FOR_QUEUE = 501,
        /// Operation not allowed.
        ILLEGAL_OPERATION = 604,
        /// Server asks client to reconnect elsewhere (GOAWAY).
        GO_AWAY = 1500,
        /// Controller fenced master epoch.
        CONTROLLER_FENCED_MASTER_EPOCH = 2000,
        /// Controller fenced sync state set epoch.
        CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001,
        /// Controller invalid master.
        CONTROLLER_INVALID_MASTER = 2002,
        /// Controller invalid replicas.
        CONTROLLER_INVALID_REPLICAS = 2003,
        /// Controller master not available.
        CONTROLLER_MASTER_NOT_AVAILABLE = 2004,
        /// Controller invalid request.
        CONTROLLER_INVALID_REQUEST = 2005,
        /// Controller broker not alive.
        CONTROLLER_BROKER_NOT_ALIVE = 2006,
        /// Controller not leader.
        CONTROLLER_NOT_LEADER = 2007,
        /// Controller broker metadata not exist.
        CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008,
        /// Controller invalid clean broker metadata.
        CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009,
        /// Controller broker need to be registered.
        CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010,
        /// Controller master still exist.
        CONTROLLER_MASTER_STILL_EXIST = 2011,
        /// Controller elect master failed.
        CONTROLLER_ELECT_MASTER_FAILED = 2012,
        /// Controller alter sync state set failed.
        CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013,
        /// Controller broker id invalid.
        CONTROLLER_BROKER_ID_INVALID = 2014,
        /// Controller jraft internal error.
        CONTROLLER_JRAFT_INTERNAL_ERROR = 2015,
        /// Controller broker live info not exists.
        CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016,
        /// LMQ count limit.
        LMQ_QUOTA_EXCEEDED = 2017,
        /// Lite subscription limit.
        LITE_SUBSCRIPTION_QUOTA_EXCEEDED = 2018,
        /// Auth: user missing.
        USER_NOT_EXIST = 3001,
        /// Auth: policy missing.
        POLICY_NOT_EXIST = 3002,
    }
}
