//! What each request code carries: the headers and bodies of requests and responses.

use apogee_wire::bodies::{self, Body, BodyError};
use apogee_wire::codes::request;
use apogee_wire::fields::Fields;
use apogee_wire::headers::{self, DecodeHeader, Header, HeaderError};

/// Reads a typed header and writes it again.
pub type Rewrite = fn(&Fields) -> Result<Fields, HeaderError>;

/// Reads a body and writes it again: in the dialect and in standard JSON.
pub type Recode = fn(&[u8]) -> Result<[Vec<u8>; 2], BodyError>;

/// What a body is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// There is none.
    Absent,
    /// JSON of a type.
    Json(Recode),
    /// Stored records, one after the other.
    Messages,
    /// Messages of a batch.
    Batch,
    /// UTF-8.
    Text,
    /// Whatever the user sends.
    Bytes,
    /// JSON or compressed.
    Registration,
    /// To be declared by a later issue: names for the controller, lite subscriptions, pop acknowledgements.
    Later,
}

pub struct Row {
    pub code: i32,
    pub request_header: Option<Rewrite>,
    pub response_header: Option<Rewrite>,
    pub request_body: Kind,
    pub response_body: Kind,
}

fn written(header: &impl Header) -> Fields {
    let mut fields = Fields::default();
    header.encode(&mut fields);
    fields
}

fn recode<B: Body>(json: &[u8]) -> Result<[Vec<u8>; 2], BodyError> {
    let body = B::decode(json)?;
    Ok([body.encode(), body.encode_standard()])
}

macro_rules! header {
    (-) => {
        None
    };
    (Letters) => {
        Some(|fields| {
            let mut letters = Fields::default();
            headers::SendMessageRequestHeader::decode_v2(fields)?.encode_v2(&mut letters);
            Ok(letters)
        })
    };
    ($header:ident) => {
        Some(|fields| Ok(written(&headers::$header::decode(fields)?)))
    };
}

macro_rules! rows {
    ($($code:ident: $request:tt, $response:tt, $sent:ident $($sent_type:ident)?, $answered:ident $($answer_type:ident)?;)+) => {
        pub const ROWS: &[Row] = &[$(Row {
            code: request::$code,
            request_header: header!($request),
            response_header: header!($response),
            request_body: kind!($sent $($sent_type)?),
            response_body: kind!($answered $($answer_type)?),
        }),+];
    };
}

macro_rules! kind {
    (Json $body:ident) => {
        Kind::Json(recode::<bodies::$body>)
    };
    ($kind:ident) => {
        Kind::$kind
    };
}

