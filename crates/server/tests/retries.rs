//! Delay levels, retries and dead letters over `kill -9` between any two of their steps.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::ConsumerSendMsgBackRequestHeader;
use common::{PATIENCE, Peer, Pull, Server, send_request};

/// One delay level of a second.
const LEVELS: &[&str] = &["messageDelayLevel=1s"];
/// How long nothing must come for nothing more to be expected: longer than the level.
const QUIET: Duration = Duration::from_millis(1_300);

/// How often each body is in a queue, once `count` messages and then no more have come.
fn bodies(peer: &mut Peer, topic: &str, count: usize) -> BTreeMap<String, usize> {
    let (mut came, mut offset) = (Vec::new(), 0);
    let mut deadline = Instant::now() + PATIENCE;
    let mut is_quiet = false;
    while Instant::now() < deadline {
        let (answer, next) = peer.pull(Pull { suspend: 100, ..Pull::of(topic, 0, offset) });
        if answer.code == response::SUCCESS {
            let texts = record::iter(&answer.body)
                .map(|record| String::from_utf8_lossy(record.expect("a record").body).into_owned());
            came.extend(texts);
        }
        offset = next.unwrap_or(offset);
        if came.len() >= count && !is_quiet {
            (is_quiet, deadline) = (true, Instant::now() + QUIET);
        }
    }
    let mut times = BTreeMap::new();
    came.into_iter().for_each(|body| *times.entry(body).or_default() += 1);
    times
}

#[test]
fn delayed_messages_come_once_over_kills_at_any_moment() {
    const MESSAGES: usize = 400;
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), LEVELS);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"not delayed", "");
    for number in 0..MESSAGES {
        let mut request = send_request("T", 0, number.to_string().as_bytes(), "DELAY\u{1}1\u{2}");
        request.opaque = number as i32;
        peer.request(request);
        if number % 100 == 99 {
            std::thread::sleep(Duration::from_millis(250));
        }
    }
    for _ in 0..MESSAGES {
        assert_eq!(peer.read().code, response::SUCCESS);
    }
    // The first are due from now on; a delivery is cut off somewhere.
    for pause in [3, 150, 150, 150] {
        std::thread::sleep(Duration::from_millis(pause));
        server.kill();
        server = Server::start_in(folder.path(), LEVELS);
    }
    let times = bodies(&mut server.connect(), "T", MESSAGES + 1);
    assert_eq!(times.len(), MESSAGES + 1, "messages were lost");
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "came more than once: {twice:?}");
}

/// Gives the first message of a queue back, and asserts that it is taken.
fn send_back(peer: &mut Peer, topic: &str, delay_level: i32) {
    let (answer, _) = peer.pull(Pull { suspend: 5_000, ..Pull::of(topic, 0, 0) });
    let offset = Record::read(&answer.body).expect("a record").physical_offset;
    let header = ConsumerSendMsgBackRequestHeader {
        offset,
        group: "C",
        delay_level,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: Some(false),
        max_reconsume_times: Some(16),
        rpc: Default::default(),
    };
    let answer = peer.call(Command::request(request::CONSUMER_SEND_MSG_BACK).with_header(&header));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

#[test]
fn a_failed_message_is_retried_and_becomes_a_dead_letter_once_over_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), LEVELS);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"fails", "");
    send_back(&mut peer, "T", 0);
    // Killed before it is due,
    server.kill();
    let server = Server::start_in(folder.path(), LEVELS);
    assert_eq!(bodies(&mut server.connect(), "%RETRY%C", 1), [("fails".to_owned(), 1)].into());
    // and after its delivery,
    server.kill();
    let server = Server::start_in(folder.path(), LEVELS);
    let mut peer = server.connect();
    assert_eq!(bodies(&mut peer, "%RETRY%C", 1), [("fails".to_owned(), 1)].into());
    send_back(&mut peer, "%RETRY%C", -1);
    // and as a dead letter.
    server.kill();
    let server = Server::start_in(folder.path(), LEVELS);
    let mut peer = server.connect();
    assert_eq!(bodies(&mut peer, "%DLQ%C", 1), [("fails".to_owned(), 1)].into());
    let (answer, _) = peer.pull(Pull::of("%DLQ%C", 0, 0));
    let dead = Record::read(&answer.body).expect("a record");
    assert_eq!((dead.reconsume_times, dead.property("RETRY_TOPIC")), (2, Some("T")));
}
