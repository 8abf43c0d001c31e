//! What a group's settings and the broker's say of popping: when a message that failed comes again, and how many may be out.

mod common;

use std::time::{Duration, Instant};

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ExponentialRetryPolicy, GroupRetryPolicy, GroupRetryPolicyType, MessageRequestMode,
    SetMessageRequestModeRequestBody, SubscriptionGroupConfig,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};
use common::group::until;
use common::pop::{self, Pop, Popped, committed};
use common::{Peer, Pull, Server};

const NO_LIMIT: i64 = 10_000;

fn pop_request(most: i32, invisible: i64, poll: i64) -> Command {
    Pop { most, invisible, poll, ..Pop::of("T") }.command()
}

fn pop(peer: &mut Peer, most: i32, invisible: i64, poll: i64) -> Vec<Popped> {
    pop::read(&peer.call(pop_request(most, invisible, poll)))
}

fn pop_one(peer: &mut Peer, invisible: i64) -> Popped {
    pop(peer, 1, invisible, NO_LIMIT).pop().expect("it comes in good time")
}

fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = popped.ack(peer);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

fn give_back(peer: &mut Peer, popped: &Popped, suspend: bool) {
    let answer = popped.change(peer, 0, suspend);
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
    pop::has_messages(&peer.call(Pop::of("T").notification()))
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
    let next = pop::read(&answer);
    assert_eq!(next[0].body, "3");
    assert!(pop(&mut other, 32, 60_000, 0).is_empty());

    // What is given back is out no longer, and comes again.
    let waiting = other.park(pop_request(32, 60_000, NO_LIMIT));
    give_back(&mut peer, &out[1], false);
    let answer = other.read();
    assert_eq!(answer.opaque, waiting, "{answer:?}");
    let mut all = pop::read(&answer);
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
    assert_eq!(committed(&mut peer), 8);
    // And back: it goes on there.
    let popped = pop(&mut peer, 32, 60_000, 0);
    assert_eq!(popped.iter().map(|popped| &*popped.body).collect::<Vec<_>>(), ["8", "9", "10"]);
}

#[test]
fn what_failed_is_pulled_by_a_group_that_goes_back_to_pulls() {
    let server = Server::start(&["enableRetryTopicV2=true"]);
    let mut peer = server.connect();
    for body in ["waits", "is popped again", "fails later"] {
        peer.send_ok("T", 0, body.as_bytes(), "");
    }
    let first = pop(&mut peer, 32, 60_000, 0);
    let late = &first[2];
    give_back(&mut peer, &first[0], false);
    until("it waits", || count(&mut peer, "%RETRY%G+T") == 1);
    give_back(&mut peer, &first[1], false);
    let again = pop(&mut peer, 1, 60_000, NO_LIMIT);
    assert_eq!((&*again[0].body, again[0].times), ("waits", 1));
    until("the other waits, too", || count(&mut peer, "%RETRY%G+T") == 2);
    let pulls = SetMessageRequestModeRequestBody {
        consumer_group: Some("G".into()),
        mode: MessageRequestMode::Pull,
        pop_share_queue_num: 0,
        topic: Some("T".into()),
    };
    let set = Command::request(request::SET_MESSAGE_REQUEST_MODE).with_body(pulls.encode());
    assert_eq!(peer.call(set).code, response::SUCCESS);
    let pulled = |peer: &mut Peer| -> Vec<(String, i32)> {
        let (answer, _) = peer.pull(Pull::of("%RETRY%G_T", 0, 0));
        let all = record::iter(&answer.body).map(|record| record.expect("a record"));
        all.map(|record| (String::from_utf8_lossy(record.body).into_owned(), record.reconsume_times)).collect()
    };
    let expected = |body: &str, times| (body.to_owned(), times);
    until("what waited is there", || pulled(&mut peer) == [expected("is popped again", 1)]);
    give_back(&mut peer, late, false);
    until("what failed is there", || pulled(&mut peer).len() == 2);
    give_back(&mut peer, &again[0], false);
    until("what failed again is there", || pulled(&mut peer).len() == 3);
    let all = [expected("is popped again", 1), expected("fails later", 1), expected("waits", 2)];
    assert_eq!(pulled(&mut peer), all);
    assert_eq!(count(&mut peer, "%RETRY%G+T"), 2);
}
