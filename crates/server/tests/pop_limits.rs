//! What a group's settings and the broker's say of popping: when a message that failed comes again, and how many may be out.

mod common;

use std::time::{Duration, Instant};

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ExponentialRetryPolicy, GroupRetryPolicy, GroupRetryPolicyType, SubscriptionGroupConfig,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader,
    NotificationRequestHeader, NotificationResponseHeader, PopMessageRequestHeader, PopMessageResponseHeader,
    QueryConsumerOffsetRequestHeader, QueryConsumerOffsetResponseHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};
use common::group::until;
use common::{Peer, Server};

const NO_LIMIT: i64 = 10_000;

/// A message as it was popped.
#[derive(Debug)]
struct Popped {
    body: String,
    times: i32,
    queue: i32,
    offset: i64,
    handle: String,
}

fn pop_request(most: i32, invisible_time: i64, poll_time: i64) -> Command {
    Command::request(request::POP_MESSAGE).with_header(&PopMessageRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: -1,
        max_msg_nums: most,
        invisible_time,
        poll_time,
        born_time: 0,
        init_mode: 0,
        exp_type: Some("TAG"),
        exp: Some("*"),
        order: Some(false),
        attempt_id: None,
        rpc: RpcFields::default(),
    })
}

/// What an answer brings, all of one queue.
fn read(answer: &Command) -> Vec<Popped> {
    if answer.code != response::SUCCESS {
        assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
        return Vec::new();
    }
    let header: PopMessageResponseHeader<'_> = answer.header().expect("a header");
    let start = header.start_offset_info.and_then(|starts| starts.rsplit(' ').next()).expect("a first offset");
    let records = record::iter(&answer.body).map(|record| record.expect("a record"));
    let popped = records.map(|record| {
        let (queue, offset) = (record.queue_id, record.queue_offset);
        let PopMessageResponseHeader { pop_time, invisible_time, revive_qid, .. } = header;
        let own = || format!("{start} {pop_time} {invisible_time} {revive_qid} 0 broker-a {queue} {offset}");
        Popped {
            body: String::from_utf8_lossy(record.body).into_owned(),
            times: record.reconsume_times,
            queue,
            offset,
            handle: record.property("POP_CK").map_or_else(own, str::to_owned),
        }
    });
    popped.collect()
}

fn pop(peer: &mut Peer, most: i32, invisible: i64, poll: i64) -> Vec<Popped> {
    read(&peer.call(pop_request(most, invisible, poll)))
}

fn pop_one(peer: &mut Peer, invisible: i64) -> Popped {
    pop(peer, 1, invisible, NO_LIMIT).pop().expect("it comes in good time")
}

fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = peer.call(Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: popped.queue,
        extra_info: &popped.handle,
        offset: popped.offset,
        lite_topic: None,
        rpc: RpcFields::default(),
    }));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

fn give_back(peer: &mut Peer, popped: &Popped, suspend: bool) {
    let request = Command::request(request::CHANGE_MESSAGE_INVISIBLETIME);
    let answer = peer.call(request.with_header(&ChangeInvisibleTimeRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: popped.queue,
        extra_info: &popped.handle,
        offset: popped.offset,
        invisible_time: 0,
        lite_topic: None,
        suspend: Some(suspend),
        rpc: RpcFields::default(),
    }));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

#[test]
fn a_message_that_failed_waits_as_its_groups_policy_says() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let growth = ExponentialRetryPolicy { initial: 1_500, max: 60_000, multiplier: 2 };
    let policy = GroupRetryPolicy {
        kind: GroupRetryPolicyType::Exponential,
        exponential_retry_policy: Some(growth),
        ..GroupRetryPolicy::default()
    };
    let group = SubscriptionGroupConfig { group_retry_policy: policy, ..SubscriptionGroupConfig::new("G") };
    let create = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(group.encode());
    assert_eq!(peer.call(create).code, response::SUCCESS);
    peer.send_ok("T", 0, b"m", "KEYS\u{1}k\u{2}");

    let begun = Instant::now();
    let first = pop_one(&mut peer, 200);
    assert_eq!(first.times, 0);
    let second = pop_one(&mut peer, 60_000);
    let waited = begun.elapsed();
    assert_eq!((&*second.body, second.times), ("m", 1));
    assert!(waited >= Duration::from_millis(1_500), "after {waited:?}: its time was up long before");

    let begun = Instant::now();
    give_back(&mut peer, &second, false);
    let third = pop_one(&mut peer, 60_000);
    let waited = begun.elapsed();
    assert_eq!((&*third.body, third.times), ("m", 2));
    assert!(waited >= Duration::from_millis(3_000), "after {waited:?}");

    // That was no failure: it need not wait for 6 s.
    let begun = Instant::now();
    give_back(&mut peer, &third, true);
    let fourth = pop_one(&mut peer, 60_000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(fourth.times, 2);
    ack(&mut peer, &fourth);
    assert!(pop(&mut peer, 32, 60_000, 0).is_empty());
}

