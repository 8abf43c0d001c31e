use std::path::Path;

use apogee_base::disk::{Disk, SimDisk};
use apogee_wire::bodies::{ConsumerConnection, MessageQueue};
use apogee_wire::frame;
use bytes::BytesMut;

use super::*;
use crate::clients::tests::Wire;
use crate::table_file::TableFile;

/// What the handlers use, without a broker around it.
struct Office {
    settings: BrokerSettings,
    topics: TopicTable,
    groups: GroupTable,
    offsets: OffsetTable,
    consumers: Consumers<Wire>,
    producers: Producers<Wire>,
    locks: QueueLocks,
}

impl Office {
    fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        disk.create_folder(Path::new("/c")).unwrap();
        let file = |name: &str| TableFile::new(Arc::clone(&disk), Path::new("/c").join(name));
        let settings = BrokerSettings::default();
        Self {
            topics: TopicTable::open(file("topics.json"), &settings, 0).unwrap(),
            groups: GroupTable::open(file("groups.json"), 0).unwrap(),
            offsets: OffsetTable::open(file("offsets.json"), 0).unwrap(),
            consumers: Consumers::default(),
            producers: Producers::default(),
            locks: QueueLocks::default(),
            settings,
        }
    }

    fn at(&self, now_ms: i64) -> ClientDesk<'_, Wire> {
        let Self { settings, topics, groups, offsets, consumers, producers, locks } = self;
        ClientDesk { now_ms, settings, topics, groups, offsets, consumers, producers, locks }
    }

    fn beat(&self, wire: &Arc<Wire>, body: &str) -> Answer {
        self.at(0).heartbeat(wire, &with_body(code::HEART_BEAT, body))
    }
}

fn with_body(code: i32, body: &str) -> Command {
    Command::request(code).with_body(body.as_bytes().to_vec())
}

fn with_fields(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut request = Command::request(code);
    fields.iter().for_each(|(name, value)| request.fields.set_str(name, value));
    request
}

fn consumer(client: &str, expression: &str) -> String {
    format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{"groupName":"G","consumeType":"CONSUME_PASSIVELY",
        "messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[
        {{"topic":"T","subString":"{expression}","subVersion":1}}]}}],"producerDataSet":[]}}"#
    )
}

fn notices(wire: &Wire) -> Vec<(i32, Option<String>)> {
    let sent = wire.take_sent();
    sent.iter().map(|command| (command.code, command.fields.get("consumerGroup").map(str::to_owned))).collect()
}

