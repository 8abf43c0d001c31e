//! What administrators and their tools ask of a broker, over the wire.

mod common;

use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ConsumeStats, ConsumerData, GetConsumerStatusBody, HeartbeatData, MessageQueue, ResetOffsetBody,
    SubscriptionData, SubscriptionGroupConfig, TopicConfig, TopicConfigSerializeWrapper, TopicStatsTable,
};
use apogee_wire::codes::{request, response};
use common::{Peer, Server};

fn ask(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut command = Command::request(code);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    command
}

/// Asks and asserts how that ends.
fn call(peer: &mut Peer, code: i32, fields: &[(&str, &str)], expected: i32) -> Command {
    let answer = peer.call(ask(code, fields));
    assert_eq!(answer.code, expected, "{:?} {fields:?}", answer.remark);
    answer
}

fn create(peer: &mut Peer, topic: &str, changes: &[(&str, &str)], expected: i32) -> Command {
    let mut fields = vec![
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "2"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    fields.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    fields.extend(changes);
    call(peer, request::UPDATE_AND_CREATE_TOPIC, &fields, expected)
}

fn create_group(peer: &mut Peer, group: &str) {
    let body = SubscriptionGroupConfig::new(group).encode();
    let answer = peer.call(Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body));
    assert_eq!(answer.code, response::SUCCESS, "{:?}", answer.remark);
}

fn offset(peer: &mut Peer, group: &str, topic: &str, queue: &str) -> Option<i64> {
    let fields = [("consumerGroup", group), ("topic", topic), ("queueId", queue)];
    let answer = peer.call(ask(request::QUERY_CONSUMER_OFFSET, &fields));
    match answer.code {
        response::SUCCESS => Some(answer.fields.get("offset").expect("an offset").parse().expect("a number")),
        response::QUERY_NOT_FOUND => None,
        other => panic!("code {other}: {:?}", answer.remark),
    }
}

fn commit(peer: &mut Peer, group: &str, topic: &str, queue: &str, offset: &str, expected: i32) {
    let fields = [("consumerGroup", group), ("topic", topic), ("queueId", queue), ("commitOffset", offset)];
    call(peer, request::UPDATE_CONSUMER_OFFSET, &fields, expected);
}

#[test]
fn a_topic_lives_until_it_is_removed() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    create(&mut peer, "T", &[("attributes", "+message.type=FIFO")], response::SUCCESS);
    peer.send_ok("T", 1, b"x", "");
    peer.send_ok("T", 1, b"y", "");
    let told = call(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", "T")], response::SUCCESS);
    let config = TopicConfig::decode(&told.body).expect("a topic");
    assert_eq!((config.read_queue_nums, config.attributes["message.type"].as_str()), (2, "FIFO"));
    let told = call(&mut peer, request::GET_TOPIC_STATS_INFO, &[("topic", "T")], response::SUCCESS);
    let ranges = TopicStatsTable::decode(&told.body).expect("ranges").offset_table;
    let range = &ranges[&MessageQueue::new("T", "broker-a", 1)];
    assert_eq!((ranges.len(), range.min_offset, range.max_offset), (2, 0, 2));
    assert!(range.last_update_timestamp > 0);

    create_group(&mut peer, "G");
    commit(&mut peer, "G", "T", "1", "2", response::SUCCESS);
    call(&mut peer, request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], response::SUCCESS);
    call(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", "T")], response::TOPIC_NOT_EXIST);
    call(&mut peer, request::GET_TOPIC_STATS_INFO, &[("topic", "T")], response::TOPIC_NOT_EXIST);
    // Neither messages nor offsets of the old topic are found in a new one of its name.
    create(&mut peer, "T", &[], response::SUCCESS);
    let max = call(&mut peer, request::GET_MAX_OFFSET, &[("topic", "T"), ("queueId", "1")], response::SUCCESS);
    assert_eq!(max.fields.get("offset"), Some("0"));
    assert_eq!(offset(&mut peer, "G", "T", "1"), None);
}

