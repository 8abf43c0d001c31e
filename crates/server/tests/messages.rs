//! Sending and pulling over the wire, across stops and crashes.

mod common;

use std::time::{Duration, Instant};

use apogee_message::batch::{self, BatchMessage};
use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    PullMessageResponseHeader, QueryMessageRequestHeader, RpcFields, SendMessageResponseHeader,
    ViewMessageRequestHeader,
};
use bytes::Bytes;
use common::{Peer, Pull, Server, send_request};

/// Bodies of a queue, from the beginning to the end.
fn consume(peer: &mut Peer, topic: &str, queue: i32) -> Vec<Vec<u8>> {
    let (mut bodies, mut offset) = (Vec::new(), 0);
    loop {
        let (answer, next) = peer.pull(Pull::of(topic, queue, offset));
        match answer.code {
            response::SUCCESS => {}
            response::PULL_NOT_FOUND | response::PULL_OFFSET_MOVED => return bodies,
            other => panic!("code {other}: {:?}", answer.remark),
        }
        for record in record::iter(&answer.body) {
            let record = record.expect("a record");
            assert!(record.body_is_intact());
            assert_eq!(record.queue_offset, bodies.len() as i64);
            bodies.push(record.body.to_vec());
        }
        offset = next.expect("a next offset");
    }
}

#[test]
fn what_was_sent_is_pulled() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for number in 0..100_u8 {
        let offset = peer.send_ok("T", 1, &[number; 1000], "TAGS\u{1}A\u{2}color\u{1}red\u{2}");
        assert_eq!(offset, i64::from(number));
    }
    let bodies = consume(&mut peer, "T", 1);
    assert_eq!(bodies, (0..100).map(|number| vec![number; 1000]).collect::<Vec<_>>());
    let (answer, _) = peer.pull(Pull::of("T", 1, 0));
    let record = Record::read(&answer.body).expect("a record");
    assert_eq!((record.property("color"), record.property("TAGS")), (Some("red"), Some("A")));
    assert_eq!(record.property("CLUSTER"), Some("DefaultCluster"));
    assert!(record.property("UNIQ_KEY").is_some_and(|key| key.len() == 32));
    assert_eq!(record.born_timestamp, 1_700_000_000_000);
}

#[test]
fn requests_of_one_write_are_answered_in_one_go() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"first", "");
    let mut opaques: Vec<i32> = (0..200).map(|n| peer.request(send_request("T", 0, &[n as u8; 100], ""))).collect();
    let mut answered: Vec<i32> = opaques
        .iter()
        .map(|_| peer.read())
        .map(|answer| {
            assert_eq!(answer.code, response::SUCCESS);
            answer.opaque
        })
        .collect();
    opaques.sort_unstable();
    answered.sort_unstable();
    assert_eq!(answered, opaques);
    assert_eq!(consume(&mut peer, "T", 0).len(), 201);
}

#[test]
fn a_one_way_message_is_stored_and_not_answered() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    // The message that creates a topic waits for a name server, and others may pass it.
    peer.send_ok("T", 1, b"first", "");
    peer.request(send_request("T", 0, b"one way", "").oneway());
    assert_eq!(peer.send_ok("T", 0, b"two way", ""), 1);
    assert_eq!(consume(&mut peer, "T", 0), [b"one way", b"two way"]);
}

#[test]
fn a_batch_becomes_its_messages() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let mut body = Vec::new();
    for number in 0..3 {
        let (text, properties) = (format!("body {number}"), format!("KEYS\u{1}k{number}\u{2}"));
        batch::push(&mut body, &BatchMessage { flag: number, body: text.into(), properties: properties.into() });
    }
    let mut command = send_request("T", 2, &body, "");
    command.code = request::SEND_BATCH_MESSAGE;
    command.fields.set("m", true);
    let answer = peer.call(command);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let header = answer.header::<SendMessageResponseHeader<'_>>().expect("a header");
    assert_eq!((header.queue_offset, header.msg_id.split(',').count()), (0, 3));
    assert_eq!(consume(&mut peer, "T", 2), [b"body 0", b"body 1", b"body 2"]);
}

