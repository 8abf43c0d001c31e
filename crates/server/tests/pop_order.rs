//! POP in order over the wire: one batch of a queue and group at a time, what comes again when, and `kill -9` between any
//! two steps. With `APOGEE_TEST_SERVER=apache` those that say nothing of files run against Apache's server.

mod common;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{BatchAck, BatchAckMessageRequestBody, Body};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
    PopMessageResponseHeader, RpcFields,
};
use common::pop::{Pop, committed, has_messages};
use common::{PATIENCE, Peer, Server};

const ASK: Pop<'_> = Pop { queue: 0, in_order: true, ..Pop::of("T") };

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// What a pop brought of one queue.
#[derive(Debug, Clone, Default, PartialEq)]
struct Popped {
    bodies: Vec<String>,
    offsets: Vec<i64>,
    handle: String,
    pop_time: i64,
    counts: String,
}

fn read(answer: &Command) -> Popped {
    if answer.code != response::SUCCESS {
        assert_eq!(answer.code, response::POLLING_TIMEOUT, "{answer:?}");
        return Popped::default();
    }
    let header: PopMessageResponseHeader<'_> = answer.header().expect("a header");
    assert_eq!(header.revive_qid, 999, "{answer:?}");
    let records: Vec<Record<'_>> = record::iter(&answer.body).map(|record| record.expect("a record")).collect();
    let (queue, start) = (records[0].queue_id, records[0].queue_offset);
    assert!(records.iter().all(|record| record.topic == "T" && record.reconsume_times == 0));
    Popped {
        bodies: records.iter().map(|record| String::from_utf8_lossy(record.body).into_owned()).collect(),
        offsets: records.iter().map(|record| record.queue_offset).collect(),
        handle: format!("{start} {} {} 999 0 broker-a {queue}", header.pop_time, header.invisible_time),
        pop_time: header.pop_time,
        counts: header.order_count_info.unwrap_or_default().to_owned(),
    }
}

fn pop(peer: &mut Peer, ask: Pop<'_>) -> Popped {
    read(&peer.call(ask.command()))
}

/// What is parked, when it is answered.
fn answer(peer: &mut Peer) -> Popped {
    read(&peer.read_within(PATIENCE).expect("an answer"))
}

fn try_ack(peer: &mut Peer, popped: &Popped, number: usize) -> i32 {
    let offset = popped.offsets[number];
    let answer = peer.call(Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 0,
        extra_info: &format!("{} {offset}", popped.handle),
        offset,
        lite_topic: None,
        rpc: RpcFields::default(),
    }));
    answer.code
}

fn ack(peer: &mut Peer, popped: &Popped, number: usize) {
    assert_eq!(try_ack(peer, popped, number), response::SUCCESS, "{number} of {popped:?}");
}

fn change(peer: &mut Peer, popped: &Popped, number: usize, invisible_time: i64) -> Command {
    let offset = popped.offsets[number];
    peer.call(Command::request(request::CHANGE_MESSAGE_INVISIBLETIME).with_header(&ChangeInvisibleTimeRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 0,
        extra_info: &format!("{} {offset}", popped.handle),
        offset,
        invisible_time,
        lite_topic: None,
        suspend: Some(false),
        rpc: RpcFields::default(),
    }))
}

fn notification(poll: i64) -> Command {
    Pop { poll, ..ASK }.notification()
}

fn send(peer: &mut Peer, bodies: &[&str]) {
    for body in bodies {
        peer.send_ok("T", 0, body.as_bytes(), "");
    }
}

fn start(data: &Path) -> (Server, Peer) {
    let server = Server::start_in(data, &[]);
    let peer = server.connect();
    (server, peer)
}

