use std::collections::BTreeSet;
use std::path::Path;

use apogee_message::names;
use apogee_wire::bodies::{
    HeartbeatData, MessageRequestModeSerializeWrapper, QueryAssignmentResponseBody, TopicConfig,
};
use apogee_wire::codes::request as code;
use apogee_wire::frame;
use bytes::BytesMut;

use super::*;
use crate::settings::BrokerSettings;
use crate::testing::{Running, call};

type Set = BTreeSet<(String, i32, MessageRequestMode)>;

async fn start(settings: impl FnOnce(&mut BrokerSettings)) -> (Running, Arc<Conn>) {
    let running = Running::start(1 << 30, settings).await;
    let conn = running.connect().await;
    (running, conn)
}

fn topic(running: &Running, name: &str, queues: i32) {
    let config = TopicConfig {
        topic_name: name.into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..TopicConfig::default()
    };
    running.broker.topics.update([config], 1);
}

/// A member, which stays as long as its connection.
async fn member(running: &Running, client: &str, group: &str) -> Arc<Conn> {
    let conn = running.connect().await;
    let body = format!(
        r#"{{"clientID":"{client}","consumerDataSet":[{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","subscriptionDataSet":[]}}]}}"#
    );
    assert!(HeartbeatData::decode(body.as_bytes()).is_ok());
    let answer = call(&conn, Command::request(code::HEART_BEAT).with_body(body)).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    conn
}

fn question(client: &str, group: &str, topic: &str) -> QueryAssignmentRequestBody {
    QueryAssignmentRequestBody {
        client_id: Some(client.into()),
        consumer_group: Some(group.into()),
        message_model: Some(MessageModel::Clustering),
        strategy_name: Some("AVG".into()),
        topic: Some(topic.into()),
    }
}

async fn try_ask(conn: &Conn, question: QueryAssignmentRequestBody) -> Command {
    call(conn, Command::request(code::QUERY_ASSIGNMENT).with_body(question.encode())).await
}

async fn ask(conn: &Conn, question: QueryAssignmentRequestBody) -> Option<Set> {
    let answer = try_ask(conn, question).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    set(&answer)
}

fn set(answer: &Command) -> Option<Set> {
    let assigned = QueryAssignmentResponseBody::decode(&answer.body).unwrap().message_queue_assignments?;
    let count = assigned.len();
    let parts = assigned.into_iter().map(|one| {
        let queue = one.message_queue.unwrap();
        (format!("{} {}", queue.topic, queue.broker_name), queue.queue_id, one.mode)
    });
    let parts: Set = parts.collect();
    assert_eq!(parts.len(), count, "none twice");
    Some(parts)
}

async fn set_mode(conn: &Conn, group: &str, topic: &str, mode: MessageRequestMode, share: i32) -> Command {
    let body = SetMessageRequestModeRequestBody {
        consumer_group: Some(group.into()),
        mode,
        pop_share_queue_num: share,
        topic: Some(topic.into()),
    };
    call(conn, Command::request(code::SET_MESSAGE_REQUEST_MODE).with_body(body.encode())).await
}

fn ids(set: Option<Set>) -> Vec<i32> {
    set.unwrap().into_iter().map(|(_, id, _)| id).collect()
}

