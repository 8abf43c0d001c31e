//! POP over the wire: what is given out to whom, what comes again when, and `kill -9` between any two steps.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::bodies::{BatchAck, BatchAckMessageRequestBody, Body};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    ChangeInvisibleTimeResponseHeader, NotificationRequestHeader, NotificationResponseHeader, PeekMessageRequestHeader,
    PollingInfoRequestHeader, PollingInfoResponseHeader, PopMessageResponseHeader, RpcFields,
};
use common::pop::{Pop, Popped, bodies, committed, read};
use common::{PATIENCE, Peer, Server};

/// Noted in the log so soon, for tests of what is noted.
const NOTED_SOON: &[&str] = &["popCkStayBufferTime=100", "popCkStayBufferTimeOut=0"];

const ASK: Pop<'_> = Pop::of("T");

fn pop(peer: &mut Peer, ask: Pop<'_>) -> Vec<Popped> {
    read(&peer.call(ask.command()))
}

/// Pops until so many came.
fn pop_count(peer: &mut Peer, ask: Pop<'_>, count: usize) -> Vec<Popped> {
    let deadline = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} came: {all:?}", all.len());
        all.extend(pop(peer, Pop { poll: 500, ..ask }));
    }
    all
}

fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = popped.ack(peer);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// Returns the message with its new handle.
fn change(peer: &mut Peer, popped: &Popped, invisible: i64, suspend: bool) -> Popped {
    let answer = popped.change(peer, invisible, suspend);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let header: ChangeInvisibleTimeResponseHeader = answer.header().expect("a header");
    let mut parts: Vec<String> = popped.handle.split(' ').map(str::to_owned).collect();
    parts[0] = popped.offset.to_string();
    parts[1] = header.pop_time.to_string();
    parts[2] = header.invisible_time.to_string();
    parts[3] = header.revive_qid.to_string();
    Popped { handle: parts.join(" "), ..popped.clone() }
}

fn send(peer: &mut Peer, bodies: &[&str]) {
    for body in bodies {
        peer.send_ok("T", 0, body.as_bytes(), "");
    }
}

fn start(data: &Path, settings: &[&str]) -> (Server, Peer) {
    let server = Server::start_in(data, settings);
    let peer = server.connect();
    (server, peer)
}

#[test]
fn a_message_is_given_out_once_and_is_done_with_when_it_is_acknowledged() {
    let server = Server::start(&[]);
    let (mut peer, mut other) = (server.connect(), server.connect());
    send(&mut peer, &["a", "b", "c"]);
    let first = pop(&mut peer, Pop { most: 2, ..ASK });
    assert_eq!(bodies(&first), ["a", "b"]);
    assert!(first.iter().all(|popped| popped.times == 0 && popped.topic == "T"), "{first:?}");
    let second = pop(&mut other, ASK);
    assert_eq!(bodies(&second), ["c"], "what somebody else has is passed over");
    assert!(pop(&mut other, ASK).is_empty());
    assert_eq!(committed(&mut peer), 0);
    ack(&mut other, &second[0]);
    ack(&mut peer, &first[1]);
    assert_eq!(committed(&mut peer), 0, "the first message is not acknowledged");
    ack(&mut peer, &first[0]);
    ack(&mut peer, &first[0]);
    assert_eq!(committed(&mut peer), 3);
    assert_eq!(pop(&mut peer, Pop { group: "H", ..ASK }).len(), 3, "each group gets all");
}

#[test]
fn an_answer_says_what_a_consumer_needs() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for queue in [1, 1, 3] {
        peer.send_ok("T", queue, b"x", "TAGS\u{1}A\u{2}");
        peer.send_ok("T", queue, b"y", "TAGS\u{1}B\u{2}");
    }
    let answer = peer.call(Pop { tags: "B", most: 32, ..ASK }.command());
    assert_eq!((answer.code, answer.remark.as_deref()), (response::SUCCESS, Some("FOUND")));
    let header: PopMessageResponseHeader<'_> = answer.header().expect("a header");
    let sorted = |text: Option<&str>| {
        let mut entries: Vec<String> = text.expect("a text").split(';').map(str::to_owned).collect();
        entries.sort_unstable();
        entries.join(";")
    };
    assert_eq!(sorted(header.start_offset_info), "0 1 1;0 3 1");
    assert_eq!(sorted(header.msg_offset_info), "0 1 1,3;0 3 1");
    assert_eq!((header.rest_num, header.invisible_time, header.order_count_info), (0, 60_000, None));
    assert!((0..8).contains(&header.revive_qid) && header.pop_time > 1_700_000_000_000);
    let record = record::iter(&answer.body).next().expect("one").expect("a record");
    assert_eq!((record.body, record.property("POP_CK")), (&b"y"[..], None));
}

