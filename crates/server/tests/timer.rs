//! Messages at times of their own: when they come, how often, and what stops them.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, TimerMetricsSerializeWrapper};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    PullMessageResponseHeader, RecallMessageRequestHeader, RecallMessageResponseHeader, RpcFields,
    SendMessageResponseHeader,
};
use common::{PATIENCE, Peer, Pull, Server, send_request};

const TOPIC: &str = "Timed";

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn key(key: &str) -> String {
    format!("UNIQ_KEY\u{1}{key}\u{2}")
}

/// A message that came: its body, and how late it was stored in milliseconds.
type Came = (String, i64);

/// Pulls until so many have come; then until nothing has come for a while.
fn pull(peer: &mut Peer, count: usize, while_ms: u64) -> Vec<Came> {
    let (mut came, mut offset) = (Vec::new(), 0);
    let mut deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let (answer, next) = peer.pull(Pull { suspend: 100, ..Pull::of(TOPIC, 0, offset) });
        if answer.code == response::SUCCESS {
            came.extend(record::iter(&answer.body).map(|record| late(&record.expect("a record"))));
        }
        offset = next.unwrap_or(offset);
        if came.len() >= count && deadline > Instant::now() + Duration::from_millis(while_ms) {
            deadline = Instant::now() + Duration::from_millis(while_ms);
        }
    }
    came
}

fn late(record: &Record<'_>) -> Came {
    let due = record.property("TIMER_OUT_MS").and_then(|due| due.parse::<i64>().ok());
    let late = due.map_or(0, |due| record.store_timestamp - due);
    (String::from_utf8_lossy(record.body).into_owned(), late)
}

fn recall(peer: &mut Peer, topic: &str, handle: &str) -> Command {
    let header = RecallMessageRequestHeader {
        producer_group: Some("P"),
        topic,
        recall_handle: handle,
        rpc: RpcFields::default(),
    };
    peer.call(Command::request(request::RECALL_MESSAGE).with_header(&header))
}

fn handle(answer: &Command) -> String {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let header = answer.header::<SendMessageResponseHeader>().expect("a header");
    header.recall_handle.expect("a handle").to_owned()
}

#[test]
fn each_form_of_a_time_is_kept_to_the_tenth_of_a_second() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok(TOPIC, 0, b"now", "");
    let start = now_ms();
    peer.send_ok(TOPIC, 0, b"fourth", "TIMER_DELAY_SEC\u{1}2\u{2}");
    peer.send_ok(TOPIC, 0, b"third", "TIMER_DELAY_MS\u{1}1100\u{2}");
    peer.send_ok(TOPIC, 0, b"second", &format!("TIMER_DELIVER_MS\u{1}{}\u{2}", start + 350));
    peer.send_ok(TOPIC, 0, b"past", &format!("TIMER_DELIVER_MS\u{1}{}\u{2}", start - 350));
    // A level counts more than a time.
    peer.send_ok(TOPIC, 0, b"fifth", "DELAY\u{1}1\u{2}TIMER_DELAY_MS\u{1}10\u{2}");
    let came = pull(&mut peer, 6, 0);
    let (late, others): (Vec<_>, Vec<_>) =
        came.iter().partition(|(body, _)| ["second", "third", "fourth"].contains(&body.as_str()));
    let bodies = |came: &[&Came]| came.iter().map(|(body, _)| body.clone()).collect::<Vec<_>>();
    assert_eq!(bodies(&late), ["second", "third", "fourth"]);
    assert_eq!(bodies(&others), ["now", "past", "fifth"]);
    // None early; and late by the machine's load only, which not all of them meet.
    assert!(late.iter().all(|(_, late)| *late >= 0), "milliseconds late: {late:?}");
    assert!(late.iter().any(|(_, late)| *late < 100), "milliseconds late: {late:?}");
}

#[test]
fn a_time_that_cannot_be_is_refused_with_the_reason() {
    let server = Server::start(&["timerMaxDelaySec=100"]);
    let mut peer = server.connect();
    peer.send_ok(TOPIC, 0, b"now", "");
    for (properties, reason) in [
        ("TIMER_DELAY_SEC\u{1}101\u{2}", "over the limit of 100000 ms (timerMaxDelaySec)"),
        ("TIMER_DELAY_MS\u{1}soon\u{2}", "TIMER_DELAY_MS=soon is not a number"),
        ("TIMER_DELAY_SEC\u{1}1\u{2}TRAN_MSG\u{1}true\u{2}", "transactional message cannot be delayed"),
        ("TIMER_DELAY_SEC\u{1}0\u{2}TIMER_DEL_UNIQKEY\u{1}k\u{2}", "no message to delete"),
    ] {
        let answer = peer.send(TOPIC, 0, b"x", properties);
        let remark = answer.remark.clone().unwrap_or_default();
        assert!(answer.code == response::MESSAGE_ILLEGAL && remark.contains(reason), "{answer:?}");
    }
    // Nobody puts in there what the broker has not looked at.
    assert_eq!(peer.send("rmq_sys_wheel_timer", 0, b"x", "").code, response::NO_PERMISSION);
    drop(server);
    let server = Server::start(&["timerWheelEnable=false"]);
    let mut peer = server.connect();
    peer.send_ok(TOPIC, 0, b"now", "");
    let answer = peer.send(TOPIC, 0, b"x", "TIMER_DELAY_SEC\u{1}1\u{2}");
    assert_eq!(answer.code, response::SYSTEM_ERROR, "{answer:?}");
    assert!(answer.remark.unwrap_or_default().contains("timerWheelEnable"));
}

