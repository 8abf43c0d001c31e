//! POP of topics whose batches stay one record: a batch is given out, acknowledged and given back as a whole. With
//! `APOGEE_TEST_SERVER=apache` against Apache's server, but for what is said of it there.

mod common;

use std::path::Path;
use std::time::Instant;

use apogee_message::sysflag;
use apogee_wire::Command;
use apogee_wire::bodies::{BatchAck, BatchAckMessageRequestBody, Body, ConsumeStats};
use apogee_wire::codes::{request, response};
use common::batch::{self, SETTINGS, ask, create_t, texts_of};
use common::group::until;
use common::pop::{Pop, Popped};
use common::{PATIENCE, Peer, Server};

const T: Pop<'_> = Pop::of("T");

fn start_in(data: &Path, settings: &[&str]) -> (Server, Peer) {
    let server = Server::start_in(data, &[SETTINGS, settings].concat());
    let peer = server.connect();
    (server, peer)
}

/// A server that has batches of three, one and two messages.
fn start() -> (Server, Peer) {
    let server = Server::start(SETTINGS);
    let mut peer = server.connect();
    create_t(&mut peer);
    send(&mut peer);
    (server, peer)
}

fn send(peer: &mut Peer) {
    for (id, texts) in [("A1", &["a", "b", "c"][..]), ("A2", &["d"]), ("A3", &["e", "f"])] {
        batch::send(peer, id, texts);
    }
    until("they are in the queue", || offset(peer, request::GET_MAX_OFFSET, &[]) == Some(6));
}

fn offset(peer: &mut Peer, code: i32, fields: &[(&str, &str)]) -> Option<i64> {
    let answer = peer.call(ask(code, &[&[("topic", "T"), ("queueId", "0")], fields].concat()));
    answer.fields.get("offset").and_then(|offset| offset.parse().ok())
}

fn committed(peer: &mut Peer) -> Option<i64> {
    offset(peer, request::QUERY_CONSUMER_OFFSET, &[("consumerGroup", "G")])
}

/// Messages that are neither consumed nor given up, and those of them that are out.
fn lag(peer: &mut Peer) -> (i64, i64) {
    let answer = peer.call(ask(request::GET_CONSUME_STATS, &[("consumerGroup", "G")]));
    let stats = ConsumeStats::decode(&answer.body).expect("figures");
    stats.offset_table.values().fold((0, 0), |(lag, out), of| {
        (lag + of.broker_offset - of.consumer_offset, out + of.pull_offset - of.consumer_offset)
    })
}

/// Offsets and texts of what was popped.
fn of(popped: &[Popped]) -> Vec<(i64, String)> {
    popped.iter().map(|popped| (popped.offset, texts_of(popped.body.as_bytes()).concat())).collect()
}

fn all(texts: &[(i64, &str)]) -> Vec<(i64, String)> {
    texts.iter().map(|(offset, texts)| (*offset, (*texts).to_owned())).collect()
}

fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = popped.ack(peer);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// Pops until something comes.
fn pop_again(peer: &mut Peer, pop: Pop<'_>) -> Vec<Popped> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "nothing comes");
        let popped = Pop { poll: 500, ..pop }.by(peer);
        if !popped.is_empty() {
            return popped;
        }
    }
}

#[test]
fn a_batch_is_popped_as_it_was_sent_and_is_consumed_as_a_whole() {
    let (_server, mut peer) = start();
    let first = Pop { most: 2, ..T }.by(&mut peer);
    assert_eq!(of(&first), all(&[(0, "abc")]), "always a batch, and no more messages than asked for");
    assert_eq!(first[0].sys_flag, sysflag::INNER_BATCH | sysflag::NEED_UNWRAP);
    let rest = T.by(&mut peer);
    assert_eq!(of(&rest), all(&[(3, "d"), (4, "ef")]));
    assert!(T.by(&mut peer).is_empty());
    if !common::oracle::is_wanted() {
        assert_eq!(lag(&mut peer), (6, 6), "each message counts");
    }
    ack(&mut peer, &rest[1]);
    ack(&mut peer, &first[0]);
    if common::oracle::is_wanted() {
        return;
    }
    assert_eq!((lag(&mut peer), committed(&mut peer)), ((1, 1), Some(3)));
    let within = Popped { handle: first[0].handle.replace(" 0 0", " 0 1"), offset: 1, ..first[0].clone() };
    assert_ne!(within.ack(&mut peer).code, response::SUCCESS, "its second message was not popped by itself");
    ack(&mut peer, &rest[0]);
    assert_eq!((lag(&mut peer), committed(&mut peer)), ((0, 0), Some(6)));
}

#[test]
fn a_batch_that_fails_comes_again_as_a_whole() {
    if common::oracle::is_wanted() {
        // Apache's server cannot write it to the retry topic, and it is never seen again.
        return;
    }
    let (_server, mut peer) = start();
    let first = Pop { invisible: 4_000, ..T }.by(&mut peer);
    ack(&mut peer, &first[1]);
    let given_back = first[2].change(&mut peer, 0, false);
    assert_eq!(given_back.code, response::SUCCESS, "{given_back:?}");
    let again = pop_again(&mut peer, Pop { invisible: 1_000, ..T });
    assert_eq!((of(&again), again[0].times), (all(&[(0, "ef")]), 1));
    let mut rest = pop_again(&mut peer, T);
    while rest.len() < 2 {
        rest.extend(pop_again(&mut peer, T));
    }
    let mut times: Vec<_> =
        rest.iter().map(|popped| (texts_of(popped.body.as_bytes()).concat(), popped.times)).collect();
    times.sort_unstable();
    assert_eq!(times, [("abc".to_owned(), 1), ("ef".to_owned(), 2)]);
    assert_eq!(lag(&mut peer), (5, 5));
    rest.iter().for_each(|popped| ack(&mut peer, popped));
    assert_eq!(lag(&mut peer), (0, 0));
}

