use super::*;

#[test]
fn topics_of_a_broker() {
    let wrapper: TopicConfigAndMappingSerializeWrapper = survives(
        r#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1795229297546},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1795228962171},"topicConfigTable":{"T_order5":{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T_order5","topicSysFlag":0,"writeQueueNums":4}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}"#,
    );
    assert_eq!(wrapper.topic_config_table["T_order5"].write_queue_nums, 4);
    let topic: TopicConfigAndQueueMapping = survives(
        r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T_res","topicSysFlag":0,"writeQueueNums":4}"#,
    );
    assert_eq!(topic.mapping_detail, None);
    let list: TopicList = survives(r#"{"brokerAddr":"127.0.0.1:30911","topicList":["WireCluster","broker-w"]}"#);
    assert_eq!(list.topic_list.len(), 2);
    let values: KVTable = survives(r#"{"table":{"k":"v"}}"#);
    assert_eq!(values.table["k"], "v");
}

#[test]
fn absent_members_have_javas_defaults() {
    let topic = TopicConfig::decode(br#"{"topicName":"T","attributes":null,"unknown":[1]}"#).expect("readable");
    assert_eq!(topic, TopicConfig { topic_name: "T".to_owned(), ..TopicConfig::default() });
    assert_eq!(
        String::from_utf8(TopicConfig::default().encode()).unwrap(),
        r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":16,"topicFilterType":"SINGLE_TAG","topicName":"","topicSysFlag":0,"writeQueueNums":16}"#
    );
}

#[test]
fn versions_are_ordered_as_upstream_orders_them() {
    let old = DataVersion { counter: 9, state_version: 0, timestamp: 5 };
    assert!(old < old.next(0, 4));
    assert!(old.next(0, 4) < DataVersion { counter: 0, state_version: 1, timestamp: 0 });
    survives::<DataVersion>(r#"{"counter":48,"stateVersion":0,"timestamp":1795230114846}"#);
}

#[test]
fn a_static_topic() {
    let detail: TopicQueueMappingDetail = survives(
        r#"{"bname":"broker-w","currIdMap":{},"dirty":false,"epoch":1795229781862,"hostedQueues":{0:[{"bname":"broker-w","endOffset":-1,"gen":0,"logicOffset":0,"queueId":0,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}],1:[{"bname":"broker-w","endOffset":-1,"gen":0,"logicOffset":0,"queueId":1,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}]},"scope":"__global__","topic":"T_static","totalQueues":4}"#,
    );
    assert_eq!(detail.hosted_queues[&1][0].queue_id, 1);
}

#[test]
fn routes_and_clusters() {
    let route: TopicRouteData = survives(
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:30911","1":"127.0.0.1:31911"},"brokerName":"broker-w","cluster":"WireCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-w","perm":7,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
    );
    assert_eq!(route.broker_datas[0].broker_addrs[&1], "127.0.0.1:31911");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(text(route.encode()).contains(r#""brokerAddrs":{0:"127.0.0.1:30911",1:"#));
    assert!(text(route.encode_standard()).contains(r#""brokerAddrs":{"0":"127.0.0.1:30911","1":"#));
    let cluster: ClusterInfo = survives(
        r#"{"brokerAddrTable":{"broker-w":{"brokerAddrs":{0:"127.0.0.1:30911",1:"127.0.0.1:31911"},"brokerName":"broker-w","cluster":"WireCluster","enableActingMaster":false}},"clusterAddrTable":{"WireCluster":["broker-w"]}}"#,
    );
    assert!(cluster.cluster_addr_table["WireCluster"].contains("broker-w"));
    survives::<GetBrokerMemberGroupResponseBody>(
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"127.0.0.1:30911",1:"127.0.0.1:31911"},"brokerName":"broker-w","cluster":"WireCluster"}}"#,
    );
}

#[test]
fn a_config_file_is_written_as_upstream_writes_it() {
    let file = "{\n\t\"dataVersion\":{\n\t\t\"counter\":50,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":1795230215522\n\t},\n\t\"topicConfigTable\":{\n\t\t\"T\":{\n\t\t\t\"attributes\":{},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":18,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\"topicName\":\"T\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":18\n\t\t}\n\t}\n}";
    let topics = TopicConfigSerializeWrapper::decode(file.as_bytes()).expect("readable");
    assert_eq!(String::from_utf8(json::to_vec_pretty(&topics)).unwrap(), file);
}
