use super::*;

const GROUP: &str = r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"C","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;

#[test]
fn groups_of_a_broker() {
    let group: SubscriptionGroupConfig = survives(GROUP);
    assert_eq!(group, SubscriptionGroupConfig { group_name: "C".to_owned(), ..Default::default() });
    let wrapper: SubscriptionGroupWrapper = survives(&format!(
        r#"{{"dataVersion":{{"counter":1,"stateVersion":0,"timestamp":2}},"forbiddenTable":{{"C":{{"T":2}}}},"subscriptionGroupTable":{{"C":{GROUP}}}}}"#
    ));
    assert_eq!(wrapper.subscription_group_table["C"], group);
    assert_eq!(wrapper.forbidden_table["C"]["T"], 2);
    let list: SubscriptionGroupList = survives(&format!(r#"{{"groupConfigList":[{GROUP}]}}"#));
    assert_eq!(list.group_config_list, [group]);
    survives::<GroupForbidden>(r#"{"group":"C_raw","readable":true,"topic":"T_raw"}"#);
}

#[test]
fn a_groups_retry_policy() {
    let policy: GroupRetryPolicy =
        survives(r#"{"exponentialRetryPolicy":{"initial":10000,"max":60000,"multiplier":3},"type":"EXPONENTIAL"}"#);
    assert_eq!(policy.exponential_retry_policy.map(|policy| policy.multiplier), Some(3));
    survives::<CustomizedRetryPolicy>(
        r#"{"next":[1000,5000,10000,30000,60000,120000,180000,240000,300000,360000,420000,480000,540000,600000,1200000,1800000,3600000,7200000]}"#,
    );
    assert_eq!(CustomizedRetryPolicy::decode(b"{}"), Ok(CustomizedRetryPolicy::default()));
}

#[test]
fn offsets_of_groups_and_of_delay_levels() {
    let text = r#"{"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795228962139},"groupTopicMap":{"C_rr5":["T_rr5"]},"lmqOffsetTable":{},"offsetTable":{"T_rr5@C_rr5":{1:1},"T_normal5@C_pop5":{0:1,1:1,2:3,3:4}},"pullOffsetTable":{"T_rr5@C_rr5":{0:0,1:1,2:0,3:1}}}"#;
    let all: ConsumerOffsetSerializeWrapper = survives(text);
    assert_eq!(all.offset_table["T_normal5@C_pop5"][&3], 4);
    let file = "{\n\t\"dataVersion\":{\n\t\t\"counter\":4,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1795230256209\n\t},\n\t\"offsetTable\":{\n\t\t2:2,\n\t\t3:5,\n\t\t4:1\n\t}\n}";
    let delay: DelayOffsetSerializeWrapper = survives(file);
    assert_eq!(String::from_utf8(delay.encode_pretty()).unwrap(), file);
}