#[test]
fn a_batch_with_a_message_that_must_wait_is_refused_as_a_whole() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for waits in ["DELAY\u{1}3\u{2}", "TIMER_DELAY_SEC\u{1}5\u{2}", "TRAN_MSG\u{1}true\u{2}"] {
        let mut body = Vec::new();
        for properties in ["", waits, ""] {
            batch::push(&mut body, &BatchMessage { flag: 0, body: "x".into(), properties: properties.into() });
        }
        let mut command = send_request("T", 0, &body, "");
        command.code = request::SEND_BATCH_MESSAGE;
        command.fields.set("m", true);
        let answer = peer.call(command);
        assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{answer:?}");
        assert!(answer.remark.expect("a remark").contains("batch"), "{waits}");
    }
    assert_eq!(peer.send_ok("T", 0, b"the first", ""), 0);
}

#[test]
fn only_messages_with_a_wanted_tag_are_pulled() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for number in 0..10 {
        let tag = if number % 3 == 0 { "A" } else { "B" };
        peer.send_ok("T", 0, &[number], &format!("TAGS\u{1}{tag}\u{2}"));
    }
    let (answer, next) = peer.pull(Pull { tags: "A || C", ..Pull::of("T", 0, 0) });
    let bodies: Vec<u8> = record::iter(&answer.body).map(|record| record.expect("a record").body[0]).collect();
    assert_eq!(bodies, [0, 3, 6, 9]);
    assert_eq!(next, Some(10));
    let (answer, next) = peer.pull(Pull { tags: "C", ..Pull::of("T", 0, 0) });
    assert_eq!((answer.code, next), (response::PULL_RETRY_IMMEDIATELY, Some(10)));
}

#[test]
fn a_parked_pull_is_answered_by_the_message_it_waits_for() {
    let server = Server::start(&[]);
    let (mut producer, mut consumer) = (server.connect(), server.connect());
    producer.send_ok("T", 0, b"before", "");
    let parked = consumer.park(Pull { suspend: 15_000, tags: "A", ..Pull::of("T", 0, 1) }.command());
    let started = Instant::now();
    producer.send_ok("T", 0, b"not wanted", "TAGS\u{1}B\u{2}");
    producer.send_ok("T", 0, b"wanted", "TAGS\u{1}A\u{2}");
    let answer = consumer.read();
    // Far below any timer: nothing else could have woken it.
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!((answer.opaque, answer.code), (parked, response::SUCCESS));
    assert_eq!(Record::read(&answer.body).expect("a record").body, b"wanted");
}

#[test]
fn a_parked_pull_is_answered_when_its_time_is_up() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"x", "");
    let started = Instant::now();
    let answer = peer.call(Pull { suspend: 300, ..Pull::of("T", 0, 1) }.command());
    assert_eq!(answer.code, response::PULL_NOT_FOUND);
    let header = answer.header::<PullMessageResponseHeader>().expect("a header");
    assert_eq!((header.next_begin_offset, header.max_offset), (1, 1));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_delayed_message_comes_in_time() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"at once", "");
    let sent = Instant::now();
    let answer = peer.send("T", 0, b"later", "DELAY\u{1}1\u{2}KEYS\u{1}k\u{2}");
    assert_eq!(answer.code, response::SUCCESS);
    let answer = peer.call(Pull { suspend: 15_000, ..Pull::of("T", 0, 1) }.command());
    let late = sent.elapsed();
    let record = Record::read(&answer.body).expect("a record");
    assert_eq!((record.body, record.topic), (&b"later"[..], "T"));
    assert_eq!((record.property("DELAY"), record.property("KEYS")), (None, Some("k")));
    assert!(late >= Duration::from_millis(990) && late < Duration::from_secs(3), "{late:?}");
}