#[test]
fn nobody_gets_what_is_behind_messages_that_are_out() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (server.connect(), server.connect());
    send(&mut peer, &["a", "b", "c", "d"]);
    let first = pop(&mut peer, Pop { most: 3, ..ASK });
    assert_eq!((&first.bodies[..], &*first.counts), (&["a".into(), "b".into(), "c".into()][..], "0 0 0"));
    assert_eq!(pop(&mut other, ASK), Popped::default(), "d waits for them");
    other.park(Pop { poll: 20_000, ..ASK }.command());
    ack(&mut peer, &first, 1);
    assert_eq!(committed(&mut peer), 0);
    ack(&mut peer, &first, 0);
    assert_eq!(committed(&mut peer), 2, "up to the first that is not acknowledged");
    ack(&mut peer, &first, 0);
    assert!(other.read_within(Duration::from_millis(300)).is_none());
    ack(&mut peer, &first, 2);
    assert_eq!(committed(&mut peer), 3);
    let next = answer(&mut other);
    assert_eq!(next.bodies, ["d"], "who waits is told at once");
    // All acknowledged in one request.
    let batch = BatchAck {
        consumer_group: Some("G".into()),
        topic: Some("T".into()),
        retry: Some("0".into()),
        start_offset: 3,
        queue_id: 0,
        revive_queue_id: 999,
        pop_time: next.pop_time,
        invisible_time: 60_000,
        bit_set: Some("AQ==".into()),
    };
    let body = BatchAckMessageRequestBody { broker_name: Some("broker-a".into()), acks: vec![batch] };
    let done = peer.call(Command::request(request::BATCH_ACK_MESSAGE).with_body(body.encode()));
    assert_eq!((done.code, committed(&mut peer)), (response::SUCCESS, 4), "{done:?}");
}

#[test]
fn what_is_not_acknowledged_in_time_comes_again_in_its_place() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (server.connect(), server.connect());
    send(&mut peer, &["a", "b", "c"]);
    let began = Instant::now();
    let first = pop(&mut peer, Pop { most: 2, invisible: 1_500, ..ASK });
    other.park(Pop { poll: 20_000, ..ASK }.command());
    let again = answer(&mut other);
    assert!(began.elapsed() > Duration::from_millis(1_400), "not before its time: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "and not when the poll ends: {:?}", began.elapsed());
    assert_eq!(
        (&again.bodies[..], &*again.counts),
        (&["a".into(), "b".into(), "c".into()][..], "0 qo0%0 1;0 qo0%1 1;0 0 0")
    );
    assert!(again.pop_time > first.pop_time);
    ack(&mut other, &again, 0);
    assert_eq!(committed(&mut peer), 1);
}

#[test]
fn an_attempt_gets_its_messages_again() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (server.connect(), server.connect());
    send(&mut peer, &["a", "b", "c"]);
    let mine = Pop { most: 2, attempt: Some("one"), ..ASK };
    let first = pop(&mut peer, mine);
    assert_eq!(first.bodies, ["a", "b"]);
    assert_eq!(pop(&mut other, Pop { attempt: Some("two"), ..mine }), Popped::default());
    let again = pop(&mut other, mine);
    assert_eq!((&again.bodies, &*again.counts), (&first.bodies, "0 0 0"), "nothing failed");
    ack(&mut other, &again, 0);
    ack(&mut other, &again, 1);
    assert_eq!(pop(&mut peer, mine).bodies, ["c"]);
}

#[test]
fn its_invisible_time_can_be_changed() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (server.connect(), server.connect());
    send(&mut peer, &["a", "b"]);
    let first = pop(&mut peer, Pop { most: 1, invisible: 1_000, ..ASK });
    let answered = change(&mut peer, &first, 0, 60_000);
    let header: ChangeInvisibleTimeResponseHeader = answered.header().expect("a header");
    assert_eq!((header.pop_time, header.revive_qid), (first.pop_time, 999), "its handle stays valid");
    assert!((60_000..70_000).contains(&header.invisible_time), "{answered:?}");
    assert_eq!(pop(&mut other, Pop { poll: 2_000, ..ASK }), Popped::default());
    other.park(Pop { poll: 20_000, most: 1, ..ASK }.command());
    assert_eq!(change(&mut peer, &first, 0, 0).code, response::SUCCESS);
    let again = answer(&mut other);
    assert_eq!((&again.bodies, &*again.counts), (&first.bodies, "0 qo0%0 1;0 0 1"));
}

