//! How far a group that pops is, and what is in flight of it: exact, wherever it is kept, and over a crash.

mod common;

use std::time::{Duration, Instant};

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, ConsumeStats, ConsumeStatsList};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::PopMessageResponseHeader;
use common::http::{free_port, get};
use common::pop::Pop;
use common::{PATIENCE, Peer, Server};

/// A message that was popped: its offset in queue 0, and its handle.
type Popped = (i64, String);

fn call(peer: &mut Peer, code: i32, fields: &[(&str, &str)]) -> Command {
    let mut command = Command::request(code);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    peer.call(command)
}

fn pop(peer: &mut Peer, most: &str, invisible: &str) -> Vec<Popped> {
    let fields = [
        ("consumerGroup", "G"),
        ("topic", "T"),
        ("queueId", "0"),
        ("maxMsgNums", most),
        ("invisibleTime", invisible),
        ("pollTime", "0"),
        ("bornTime", "0"),
        ("initMode", "0"),
    ];
    let answer = call(peer, request::POP_MESSAGE, &fields);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let PopMessageResponseHeader { pop_time, invisible_time, revive_qid, .. } = answer.header().expect("a header");
    let records = record::iter(&answer.body).map(|record| record.expect("a record"));
    let offsets: Vec<i64> = records.map(|record| record.queue_offset).collect();
    let start = offsets[0];
    let handle = |offset| format!("{start} {pop_time} {invisible_time} {revive_qid} 0 broker-a 0 {offset}");
    offsets.into_iter().map(|offset| (offset, handle(offset))).collect()
}

