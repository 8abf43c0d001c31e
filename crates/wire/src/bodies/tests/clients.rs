use super::*;

#[test]
fn members_and_locks() {
    survives::<GetConsumerListByGroupResponseBody>(r#"{"consumerIdList":["192.0.2.2@pu"]}"#);
    let lock: LockBatchRequestBody = survives(
        r#"{"clientId":"192.0.2.2@or","consumerGroup":"C_order5","mqSet":[{"brokerName":"broker-w","queueId":0,"topic":"T_order5"}],"onlyThisBroker":false}"#,
    );
    assert!(lock.mq_set.first().is_some_and(|queue| queue.topic == "T_order5"));
    let locked: LockBatchResponseBody =
        survives(r#"{"lockOKMQSet":[{"brokerName":"broker-w","queueId":0,"topic":"T_order5"}]}"#);
    assert_eq!(locked.lock_ok_mq_set, lock.mq_set);
    let go = br#"{"consumerGroup":"C_goo","clientId":"192.0.2.2@32133","mqSet":[{"topic":"T_go","brokerName":"broker-c","queueId":3},{"topic":"T_go","brokerName":"broker-c","queueId":1}]}"#;
    let unlock = UnlockBatchRequestBody::decode(go).expect("readable");
    assert_eq!(unlock.mq_set.iter().map(|queue| queue.queue_id).collect::<Vec<_>>(), [3, 1]);
    survives::<CheckClientRequestBody>(
        r#"{"clientId":"c","group":"C","namespace":"","subscriptionData":{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":"a > 1","subVersion":1,"tagsSet":[],"topic":"T"}}"#,
    );
}