#[test]
fn notifications_know_what_is_blocked() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (server.connect(), server.connect());
    send(&mut peer, &["a", "b"]);
    assert!(has_messages(&peer.call(notification(0))));
    let first = pop(&mut peer, Pop { most: 1, ..ASK });
    assert!(!has_messages(&peer.call(notification(0))), "b is behind a");
    if common::oracle::is_wanted() {
        // Apache's wakes no question when a queue is free again.
        return;
    }
    other.park(notification(20_000));
    ack(&mut peer, &first, 0);
    assert!(has_messages(&other.read_within(PATIENCE).expect("an answer")));
}

#[test]
fn requests_of_an_attempt_that_wait_get_what_it_got() {
    if common::oracle::is_wanted() {
        return;
    }
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let mine = Pop { attempt: Some("one"), poll: 20_000, queue: -1, ..ASK };
    send(&mut peer, &["a"]);
    let first = pop(&mut peer, ASK);
    ack(&mut peer, &first, 0);
    // The first request's client gave it up; the broker cannot know.
    let mut waiting: Vec<Peer> = (0..3).map(|_| server.connect()).collect();
    for peer in &mut waiting {
        peer.park(mine.command());
    }
    send(&mut peer, &["b"]);
    let answers: Vec<Popped> = waiting.iter_mut().map(answer).collect();
    assert!(answers.iter().all(|popped| popped.bodies == ["b"]), "{answers:?}");
    let last = answers.iter().max_by_key(|popped| popped.pop_time).expect("three");
    ack(&mut peer, last, 0);
    assert_eq!(committed(&mut peer), 2);
}

#[test]
fn what_was_never_given_out_cannot_be_settled() {
    if common::oracle::is_wanted() {
        return;
    }
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send(&mut peer, &["a", "b", "c"]);
    let first = pop(&mut peer, Pop { most: 2, ..ASK });
    let forged = |start: i64, pop_time: i64, offset: i64| Popped {
        offsets: vec![offset],
        handle: format!("{start} {pop_time} 60000 999 0 broker-a 0"),
        ..Popped::default()
    };
    for (forged, code) in [
        (forged(0, first.pop_time, 2), response::MESSAGE_ILLEGAL),
        (forged(0, first.pop_time - 1, 0), response::NO_MESSAGE),
        (forged(0, i64::MAX, 0), response::NO_MESSAGE),
        (forged(0, first.pop_time, 9), response::NO_MESSAGE),
        (forged(-1, first.pop_time, 0), response::MESSAGE_ILLEGAL),
    ] {
        assert_eq!(try_ack(&mut peer, &forged, 0), code, "{forged:?}");
        assert_eq!(change(&mut peer, &forged, 0, 0).code, code, "{forged:?}");
    }
    let refused = peer.call(Pop { attempt: Some(&"x".repeat(300)), ..ASK }.command());
    assert_eq!(refused.code, response::INVALID_PARAMETER, "{refused:?}");
    assert_eq!(committed(&mut peer), 0);
    ack(&mut peer, &first, 0);
    ack(&mut peer, &first, 1);
    assert_eq!(pop(&mut peer, ASK).bodies, ["c"]);
}

