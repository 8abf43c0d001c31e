use super::*;

#[test]
fn figures_of_topics_and_groups() {
    let stats: TopicStatsTable = survives(
        r#"{"offsetTable":{{"brokerName":"broker-w","queueId":0,"topic":"T_res"}:{"lastUpdateTimestamp":1795229625549,"maxOffset":1,"minOffset":0},{"brokerName":"broker-w","queueId":1,"topic":"T_res"}:{"lastUpdateTimestamp":1795229670429,"maxOffset":2,"minOffset":0}},"topicPutTps":0.033322781119312216}"#,
    );
    assert_eq!(stats.offset_table[&MessageQueue::new("T_res", "broker-w", 1)].max_offset, 2);
    let stats: ConsumeStats = survives(
        r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-w","queueId":0,"topic":"T_normal4"}:{"brokerOffset":3,"consumerOffset":2,"lastTimestamp":1795229477208,"pullOffset":3}}}"#,
    );
    assert_eq!(stats.offset_table[&MessageQueue::new("T_normal4", "broker-w", 0)].consumer_offset, 2);
    survives::<ConsumeStatsList>(
        r#"{"brokerAddr":"127.0.0.1:30911","consumeStatsList":[{"C":[{"consumeTps":0.5,"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"brokerOffset":3,"consumerOffset":3,"lastTimestamp":1,"pullOffset":3}}}]}],"totalDiff":0,"totalInflightDiff":0}"#,
    );
    survives::<BrokerStatsData>(
        r#"{"statsDay":{"avgpt":0.0,"sum":0,"tps":0.0},"statsHour":{"avgpt":1.0,"sum":2,"tps":0.0033333333333333335},"statsMinute":{"avgpt":0.0,"sum":0,"tps":0.0}}"#,
    );
    survives::<QueryConsumeTimeSpanBody>(
        r#"{"consumeTimeSpanSet":[{"consumeTimeStamp":1795230101731,"consumeTimeStampStr":"2026-11-21#03:01:41:731","delayTime":18835,"maxTimeStamp":1795230102118,"maxTimeStampStr":"2026-11-21#03:01:42:118","messageQueue":{"brokerName":"broker-w","queueId":0,"topic":"T_raw"},"minTimeStamp":1795230101526,"minTimeStampStr":"2026-11-21#03:01:41:526"}]}"#,
    );
    survives::<TimerMetricsSerializeWrapper>(
        r#"{"dataVersion":{"counter":10,"stateVersion":0,"timestamp":1795229330362},"timingCount":{"T_delay5":{"count":0,"timeStamp":1795229330362}}}"#,
    );
}

#[test]
fn queues_are_ordered_by_topic_then_broker() {
    let mut queues =
        [MessageQueue::new("T2", "a", 0), MessageQueue::new("T1", "b", 0), MessageQueue::new("T1", "a", 10)];
    queues.sort();
    assert_eq!(queues.map(|queue| queue.queue_id), [10, 0, 0]);
}