#[test]
fn topics_that_make_no_sense_are_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for (topic, change) in [
        ("a b", ("perm", "6")),
        ("", ("perm", "6")),
        ("TBW102", ("perm", "6")),
        ("T", ("perm", "9")),
        ("T", ("readQueueNums", "0")),
        ("T", ("writeQueueNums", "65536")),
        ("T", ("attributes", "+queue.type=OtherCQ")),
        ("T", ("attributes", "nonsense")),
    ] {
        let answer = create(&mut peer, topic, &[change], response::INVALID_PARAMETER);
        assert!(answer.remark.is_some_and(|remark| !remark.is_empty()));
    }
    call(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", "T")], response::TOPIC_NOT_EXIST);
    call(&mut peer, request::DELETE_TOPIC_IN_BROKER, &[("topic", "TBW102")], response::INVALID_PARAMETER);
    call(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", "TBW102")], response::SUCCESS);
}

#[test]
fn all_topics_come_in_pages() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let (mut seen, mut total) = (0, usize::MAX);
    while seen < total {
        let first = seen.to_string();
        let fields = [("topicSeq", first.as_str()), ("maxTopicNum", "3")];
        let page = call(&mut peer, request::GET_ALL_TOPIC_CONFIG, &fields, response::SUCCESS);
        total = page.fields.get("totalTopicNum").expect("a number").parse().expect("a number");
        let topics = TopicConfigSerializeWrapper::decode(&page.body).expect("topics").topic_config_table;
        assert!((1..=3).contains(&topics.len()));
        seen += topics.len();
    }
    assert_eq!(seen, total);
}

#[test]
fn offsets_follow_upstreams_rules() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    create(&mut peer, "T", &[], response::SUCCESS);
    commit(&mut peer, "G", "T", "0", "1", response::SUBSCRIPTION_GROUP_NOT_EXIST);
    create_group(&mut peer, "G");
    commit(&mut peer, "G", "Other", "0", "1", response::TOPIC_NOT_EXIST);
    commit(&mut peer, "G", "T", "-1", "1", response::INVALID_PARAMETER);
    // A queue without messages leaves the choice to the client, one with its first message doesn't.
    assert_eq!(offset(&mut peer, "G", "T", "0"), None);
    for _ in 0..5 {
        peer.send_ok("T", 0, b"x", "");
    }
    assert_eq!(offset(&mut peer, "G", "T", "0"), Some(0));
    let fields = [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0"), ("setZeroIfNotFound", "false")];
    call(&mut peer, request::QUERY_CONSUMER_OFFSET, &fields, response::QUERY_NOT_FOUND);
    commit(&mut peer, "G", "T", "0", "2", response::SUCCESS);
    assert_eq!(offset(&mut peer, "G", "T", "0"), Some(2));
    let told = call(&mut peer, request::GET_CONSUME_STATS, &[("consumerGroup", "G")], response::SUCCESS);
    let queues = ConsumeStats::decode(&told.body).expect("figures").offset_table;
    let queue = &queues[&MessageQueue::new("T", "broker-a", 0)];
    assert_eq!((queue.broker_offset, queue.consumer_offset), (5, 2));
}

#[test]
fn a_group_is_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    create(&mut peer, "T", &[], response::SUCCESS);
    create_group(&mut peer, "G");
    for _ in 0..5 {
        peer.send_ok("T", 0, b"x", "");
    }
    let mut reset = |changes: &[(&str, &str)], expected| {
        let mut fields = vec![("group", "G"), ("topic", "T"), ("timestamp", "-1"), ("isForce", "true")];
        fields.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        fields.extend(changes);
        call(&mut peer, request::INVOKE_BROKER_TO_RESET_OFFSET, &fields, expected)
    };
    let told = reset(&[], response::SUCCESS);
    let offsets = ResetOffsetBody::decode(&told.body).expect("offsets").offset_table;
    assert_eq!(offsets[&MessageQueue::new("T", "broker-a", 0)], 5);
    assert_eq!(offsets[&MessageQueue::new("T", "broker-a", 1)], 0);
    reset(&[("queueId", "0"), ("offset", "3")], response::SUCCESS);
    reset(&[("queueId", "0"), ("offset", "7")], response::SYSTEM_ERROR);
    reset(&[("queueId", "2"), ("offset", "0")], response::INVALID_PARAMETER);
    reset(&[("topic", "Other")], response::TOPIC_NOT_EXIST);
    reset(&[("group", "Other")], response::SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(offset(&mut peer, "G", "T", "0"), Some(3));
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    assert_eq!(offset(&mut server.connect(), "G", "T", "0"), Some(3), "it was answered, so it lasts");
}