#[test]
fn amid_a_batch_begins_the_batch() {
    let (_server, mut peer) = start();
    let fields = [("consumerGroup", "G"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
    peer.call(ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]).with_body(&br#"{"groupName":"G"}"#[..]));
    assert_eq!(peer.call(ask(request::UPDATE_CONSUMER_OFFSET, &fields)).code, response::SUCCESS);
    let popped = Pop { queue: 0, ..T }.by(&mut peer);
    assert_eq!(of(&popped), all(&[(0, "abc"), (3, "d"), (4, "ef")]));
    popped.iter().for_each(|popped| ack(&mut peer, popped));
    assert!(T.by(&mut peer).is_empty());
    until("all is consumed", || committed(&mut peer) == Some(6));
}

#[test]
fn batches_in_order_come_one_after_the_other_and_once() {
    let (_server, mut peer) = start();
    let in_order = Pop { queue: 0, in_order: true, most: 4, ..T };
    let first = in_order.by(&mut peer);
    assert_eq!(of(&first), all(&[(0, "abc"), (3, "d")]));
    ack(&mut peer, &first[0]);
    assert_eq!(committed(&mut peer), Some(3));
    assert!(in_order.by(&mut peer).is_empty());
    if !common::oracle::is_wanted() {
        assert_eq!(lag(&mut peer), (3, 1));
    }
    ack(&mut peer, &first[1]);
    let last = in_order.by(&mut peer);
    assert_eq!(of(&last), all(&[(4, "ef")]));
    if common::oracle::is_wanted() {
        // Apache's server commits an offset amid a batch that is the last one acknowledged, and gives it out again.
        return;
    }
    assert_eq!(lag(&mut peer), (2, 2));
    ack(&mut peer, &last[0]);
    assert_eq!((committed(&mut peer), lag(&mut peer)), (Some(6), (0, 0)));
    assert!(in_order.by(&mut peer).is_empty(), "nothing comes twice");
}

#[test]
fn several_are_acknowledged_at_once_however_large_they_are() {
    let server = Server::start(SETTINGS);
    let mut peer = server.connect();
    create_t(&mut peer);
    let texts: Vec<&str> = vec!["x"; 20_000];
    for id in ["A1", "A2", "A3"] {
        batch::send(&mut peer, id, &texts);
    }
    until("they are in the queue", || offset(&mut peer, request::GET_MAX_OFFSET, &[]) == Some(60_000));
    let popped: Vec<Popped> = (0..3).flat_map(|_| T.by(&mut peer)).collect();
    assert_eq!(popped.iter().map(|popped| popped.offset).collect::<Vec<_>>(), [0, 20_000, 40_000]);
    for popped in &popped {
        let handle: Vec<i64> = popped.handle.split(' ').filter_map(|part| part.parse().ok()).collect();
        // As of a pop that began before: the bit of the message is far behind.
        let zeros = popped.offset as usize / 8;
        let bits = "AAAA".repeat(zeros / 3) + ["AQ==", "AAE=", "AAAB"][zeros % 3];
        let ack = BatchAck {
            consumer_group: Some("G".into()),
            topic: Some("T".into()),
            retry: Some("0".into()),
            start_offset: 0,
            queue_id: 0,
            revive_queue_id: handle[3] as i32,
            pop_time: handle[1],
            invisible_time: handle[2],
            bit_set: Some(bits),
        };
        let body = BatchAckMessageRequestBody { broker_name: Some("broker-a".into()), acks: vec![ack] };
        let done = peer.call(Command::request(request::BATCH_ACK_MESSAGE).with_body(body.encode()));
        assert_eq!(done.code, response::SUCCESS, "{done:?}");
    }
    if !common::oracle::is_wanted() {
        assert_eq!((lag(&mut peer), committed(&mut peer)), ((0, 0), Some(60_000)));
    }
}

#[test]
fn what_is_out_is_out_after_a_stop_and_comes_again_after_a_kill() {
    if common::oracle::is_wanted() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let soon = ["popCkStayBufferTime=100", "popCkStayBufferTimeOut=0"];
    let (server, mut peer) = start_in(folder.path(), &[]);
    create_t(&mut peer);
    send(&mut peer);
    let popped = T.by(&mut peer);
    ack(&mut peer, &popped[1]);
    assert!(server.stop().success());
    let (server, mut peer) = start_in(folder.path(), &soon);
    until("what is out is counted", || lag(&mut peer) == (5, 5));
    assert!(T.by(&mut peer).is_empty());
    ack(&mut peer, &popped[0]);
    let given_back = popped[2].change(&mut peer, 0, false);
    assert_eq!(given_back.code, response::SUCCESS, "{given_back:?}");
    let again = pop_again(&mut peer, Pop { invisible: 4_000, ..T });
    assert_eq!(of(&again), all(&[(0, "ef")]));
    until("it is noted", || committed_retry(&mut peer) == Some(2));
    server.kill();
    let (_server, mut peer) = start_in(folder.path(), &soon);
    let last = pop_again(&mut peer, T);
    assert_eq!((of(&last), last[0].times), (all(&[(2, "ef")]), 2));
    ack(&mut peer, &last[0]);
    until("all is consumed", || lag(&mut peer) == (0, 0));
}

fn committed_retry(peer: &mut Peer) -> Option<i64> {
    let fields = [("consumerGroup", "G"), ("topic", "%RETRY%G_T"), ("queueId", "0")];
    peer.call(ask(request::QUERY_CONSUMER_OFFSET, &fields)).fields.get("offset")?.parse().ok()
}