#[test]
fn what_is_not_acknowledged_comes_again_and_again() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"a", "KEYS\u{1}k\u{2}TAGS\u{1}A\u{2}");
    let ask = Pop { invisible: 1_000, ..ASK };
    let mut last = pop(&mut peer, ask).remove(0);
    for times in 1..4 {
        let began = Instant::now();
        let answer = peer.call(Pop { poll: 10_000, ..ask }.command());
        let again = read(&answer).remove(0);
        assert_eq!((&*again.body, again.times, &*again.topic, again.queue), ("a", times, "T", 0));
        assert_ne!(again.handle, last.handle);
        assert!(began.elapsed() > Duration::from_millis(500), "not before its time");
        let record = record::iter(&answer.body).next().expect("one").expect("a record");
        assert_eq!((record.property("ORIGIN_GROUP"), record.property("KEYS")), (Some("G"), Some("k")));
        assert!(record.property("1ST_POP_TIME").is_some() && record.is_intact(&answer.body));
        let late = last.ack(&mut peer);
        assert_eq!(late.code, response::NO_MESSAGE, "{late:?}");
        last = again;
    }
    ack(&mut peer, &last);
    assert_eq!(committed(&mut peer), 1);
    assert!(pop(&mut peer, Pop { poll: 2_500, ..ask }).is_empty());
}

#[test]
fn its_invisible_time_can_be_changed() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send(&mut peer, &["short", "long"]);
    let ask = Pop { invisible: 1_500, ..ASK };
    let popped = pop(&mut peer, ask);
    let (short, long) = (&popped[0], &popped[1]);
    let renewed = change(&mut peer, long, 60_000, false);
    let given_up = change(&mut peer, short, 0, true);
    assert_eq!(long.ack(&mut peer).code, response::NO_MESSAGE, "the old handle is no more");
    let again = pop_count(&mut peer, ask, 1);
    assert_eq!((bodies(&again), again[0].times), (vec!["short"], 0), "it did not fail");
    assert_eq!(given_up.ack(&mut peer).code, response::NO_MESSAGE);
    assert_eq!(given_up.change(&mut peer, 1, false).code, response::NO_MESSAGE);
    ack(&mut peer, &again[0]);
    assert!(pop(&mut peer, Pop { poll: 2_000, ..ask }).is_empty(), "the other one stays invisible");
    ack(&mut peer, &renewed);
    assert_eq!(committed(&mut peer), 2);
}

#[test]
fn a_pop_waits_for_a_message_and_one_of_a_group_gets_it() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send(&mut peer, &["first"]);
    let done = pop(&mut peer, ASK);
    ack(&mut peer, &done[0]);
    let mut waiting: Vec<Peer> = (0..4).map(|_| server.connect()).collect();
    for peer in &mut waiting {
        peer.park(Pop { poll: 15_000, ..ASK }.command());
    }
    let info = PollingInfoRequestHeader { consumer_group: "G", topic: "T", queue_id: -1, rpc: RpcFields::default() };
    let answer = peer.call(Command::request(request::POLLING_INFO).with_header(&info));
    assert_eq!(answer.header::<PollingInfoResponseHeader>().expect("a header").polling_num, 4);
    let began = Instant::now();
    send(&mut peer, &["second"]);
    let mut answers = 0;
    for peer in &mut waiting {
        if let Some(answer) = peer.read_within(Duration::from_millis(700)) {
            assert_eq!(bodies(&read(&answer)), ["second"]);
            answers += 1;
        }
    }
    assert_eq!(answers, 1);
    assert!(began.elapsed() < PATIENCE / 2);
    // A connection that is gone keeps nothing from the others.
    let mut left = waiting.split_off(3);
    drop(waiting);
    send(&mut peer, &["third"]);
    let mut came: Vec<Popped> = left[0].read_within(PATIENCE / 2).iter().flat_map(read).collect();
    came.extend(pop(&mut peer, ASK));
    assert!(bodies(&came).len() <= 1, "{came:?}");
}

