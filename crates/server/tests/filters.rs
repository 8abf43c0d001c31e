//! SQL92 expressions decide which messages a pull returns.

mod common;

use std::time::Duration;

use apogee_message::record::Record;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, COUNT_MATCHING, ConsumeStats, ConsumerData, HeartbeatData, MessageModel, SubscriptionData,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetConsumeStatsRequestHeader, PullMessageRequestHeader, PullMessageResponseHeader, RpcFields,
    UpdateConsumerOffsetRequestHeader,
};
use common::http::{free_port, get};
use common::{Peer, Pull, Server};

/// A pull with an expression of its own.
fn pull(expression: &str, offset: i64, suspend: i64) -> Command {
    let command = Pull { tags: expression, suspend, ..Pull::of("T", 0, offset) }.command();
    let header: PullMessageRequestHeader<'_> = command.header().expect("a header");
    let header = PullMessageRequestHeader { expression_type: Some("SQL92"), ..header };
    Command::request(request::PULL_MESSAGE).with_header(&header)
}

fn next_offset(answer: &Command) -> i64 {
    answer.header::<PullMessageResponseHeader>().expect("a header").next_begin_offset
}

fn bodies(answer: &Command) -> Vec<String> {
    let (mut bodies, mut rest) = (Vec::new(), &answer.body[..]);
    while !rest.is_empty() {
        let record = Record::read(rest).expect("a record");
        bodies.push(String::from_utf8_lossy(record.body).into_owned());
        rest = &rest[record.size as usize..];
    }
    bodies
}

/// Ten messages; `price` of each is its offset, and every other one is red.
fn send_ten(peer: &mut Peer) {
    for at in 0..10 {
        let colour = if at % 2 == 0 { "red" } else { "blue" };
        let properties = format!("TAGS\u{1}{colour}\u{2}price\u{1}{at}\u{2}");
        peer.send_ok("T", 0, at.to_string().repeat(at + 1).as_bytes(), &properties);
    }
}

fn heartbeat(peer: &mut Peer, expression: &str, version: i64) {
    let subscription = SubscriptionData {
        topic: "T".into(),
        sub_string: Some(expression.into()),
        expression_type: Some("SQL92".into()),
        sub_version: version,
        ..Default::default()
    };
    let data = ConsumerData {
        group_name: "C".into(),
        message_model: Some(MessageModel::Clustering),
        subscription_data_set: vec![subscription],
        ..Default::default()
    };
    let heartbeat = HeartbeatData { client_id: "c1".into(), consumer_data_set: vec![data], ..Default::default() };
    assert_eq!(peer.call(Command::request(request::HEART_BEAT).with_body(heartbeat.encode())).code, response::SUCCESS);
}

/// A pull by what the heartbeat told.
fn pull_subscribed(version: i64) -> Command {
    let command = Pull::of("T", 0, 0).command();
    let header: PullMessageRequestHeader<'_> = command.header().expect("a header");
    let header = PullMessageRequestHeader { sys_flag: 0, subscription: None, sub_version: version, ..header };
    Command::request(request::PULL_MESSAGE).with_header(&header)
}

#[test]
fn a_pull_returns_what_matches_and_only_that() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send_ten(&mut peer);
    for (expression, wanted) in [
        ("price BETWEEN 3 AND 5", vec!["3333", "44444", "555555"]),
        ("TAGS = 'red' AND price > 6", vec!["888888888"]),
        ("_tag = 'blue' AND _body_length < 5", vec!["11", "3333"]),
        ("_born_time = 1700000000000 AND _keys IS NULL AND price IN ('9')", vec!["9999999999"]),
        ("nothing IS NULL AND price < 1", vec!["0"]),
    ] {
        let answer = peer.call(pull(expression, 0, 0));
        assert_eq!((answer.code, bodies(&answer)), (response::SUCCESS, wanted.iter().map(|s| s.to_string()).collect()));
        assert_eq!(next_offset(&answer), 10, "{expression}");
    }
    let answer = peer.call(pull("price > 100 OR TAGS > 5", 0, 0));
    assert_eq!((answer.code, next_offset(&answer)), (response::PULL_RETRY_IMMEDIATELY, 10), "{answer:?}");
}

#[test]
fn an_error_in_an_expression_is_told_with_its_position() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send_ten(&mut peer);
    let remark = |answer: &Command| answer.remark.as_deref().unwrap_or_default().to_owned();
    let answer = peer.call(pull("price >> 3", 0, 0));
    assert_eq!(answer.code, response::SUBSCRIPTION_PARSE_FAILED);
    assert!(remark(&answer).starts_with("parse the consumer's subscription failed: position 8: "), "{answer:?}");
    // A heartbeat is for all of a client's topics: it is taken, and the pull is refused.
    heartbeat(&mut peer, "price =", 1);
    let answer = peer.call(pull_subscribed(1));
    assert_eq!(answer.code, response::FILTER_DATA_NOT_EXIST);
    assert!(
        remark(&answer).ends_with(
            "Your expression may be wrong! position 8: expected a name, a literal, '(', NOT or a sign, found the end"
        ),
        "{answer:?}"
    );
    heartbeat(&mut peer, "price = 3", 2);
    assert_eq!(bodies(&peer.call(pull_subscribed(2))), ["3333"]);
    heartbeat(&mut peer, "price = 4", 3);
    assert_eq!(bodies(&peer.call(pull_subscribed(3))), ["44444"]);
    server.assert_serving();
}

