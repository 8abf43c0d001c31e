//! Headers of sending: messages, send-back, transactions, replies, recall.

use super::RpcFields;
use super::headers;

headers! {
    /// Request of `CHECK_TRANSACTION_STATE`.
    CheckTransactionStateRequestHeader<'a> {
        topic: Option<&'a str> = "topic",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        msg_id: Option<&'a str> = "msgId",
        transaction_id: Option<&'a str> = "transactionId",
        offset_msg_id: Option<&'a str> = "offsetMsgId",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `CONSUME_MESSAGE_DIRECTLY`.
    ConsumeMessageDirectlyResultRequestHeader<'a> {
        consumer_group: &'a str = "consumerGroup",
        client_id: Option<&'a str> = "clientId",
        msg_id: Option<&'a str> = "msgId",
        broker_name: Option<&'a str> = "brokerName",
        topic: Option<&'a str> = "topic",
        topic_sys_flag: Option<i32> = "topicSysFlag",
        group_sys_flag: Option<i32> = "groupSysFlag",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `CONSUMER_SEND_MSG_BACK`.
    ConsumerSendMsgBackRequestHeader<'a> {
        offset: i64 = "offset",
        group: &'a str = "group",
        delay_level: i32 = "delayLevel",
        origin_msg_id: Option<&'a str> = "originMsgId",
        origin_topic: Option<&'a str> = "originTopic",
        unit_mode: Option<bool> = "unitMode",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `END_TRANSACTION`.
    EndTransactionRequestHeader<'a> {
        topic: Option<&'a str> = "topic",
        producer_group: &'a str = "producerGroup",
        tran_state_table_offset: i64 = "tranStateTableOffset",
        commit_log_offset: i64 = "commitLogOffset",
        commit_or_rollback: i32 = "commitOrRollback",
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        msg_id: &'a str = "msgId",
        transaction_id: Option<&'a str> = "transactionId",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `RECALL_MESSAGE`.
    RecallMessageRequestHeader<'a> {
        producer_group: Option<&'a str> = "producerGroup",
        topic: &'a str = "topic",
        recall_handle: &'a str = "recallHandle",
        rpc: RpcFields<'a> = "",
    }

    /// Response to `RECALL_MESSAGE`.
    RecallMessageResponseHeader<'a> {
        msg_id: &'a str = "msgId",
    }

    /// Request of `PUSH_REPLY_MESSAGE_TO_CLIENT`.
    ReplyMessageRequestHeader<'a> {
        producer_group: &'a str = "producerGroup",
        topic: &'a str = "topic",
        default_topic: &'a str = "defaultTopic",
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        queue_id: i32 = "queueId",
        sys_flag: i32 = "sysFlag",
        born_timestamp: i64 = "bornTimestamp",
        flag: i32 = "flag",
        properties: Option<&'a str> = "properties",
        reconsume_times: Option<i32> = "reconsumeTimes",
        unit_mode: Option<bool> = "unitMode",
        born_host: &'a str = "bornHost",
        store_host: &'a str = "storeHost",
        store_timestamp: i64 = "storeTimestamp",
        rpc: RpcFields<'a> = "",
    }

    /// Request of `RESUME_CHECK_HALF_MESSAGE`.
    ResumeCheckHalfMessageRequestHeader<'a> {
        topic: Option<&'a str> = "topic",
        msg_id: Option<&'a str> = "msgId",
    }

    /// Request of `SEND_MESSAGE`, `SEND_REPLY_MESSAGE`, `SEND_MESSAGE_V2`, `SEND_BATCH_MESSAGE`,
    /// `SEND_REPLY_MESSAGE_V2`.
    SendMessageRequestHeader<'a> {
        producer_group: &'a str = "producerGroup" / "a",
        topic: &'a str = "topic" / "b",
        default_topic: &'a str = "defaultTopic" / "c",
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" / "d",
        queue_id: i32 = "queueId" / "e",
        sys_flag: i32 = "sysFlag" / "f",
        born_timestamp: i64 = "bornTimestamp" / "g",
        flag: i32 = "flag" / "h",
        properties: Option<&'a str> = "properties" / "i",
        reconsume_times: Option<i32> = "reconsumeTimes" / "j",
        unit_mode: Option<bool> = "unitMode" / "k",
        batch: Option<bool> = "batch" / "m",
        max_reconsume_times: Option<i32> = "maxReconsumeTimes" / "l",
        broker_name: Option<&'a str> = "brokerName" / "n",
        rpc: RpcFields<'a> = "" / "",
    }

    /// Response to `SEND_MESSAGE`, `SEND_MESSAGE_V2`, `SEND_BATCH_MESSAGE`, `SEND_REPLY_MESSAGE`,
    /// `SEND_REPLY_MESSAGE_V2`.
    SendMessageResponseHeader<'a> {
        msg_id: &'a str = "msgId",
        queue_id: i32 = "queueId",
        queue_offset: i64 = "queueOffset",
        transaction_id: Option<&'a str> = "transactionId",
        batch_uniq_id: Option<&'a str> = "batchUniqId",
        recall_handle: Option<&'a str> = "recallHandle",
    }
}