#[test]
fn poppers_of_one_group_share_the_messages() {
    const MESSAGES: usize = 2_000;
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for number in 0..MESSAGES {
        let body = number.to_string();
        peer.send_ok("T", number as i32 % 4, body.as_bytes(), "");
    }
    let popper = |server: &Server| {
        let mut peer = server.connect();
        std::thread::spawn(move || {
            let mut came = Vec::new();
            loop {
                let popped = pop(&mut peer, Pop { most: 7, poll: 300, ..ASK });
                if popped.is_empty() {
                    return came;
                }
                popped.iter().for_each(|popped| ack(&mut peer, popped));
                came.extend(popped.into_iter().map(|popped| popped.body));
            }
        })
    };
    let poppers: Vec<_> = (0..4).map(|_| popper(&server)).collect();
    let came: Vec<String> = poppers.into_iter().flat_map(|popper| popper.join().expect("no panic")).collect();
    assert_eq!(came.len(), MESSAGES);
    assert_eq!(came.iter().collect::<BTreeSet<_>>().len(), MESSAGES, "none twice");
}

#[test]
fn what_is_noted_in_the_log_is_settled_there() {
    let folder = tempfile::tempdir().expect("a folder");
    for kill in [false, true] {
        let data = folder.path().join(kill.to_string());
        let (server, mut peer) = start(&data, NOTED_SOON);
        send(&mut peer, &["acked", "lost", "renewed", "acked later"]);
        let popped = pop(&mut peer, Pop { invisible: 6_000, ..ASK });
        let began = Instant::now();
        let by: BTreeMap<&str, &Popped> = popped.iter().map(|popped| (&*popped.body, popped)).collect();
        // All four are noted: the group's offset passes them.
        while committed(&mut peer) < 4 {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(20));
        }
        ack(&mut peer, by["acked"]);
        let renewed = change(&mut peer, by["renewed"], 60_000, false);
        std::thread::sleep(Duration::from_millis(400));
        match kill {
            true => server.kill(),
            false => assert!(server.stop().success()),
        }
        let (_server, mut peer) = start(&data, NOTED_SOON);
        ack(&mut peer, by["acked later"]);
        let early = pop(&mut peer, ASK);
        assert!(early.is_empty(), "all are invisible: {kill} {:?} {early:?}", began.elapsed());
        let again = pop_count(&mut peer, ASK, 1);
        assert!(began.elapsed() >= Duration::from_millis(5_900), "{:?}", began.elapsed());
        assert_eq!((bodies(&again), again[0].times), (vec!["lost"], 1));
        ack(&mut peer, &again[0]);
        assert!(pop(&mut peer, Pop { poll: 2_500, ..ASK }).is_empty());
        ack(&mut peer, &renewed);
    }
}

#[test]
fn no_message_is_lost_by_a_kill_at_any_moment() {
    const MESSAGES: usize = 300;
    let folder = tempfile::tempdir().expect("a folder");
    let (mut server, mut peer) = start(folder.path(), NOTED_SOON);
    for number in 0..MESSAGES {
        peer.send_ok("T", number as i32 % 2, number.to_string().as_bytes(), "");
    }
    let mut acked = BTreeSet::new();
    let mut open = Vec::new();
    let deadline = Instant::now() + 3 * PATIENCE;
    let mut round = 0;
    while acked.len() < MESSAGES {
        assert!(Instant::now() < deadline, "{} of {MESSAGES} came", acked.len());
        for (number, popped) in
            pop(&mut peer, Pop { most: 16, invisible: 1_200, poll: 100, ..ASK }).into_iter().enumerate()
        {
            match (number + round) % 3 {
                0 => open.push(popped),
                1 => drop(change(&mut peer, &popped, 700, false)),
                _ => {
                    ack(&mut peer, &popped);
                    acked.insert(popped.body);
                }
            }
        }
        round += 1;
        if round % 2 == 0 {
            // By now they may be noted, or given to somebody else.
            for popped in open.drain(..) {
                if popped.ack(&mut peer).code == response::SUCCESS {
                    acked.insert(popped.body);
                }
            }
        }
        if round % 9 == 0 && round < 60 {
            std::thread::sleep(Duration::from_millis(round as u64 * 7 % 300));
            server.kill();
            (server, peer) = start(folder.path(), NOTED_SOON);
        }
    }
}