#[test]
fn the_broker_may_be_told_not_to_evaluate_expressions() {
    let server = Server::start(&["enablePropertyFilter=false"]);
    let mut peer = server.connect();
    send_ten(&mut peer);
    let answer = peer.call(pull("price > 3", 0, 0));
    let remark = "The broker does not support consumer to filter message by SQL92";
    assert_eq!((answer.code, answer.remark.as_deref()), (response::SYSTEM_ERROR, Some(remark)));
}

#[test]
fn a_parked_pull_waits_for_a_message_that_matches() {
    let server = Server::start(&[]);
    let mut producer = server.connect();
    let mut consumer = server.connect();
    send_ten(&mut producer);
    let parked = consumer.park(pull("price = 100", 10, 20_000));
    for _ in 0..5 {
        producer.send_ok("T", 0, b"cheap", "price\u{1}1\u{2}");
    }
    assert!(consumer.read_within(Duration::from_millis(200)).is_none(), "answered by what does not match");
    producer.send_ok("T", 0, b"dear", "price\u{1}100\u{2}");
    let answer = consumer.read();
    assert_eq!((answer.opaque, answer.code, bodies(&answer)), (parked, response::SUCCESS, vec!["dear".to_owned()]));
    assert_eq!(next_offset(&answer), 16);
}

#[test]
fn a_parked_pull_that_expires_tells_how_far_it_looked() {
    let server = Server::start(&[]);
    let mut producer = server.connect();
    let mut consumer = server.connect();
    send_ten(&mut producer);
    consumer.park(pull("price = 100", 10, 700));
    producer.send_ok("T", 0, b"cheap", "price\u{1}1\u{2}");
    let answer = consumer.read();
    assert_eq!((answer.code, next_offset(&answer)), (response::PULL_NOT_FOUND, 11), "{answer:?}");
}

#[test]
fn a_costly_expression_looks_at_few_messages_in_one_go() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let properties = format!("a\u{1}{}\u{2}", "x".repeat(30_000));
    for _ in 0..8 {
        peer.send_ok("T", 0, b"x", &properties);
    }
    let costly = vec!["a CONTAINS 'xxxxxxxxxxxxxxxxy'"; 200].join(" OR ");
    let mut offset = 0;
    while offset < 8 {
        let answer = peer.call(pull(&costly, offset, 0));
        assert_eq!(answer.code, response::PULL_RETRY_IMMEDIATELY, "{answer:?}");
        assert!((offset + 1..offset + 4).contains(&next_offset(&answer)), "{answer:?}");
        offset = next_offset(&answer);
    }
    let bomb = format!("{}a = 1", "(".repeat(20_000));
    assert_eq!(peer.call(pull(&bomb, 0, 0)).code, response::SUBSCRIPTION_PARSE_FAILED);
    server.assert_serving();
}

/// What the broker counts of ten messages, at least and at most, for a group that has consumed `committed` of them.
fn counted(peer: &mut Peer, committed: i64) -> Option<(u64, u64)> {
    let commit = UpdateConsumerOffsetRequestHeader {
        consumer_group: "C",
        topic: "T",
        queue_id: 0,
        commit_offset: committed,
        rpc: RpcFields::default(),
    };
    peer.call(Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&commit));
    let header = GetConsumeStatsRequestHeader {
        consumer_group: "C",
        topic: Some("T"),
        topic_list: None,
        rpc: RpcFields::default(),
    };
    let mut question = Command::request(request::GET_CONSUME_STATS).with_header(&header);
    let plain = ConsumeStats::decode(&peer.call(question.clone()).body).expect("stats");
    assert!(plain.offset_table.values().all(|queue| queue.matching_least.is_none()), "only who asks is told");
    question.fields.set_str(COUNT_MATCHING, "true");
    let stats = ConsumeStats::decode(&peer.call(question).body).expect("stats");
    let queue = stats.offset_table.iter().find(|(queue, _)| queue.queue_id == 0).expect("the queue").1;
    queue.matching_least.zip(queue.matching_most)
}

#[test]
fn unread_messages_that_match_are_counted() {
    let port = free_port();
    let server = Server::start(&[&format!("metricsPromExporterPort={port}")]);
    let mut peer = server.connect();
    send_ten(&mut peer);
    assert_eq!(counted(&mut peer, 0), None, "nobody tells what the group wants");
    heartbeat(&mut peer, "price > 5", 1);
    assert_eq!(counted(&mut peer, 0), Some((4, 4)));
    assert_eq!(counted(&mut peer, 8), Some((2, 2)));
    heartbeat(&mut peer, "TAGS = 'red' AND price > 5", 2);
    assert_eq!(counted(&mut peer, 0), Some((2, 2)));
    let name_server = server.namesrv.to_string();
    let shown = std::process::Command::new(common::binary())
        .args(["admin", "consumerProgress", "-g", "C", "--matching", "-n", &name_server])
        .output()
        .expect("it runs");
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("#Diff") && shown.contains("#Matching"), "{shown}");
    assert!(shown.contains("Consume Matching Total: 2"), "{shown}");
    let (_, metrics) = get(port, "/metrics");
    for bound in ["least", "most"] {
        let is_told = |line: &&str| {
            line.starts_with("apogee_consumer_lag_matching_messages") && line.contains(&format!("bound=\"{bound}\""))
        };
        let series = metrics.lines().find(is_told).unwrap_or_else(|| panic!("{bound} in {metrics}"));
        assert!(series.ends_with(" 2.0"), "{series}");
    }
}
