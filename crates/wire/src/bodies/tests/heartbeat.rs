use super::*;

#[test]
fn heartbeats_of_clients_in_other_languages_are_read() {
    // The C++ client writes enumerations as numbers and numbers as texts.
    let heartbeat = HeartbeatData::decode(
        br#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"G","messageModel":1,
        "subscriptionDataSet":[{"codeSet":["2598919"],"subString":"TagA","subVersion":"1700000000000",
        "tagsSet":["TagA"],"topic":"T"}]}],"producerDataSet":[],"newField":{"a":[1]}}"#,
    );
    let heartbeat = heartbeat.expect("read leniently");
    let consumer = &heartbeat.consumer_data_set[0];
    assert_eq!(consumer.consume_from_where, Some(ConsumeFromWhere::FirstOffset));
    assert_eq!(consumer.consume_type, Some(ConsumeType::Passively));
    assert_eq!(consumer.message_model, Some(MessageModel::Clustering));
    let subscription = &consumer.subscription_data_set[0];
    assert_eq!(subscription.expression_type.as_deref(), Some("TAG"));
    assert_eq!((subscription.sub_version, subscription.code_set.first()), (1_700_000_000_000, Some(&2_598_919)));
    // A newer client may have more kinds; a number is a mistake.
    let newer = HeartbeatData::decode(br#"{"consumerDataSet":[{"messageModel":"SOME","consumeType":null}]}"#);
    let newer = newer.expect("read leniently").consumer_data_set.remove(0);
    assert_eq!((newer.message_model, newer.consume_type), (None, None));
    let error = HeartbeatData::decode(br#"{"consumerDataSet":[{"messageModel":9}]}"#).expect_err("unknown model");
    let expected = "the body is not a HeartbeatData: invalid value: integer `9`, expected a MessageModel at byte 37";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_fingerprint_is_that_of_java_whatever_changes_between_heartbeats() {
    // Computed by the classes of Apache RocketMQ 5.5.0.
    let json = r#"{"clientID":"c@1","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"C","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919,2598920],"expressionType":"TAG","subString":"TagA || TagB","subVersion":123,"tagsSet":["TagA","TagB"],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"P"}],"withoutSub":false}"#;
    let mut heartbeat = HeartbeatData::decode(json.as_bytes()).expect("upstream's JSON");
    assert_eq!(heartbeat.encode(), json.as_bytes());
    assert_eq!(heartbeat.compute_fingerprint(), -624_092_343);
    heartbeat.client_id = "other".to_owned();
    heartbeat.heartbeat_fingerprint = 5;
    heartbeat.consumer_data_set[0].subscription_data_set[0].sub_version = 124;
    assert_eq!(heartbeat.compute_fingerprint(), -624_092_343);
    heartbeat.consumer_data_set[0].subscription_data_set[0].tags_set.clear();
    assert_ne!(heartbeat.compute_fingerprint(), -624_092_343);
}