#[test]
fn changed_settings_outlive_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let update = |text: &'static str| Command::request(request::UPDATE_BROKER_CONFIG).with_body(text);
    assert_eq!(peer.call(update("autoCreateTopicEnable=false\n")).code, response::SUCCESS);
    assert_eq!(peer.send("T", 0, b"x", "").code, response::TOPIC_NOT_EXIST);
    let refused = peer.call(update("autoCreateTopicEnable=true\nstorePathRootDir=/elsewhere"));
    assert_eq!(refused.code, response::NO_PERMISSION, "{:?}", refused.remark);
    let refused = peer.call(update("flushDiskType=ASYNC_FLUSH"));
    assert!(refused.remark.is_some_and(|remark| remark.contains("restart the server")));
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let told = call(&mut peer, request::GET_BROKER_CONFIG, &[], response::SUCCESS);
    let text = String::from_utf8(told.body.to_vec()).expect("text");
    assert!(text.lines().any(|line| line == "autoCreateTopicEnable=false"), "{text}");
    assert!(told.fields.get("version").is_some_and(|version| version.contains("counter")));
}

#[test]
fn questions_are_passed_on_to_consumers() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    create(&mut admin, "T", &[], response::SUCCESS);
    let of_client = [("consumerGroup", "G"), ("clientId", "c1")];
    call(&mut admin, request::GET_CONSUMER_RUNNING_INFO, &of_client, response::CONSUMER_NOT_ONLINE);
    let of_group = [("group", "G"), ("topic", "T"), ("clientAddr", "")];
    call(&mut admin, request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &of_group, response::CONSUMER_NOT_ONLINE);

    let mut consumer = server.connect();
    let subscription = SubscriptionData { topic: "T".into(), sub_string: Some("*".into()), ..Default::default() };
    let data = ConsumerData { group_name: "G".into(), subscription_data_set: vec![subscription], ..Default::default() };
    let heartbeat = HeartbeatData { client_id: "c1".into(), consumer_data_set: vec![data], ..Default::default() };
    let beat = consumer.call(Command::request(request::HEART_BEAT).with_body(heartbeat.encode()));
    assert_eq!(beat.code, response::SUCCESS);
    // Answers the next question; the notice of its own joining is passed over.
    let mut answer = |expected: i32, body: Vec<u8>| {
        let question = loop {
            let question = consumer.read();
            if question.code != request::NOTIFY_CONSUMER_IDS_CHANGED {
                break question;
            }
        };
        assert_eq!(question.code, expected);
        let reply = Command::response_to(&question, response::SUCCESS).with_remark("as asked").with_body(body);
        consumer.write(&apogee_wire::frame::to_bytes(&reply));
        question
    };

    admin.request(ask(request::GET_CONSUMER_RUNNING_INFO, &of_client));
    let question = answer(request::GET_CONSUMER_RUNNING_INFO, b"{\"jstack\":\"x\"}".to_vec());
    assert_eq!(question.fields.get("clientId"), Some("c1"));
    let told = admin.read();
    assert_eq!((told.code, &told.body[..], told.remark.as_deref()), (0, &b"{\"jstack\":\"x\"}"[..], Some("as asked")));

    admin.request(ask(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &of_group));
    let mut status = GetConsumerStatusBody::default();
    status.message_queue_table.insert(MessageQueue::new("T", "broker-a", 1), 7);
    answer(request::GET_CONSUMER_STATUS_FROM_CLIENT, status.encode());
    let told = GetConsumerStatusBody::decode(&admin.read().body).expect("offsets");
    assert_eq!(told.consumer_table["c1"][&MessageQueue::new("T", "broker-a", 1)], 7);

    let sent = admin.send("T", 0, b"once more", "");
    let id = sent.fields.get("msgId").expect("an id").to_owned();
    admin
        .request(ask(request::CONSUME_MESSAGE_DIRECTLY, &[("consumerGroup", "G"), ("clientId", "c1"), ("msgId", &id)]));
    let question = answer(request::CONSUME_MESSAGE_DIRECTLY, Vec::new());
    assert!(question.body.windows(9).any(|window| window == b"once more"));
    assert_eq!(admin.read().code, response::SUCCESS);
    let unknown = [("consumerGroup", "G"), ("clientId", "c1"), ("msgId", "nonsense")];
    call(&mut admin, request::CONSUME_MESSAGE_DIRECTLY, &unknown, response::INVALID_PARAMETER);
}

