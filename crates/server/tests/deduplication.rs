//! No duplicates from retries: messages with a unique key that was sent before.

mod common;

use apogee_message::batch::{self, BatchMessage};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::frame;
use apogee_wire::headers::{CreateTopicRequestHeader, SendMessageRequestHeader, SendMessageResponseHeader};
use bytes::Bytes;
use common::{Peer, Pull, Server, send_header, send_request};

fn create(peer: &mut Peer, topic: &str, attributes: &str) -> Command {
    let header = CreateTopicRequestHeader {
        topic,
        default_topic: "TBW102",
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(attributes),
        force: Some(false),
        rpc: Default::default(),
    };
    peer.call(Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header))
}

fn windowed(server: &Server, topic: &str) -> Peer {
    let mut peer = server.connect();
    let answer = create(&mut peer, topic, "+deduplication.window.ms=60000");
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    peer
}

fn key(text: &str) -> String {
    format!("UNIQ_KEY\u{1}{text}\u{2}")
}

/// Id and place that an answer tells.
fn place(answer: &Command) -> (String, i32, i64) {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let header: SendMessageResponseHeader<'_> = answer.header().expect("a header");
    (header.msg_id.to_owned(), header.queue_id, header.queue_offset)
}

fn count(peer: &mut Peer, topic: &str, queue: i32) -> usize {
    let (answer, _) = peer.pull(Pull::of(topic, queue, 0));
    apogee_message::record::iter(&answer.body).count()
}

#[test]
fn a_message_sent_again_gets_the_first_answer_and_is_stored_once() {
    let server = Server::start(&[]);
    let mut peer = windowed(&server, "T");
    let first = place(&peer.send("T", 1, b"one", &key("K1")));
    let other = place(&peer.send("T", 1, b"two", &key("K2")));
    assert_eq!(first.1, 1);
    // Over another connection, to another queue, as clients do it.
    let again = place(&server.connect().send("T", 3, b"one", &key("K1")));
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!((count(&mut peer, "T", 1), count(&mut peer, "T", 3)), (2, 0));
    // A topic without the attribute takes both.
    let first = place(&peer.send("Plain", 1, b"one", &key("K1")));
    assert_ne!(first, place(&peer.send("Plain", 1, b"one", &key("K1"))));
    assert_eq!(create(&mut peer, "T", "-deduplication.window.ms").code, response::SUCCESS);
    assert_ne!(other, place(&peer.send("T", 1, b"two", &key("K2"))));
}

#[test]
fn what_is_on_its_way_is_answered_to_both() {
    let server = Server::start(&[]);
    let mut peer = windowed(&server, "T");
    let mut bytes = Vec::new();
    for opaque in 1..=20 {
        let mut command = send_request("T", 0, b"one", &key("K"));
        command.opaque = opaque;
        bytes.extend_from_slice(&frame::to_bytes(&command));
    }
    peer.write(&bytes);
    let answers: Vec<_> = (0..20).map(|_| place(&peer.read())).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(count(&mut peer, "T", 0), 1);
}

#[test]
fn a_restart_remembers() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = windowed(&server, "T");
    let first = place(&peer.send("T", 1, b"one", &key("K1")));
    let delayed = place(&peer.send("T", 1, b"later", &(key("K2") + "DELAY\u{1}5\u{2}")));
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let queue_and_offset = |place: (String, i32, i64)| (place.1, place.2);
    assert_eq!(queue_and_offset(place(&peer.send("T", 2, b"one", &key("K1")))), queue_and_offset(first));
    let again = place(&peer.send("T", 1, b"later", &(key("K2") + "DELAY\u{1}5\u{2}")));
    assert_eq!(queue_and_offset(again), queue_and_offset(delayed));
    assert_eq!((count(&mut peer, "T", 1), count(&mut peer, "T", 2)), (1, 0));
}

#[test]
fn a_batch_sent_again_gets_the_first_answer() {
    let server = Server::start(&[]);
    let mut peer = windowed(&server, "T");
    let batch = |keys: &[&str]| {
        let mut body = Vec::new();
        for name in keys {
            let properties = Bytes::from(key(name));
            batch::push(&mut body, &BatchMessage { flag: 0, body: Bytes::from_static(b"x"), properties });
        }
        let header = SendMessageRequestHeader { batch: Some(true), ..send_header("T", 0, "") };
        let mut command = Command::request(request::SEND_BATCH_MESSAGE).with_body(body);
        header.encode_v2(&mut command.fields);
        command
    };
    let first = place(&peer.call(batch(&["A", "B", "C"])));
    assert_eq!(first.0.split(',').count(), 3);
    assert_eq!(place(&peer.call(batch(&["A", "B", "C"]))), first);
    // Twice in one batch is no retry; what is new in a batch is stored.
    place(&peer.call(batch(&["A", "D", "E", "E"])));
    assert_eq!(count(&mut peer, "T", 0), 6);
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    for value in ["0", "-1", "86400001", "x", ""] {
        let answer = create(&mut peer, "T", &format!("+deduplication.window.ms={value}"));
        assert_eq!(answer.code, response::INVALID_PARAMETER, "{value}");
        assert!(answer.remark.is_some_and(|remark| remark.contains("1 to 86400000")), "{value}");
    }
}
