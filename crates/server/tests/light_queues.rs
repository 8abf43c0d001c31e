//! Light queues over the wire: one message in many queues, each read by whoever knows its name. With
//! `APOGEE_TEST_SERVER=apache` against Apache's server, but for what that does otherwise: docs/differences.md.

mod common;

use std::time::{Duration, Instant};

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, GetBrokerLiteInfoResponseBody, SubscriptionGroupConfig, TopicStatsTable};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{AckMessageRequestHeader, PopMessageResponseHeader, PullMessageResponseHeader, RpcFields};
use common::pop::Pop;
use common::{PATIENCE, Peer, Pull, Server};

const LIGHT: &[&str] = &["enableLmq=true", "enableMultiDispatch=true"];

fn to(names: &str) -> String {
    format!("INNER_MULTI_DISPATCH\x01{names}\x02")
}

fn ask(peer: &mut Peer, code: i32, fields: &[(&str, &str)], expected: i32) -> Command {
    let mut command = Command::request(code);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    let answer = peer.call(command);
    assert_eq!(answer.code, expected, "{code} {fields:?} {:?}", answer.remark);
    answer
}

fn offset(peer: &mut Peer, code: i32, queue: &str, more: &[(&str, &str)]) -> i64 {
    let fields = [&[("topic", queue), ("queueId", "0")], more].concat();
    let answer = ask(peer, code, &fields, response::SUCCESS);
    answer.fields.get("offset").expect("an offset").parse().expect("a number")
}

fn bodies(answer: &Command) -> Vec<String> {
    let body = |record: Record<'_>| String::from_utf8_lossy(record.body).into_owned();
    record::iter(&answer.body).map(|record| body(record.expect("a record"))).collect()
}

fn pulled(peer: &mut Peer, queue: &str, offset: i64) -> Vec<String> {
    let (answer, _) = peer.pull(Pull::of(queue, 0, offset));
    assert_eq!(answer.code, response::SUCCESS, "{queue} {offset} {:?}", answer.remark);
    bodies(&answer)
}

fn commit(peer: &mut Peer, group: &str, queue: &str, offset: i64) {
    let fields = [("consumerGroup", group), ("topic", queue), ("queueId", "0"), ("commitOffset", &*offset.to_string())];
    ask(peer, request::UPDATE_CONSUMER_OFFSET, &fields, response::SUCCESS);
}

fn committed(peer: &mut Peer, group: &str, queue: &str) -> i64 {
    offset(peer, request::QUERY_CONSUMER_OFFSET, queue, &[("consumerGroup", group)])
}

fn add_group(peer: &mut Peer, group: &str) {
    let body = SubscriptionGroupConfig::new(group).encode();
    let command = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body);
    assert_eq!(peer.call(command).code, response::SUCCESS);
}

#[test]
fn a_message_is_read_from_each_queue_it_names() {
    let server = Server::start(LIGHT);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"1", &to("%LMQ%a,%LMQ%b"));
    peer.send_ok("T", 1, b"2", &to("%LMQ%b"));
    peer.send_ok("T", 0, b"3", "");
    assert_eq!(pulled(&mut peer, "%LMQ%a", 0), ["1"]);
    assert_eq!(pulled(&mut peer, "%LMQ%b", 0), ["1", "2"]);
    assert_eq!(pulled(&mut peer, "%LMQ%b", 1), ["2"]);
    assert_eq!(offset(&mut peer, request::GET_MAX_OFFSET, "%LMQ%b", &[]), 2);
    assert_eq!(offset(&mut peer, request::GET_MIN_OFFSET, "%LMQ%b", &[]), 0);
    assert_eq!(offset(&mut peer, request::SEARCH_OFFSET_BY_TIMESTAMP, "%LMQ%b", &[("timestamp", "0")]), 0);
    let answer = ask(&mut peer, request::GET_TOPIC_STATS_INFO, &[("topic", "%LMQ%b")], response::SUCCESS);
    let table = TopicStatsTable::decode(&answer.body).expect("ranges").offset_table;
    assert_eq!(table.values().map(|range| range.max_offset).collect::<Vec<_>>(), [2]);

    // A pull that waits is woken.
    let waiting = Pull { suspend: 20_000, ..Pull::of("%LMQ%a", 0, 1) };
    let mut other = server.connect();
    other.park(waiting.command());
    peer.send_ok("T", 0, b"4", &to("%LMQ%a"));
    let answer = other.read();
    assert_eq!(bodies(&answer), ["4"]);
    let head: PullMessageResponseHeader = answer.header().expect("a header");
    assert_eq!((head.next_begin_offset, head.max_offset), (2, 2));
}