fn has_messages(peer: &mut Peer) -> bool {
    let header = NotificationRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: -1,
        poll_time: 0,
        born_time: 0,
        order: Some(false),
        attempt_id: None,
        exp_type: None,
        exp: None,
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::NOTIFICATION).with_header(&header));
    answer.header::<NotificationResponseHeader>().expect("a header").has_msg
}

fn count(peer: &mut Peer, topic: &str) -> i64 {
    let header = GetMaxOffsetRequestHeader { topic, queue_id: 0, committed: None, rpc: RpcFields::default() };
    let answer = peer.call(Command::request(request::GET_MAX_OFFSET).with_header(&header));
    answer.header::<GetMaxOffsetResponseHeader>().map_or(0, |header| header.offset)
}

#[test]
fn no_more_is_given_out_while_too_many_are_out() {
    let limits = ["enablePopMessageThreshold=true", "popInflightMessageThreshold=3"];
    let server = Server::start(&[&limits[..], &["popCkStayBufferTime=100", "popCkStayBufferTimeOut=0"]].concat());
    let (mut peer, mut other) = (server.connect(), server.connect());
    for number in 0..5 {
        peer.send_ok("T", 0, format!("{number}").as_bytes(), "");
    }
    let out = pop(&mut peer, 3, 60_000, 0);
    assert_eq!(out.len(), 3);
    for _ in 0..2 {
        assert!(pop(&mut other, 32, 60_000, 0).is_empty() && !has_messages(&mut other));
        // Also once they are noted in the log, and memory knows nothing of them.
        until("they are noted", || count(&mut other, "rmq_sys_wheel_timer") > 0);
    }
    let waiting = other.park(pop_request(1, 60_000, NO_LIMIT));
    ack(&mut peer, &out[0]);
    let answer = other.read();
    assert_eq!(answer.opaque, waiting, "{answer:?}");
    let next = read(&answer);
    assert_eq!(next[0].body, "3");
    assert!(pop(&mut other, 32, 60_000, 0).is_empty());

    // What is given back is out no longer, and comes again.
    let waiting = other.park(pop_request(32, 60_000, NO_LIMIT));
    give_back(&mut peer, &out[1], false);
    let answer = other.read();
    assert_eq!(answer.opaque, waiting, "{answer:?}");
    let mut all = read(&answer);
    all.extend(pop(&mut other, 32, 60_000, 100));
    let mut bodies: Vec<&str> = all.iter().map(|popped| &*popped.body).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["1", "4"]);
}

#[test]
fn what_members_that_pull_commit_is_not_taken_back() {
    let server = Server::start(&["popCkStayBufferTime=300", "popCkStayBufferTimeOut=0"]);
    let mut peer = server.connect();
    for number in 0..10 {
        peer.send_ok("T", 0, format!("{number}").as_bytes(), "");
    }
    assert_eq!(pop(&mut peer, 5, 60_000, 0).len(), 5);
    // The group has changed to pulls meanwhile.
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 0,
        commit_offset: 8,
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    until("what was popped is noted", || count(&mut peer, "rmq_sys_wheel_timer") > 0);
    peer.send_ok("T", 0, b"10", "");
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 0,
        set_zero_if_not_found: None,
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&header));
    assert_eq!(answer.header::<QueryConsumerOffsetResponseHeader>().expect("a header").offset, 8);
    // And back: it goes on there.
    let popped = pop(&mut peer, 32, 60_000, 0);
    assert_eq!(popped.iter().map(|popped| &*popped.body).collect::<Vec<_>>(), ["8", "9", "10"]);
}