fn ack(peer: &mut Peer, (offset, handle): &Popped) {
    let offset = offset.to_string();
    let fields = [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0"), ("extraInfo", handle), ("offset", &offset)];
    let answer = call(peer, request::ACK_MESSAGE, &fields);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// Lag and messages in flight, of the topic and of its retry topic.
type Figures = [(i64, i64); 2];

const TOPICS: [&str; 2] = ["T", "%RETRY%G_T"];

fn by_group(peer: &mut Peer) -> Figures {
    let answer = call(peer, request::GET_CONSUME_STATS, &[("consumerGroup", "G")]);
    let stats = ConsumeStats::decode(&answer.body).expect("figures");
    TOPICS.map(|topic| {
        let queues = stats.offset_table.iter().filter(|(queue, _)| queue.topic == topic);
        queues.fold((0, 0), |(lag, in_flight), (_, of)| {
            (lag + of.broker_offset - of.consumer_offset, in_flight + of.pull_offset - of.consumer_offset)
        })
    })
}

fn of_broker(peer: &mut Peer) -> (i64, i64) {
    let answer = call(peer, request::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")]);
    let list = ConsumeStatsList::decode(&answer.body).expect("figures");
    (list.total_diff, list.total_inflight_diff)
}

/// The only series of a name that is of the group, with this label.
fn metric(text: &str, name: &str, label: &str) -> i64 {
    let is_it = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && line.contains(r#"consumer_group="G""#) && line.contains(label)
    };
    let line = text.lines().find(is_it).unwrap_or_else(|| panic!("no {name} with {label} in:\n{text}"));
    line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number") as i64
}

fn by_metrics(port: u16) -> Figures {
    let (_, text) = get(port, "/metrics");
    [("false", TOPICS[0]), ("true", TOPICS[1])].map(|(is_retry, topic)| {
        let label = format!(r#"is_retry="{is_retry}""#);
        let [lag, in_flight, ready] = ["lag", "inflight", "ready"]
            .map(|what| metric(&text, &format!("rocketmq_consumer_{what}_messages"), &label));
        assert_eq!(lag, in_flight + ready, "{text}");
        let own = metric(&text, "apogee_consumer_lag_messages", &format!(r#"topic="{topic}""#));
        assert_eq!(own, lag, "{text}");
        (lag, in_flight)
    })
}

/// Waits for figures, which all that tell them agree on.
fn awaits(what: &str, peer: &mut Peer, port: u16, expected: Figures) {
    let deadline = Instant::now() + PATIENCE;
    while by_group(peer) != expected {
        assert!(Instant::now() < deadline, "{what}: {:?} for {expected:?}", by_group(peer));
        std::thread::sleep(Duration::from_millis(20));
    }
    let [own, retry] = expected;
    assert_eq!(of_broker(peer), (own.0 + retry.0, own.1 + retry.1), "{what}");
    let (_, text) = get(port, "/metrics");
    if text.contains(TOPICS[1]) {
        assert_eq!(by_metrics(port), expected, "{what}");
    }
}

#[test]
fn what_is_in_flight_is_counted_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let port_setting = format!("metricsPromExporterPort={port}");
    // In memory for so long; then in the log.
    let own_first = "popFromRetryProbability=0";
    let in_memory = [&*port_setting, own_first, "popCkStayBufferTime=600000"];
    let in_log = [&*port_setting, own_first, "popCkStayBufferTime=100", "popCkStayBufferTimeOut=0"];
    let server = Server::start_in(folder.path(), &in_memory);
    let mut peer = server.connect();
    for number in 0..10 {
        peer.send_ok("T", 0, format!("{number}").as_bytes(), "");
    }
    let out = pop(&mut peer, "6", "600000");
    awaits("popped", &mut peer, port, [(10, 6), (0, 0)]);
    ack(&mut peer, &out[1]);
    ack(&mut peer, &out[4]);
    awaits("acknowledged in any order", &mut peer, port, [(8, 4), (0, 0)]);
    let late = pop(&mut peer, "2", "1000");
    awaits("popped", &mut peer, port, [(8, 6), (0, 0)]);
    awaits("given back", &mut peer, port, [(6, 4), (2, 0)]);
    assert_eq!(by_metrics(port), [(6, 4), (2, 0)]);
    assert!(server.stop().success());

    // All that was out is noted in the log now.
    let server = Server::start_in(folder.path(), &in_log);
    let mut peer = server.connect();
    awaits("after a stop", &mut peer, port, [(6, 4), (2, 0)]);
    ack(&mut peer, &out[0]);
    ack(&mut peer, &out[0]);
    awaits("acknowledged, twice, what the log has", &mut peer, port, [(5, 3), (2, 0)]);
    let more = pop(&mut peer, "1", "600000");
    assert_eq!((more[0].0, late[1].0), (8, 7));
    let noted = || metric_of_broker(port, "apogee_popped_messages") == 0;
    let deadline = Instant::now() + PATIENCE;
    while !noted() {
        assert!(Instant::now() < deadline, "never noted");
        std::thread::sleep(Duration::from_millis(20));
    }
    awaits("noted", &mut peer, port, [(5, 4), (2, 0)]);
    let renewed =
        [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0"), ("offset", "2"), ("invisibleTime", "500000")];
    let answer =
        call(&mut peer, request::CHANGE_MESSAGE_INVISIBLETIME, &[&renewed[..], &[("extraInfo", &out[2].1)]].concat());
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    awaits("renewed", &mut peer, port, [(5, 4), (2, 0)]);
    server.kill();

    let server = Server::start_in(folder.path(), &in_log);
    let mut peer = server.connect();
    awaits("after a kill", &mut peer, port, [(5, 4), (2, 0)]);
    ack(&mut peer, &more[0]);
    ack(&mut peer, &out[3]);
    ack(&mut peer, &out[5]);
    awaits("only the renewed one is left", &mut peer, port, [(2, 1), (2, 0)]);
}

fn metric_of_broker(port: u16, name: &str) -> i64 {
    let (_, text) = get(port, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).expect("the metric");
    line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number") as i64
}

#[test]
fn what_is_in_flight_in_order_is_counted_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let setting = format!("metricsPromExporterPort={port}");
    let server = Server::start_in(folder.path(), &[&setting]);
    let mut peer = server.connect();
    for number in 0..10 {
        peer.send_ok("T", 0, format!("{number}").as_bytes(), "");
    }
    let in_order = Pop { queue: 0, in_order: true, most: 4, ..Pop::of("T") };
    let out = in_order.by(&mut peer);
    assert_eq!(out.len(), 4);
    awaits_own("popped", &mut peer, port, (10, 4));
    for (number, left) in [(2, (9, 3)), (0, (8, 2))] {
        assert_eq!(out[number].ack(&mut peer).code, response::SUCCESS);
        awaits_own("acknowledged", &mut peer, port, left);
    }
    assert!(server.stop().success());
    let server = Server::start_in(folder.path(), &[&setting]);
    let mut peer = server.connect();
    awaits_own("after a stop", &mut peer, port, (8, 2));
    for message in [&out[1], &out[3]] {
        assert_eq!(message.change(&mut peer, 0, false).code, response::SUCCESS);
    }
    awaits_own("given back", &mut peer, port, (8, 0));
    let again = in_order.by(&mut peer);
    assert_eq!(again.iter().map(|popped| &*popped.body).collect::<Vec<_>>(), ["1", "3", "4", "5"]);
    awaits_own("popped again", &mut peer, port, (8, 4));
    again.iter().for_each(|popped| assert_eq!(popped.ack(&mut peer).code, response::SUCCESS));
    awaits("acknowledged", &mut peer, port, [(4, 0), (0, 0)]);
}

/// The same of the topic alone: popped in order, a group has no retry topic.
fn awaits_own(what: &str, peer: &mut Peer, port: u16, expected: (i64, i64)) {
    awaits(what, peer, port, [expected, (0, 0)]);
    let (_, text) = get(port, "/metrics");
    let of = |name: &str| metric(&text, &format!("rocketmq_consumer_{name}_messages"), r#"is_retry="false""#);
    assert_eq!((of("lag"), of("inflight"), of("ready")), (expected.0, expected.1, expected.0 - expected.1), "{what}");
}