#[test]
fn offsets_are_those_of_groups_and_light_groups_and_kept_as_upstream_keeps_them() {
    if common::oracle::is_wanted() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    add_group(&mut peer, "G");
    peer.send_ok("T", 0, b"0", "");
    commit(&mut peer, "G", "T", 1);
    server.kill();

    // The broker had no light queues until now.
    let server = Server::start_in(folder.path(), LIGHT);
    let mut peer = server.connect();
    assert_eq!(committed(&mut peer, "G", "T"), 1);
    for body in ["1", "2", "3"] {
        peer.send_ok("T", 0, body.as_bytes(), &to("%LMQ%a"));
    }
    commit(&mut peer, "G", "%LMQ%a", 1);
    commit(&mut peer, "%LMQ%g", "%LMQ%a", 2);
    server.kill();

    let server = Server::start_in(folder.path(), LIGHT);
    let mut peer = server.connect();
    assert_eq!(pulled(&mut peer, "%LMQ%a", 0), ["1", "2", "3"]);
    assert_eq!((committed(&mut peer, "G", "%LMQ%a"), committed(&mut peer, "%LMQ%g", "%LMQ%a")), (1, 2));
    assert!(server.stop().success());
    let file = std::fs::read_to_string(folder.path().join("store/config/lmqConsumerOffset.json")).expect("the file");
    let text: String = file.split_whitespace().collect();
    assert!(text.contains(r#""lmqOffsetTable":{"%LMQ%a@%LMQ%g":2}"#), "{text}");
    assert!(text.contains(r#""%LMQ%a@G":{0:1}"#) && text.contains(r#""T@G":{0:1}"#), "{text}");

    // And has none any more.
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    assert_eq!(committed(&mut peer, "G", "T"), 1);
    let (answer, _) = peer.pull(Pull::of("%LMQ%a", 0, 0));
    assert_eq!(answer.code, response::TOPIC_NOT_EXIST);
}

#[test]
fn a_broker_without_light_queues_puts_a_message_into_its_topic_alone() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"1", &to("%LMQ%a"));
    assert_eq!(pulled(&mut peer, "T", 0), ["1"]);
    assert_eq!(offset(&mut peer, request::GET_MAX_OFFSET, "%LMQ%a", &[]), 0);
}

#[test]
fn what_waits_is_in_its_light_queues_when_it_is_delivered() {
    let server = Server::start(LIGHT);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"later", &format!("{}DELAY\x011\x02", to("%LMQ%a")));
    assert_eq!(offset(&mut peer, request::GET_MAX_OFFSET, "%LMQ%a", &[]), 0);
    peer.send_ok("T", 0, b"now", &to("%LMQ%a"));
    let mut waits = server.connect();
    waits.park(Pull { suspend: 20_000, ..Pull::of("%LMQ%a", 0, 1) }.command());
    assert_eq!(bodies(&waits.read()), ["later"]);
    assert_eq!(pulled(&mut peer, "%LMQ%a", 0), ["now", "later"]);
}

#[test]
fn new_queues_are_refused_when_there_are_as_many_as_may_be() {
    if common::oracle::is_wanted() {
        return;
    }
    let server = Server::start(&[LIGHT, &["enableLmqQuota=true", "maxLmqConsumeQueueNum=2"]].concat());
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"1", &to("%LMQ%a,%LMQ%b"));
    let refused = peer.send("T", 0, b"2", &to("%LMQ%b,%LMQ%c"));
    assert_eq!(refused.code, response::LMQ_QUOTA_EXCEEDED, "{:?}", refused.remark);
    assert_eq!(peer.send("%LMQ%c", 0, b"2", "").code, response::LMQ_QUOTA_EXCEEDED);
    peer.send_ok("T", 0, b"3", &to("%LMQ%a"));
    peer.send_ok("T", 0, b"4", "");
    let body = ask(&mut peer, request::GET_BROKER_LITE_INFO, &[], response::SUCCESS).body;
    let info = GetBrokerLiteInfoResponseBody::decode(&body).expect("figures");
    assert_eq!((info.current_lmq_num, info.max_lmq_num), (2, 2));
    ask(&mut peer, request::DELETE_TOPIC_IN_BROKER, &[("topic", "%LMQ%b")], response::SUCCESS);
    peer.send_ok("T", 0, b"5", &to("%LMQ%c"));
    assert_eq!(pulled(&mut peer, "%LMQ%c", 0), ["5"]);
}