#[test]
fn a_batch_outlives_a_stop_and_a_kill() {
    if common::oracle::is_wanted() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for kill in [false, true] {
        let data = folder.path().join(kill.to_string());
        let (server, mut peer) = start(&data);
        send(&mut peer, &["a", "b", "c"]);
        let first = pop(&mut peer, Pop { most: 2, attempt: Some("one"), ..ASK });
        ack(&mut peer, &first, 0);
        let file = data.join("store/config/consumerOrderInfo.json");
        if kill {
            // Saved within a second.
            let deadline = Instant::now() + PATIENCE;
            let is_saved = || {
                let journal = std::fs::read_to_string(file.with_extension("json.journal")).unwrap_or_default();
                let table = std::fs::read_to_string(&file).unwrap_or_default() + &journal;
                table.contains(r#""cm":1"#)
            };
            while !is_saved() {
                assert!(Instant::now() < deadline, "{} is not written", file.display());
                std::thread::sleep(Duration::from_millis(20));
            }
            server.kill();
        } else {
            assert!(server.stop().success());
            let text: String = std::fs::read_to_string(&file).expect("the file").split_whitespace().collect();
            assert!(text.contains(r#""T@G":{"#) && text.contains(r#""a":"one","cm":1,"i":60000"#), "{text}");
        }
        let (_server, mut peer) = start(&data);
        assert_eq!(pop(&mut peer, ASK), Popped::default(), "b is out");
        ack(&mut peer, &first, 1);
        assert_eq!((committed(&mut peer), pop(&mut peer, ASK).bodies), (2, vec!["c".to_owned()]));
    }
}

#[test]
fn what_apache_left_in_flight_is_taken_over() {
    if common::oracle::is_wanted() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut peer) = start(folder.path());
    send(&mut peer, &["a", "b", "c"]);
    let first = pop(&mut peer, Pop { most: 1, ..ASK });
    ack(&mut peer, &first, 0);
    assert!(server.stop().success());
    let (now, config) = (now(), folder.path().join("store/config"));
    let text = format!(
        "{{\n\t\"orderInfoCount\":1,\n\t\"orderedConsumptionLevel\":\"QUEUE\",\n\t\"table\":{{\n\t\t\"T@G\":{{\n\t\t\t0:{{\n\
         \t\t\t\t\"cm\":0,\n\t\t\t\t\"i\":600000,\n\t\t\t\t\"l\":{now},\n\t\t\t\t\"o\":[1,1],\n\t\t\t\t\"oc\":{{1:2}},\n\
         \t\t\t\t\"popTime\":{now}\n\t\t\t}}\n\t\t}}\n\t}}\n}}"
    );
    std::fs::write(config.join("consumerOrderInfo.json"), text).expect("the file is written");
    let (_server, mut peer) = start(folder.path());
    assert_eq!(pop(&mut peer, ASK), Popped::default());
    let theirs =
        Popped { offsets: vec![1, 2], handle: format!("1 {now} 600000 999 0 broker-a 0"), ..Popped::default() };
    assert_eq!(change(&mut peer, &theirs, 0, 0).code, response::SUCCESS);
    ack(&mut peer, &theirs, 1);
    let again = pop(&mut peer, Pop { most: 1, ..ASK });
    assert_eq!((again.bodies, &*again.counts), (vec!["b".to_owned()], "0 qo0%1 3;0 0 3"));
}

#[test]
fn no_message_is_lost_or_passed_by_a_kill_at_any_moment() {
    const MESSAGES: usize = 120;
    if common::oracle::is_wanted() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (mut server, mut peer) = start(folder.path());
    for number in 0..MESSAGES {
        peer.send_ok("T", 0, number.to_string().as_bytes(), "");
    }
    let (mut done, mut round) = (0, 0);
    let deadline = Instant::now() + 3 * PATIENCE;
    while done < MESSAGES {
        assert!(Instant::now() < deadline, "stuck at {done} of {MESSAGES}");
        round += 1;
        let popped = pop(&mut peer, Pop { most: 1 + round % 9, invisible: 400, poll: 1_000, ..ASK });
        for (number, body) in popped.bodies.iter().enumerate() {
            let body: usize = body.parse().expect("a number");
            assert!(body <= done, "{body} comes before {done}");
            if number == 6 {
                // It was given back, or its time is up.
                change(&mut peer, &popped, number, 0);
                break;
            }
            if try_ack(&mut peer, &popped, number) != response::SUCCESS {
                break;
            }
            done = done.max(body + 1);
            if (round, number) == (round / 7 * 7, 2) {
                server.kill();
                (server, peer) = start(folder.path());
                break;
            }
        }
    }
    assert!(server.stop().success());
    let (_server, mut peer) = start(folder.path());
    assert_eq!(committed(&mut peer), MESSAGES as i64);
    assert_eq!(pop(&mut peer, ASK), Popped::default());
}
