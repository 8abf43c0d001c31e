//! Topics of priorities: a message's priority is its queue, and a pop begins with the highest. With
//! `APOGEE_TEST_SERVER=apache` against Apache's server.

mod common;

use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::bodies::{Body, SubscriptionGroupConfig};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{CreateTopicRequestHeader, RpcFields, SendMessageResponseHeader};
use common::pop::Pop;
use common::{PATIENCE, Peer, Server};

fn topic(peer: &mut Peer, kind: &str) {
    let attributes = format!("+message.type={kind}");
    let header = CreateTopicRequestHeader {
        topic: "T",
        default_topic: "TBW102",
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: None,
        order: false,
        attributes: Some(&attributes),
        force: Some(false),
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// Returns the queue that the message is in.
fn send(peer: &mut Peer, body: &str, properties: &str) -> i32 {
    let answer = peer.send("T", 0, body.as_bytes(), properties);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.header::<SendMessageResponseHeader<'_>>().expect("a header").queue_id
}

fn with_priority(priority: i32) -> String {
    format!("_SYS_MSG_PRIORITY_\u{1}{priority}\u{2}")
}

fn pop(peer: &mut Peer, group: &str, most: i32, invisible: i64) -> Vec<String> {
    let popped = Pop { group, most, invisible, ..Pop::of("T") }.by(peer);
    popped.into_iter().map(|popped| popped.body).collect()
}

#[test]
fn a_priority_is_a_queue_and_the_last_one_is_popped_first() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    topic(&mut peer, "PRIORITY");
    for (priority, queue) in [(0, 0), (2, 2), (1, 1), (3, 3), (9, 3), (2, 2)] {
        assert_eq!(send(&mut peer, &format!("p{priority}"), &with_priority(priority)), queue);
    }
    let first: Vec<String> = (0..3).flat_map(|_| pop(&mut peer, "G", 1, 60_000)).collect();
    assert_eq!(first, ["p3", "p9", "p2"]);
    send(&mut peer, "late", &with_priority(3));
    assert_eq!(pop(&mut peer, "G", 32, 60_000), ["late", "p2", "p1", "p0"]);
}

#[test]
fn a_broker_may_have_it_the_other_way_round_and_a_group_may_share_out() {
    let server = Server::start(&["priorityOrderAsc=false"]);
    let mut peer = server.connect();
    topic(&mut peer, "PRIORITY");
    for _ in 0..30 {
        for priority in 0..4 {
            send(&mut peer, &priority.to_string(), &with_priority(priority));
        }
    }
    assert_eq!(pop(&mut peer, "G", 32, 60_000).concat(), "0".repeat(30) + "11");
    let factor = [("+priority.factor".to_owned(), "0".to_owned())].into();
    let group = SubscriptionGroupConfig { group_name: "Fair".into(), attributes: factor, ..Default::default() };
    let body = group.encode();
    let made = peer.call(Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body));
    assert_eq!(made.code, response::SUCCESS, "{made:?}");
    let all: Vec<String> = (0..40).flat_map(|_| pop(&mut peer, "Fair", 1, 60_000)).collect();
    for priority in 0..4 {
        assert!(all.contains(&priority.to_string()), "{all:?}");
    }
}

#[test]
fn only_messages_with_a_priority_are_taken_and_it_is_ignored_where_something_else_decides() {
    let server = Server::start(&["enableTopicMessageTypeCheck=true", "enableMixedMessageType=true"]);
    let mut peer = server.connect();
    topic(&mut peer, "PRIORITY");
    let fifo = with_priority(3) + "__SHARDINGKEY\u{1}k\u{2}";
    // Of Apache's servers the proxy checks this.
    if !common::oracle::is_wanted() {
        assert_eq!(peer.send("T", 0, b"normal", "").code, response::MESSAGE_ILLEGAL);
        assert_eq!(peer.send("T", 0, b"fifo", &fifo).code, response::MESSAGE_ILLEGAL);
    }
    topic(&mut peer, "MIXED");
    assert_eq!(send(&mut peer, "fifo", &fifo), 0);
    assert_eq!(send(&mut peer, "prior", &with_priority(3)), 3, "whatever the topic is for");
    assert_eq!(send(&mut peer, "none", &with_priority(-1)), 0);
}

#[test]
fn what_comes_again_keeps_its_priority() {
    let server = Server::start(&["useSeparateRetryQueue=true"]);
    let mut peer = server.connect();
    topic(&mut peer, "PRIORITY");
    for priority in [1, 3, 2] {
        send(&mut peer, &format!("again {priority}"), &with_priority(priority));
    }
    assert_eq!(pop(&mut peer, "G", 32, 1_000).len(), 3);
    send(&mut peer, "new", &with_priority(0));
    let retries = "%RETRY%G_T";
    let deadline = Instant::now() + PATIENCE;
    let is_there = |peer: &mut Peer, queue| {
        let answer = peer.pull(common::Pull::of(retries, queue, 0));
        answer.0.code == response::SUCCESS
    };
    for queue in [1, 2, 3] {
        while !is_there(&mut peer, queue) {
            assert!(Instant::now() < deadline, "nothing in queue {queue} of {retries}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert_eq!(pop(&mut peer, "G", 32, 60_000), ["new", "again 3", "again 2", "again 1"], "after what is new");
}