/// Requests made to Apache RocketMQ 5.5.0 and its answers.
fn recorded(file: &str) -> Vec<(String, Command, Command)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/rpc").join(file);
    let recording: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let command = |recorded: &serde_json::Value| {
        let digits = recorded["frame_hex"].as_str().unwrap().as_bytes();
        let digit = |character: u8| char::from(character).to_digit(16).unwrap() as u8;
        let mut buffer: BytesMut = digits.chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect();
        let mut command = Command::default();
        assert!(frame::decode(&mut buffer, &mut command, frame::MAX_FRAME).unwrap());
        command
    };
    let exchanges = recording["exchanges"].as_array().unwrap().iter();
    let exchanges = exchanges.map(|exchange| {
        let scenario = exchange["scenario"].as_str().unwrap().to_owned();
        (scenario, command(&exchange["request"]), command(&exchange["response"]))
    });
    exchanges.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_questions_get_the_recorded_answers() {
    let (running, conn) = start(|settings| settings.broker_name = "broker-w".into()).await;
    for (name, queues) in [("T_raw", 2), ("T_normal5", 4), ("T_adm1", 4)] {
        topic(&running, name, queues);
    }
    for group in ["C_pop", "C_adm"] {
        running.broker.groups.get_or_create(group, true, 1).unwrap();
    }
    let _members = [member(&running, "192.0.2.2@po", "C_pop5").await, member(&running, "10.0.0.9@raw", "C_raw").await];
    let mut exchanges = recorded("401-SET_MESSAGE_REQUEST_MODE.json");
    exchanges.extend(recorded("400-QUERY_ASSIGNMENT.json"));
    assert_eq!(exchanges.len(), 8);
    for (scenario, request, expected) in exchanges {
        let answer = call(&conn, request).await;
        assert_eq!((answer.code, &answer.remark), (expected.code, &expected.remark), "{scenario}");
        if scenario.contains("assignment") || scenario.contains("push") {
            assert_eq!(set(&answer), set(&expected), "{scenario}");
        } else {
            assert_eq!(answer.body, expected.body, "{scenario}");
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_pull_share_the_queues_and_each_has_its_own() {
    let (running, conn) = start(|_| {}).await;
    topic(&running, "T", 5);
    assert_eq!(ask(&conn, question("a", "G", "T")).await, None, "nobody is known to be in the group");
    let mut members = Vec::new();
    for client in ["b", "c", "a"] {
        members.push(member(&running, client, "G").await);
    }
    for (strategy, parts) in
        [("AVG", [vec![0, 1], vec![2, 3], vec![4]]), ("AVG_BY_CIRCLE", [vec![0, 3], vec![1, 4], vec![2]])]
    {
        for (client, part) in ["a", "b", "c"].into_iter().zip(parts) {
            let question =
                QueryAssignmentRequestBody { strategy_name: Some(strategy.into()), ..question(client, "G", "T") };
            assert_eq!(ids(ask(&conn, question).await), part, "{strategy} {client}");
        }
    }
    let mut all = Vec::new();
    for client in ["a", "b", "c"] {
        let strategy_name = Some("CONSISTENT_HASH".into());
        all.extend(ids(ask(&conn, QueryAssignmentRequestBody { strategy_name, ..question(client, "G", "T") }).await));
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4]);
    assert_eq!(ids(ask(&conn, question("stranger", "G", "T")).await), [0; 0]);
    let everybody =
        QueryAssignmentRequestBody { message_model: Some(MessageModel::Broadcasting), ..question("a", "G", "T") };
    assert_eq!(ids(ask(&conn, everybody).await), [0, 1, 2, 3, 4]);
    assert_eq!(ids(ask(&conn, question("a", "G", "no such topic")).await), [0; 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_pop_have_any_queue_or_those_of_some_others_too() {
    let (running, conn) = start(|_| {}).await;
    topic(&running, "T", 4);
    let mut members = Vec::new();
    for client in ["a", "b", "c", "d"] {
        members.push(member(&running, client, "G").await);
    }
    let pop = MessageRequestMode::Pop;
    for (share, part) in [(0, vec![ANY]), (-1, vec![ANY]), (1, vec![0, 3]), (2, vec![0, 1, 3]), (3, vec![ANY])] {
        assert_eq!(set_mode(&conn, "G", "T", pop, share).await.code, response::SUCCESS);
        let set = ask(&conn, question("d", "G", "T")).await;
        assert!(set.iter().flatten().all(|(_, _, mode)| *mode == pop), "{set:?}");
        assert_eq!(ids(set), part, "{share}");
    }
    // More members than queues: each has one, in a circle.
    topic(&running, "T", 2);
    assert_eq!(set_mode(&conn, "G", "T", pop, 1).await.code, response::SUCCESS);
    let mut parts = Vec::new();
    for client in ["a", "b", "c", "d"] {
        parts.push(ids(ask(&conn, question(client, "G", "T")).await));
    }
    assert_eq!(parts, [[0], [1], [0], [1]]);
    let retries = ask(&conn, question("a", "G", "%RETRY%G")).await;
    assert!(retries.iter().flatten().all(|(_, _, mode)| *mode == MessageRequestMode::Pull), "{retries:?}");
    let everybody =
        QueryAssignmentRequestBody { message_model: Some(MessageModel::Broadcasting), ..question("a", "G", "T") };
    let everybody = ask(&conn, everybody).await.unwrap();
    assert!(everybody.iter().all(|(_, id, mode)| *id >= 0 && *mode == MessageRequestMode::Pull), "{everybody:?}");
    assert_eq!(set_mode(&conn, "G", "T", MessageRequestMode::Pull, 0).await.code, response::SUCCESS);
    assert_eq!(ids(ask(&conn, question("b", "G", "T")).await), [1]);
    assert_eq!(ids(ask(&conn, question("d", "G", "T")).await), [0; 0], "of two queues, by four members");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_may_be_set_to_pop_and_not_to_share() {
    let (running, conn) = start(|settings| settings.default_message_request_mode = RequestMode::Pop).await;
    topic(&running, "T", 4);
    let _members = [member(&running, "a", "G").await, member(&running, "b", "G").await];
    let set = ask(&conn, question("a", "G", "T")).await.unwrap();
    assert_eq!(set.into_iter().map(|(_, id, mode)| (id, mode)).collect::<Vec<_>>(), [(ANY, MessageRequestMode::Pop)]);
    let retry = ask(&conn, question("a", "G", &names::retry_topic("G"))).await.unwrap();
    assert!(retry.iter().all(|(_, _, mode)| *mode == MessageRequestMode::Pull), "{retry:?}");
    running.stop().await;

    let (running, conn) = start(|settings| settings.server_load_balancer_enable = false).await;
    topic(&running, "T", 4);
    assert_eq!(ids(ask(&conn, question("a", "G", "T")).await), [0, 1, 2, 3]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_is_refused_with_the_reason() {
    let (running, conn) = start(|_| {}).await;
    topic(&running, "T", 4);
    let mut wrong = [(); 5].map(|()| question("a", "G", "T"));
    wrong[0].topic = None;
    wrong[1].consumer_group = None;
    wrong[2].client_id = None;
    wrong[3].message_model = None;
    // Also before anybody is in the group: a client that is refused shares the queues itself.
    wrong[4].strategy_name = Some("MACHINE_ROOM".into());
    for (wrong, reason) in wrong.into_iter().zip(["topic", "consumerGroup", "clientId", "messageModel", "MACHINE_ROOM"])
    {
        let answer = try_ask(&conn, wrong).await;
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{answer:?}");
        assert!(answer.remark.as_deref().is_some_and(|remark| remark.contains(reason)), "{answer:?}");
    }
    for body in ["", "[", "{\"topic\":3}"] {
        let answer = call(&conn, Command::request(code::QUERY_ASSIGNMENT).with_body(body)).await;
        assert_ne!(answer.code, response::SUCCESS, "{body}: {answer:?}");
    }
    let pop = MessageRequestMode::Pop;
    running.broker.groups.get_or_create("G", true, 1).unwrap();
    for (group, topic, refusal) in [
        ("G", "%RETRY%G", response::NO_PERMISSION),
        ("G", "other", response::TOPIC_NOT_EXIST),
        ("other", "T", response::SUBSCRIPTION_GROUP_NOT_EXIST),
    ] {
        assert_eq!(set_mode(&conn, group, topic, pop, 0).await.code, refusal);
    }
    assert_eq!(*running.broker.request_modes.get(), MessageRequestModeSerializeWrapper::default());
    running.stop().await;
}