#[test]
fn consume_queues_and_subscriptions() {
    let units: QueryConsumeQueueResponseBody = survives(
        r#"{"filterData":"null","maxQueueIndex":1,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":22389,"physicSize":260,"tagsCode":2598919}],"subscriptionData":{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1795229692820,"tagsSet":["TagA","TagB"],"topic":"T_res"}}"#,
    );
    // A text that reads `null` is a text.
    assert_eq!(units.filter_data.as_deref(), Some("null"));
    survives::<QuerySubscriptionResponseBody>(
        r#"{"group":"C_raw","subscriptionData":{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1795230098418,"tagsSet":["TagA"],"topic":"T_raw"},"topic":"T_raw"}"#,
    );
    survives::<CreateTopicListRequestBody>(
        r#"{"topicConfigList":[{"attributes":{},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T_list1","topicSysFlag":0,"writeQueueNums":2}]}"#,
    );
    survives::<GroupList>(r#"{"groupList":["C_res"]}"#);
}

#[test]
fn offsets_that_are_reset_or_asked_for() {
    let reset: ResetOffsetBody = survives(
        r#"{"offsetTable":{{"brokerName":"broker-w","queueId":0,"topic":"T_res"}:12,{"brokerName":"broker-w","queueId":1,"topic":"T_res"}:13}}"#,
    );
    assert_eq!(reset.offset_table[&MessageQueue::new("T_res", "broker-w", 1)], 13);
    let quoted = ResetOffsetBody::decode(&reset.encode_standard());
    assert_eq!(quoted, Ok(reset));
    let status: GetConsumerStatusBody = survives(
        r#"{"consumerTable":{"192.0.2.2@rc":{{"brokerName":"broker-w","queueId":0,"topic":"T_res"}:8}},"messageQueueTable":{}}"#,
    );
    assert_eq!(status.consumer_table["192.0.2.2@rc"].len(), 1);
    let correction: QueryCorrectionOffsetBody = survives(r#"{"correctionOffsets":{0:3}}"#);
    assert_eq!(correction.correction_offsets[&0], 3);
    survives::<ResetOffsetBodyForC>(r#"{"offsetTable":[{"brokerName":"b","offset":7,"queueId":0,"topic":"T"}]}"#);
}

#[test]
fn connections() {
    let consumers: ConsumerConnection = survives(
        r#"{"connectionSet":[{"clientAddr":"127.0.0.1:55338","clientId":"192.0.2.2@rc","language":"JAVA","version":513}],"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionTable":{"T_res":{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":1795229692820,"tagsSet":["TagA","TagB"],"topic":"T_res"}}}"#,
    );
    assert_eq!(consumers.consume_from_where, Some(ConsumeFromWhere::FirstOffset));
    survives::<ProducerConnection>(
        r#"{"connectionSet":[{"clientAddr":"127.0.0.1:55326","clientId":"192.0.2.2@rp","language":"JAVA","version":513}]}"#,
    );
    let producers: ProducerTableInfo = survives(
        r#"{"data":{"P_res":[{"clientId":"192.0.2.2@rp","language":"JAVA","lastUpdateTimestamp":1795229684574,"remoteIP":"/127.0.0.1:55326","version":513}]}}"#,
    );
    assert_eq!(producers.data["P_res"][0].remote_ip.as_deref(), Some("/127.0.0.1:55326"));
}

#[test]
fn what_clients_are_asked() {
    let result: ConsumeMessageDirectlyResult =
        survives(r#"{"autoCommit":true,"consumeResult":"CR_SUCCESS","order":false,"spentTimeMills":2}"#);
    assert_eq!(result.consume_result, Some(CMResult::Success));
    let running: ConsumerRunningInfo = survives(
        r#"{"mqPopTable":{},"mqTable":{{"brokerName":"broker-w","queueId":0,"topic":"T_res"}:{"cachedMsgCount":0,"cachedMsgMaxOffset":0,"cachedMsgMinOffset":0,"cachedMsgSizeInMiB":0,"commitOffset":1,"droped":false,"lastConsumeTimestamp":1795229630974,"lastLockTimestamp":1795229629997,"lastPullTimestamp":1795229695710,"locked":true,"transactionMsgCount":0,"transactionMsgMaxOffset":0,"transactionMsgMinOffset":0,"tryUnlockTimes":0}},"properties":{"PROP_CONSUMEORDERLY":"false"},"statusTable":{"T_res":{"consumeFailedMsgs":0,"consumeFailedTPS":0.0,"consumeOKTPS":0.1,"consumeRT":0.0,"pullRT":7.5,"pullTPS":0.1}},"subscriptionSet":[],"userConsumerInfo":{}}"#,
    );
    assert_eq!(running.mq_table[&MessageQueue::new("T_res", "broker-w", 0)].commit_offset, 1);
}

#[test]
fn modes_and_assignments() {
    survives::<QueryAssignmentRequestBody>(
        r#"{"clientId":"192.0.2.2@po","consumerGroup":"C_pop5","messageModel":"CLUSTERING","strategyName":"AVG","topic":"T_normal5"}"#,
    );
    let assigned: QueryAssignmentResponseBody = survives(
        r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"broker-w","queueId":0,"topic":"T_normal5"},"mode":"PULL"}]}"#,
    );
    let assignments = assigned.message_queue_assignments.unwrap_or_default();
    assert_eq!(assignments[0].mode, MessageRequestMode::Pull);
    let mode: SetMessageRequestModeRequestBody =
        survives(r#"{"consumerGroup":"C_adm","mode":"POP","popShareQueueNum":0,"topic":"T_adm1"}"#);
    assert_eq!(mode.mode, MessageRequestMode::Pop);
    survives::<MessageRequestModeSerializeWrapper>(
        r#"{"messageRequestModeMap":{"T_adm1":{"C_adm":{"consumerGroup":"C_adm","mode":"POP","popShareQueueNum":0,"topic":"T_adm1"}}}}"#,
    );
}