#[test]
fn names_that_fill_the_properties_are_refused_and_odd_ones_passed_over() {
    if common::oracle::is_wanted() {
        return;
    }
    let server = Server::start(LIGHT);
    let mut peer = server.connect();
    let many: Vec<_> = (0..2_000).map(|at| format!("%LMQ%{at}")).collect();
    let refused = peer.send("T", 0, b"x", &to(&many.join(",")));
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL, "{:?}", refused.remark);
    peer.send_ok("T", 0, b"x", &to("%LMQ%../../x,%LMQ%,a,,%LMQ%ok"));
    assert_eq!(pulled(&mut peer, "%LMQ%ok", 0), ["x"]);
    peer.send_ok("T", 0, b"x", &to(&many[..900].join(",")));
    assert_eq!(pulled(&mut peer, "%LMQ%899", 0), ["x"]);
}

#[test]
fn a_light_queue_is_popped_by_its_own_offsets() {
    let server = Server::start(LIGHT);
    let mut peer = server.connect();
    // Other places in the topic than in the queue.
    for _ in 0..5 {
        peer.send_ok("T", 2, b"other", "");
    }
    for body in ["1", "2"] {
        peer.send_ok("T", 2, body.as_bytes(), &to("%LMQ%b,%LMQ%a"));
    }
    let answer = peer.call(Pop { invisible: 2_000, ..Pop::of("%LMQ%a") }.command());
    assert_eq!(bodies(&answer), ["1", "2"]);
    let head: PopMessageResponseHeader<'_> = answer.header().expect("a header");
    assert_eq!((head.start_offset_info, head.msg_offset_info), (Some("0 0 0"), Some("0 0 0,1")));
    let handle = format!("0 {} {} {} 0 broker-a 0 0", head.pop_time, head.invisible_time, head.revive_qid);
    let acked = peer.call(Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
        consumer_group: "G",
        topic: "%LMQ%a",
        queue_id: 0,
        extra_info: &handle,
        offset: 0,
        lite_topic: None,
        rpc: RpcFields::default(),
    }));
    assert_eq!(acked.code, response::SUCCESS, "{:?}", acked.remark);
    // The one that was not acknowledged comes again, and only to who reads this queue.
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing came again");
        let answer = peer.call(Pop { poll: 500, ..Pop::of("%LMQ%a") }.command());
        if answer.code == response::SUCCESS {
            assert_eq!(bodies(&answer), ["2"]);
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(pulled(&mut peer, "%LMQ%b", 0), ["1", "2"]);
    assert_eq!(offset(&mut peer, request::GET_MAX_OFFSET, "%LMQ%a", &[]), 2);
}

#[test]
fn queues_are_there_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..3 {
        let server = Server::start_in(folder.path(), LIGHT);
        let mut peer = server.connect();
        for at in 0..20 {
            peer.send_ok("T", 0, format!("{round}-{at}").as_bytes(), &to(&format!("%LMQ%all,%LMQ%{}", at % 5)));
        }
        assert_eq!(pulled(&mut peer, "%LMQ%all", round * 20).len(), 20);
        let of_four: Vec<_> =
            (0..=round).flat_map(|round| (0..4).map(move |at| format!("{round}-{}", at * 5 + 4))).collect();
        assert_eq!(pulled(&mut peer, "%LMQ%4", 0), of_four);
        server.kill();
    }
}