#[test]
fn a_removed_topic_stays_removed_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    create(&mut peer, "T", &[], response::SUCCESS);
    peer.send_ok("T", 0, b"x", "");
    call(&mut peer, request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")], response::SUCCESS);
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    call(&mut server.connect(), request::GET_TOPIC_CONFIG, &[("topic", "T")], response::TOPIC_NOT_EXIST);
}

#[test]
fn a_topic_takes_messages_of_its_type_only_where_that_is_checked() {
    let server = Server::start(&["enableTopicMessageTypeCheck=true"]);
    let mut peer = server.connect();
    let kinds = [
        ("NORMAL", ""),
        ("FIFO", "__SHARDINGKEY\u{1}k\u{2}"),
        ("DELAY", "DELAY\u{1}1\u{2}"),
        ("DELAY", "TIMER_DELAY_MS\u{1}5\u{2}"),
        ("TRANSACTION", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}"),
    ];
    peer.send_ok("Free", 0, b"x", "");
    for (wanted, _) in kinds {
        create(&mut peer, wanted, &[("attributes", &format!("+message.type={wanted}"))], response::SUCCESS);
        for (kind, properties) in kinds {
            let answer = peer.send(wanted, 0, b"x", properties);
            let expected = if kind == wanted { response::SUCCESS } else { response::MESSAGE_ILLEGAL };
            assert_eq!(answer.code, expected, "{kind} to {wanted}: {:?}", answer.remark);
            if kind != wanted {
                let remark = answer.remark.expect("a remark");
                assert!(remark.contains(&format!("expected type is {wanted}, but actual type is {kind}")), "{remark}");
            }
            assert_eq!(peer.send("Free", 0, b"x", properties).code, response::SUCCESS);
        }
    }
    // A changed mind counts at once.
    create(&mut peer, "FIFO", &[("attributes", "-message.type")], response::SUCCESS);
    peer.send_ok("FIFO", 0, b"x", "");
    let mixed = create(&mut peer, "M", &[("attributes", "+message.type=MIXED")], response::INVALID_PARAMETER);
    assert!(mixed.remark.expect("a remark").contains("enableMixedMessageType"));
    // Unless it is asked for, nothing is checked.
    let server = Server::start(&["enableMixedMessageType=true"]);
    let mut peer = server.connect();
    create(&mut peer, "FIFO", &[("attributes", "+message.type=FIFO")], response::SUCCESS);
    create(&mut peer, "M", &[("attributes", "+message.type=MIXED")], response::SUCCESS);
    peer.send_ok("FIFO", 0, b"x", "DELAY\u{1}1\u{2}");
}

#[test]
fn the_topic_of_traces_is_there_from_the_start() {
    let server = Server::start(&["autoCreateTopicEnable=false"]);
    let mut peer = server.connect();
    assert_eq!(peer.send("AnyOther", 0, b"x", "").code, response::TOPIC_NOT_EXIST);
    peer.send_ok("RMQ_SYS_TRACE_TOPIC", 0, b"Pub", "");
    let route =
        server.connect_namesrv().call(ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "RMQ_SYS_TRACE_TOPIC")]));
    assert_eq!(route.code, response::SUCCESS, "{:?}", route.remark);
}