#[test]
fn handles_that_cannot_be_are_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send(&mut peer, &["a", "b"]);
    let popped = pop(&mut peer, Pop { most: 1, ..ASK }).remove(0);
    let forged =
        |handle: &str, offset: i64, queue: i32| Popped { handle: handle.into(), offset, queue, ..popped.clone() };
    let fields: Vec<&str> = popped.handle.split(' ').collect();
    let with = |place: usize, text: &str| {
        let mut fields = fields.clone();
        fields[place] = text;
        fields.join(" ")
    };
    for (wrong, code) in [
        (forged("", 0, 0), response::MESSAGE_ILLEGAL),
        (forged("1 2 3", 0, 0), response::MESSAGE_ILLEGAL),
        (forged(&popped.handle, 1, 0), response::MESSAGE_ILLEGAL),
        (forged(&popped.handle, 0, 1), response::MESSAGE_ILLEGAL),
        (forged(&with(6, "77"), 0, 77), response::MESSAGE_ILLEGAL),
        (forged(&with(1, "9223372036854775807"), 0, 0), response::MESSAGE_ILLEGAL),
        (forged(&with(7, "1"), 1, 0), response::NO_MESSAGE),
        (forged(&with(7, "999"), 999, 0), response::NO_MESSAGE),
        (forged(&with(1, "1"), 0, 0), response::NO_MESSAGE),
        (forged(&with(4, "1"), 0, 0), response::TOPIC_NOT_EXIST),
    ] {
        let answer = wrong.ack(&mut peer);
        assert_eq!(answer.code, code, "{wrong:?}: {answer:?}");
        assert_eq!(wrong.change(&mut peer, 1_000, false).code, code, "{wrong:?}");
    }
    for wrong in [
        Pop { most: 33, ..ASK },
        Pop { invisible: 0, ..ASK },
        Pop { invisible: i64::MAX, ..ASK },
        Pop { queue: 99, ..ASK },
    ] {
        let answer = peer.call(wrong.command());
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{answer:?}");
    }
    ack(&mut peer, &popped);
    assert_eq!(bodies(&pop(&mut peer, ASK)), ["b"]);
    server.assert_serving();
}

#[test]
fn several_are_acknowledged_at_once() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send(&mut peer, &["a", "b", "c", "d"]);
    let popped = pop(&mut peer, ASK);
    let fields: Vec<i64> = popped[0].handle.split(' ').filter_map(|field| field.parse().ok()).collect();
    let batch = |bits: &str| BatchAckMessageRequestBody {
        broker_name: Some("broker-a".into()),
        acks: vec![BatchAck {
            consumer_group: Some("G".into()),
            topic: Some("T".into()),
            retry: Some("0".into()),
            start_offset: fields[0],
            queue_id: 0,
            revive_queue_id: fields[3] as i32,
            pop_time: fields[1],
            invisible_time: fields[2],
            bit_set: Some(bits.into()),
        }],
    };
    let mut ack_all = |bits: &str| {
        let request = Command::request(request::BATCH_ACK_MESSAGE).with_body(batch(bits).encode());
        peer.call(request).code
    };
    // The bits of b and d; all and one too many; nonsense.
    assert_eq!(ack_all("Cg=="), response::SUCCESS);
    assert_eq!(ack_all("Hw=="), response::NO_MESSAGE);
    assert_eq!(ack_all("%"), response::MESSAGE_ILLEGAL);
    assert_eq!(committed(&mut peer), 4, "what can be acknowledged is");
}

#[test]
fn looking_takes_nothing() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    send(&mut peer, &["a"]);
    let peek = PeekMessageRequestHeader {
        topic: "T",
        queue_id: -1,
        max_msg_nums: 8,
        consumer_group: "G",
        rpc: RpcFields::default(),
    };
    let peek = Command::request(request::PEEK_MESSAGE).with_header(&peek);
    let notification = |poll_time| NotificationRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: -1,
        poll_time,
        born_time: 0,
        order: Some(false),
        attempt_id: None,
        exp_type: None,
        exp: None,
        rpc: RpcFields::default(),
    };
    let has = |answer: &Command| answer.header::<NotificationResponseHeader>().expect("a header").has_msg;
    let ask = |poll| Command::request(request::NOTIFICATION).with_header(&notification(poll));
    assert_eq!(record::iter(&peer.call(peek.clone()).body).count(), 1);
    assert!(has(&peer.call(ask(0))));
    let popped = pop(&mut peer, ASK);
    assert!(!has(&peer.call(ask(0))));
    assert_eq!(peer.call(peek).code, response::PULL_NOT_FOUND);
    ack(&mut peer, &popped[0]);
    let (mut asker, mut popper) = (server.connect(), server.connect());
    asker.park(ask(15_000));
    popper.park(Pop { poll: 15_000, ..ASK }.command());
    send(&mut peer, &["b"]);
    assert!(has(&asker.read()), "who only looks is told");
    assert_eq!(bodies(&read(&popper.read())), ["b"], "and keeps it from nobody");
}