// Code: header of the request, header of the response, body of the request, body of the response.
rows! {
    SEND_MESSAGE: SendMessageRequestHeader, SendMessageResponseHeader, Bytes, Absent;
    PULL_MESSAGE: PullMessageRequestHeader, PullMessageResponseHeader, Absent, Messages;
    QUERY_MESSAGE: QueryMessageRequestHeader, QueryMessageResponseHeader, Absent, Messages;
    QUERY_CONSUMER_OFFSET: QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader, Absent, Absent;
    UPDATE_CONSUMER_OFFSET: UpdateConsumerOffsetRequestHeader, -, Absent, Absent;
    UPDATE_AND_CREATE_TOPIC: CreateTopicRequestHeader, -, Absent, Absent;
    UPDATE_AND_CREATE_TOPIC_LIST: CreateTopicListRequestHeader, -, Json CreateTopicListRequestBody, Absent;
    GET_ALL_TOPIC_CONFIG: GetAllTopicConfigRequestHeader, GetAllTopicConfigResponseHeader, Absent, Json TopicConfigAndMappingSerializeWrapper;
    GET_TOPIC_CONFIG_LIST: -, -, Absent, Absent;
    UPDATE_BROKER_CONFIG: -, -, Text, Absent;
    GET_BROKER_CONFIG: -, GetBrokerConfigResponseHeader, Absent, Text;
    GET_BROKER_RUNTIME_INFO: -, -, Absent, Json KVTable;
    SEARCH_OFFSET_BY_TIMESTAMP: SearchOffsetRequestHeader, SearchOffsetResponseHeader, Absent, Absent;
    GET_MAX_OFFSET: GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, Absent, Absent;
    GET_MIN_OFFSET: GetMinOffsetRequestHeader, GetMinOffsetResponseHeader, Absent, Absent;
    GET_EARLIEST_MSG_STORETIME: GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader, Absent, Absent;
    VIEW_MESSAGE_BY_ID: ViewMessageRequestHeader, -, Absent, Messages;
    HEART_BEAT: -, -, Json HeartbeatData, Absent;
    UNREGISTER_CLIENT: UnregisterClientRequestHeader, -, Absent, Absent;
    CONSUMER_SEND_MSG_BACK: ConsumerSendMsgBackRequestHeader, -, Absent, Absent;
    END_TRANSACTION: EndTransactionRequestHeader, -, Absent, Absent;
    GET_CONSUMER_LIST_BY_GROUP: GetConsumerListByGroupRequestHeader, -, Absent, Json GetConsumerListByGroupResponseBody;
    CHECK_TRANSACTION_STATE: CheckTransactionStateRequestHeader, -, Messages, Absent;
    NOTIFY_CONSUMER_IDS_CHANGED: NotifyConsumerIdsChangedRequestHeader, -, Absent, Absent;
    LOCK_BATCH_MQ: LockBatchMqRequestHeader, -, Json LockBatchRequestBody, Json LockBatchResponseBody;
    UNLOCK_BATCH_MQ: UnlockBatchMqRequestHeader, -, Json UnlockBatchRequestBody, Absent;
    GET_ALL_CONSUMER_OFFSET: -, -, Absent, Json ConsumerOffsetSerializeWrapper;
    GET_ALL_DELAY_OFFSET: -, -, Absent, Json DelayOffsetSerializeWrapper;
    CHECK_CLIENT_CONFIG: -, -, Json CheckClientRequestBody, Absent;
    GET_TIMER_CHECK_POINT: -, -, Absent, Bytes;
    GET_TIMER_METRICS: -, -, Absent, Json TimerMetricsSerializeWrapper;
    PUT_KV_CONFIG: PutKVConfigRequestHeader, -, Absent, Absent;
    GET_KV_CONFIG: GetKVConfigRequestHeader, GetKVConfigResponseHeader, Absent, Absent;
    DELETE_KV_CONFIG: DeleteKVConfigRequestHeader, -, Absent, Absent;
    REGISTER_BROKER: RegisterBrokerRequestHeader, RegisterBrokerResponseHeader, Registration, Json KVTable;
    UNREGISTER_BROKER: UnRegisterBrokerRequestHeader, -, Absent, Absent;
    GET_ROUTEINFO_BY_TOPIC: GetRouteInfoRequestHeader, -, Absent, Json TopicRouteData;
    GET_BROKER_CLUSTER_INFO: -, -, Absent, Json ClusterInfo;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: -, -, Json SubscriptionGroupConfig, Absent;
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG: GetAllSubscriptionGroupRequestHeader, GetAllSubscriptionGroupResponseHeader, Absent, Json SubscriptionGroupWrapper;
    GET_TOPIC_STATS_INFO: GetTopicStatsInfoRequestHeader, -, Absent, Json TopicStatsTable;
    GET_CONSUMER_CONNECTION_LIST: GetConsumerConnectionListRequestHeader, -, Absent, Json ConsumerConnection;
    WIPE_WRITE_PERM_OF_BROKER: WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader, Absent, Absent;
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER: -, -, Absent, Json TopicList;
    DELETE_SUBSCRIPTIONGROUP: DeleteSubscriptionGroupRequestHeader, -, Absent, Absent;
    GET_CONSUME_STATS: GetConsumeStatsRequestHeader, -, Absent, Json ConsumeStats;
    DELETE_TOPIC_IN_BROKER: DeleteTopicRequestHeader, -, Absent, Absent;
    DELETE_TOPIC_IN_NAMESRV: DeleteTopicFromNamesrvRequestHeader, -, Absent, Absent;
    REGISTER_TOPIC_IN_NAMESRV: RegisterTopicRequestHeader, -, Json TopicRouteData, Absent;
    GET_KVLIST_BY_NAMESPACE: GetKVListByNamespaceRequestHeader, -, Absent, Json KVTable;
    RESET_CONSUMER_CLIENT_OFFSET: ResetOffsetRequestHeader, -, Json ResetOffsetBody, Absent;
    GET_CONSUMER_STATUS_FROM_CLIENT: GetConsumerStatusRequestHeader, -, Absent, Json GetConsumerStatusBody;
    INVOKE_BROKER_TO_RESET_OFFSET: ResetOffsetRequestHeader, -, Absent, Json ResetOffsetBody;
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS: GetConsumerStatusRequestHeader, -, Absent, Json GetConsumerStatusBody;
    GET_TOPICS_BY_CLUSTER: GetTopicsByClusterRequestHeader, -, Absent, Json TopicList;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: -, -, Json SubscriptionGroupList, Absent;
    QUERY_TOPIC_CONSUME_BY_WHO: QueryTopicConsumeByWhoRequestHeader, -, Absent, Json GroupList;
    QUERY_CONSUME_TIME_SPAN: QueryConsumeTimeSpanRequestHeader, -, Absent, Json QueryConsumeTimeSpanBody;
    GET_SYSTEM_TOPIC_LIST_FROM_NS: -, -, Absent, Json TopicList;
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER: -, -, Absent, Json TopicList;
    CLEAN_EXPIRED_CONSUMEQUEUE: -, -, Absent, Absent;
    GET_CONSUMER_RUNNING_INFO: GetConsumerRunningInfoRequestHeader, -, Absent, Json ConsumerRunningInfo;
    QUERY_CORRECTION_OFFSET: QueryCorrectionOffsetHeader, -, Absent, Json QueryCorrectionOffsetBody;
    CONSUME_MESSAGE_DIRECTLY: ConsumeMessageDirectlyResultRequestHeader, -, Messages, Json ConsumeMessageDirectlyResult;
    SEND_MESSAGE_V2: Letters, SendMessageResponseHeader, Bytes, Absent;
    GET_UNIT_TOPIC_LIST: -, -, Absent, Json TopicList;
    GET_HAS_UNIT_SUB_TOPIC_LIST: -, -, Absent, Json TopicList;
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST: -, -, Absent, Json TopicList;
    CLONE_GROUP_OFFSET: CloneGroupOffsetRequestHeader, -, Absent, Absent;
    VIEW_BROKER_STATS_DATA: ViewBrokerStatsDataRequestHeader, -, Absent, Json BrokerStatsData;
    CLEAN_UNUSED_TOPIC: -, -, Absent, Absent;
    GET_BROKER_CONSUME_STATS: GetConsumeStatsInBrokerHeader, -, Absent, Json ConsumeStatsList;
    UPDATE_NAMESRV_CONFIG: -, -, Text, Absent;
    GET_NAMESRV_CONFIG: -, -, Absent, Text;
    SEND_BATCH_MESSAGE: Letters, SendMessageResponseHeader, Batch, Absent;
    QUERY_CONSUME_QUEUE: QueryConsumeQueueRequestHeader, -, Absent, Json QueryConsumeQueueResponseBody;
    QUERY_DATA_VERSION: QueryDataVersionRequestHeader, QueryDataVersionResponseHeader, Json DataVersion, Json DataVersion;
    RESUME_CHECK_HALF_MESSAGE: ResumeCheckHalfMessageRequestHeader, -, Absent, Absent;
    SEND_REPLY_MESSAGE: SendMessageRequestHeader, SendMessageResponseHeader, Bytes, Absent;
    SEND_REPLY_MESSAGE_V2: Letters, SendMessageResponseHeader, Bytes, Absent;
    PUSH_REPLY_MESSAGE_TO_CLIENT: ReplyMessageRequestHeader, -, Bytes, Absent;
    ADD_WRITE_PERM_OF_BROKER: AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader, Absent, Absent;
    GET_ALL_PRODUCER_INFO: -, -, Absent, Json ProducerTableInfo;
    DELETE_EXPIRED_COMMITLOG: -, -, Absent, Absent;
    QUERY_TOPICS_BY_CONSUMER: QueryTopicsByConsumerRequestHeader, -, Absent, Json TopicList;
    QUERY_SUBSCRIPTION_BY_CONSUMER: QuerySubscriptionByConsumerRequestHeader, -, Absent, Json QuerySubscriptionResponseBody;
    GET_TOPIC_CONFIG: GetTopicConfigRequestHeader, -, Absent, Json TopicConfigAndQueueMapping;
    GET_SUBSCRIPTIONGROUP_CONFIG: GetSubscriptionGroupConfigRequestHeader, -, Absent, Json SubscriptionGroupConfig;
    UPDATE_AND_GET_GROUP_FORBIDDEN: UpdateGroupForbiddenRequestHeader, -, Absent, Json GroupForbidden;
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS: CheckRocksdbCqWriteProgressRequestHeader, -, Absent, Json CheckRocksdbCqWriteResult;
    EXPORT_ROCKSDB_CONFIG_TO_JSON: ExportRocksDBConfigToJsonRequestHeader, -, Absent, Absent;
    LITE_PULL_MESSAGE: PullMessageRequestHeader, PullMessageResponseHeader, Absent, Messages;
    RECALL_MESSAGE: RecallMessageRequestHeader, RecallMessageResponseHeader, Absent, Absent;
    QUERY_ASSIGNMENT: -, -, Json QueryAssignmentRequestBody, Json QueryAssignmentResponseBody;
    SET_MESSAGE_REQUEST_MODE: -, -, Json SetMessageRequestModeRequestBody, Absent;
    GET_ALL_MESSAGE_REQUEST_MODE: -, -, Absent, Json MessageRequestModeSerializeWrapper;
    UPDATE_AND_CREATE_STATIC_TOPIC: CreateTopicRequestHeader, -, Json TopicQueueMappingDetail, Absent;
    GET_BROKER_MEMBER_GROUP: GetBrokerMemberGroupRequestHeader, -, Absent, Json GetBrokerMemberGroupResponseBody;
    BROKER_HEARTBEAT: BrokerHeartbeatRequestHeader, -, Absent, Absent;
    NOTIFY_MIN_BROKER_ID_CHANGE: NotifyMinBrokerIdChangeRequestHeader, -, Absent, Absent;
    EXCHANGE_BROKER_HA_INFO: ExchangeHAInfoRequestHeader, ExchangeHAInfoResponseHeader, Absent, Absent;
    GET_BROKER_HA_STATUS: -, -, Absent, Json HARuntimeInfo;
    RESET_MASTER_FLUSH_OFFSET: ResetMasterFlushOffsetHeader, -, Absent, Absent;
    CONTROLLER_ALTER_SYNC_STATE_SET: AlterSyncStateSetRequestHeader, AlterSyncStateSetResponseHeader, Json SyncStateSet, Json SyncStateSet;
    CONTROLLER_ELECT_MASTER: ElectMasterRequestHeader, ElectMasterResponseHeader, Absent, Json ElectMasterResponseBody;
    CONTROLLER_REGISTER_BROKER: RegisterBrokerToControllerRequestHeader, RegisterBrokerToControllerResponseHeader, Absent, Json SyncStateSet;
    CONTROLLER_GET_REPLICA_INFO: GetReplicaInfoRequestHeader, GetReplicaInfoResponseHeader, Absent, Json SyncStateSet;
    CONTROLLER_GET_METADATA_INFO: -, GetMetaDataResponseHeader, Absent, Absent;
    CONTROLLER_GET_SYNC_STATE_DATA: -, -, Later, Json BrokerReplicasInfo;
    GET_BROKER_EPOCH_CACHE: -, -, Absent, Json EpochEntryCache;
    NOTIFY_BROKER_ROLE_CHANGED: NotifyBrokerRoleChangedRequestHeader, -, Json SyncStateSet, Absent;
    UPDATE_CONTROLLER_CONFIG: -, -, Text, Absent;
    GET_CONTROLLER_CONFIG: -, -, Absent, Text;
    CLEAN_BROKER_DATA: CleanControllerBrokerDataRequestHeader, -, Absent, Absent;
    CONTROLLER_GET_NEXT_BROKER_ID: GetNextBrokerIdRequestHeader, GetNextBrokerIdResponseHeader, Absent, Absent;
    CONTROLLER_APPLY_BROKER_ID: ApplyBrokerIdRequestHeader, ApplyBrokerIdResponseHeader, Absent, Absent;
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG: -, -, Text, Absent;
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG: -, -, Text, Absent;
    GET_COLD_DATA_FLOW_CTR_INFO: -, -, Absent, Json ColdDataFlowCtrInfo;
    SET_COMMITLOG_READ_MODE: -, -, Absent, Absent;
    AUTH_CREATE_USER: CreateUserRequestHeader, -, Json UserInfo, Absent;
    AUTH_UPDATE_USER: UpdateUserRequestHeader, -, Json UserInfo, Absent;
    AUTH_DELETE_USER: DeleteUserRequestHeader, -, Absent, Absent;
    AUTH_GET_USER: GetUserRequestHeader, -, Absent, Json UserInfo;
    AUTH_LIST_USER: ListUsersRequestHeader, -, Absent, Json UserInfoList;
    AUTH_CREATE_ACL: CreateAclRequestHeader, -, Json AclInfo, Absent;
    AUTH_UPDATE_ACL: UpdateAclRequestHeader, -, Json AclInfo, Absent;
    AUTH_DELETE_ACL: DeleteAclRequestHeader, -, Absent, Absent;
    AUTH_GET_ACL: GetAclRequestHeader, -, Absent, Json AclInfo;
    AUTH_LIST_ACL: ListAclsRequestHeader, -, Absent, Json AclInfoList;
    SWITCH_TIMER_ENGINE: -, -, Absent, Absent;
    POP_MESSAGE: PopMessageRequestHeader, PopMessageResponseHeader, Absent, Messages;
    ACK_MESSAGE: AckMessageRequestHeader, -, Absent, Absent;
    PEEK_MESSAGE: PeekMessageRequestHeader, PopMessageResponseHeader, Absent, Messages;
    CHANGE_MESSAGE_INVISIBLETIME: ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader, Absent, Absent;
    NOTIFICATION: NotificationRequestHeader, NotificationResponseHeader, Absent, Absent;
    POLLING_INFO: PollingInfoRequestHeader, PollingInfoResponseHeader, Absent, Absent;
    POP_ROLLBACK: -, -, Absent, Absent;
    POP_LITE_MESSAGE: PopLiteMessageRequestHeader, PopLiteMessageResponseHeader, Absent, Messages;
    LITE_SUBSCRIPTION_CTL: LiteSubscriptionCtlRequestHeader, -, Json LiteSubscriptionCtlRequestBody, Absent;
    GET_BROKER_LITE_INFO: -, -, Absent, Json GetBrokerLiteInfoResponseBody;
    GET_PARENT_TOPIC_INFO: GetParentTopicInfoRequestHeader, -, Absent, Json GetParentTopicInfoResponseBody;
    GET_LITE_TOPIC_INFO: GetLiteTopicInfoRequestHeader, -, Absent, Json GetLiteTopicInfoResponseBody;
    GET_LITE_CLIENT_INFO: GetLiteClientInfoRequestHeader, -, Absent, Json GetLiteClientInfoResponseBody;
    GET_LITE_GROUP_INFO: GetLiteGroupInfoRequestHeader, -, Absent, Json GetLiteGroupInfoResponseBody;
    TRIGGER_LITE_DISPATCH: TriggerLiteDispatchRequestHeader, -, Absent, Absent;
    BATCH_ACK_MESSAGE: -, -, Later, Absent;
}