#[test]
fn a_recalled_message_does_not_come() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let now = peer.send(TOPIC, 0, b"now", "");
    assert_eq!(now.header::<SendMessageResponseHeader>().expect("a header").recall_handle, None);
    let send = |peer: &mut Peer, body: &str| {
        handle(&peer.send(TOPIC, 0, body.as_bytes(), &format!("{}TIMER_DELAY_MS\u{1}1000\u{2}", key(body))))
    };
    let first = send(&mut peer, "recalled");
    send(&mut peer, "kept");
    let answer = recall(&mut peer, TOPIC, &first);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(answer.header::<RecallMessageResponseHeader>().expect("a header").msg_id, "recalled");
    // Once more is no harm.
    assert_eq!(recall(&mut peer, TOPIC, &first).code, response::SUCCESS);
    let came: Vec<_> = pull(&mut peer, 2, 500).into_iter().map(|(body, _)| body).collect();
    assert_eq!(came, ["now", "kept"]);

    for (topic, handle, code, reason) in [
        (TOPIC, first.as_str(), response::ILLEGAL_OPERATION, "timestamp invalid"),
        (TOPIC, "!!!", response::ILLEGAL_OPERATION, "recall handle is invalid"),
        ("TBW102", first.as_str(), response::ILLEGAL_OPERATION, "topic not match"),
        ("Nowhere", first.as_str(), response::TOPIC_NOT_EXIST, "not exist"),
    ] {
        let answer = recall(&mut peer, topic, handle);
        let remark = answer.remark.clone().unwrap_or_default();
        assert!(answer.code == code && remark.contains(reason), "{answer:?}");
    }
    drop(server);
    let server = Server::start(&["recallMessageEnable=false"]);
    let mut peer = server.connect();
    let answer = peer.send(TOPIC, 0, b"x", "TIMER_DELAY_MS\u{1}1000\u{2}");
    assert_eq!(answer.header::<SendMessageResponseHeader>().expect("a header").recall_handle, None);
    assert_eq!(recall(&mut peer, TOPIC, &first).code, response::NO_PERMISSION);
}

#[test]
fn killed_again_and_again_while_messages_are_due_each_comes_once() {
    const COUNT: usize = 3000;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start_in(&data, &[]);
    let mut peer = server.connect();
    let start = now_ms() + 800;
    for at in 0..COUNT {
        // Due within two seconds, a third of them by now and then.
        let time = start + (at as i64 * 7919) % 2000;
        peer.request(send_request(TOPIC, 0, at.to_string().as_bytes(), &format!("TIMER_DELIVER_MS\u{1}{time}\u{2}")));
        if at % 100 == 99 {
            (0..100).for_each(|_| assert_eq!(peer.read().code, response::SUCCESS));
        }
    }
    for _ in 0..5 {
        while now_ms() < start {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(250));
        server.kill();
        server = Server::start_in(&data, &[]);
    }
    let mut peer = server.connect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (body, late) in pull(&mut peer, COUNT, 500) {
        assert!(late >= 0, "{body} came {late} ms early");
        *times.entry(body).or_default() += 1;
    }
    let missing: Vec<_> = (0..COUNT).map(|at| at.to_string()).filter(|at| !times.contains_key(at)).collect();
    assert!(missing.is_empty(), "{missing:?} did not come");
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?} came more than once");
    assert_eq!(peer.pull(Pull::of(TOPIC, 0, 0)).0.header::<PullMessageResponseHeader>().expect("one").min_offset, 0);
}

#[test]
fn administrators_are_told_how_many_wait_and_how_far_the_timer_is() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let later = now_ms() + 3_600_000;
    for body in [b"a", b"b"] {
        peer.send_ok(TOPIC, 0, body, &format!("TIMER_DELIVER_MS\u{1}{later}\u{2}"));
    }
    let metrics = |peer: &mut Peer| {
        let told = peer.call(Command::request(request::GET_TIMER_METRICS));
        TimerMetricsSerializeWrapper::decode(&told.body).expect("figures").timing_count
    };
    let deadline = Instant::now() + PATIENCE;
    while metrics(&mut peer).get(TOPIC).is_none_or(|metric| metric.count < 2) {
        assert!(Instant::now() < deadline, "{:?}", metrics(&mut peer));
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = peer.call(Command::request(request::GET_TIMER_CHECK_POINT));
    assert_eq!((told.code, told.body.len()), (response::SUCCESS, 56));
    let field = |at: usize| i64::from_be_bytes(told.body[at..at + 8].try_into().expect("eight bytes"));
    let (read_time, read_to) = (field(0), field(16));
    assert!((now_ms() - 60_000..now_ms()).contains(&read_time), "{read_time}");
    assert_eq!(read_to, 2, "both were taken in");
}