#[test]
fn messages_are_found_by_key_and_by_id() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"one", "KEYS\u{1}a b\u{2}");
    let answer = peer.send("T", 1, b"two", "KEYS\u{1}b\u{2}UNIQ_KEY\u{1}U2\u{2}");
    let id = answer.header::<SendMessageResponseHeader<'_>>().expect("a header").msg_id.to_owned();
    let query = |key, unique: bool| {
        let mut command = Command::request(request::QUERY_MESSAGE).with_header(&QueryMessageRequestHeader {
            topic: "T",
            key,
            max_num: 32,
            begin_timestamp: 0,
            end_timestamp: i64::MAX,
            index_type: None,
            last_key: None,
            rpc: RpcFields::default(),
        });
        if unique {
            command.fields.set("_UNIQUE_KEY_QUERY", true);
        }
        command
    };
    let bodies = |answer: &Command| -> Vec<Vec<u8>> {
        record::iter(&answer.body).map(|record| record.expect("a record").body.to_vec()).collect()
    };
    assert_eq!(bodies(&peer.call(query("b", false))), [b"one", b"two"]);
    assert_eq!(bodies(&peer.call(query("U2", true))), [b"two"]);
    assert_eq!(peer.call(query("nothing", false)).code, response::QUERY_NOT_FOUND);
    let id: apogee_message::ids::OffsetId = id.parse().expect("an id");
    assert_eq!(id.host, server.broker);
    let view = |offset| {
        Command::request(request::VIEW_MESSAGE_BY_ID).with_header(&ViewMessageRequestHeader { topic: None, offset })
    };
    assert_eq!(bodies(&peer.call(view(id.offset))), [b"two"]);
    for nowhere in [id.offset + 1, -1, i64::MAX] {
        assert_eq!(peer.call(view(nowhere)).code, response::SYSTEM_ERROR);
    }
}

#[test]
fn everything_is_there_after_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start_in(&data, &[]);
    for number in 0..50 {
        server.connect().send_ok("T", number % 4, &[number as u8; 200], "");
    }
    assert!(server.stop().success());
    let server = Server::start_in(&data, &[]);
    let mut peer = server.connect();
    let bodies: usize = (0..4).map(|queue| consume(&mut peer, "T", queue).len()).sum();
    assert_eq!(bodies, 50);
    assert_eq!(peer.send_ok("T", 0, b"goes on", ""), 13);
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for round in 0..3_u8 {
        let server = Server::start_in(&data, &[]);
        let mut peer = server.connect();
        if round > 0 {
            assert_eq!(consume(&mut peer, "T", 0), sent);
        }
        for number in 0..100 {
            let body = vec![round, number, 7];
            assert_eq!(peer.send_ok("T", 0, &body, ""), sent.len() as i64);
            sent.push(body);
        }
        // More is under way when the process dies.
        for number in 100..200 {
            peer.request(send_request("T", 1, &[round, number], ""));
        }
        server.kill();
    }
    let server = Server::start_in(&data, &[]);
    let mut peer = server.connect();
    assert_eq!(consume(&mut peer, "T", 0), sent);
    consume(&mut peer, "T", 1);
}

#[test]
fn a_message_larger_than_a_read_goes_through() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let body: Vec<u8> = (0..4 << 20).map(|n: u32| n as u8).collect();
    peer.send_ok("T", 0, &body, "");
    let (answer, _) = peer.pull(Pull::of("T", 0, 0));
    assert_eq!(Record::read(&answer.body).expect("a record").body, Bytes::from(body));
}

#[test]
fn requests_on_other_threads_lose_nothing_to_those_beside_them() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("Known", 0, b"first", "");
    // Messages that create their topics are taken on other threads, those between them on the
    // connection's task; each is answered.
    let mut expected = Vec::new();
    for round in 0..40 {
        expected.push(peer.request(send_request(&format!("New{round}"), 0, b"x", "")));
        for _ in 0..20 {
            expected.push(peer.request(send_request("Known", 0, b"x", "")));
        }
    }
    let mut answered: Vec<i32> = (0..expected.len())
        .map(|_| {
            let answer = peer.read();
            assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
            answer.opaque
        })
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, expected);
    assert_eq!(consume(&mut peer, "Known", 0).len(), 801);
}