#[test]
fn a_new_consumer_gets_a_group_a_retry_topic_and_all_members_are_told() {
    let office = Office::new();
    let (one, two) = (Wire::new(1), Wire::new(2));
    let answer = office.beat(&one, &consumer("a", "*")).unwrap();
    assert_eq!(answer.fields.get("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(answer.fields.get("IS_SUB_CHANGE"), Some("true"));
    assert!(office.groups.get("G").is_some() && office.topics.get("%RETRY%G").is_some());
    one.take_sent();

    let notice = (code::NOTIFY_CONSUMER_IDS_CHANGED, Some("G".to_owned()));
    office.beat(&two, &consumer("b", "*")).unwrap();
    assert_eq!([notices(&one), notices(&two)], [[notice.clone()], [notice.clone()]]);
    office.beat(&two, &consumer("b", "*")).unwrap();
    assert!(notices(&one).is_empty() && notices(&two).is_empty(), "nothing changed");

    office.at(0).closed(2);
    assert_eq!(notices(&one), [notice]);
}

#[test]
fn nobody_is_told_where_that_is_switched_off() {
    let mut office = Office::new();
    let wire = Wire::new(1);
    let quiet = apogee_wire::bodies::SubscriptionGroupConfig {
        notify_consumer_ids_changed_enable: false,
        ..apogee_wire::bodies::SubscriptionGroupConfig::new("G")
    };
    office.groups.update([quiet], 0);
    office.beat(&wire, &consumer("a", "*")).unwrap();
    assert!(wire.take_sent().is_empty(), "the group does not want it");

    office.groups.remove("G", 0);
    office.settings.notify_consumer_ids_changed_enable = false;
    office.beat(&wire, &consumer("b", "*")).unwrap();
    assert!(wire.take_sent().is_empty(), "the broker does not want it");
}

#[test]
fn a_group_that_may_not_be_created_is_left_out() {
    let mut office = Office::new();
    office.settings.auto_create_subscription_group = false;
    let body = consumer("a", "*").replace("\"producerDataSet\":[]", "\"producerDataSet\":[{\"groupName\":\"P\"}]");
    office.beat(&Wire::new(1), &body).unwrap();
    assert!(!office.consumers.is_online("G") && office.topics.get("%RETRY%G").is_none());
    assert!(office.producers.is_online("P"));
}

#[test]
fn a_fingerprint_saves_the_subscriptions() {
    let office = Office::new();
    let wire = Wire::new(1);
    let full = consumer("a", "x").replace("\"producerDataSet\"", "\"heartbeatFingerprint\":9,\"producerDataSet\"");
    let short = r#"{"clientID":"a","heartbeatFingerprint":9,"withoutSub":true,
        "consumerDataSet":[{"groupName":"G","subscriptionDataSet":[]}]}"#;
    let wants = |body: &str| office.beat(&wire, body).unwrap().fields.get("IS_SUB_CHANGE") == Some("true");
    assert!(wants(short), "never told");
    assert!(!wants(&full));
    assert!(!wants(short));
    assert_eq!(office.consumers.subscription("G", 1, "T").expect("kept").expression(), "x");
}

#[test]
fn damaged_heartbeats_are_refused() {
    let office = Office::new();
    for body in ["", "[", r#"{"clientID":"","consumerDataSet":[]}"#] {
        let error = office.beat(&Wire::new(1), body).unwrap_err();
        assert_eq!(error.code, response::INVALID_PARAMETER, "{body}: {error}");
    }
}

#[test]
fn clients_leave_on_request_and_by_silence() {
    let office = Office::new();
    let (one, two) = (Wire::new(1), Wire::new(2));
    office.beat(&one, &consumer("a", "*")).unwrap();
    office.beat(&two, &consumer("b", "*")).unwrap();
    one.take_sent();
    let leave = with_fields(code::UNREGISTER_CLIENT, &[("clientID", "b"), ("consumerGroup", "G")]);
    office.at(0).unregister(&leave).unwrap();
    assert_eq!(notices(&one).len(), 1);
    office.at(120_000).expire();
    assert!(office.consumers.is_online("G"));
    office.at(120_001).expire();
    assert!(!office.consumers.is_online("G"));
}

#[test]
fn unknown_groups_are_answered_as_upstream_does() {
    let office = Office::new();
    let desk = office.at(0);
    let consumers = [("consumerGroup", "X")];
    let error = desk.consumer_ids(&with_fields(38, &consumers)).unwrap_err();
    assert_eq!((error.code, &*error.remark), (1, "no consumer for this group, X"));
    let error = desk.consumer_connections(&with_fields(203, &consumers)).unwrap_err();
    assert_eq!((error.code, &*error.remark), (206, "the consumer group[X] not online"));
    let error = desk.producer_connections(&with_fields(204, &[("producerGroup", "X")])).unwrap_err();
    assert_eq!((error.code, &*error.remark), (1, "the producer group[X] not exist"));
}

#[test]
fn expressions_that_cannot_be_evaluated_are_refused() {
    let office = Office::new();
    let check = |text: &str, kind: &str| {
        let subscription = format!(r#"{{"topic":"T","subString":"{text}"{kind}}}"#);
        let body = format!(r#"{{"clientId":"a","group":"G","subscriptionData":{subscription}}}"#);
        office.at(0).check_config(&with_body(code::CHECK_CLIENT_CONFIG, &body))
    };
    let sql = r#","expressionType":"SQL92""#;
    assert!(check("a >>> 3", "").is_ok() && check("a >>> 3", r#","expressionType":"TAG""#).is_ok());
    assert!(check("a > 3", sql).is_ok());
    let error = check("a >>> 3", sql).unwrap_err();
    assert_eq!(error.code, 23);
    assert!(error.remark.starts_with("position 4: expected a name"), "{error}");
    let error = check("a > 3", r#","expressionType":"JS""#).unwrap_err();
    assert_eq!((error.code, &*error.remark), (1, "The broker does not support consumer to filter message by JS"));
}

#[test]
fn locks_need_a_group_and_a_client() {
    let office = Office::new();
    let queues = r#""mqSet":[{"topic":"T","brokerName":"b","queueId":0}]"#;
    let lock = |client: &str| {
        let body = format!(r#"{{"consumerGroup":"G","clientId":"{client}",{queues}}}"#);
        office.at(0).lock(&with_body(code::LOCK_BATCH_MQ, &body))
    };
    let locked = LockBatchResponseBody::decode(&lock("a").unwrap().body).unwrap();
    assert_eq!(locked.lock_ok_mq_set, [MessageQueue::new("T", "b", 0)]);
    assert_eq!(&*lock("b").unwrap().body, br#"{"lockOKMQSet":[]}"#);
    assert_eq!(lock("").unwrap_err().code, response::INVALID_PARAMETER);
}

#[test]
fn a_topic_is_consumed_by_who_subscribes_and_who_left_offsets() {
    let office = Office::new();
    office.beat(&Wire::new(1), &consumer("a", "*")).unwrap();
    office.offsets.commit("Gone", "T", 0, 5);
    let answer = office.at(0).groups_of_topic(&with_fields(300, &[("topic", "T")])).unwrap();
    assert_eq!(&*answer.body, br#"{"groupList":["G","Gone"]}"#);
}

#[test]
fn an_online_group_is_described() {
    let office = Office::new();
    office.beat(&Wire::new(1), &consumer("a", "x || y")).unwrap();
    let answer = office.at(0).consumer_connections(&with_fields(203, &[("consumerGroup", "G")])).unwrap();
    let described = ConsumerConnection::decode(&answer.body).unwrap();
    assert_eq!(described.connection_set[0].client_addr.as_deref(), Some("192.0.2.1:1001"));
    assert_eq!(described.subscription_table["T"].sub_string.as_deref(), Some("x || y"));
    let absent = with_fields(345, &[("group", "G"), ("topic", "U")]);
    assert_eq!(&*office.at(0).subscription(&absent).unwrap().body, br#"{"group":"G","topic":"U"}"#);
    assert!(office.at(0).subscription(&with_fields(345, &[("group", "G")])).is_err());
}

#[test]
fn producers_are_listed() {
    let office = Office::new();
    let wire = Wire::new(1);
    office.beat(&wire, r#"{"clientID":"a","producerDataSet":[{"groupName":"P"}]}"#).unwrap();
    let ask = |request: Command| office.at(0).serve(&wire, &request).unwrap().unwrap().body;
    let all = ProducerTableInfo::decode(&ask(Command::request(code::GET_ALL_PRODUCER_INFO))).unwrap();
    assert_eq!(all.data["P"][0].client_id.as_deref(), Some("a"));
    let of_group = with_fields(code::GET_PRODUCER_CONNECTION_LIST, &[("producerGroup", "P")]);
    assert_eq!(ProducerConnection::decode(&ask(of_group)).unwrap().connection_set.len(), 1);
    assert!(office.at(0).serve(&wire, &Command::request(code::SEND_MESSAGE_V2)).is_none());
}

/// Requests made by hand to Apache RocketMQ 5.5.0 and its answers, in the order they took place.
fn recorded(encoding: &str) -> Vec<(String, Command, Command)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/rpc");
    let mut found = Vec::new();
    for file in [
        "34-HEART_BEAT",
        "35-UNREGISTER_CLIENT",
        "38-GET_CONSUMER_LIST_BY_GROUP",
        "41-LOCK_BATCH_MQ",
        "42-UNLOCK_BATCH_MQ",
        "345-QUERY_SUBSCRIPTION_BY_CONSUMER",
    ] {
        let text = std::fs::read(folder.join(format!("{file}.json"))).unwrap();
        let recording: serde_json::Value = serde_json::from_slice(&text).unwrap();
        for exchange in recording["exchanges"].as_array().unwrap() {
            let scenario = exchange["scenario"].as_str().unwrap();
            if scenario.split(':').next() == Some(encoding) {
                found.push((scenario.to_owned(), command(&exchange["request"]), command(&exchange["response"])));
            }
        }
    }
    found.sort_by_key(|(_, request, _)| request.opaque);
    found
}

fn command(recorded: &serde_json::Value) -> Command {
    let digits = recorded["frame_hex"].as_str().unwrap().as_bytes();
    let digit = |character: u8| char::from(character).to_digit(16).unwrap() as u8;
    let mut buffer: BytesMut = digits.chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect();
    let mut command = Command::default();
    assert!(frame::decode(&mut buffer, &mut command, frame::MAX_FRAME).unwrap());
    command
}

#[test]
fn recorded_requests_get_the_recorded_answers() {
    for encoding in ["raw550", "raw550bin"] {
        let office = Office::new();
        let wire = Wire::new(1);
        let exchanges = recorded(encoding);
        assert!(exchanges.len() >= 5, "{encoding}: {}", exchanges.len());
        for (scenario, request, expected) in exchanges {
            let answer = office.at(0).serve(&wire, &request).expect("a request of a client");
            let answer = answer.unwrap_or_else(|error| error.response_to(&request));
            let fields = |command: &Command| {
                let pairs = command.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                pairs.collect::<BTreeSet<_>>()
            };
            let text = |command: &Command| String::from_utf8_lossy(&command.body).into_owned();
            assert_eq!((answer.code, &answer.remark), (expected.code, &expected.remark), "{scenario}");
            assert_eq!(fields(&answer), fields(&expected), "{scenario}");
            assert_eq!(text(&answer), text(&expected), "{scenario}");
        }
    }
}

/// A client whose connection ended may be on its way back, and go on with what it has: its queues are
/// nobody else's until it would have renewed its locks.
#[test]
fn the_queues_of_a_client_that_is_gone_pass_to_another_when_its_locks_end() {
    let office = Office::new();
    let (one, two) = (Wire::new(1), Wire::new(2));
    office.beat(&one, &consumer("a", "*")).unwrap();
    office.beat(&two, &consumer("b", "*")).unwrap();
    let lock = |now_ms: i64, client: &str| {
        let body = format!(
            r#"{{"consumerGroup":"G","clientId":"{client}","mqSet":[{{"topic":"T","brokerName":"b","queueId":0}}]}}"#
        );
        let answer = office.at(now_ms).lock(&with_body(code::LOCK_BATCH_MQ, &body)).unwrap();
        LockBatchResponseBody::decode(&answer.body).unwrap().lock_ok_mq_set.len()
    };
    assert_eq!(lock(0, "a"), 1);
    one.close();
    notices(&two);
    office.at(1_000).closed(1);
    assert_eq!(notices(&two).len(), 1, "the other one is told at once");
    assert_eq!(lock(1_000, "b"), 0);
    assert_eq!(lock(60_001, "b"), 1);
}