#[test]
fn what_waits_to_be_consumed_again_counts_as_lag() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    create_group(&mut peer, "G");
    peer.send_ok("T", 0, b"x", "");
    commit(&mut peer, "G", "T", "0", "1", response::SUCCESS);
    peer.send_ok("%RETRY%G", 0, b"again", "");
    let told = call(&mut peer, request::GET_CONSUME_STATS, &[("consumerGroup", "G")], response::SUCCESS);
    let table = ConsumeStats::decode(&told.body).expect("figures").offset_table;
    let lag = |topic| table.get(&MessageQueue::new(topic, "broker-a", 0)).map(|q| q.broker_offset - q.consumer_offset);
    assert_eq!((lag("T"), lag("%RETRY%G")), (Some(0), Some(1)));
}

#[test]
fn topics_groups_and_offsets_survive_a_kill_as_soon_as_they_are_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]);
    for round in ["1", "2", "3"] {
        let mut peer = server.connect();
        create(&mut peer, &format!("T{round}"), &[("readQueueNums", round)], response::SUCCESS);
        create_group(&mut peer, &format!("G{round}"));
        let copied = [("srcGroup", "nobody"), ("destGroup", "H"), ("offline", "true")];
        call(&mut peer, request::CLONE_GROUP_OFFSET, &copied, response::SUCCESS);
        for _ in 0..round.parse().expect("a number") {
            peer.send_ok(&format!("T{round}"), 0, b"read", "");
        }
        commit(&mut peer, &format!("G{round}"), &format!("T{round}"), "0", round, response::SUCCESS);
        server.kill();
        server = Server::start_in(folder.path(), &[]);
        let mut peer = server.connect();
        for (number, name) in [(1, "1"), (2, "2"), (3, "3")].into_iter().take_while(|(_, name)| *name <= round) {
            let (topic, group) = (format!("T{name}"), format!("G{name}"));
            let told = call(&mut peer, request::GET_TOPIC_CONFIG, &[("topic", &topic)], response::SUCCESS);
            assert_eq!(TopicConfig::decode(&told.body).expect("a topic").read_queue_nums, number);
            call(&mut peer, request::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", &group)], response::SUCCESS);
            assert_eq!(offset(&mut peer, &group, &topic, "0"), Some(i64::from(number)));
        }
    }
    assert!(server.stop().success());
    let json = std::fs::read(folder.path().join("store/config/topics.json")).expect("the file");
    let table = TopicConfigSerializeWrapper::decode(&json).expect("topics").topic_config_table;
    assert!(table.contains_key("T3"), "Apache's broker finds it after a clean stop");
}

#[test]
fn many_topics_in_a_row_are_all_known_to_the_name_server() {
    for (of_name_server, count) in
        [("deleteTopicWithBrokerRegistration=false", 2_000), ("deleteTopicWithBrokerRegistration=true", 40)]
    {
        let server = Server::start(&[of_name_server]);
        let topics: Vec<_> = (0..count).map(|number| format!("Row-{number}")).collect();
        let (mut peer, mut namesrv) = (server.connect(), server.connect_namesrv());
        for topic in &topics {
            create(&mut peer, topic, &[], response::SUCCESS);
        }
        for topic in &topics {
            call(&mut namesrv, request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], response::SUCCESS);
        }
        call(&mut peer, request::DELETE_TOPIC_IN_BROKER, &[("topic", &topics[7])], response::SUCCESS);
        let expected = if of_name_server.ends_with("true") { response::TOPIC_NOT_EXIST } else { response::SUCCESS };
        call(&mut namesrv, request::GET_ROUTEINFO_BY_TOPIC, &[("topic", &topics[7])], expected);
        call(&mut namesrv, request::GET_ROUTEINFO_BY_TOPIC, &[("topic", &topics[8])], response::SUCCESS);
    }
}
