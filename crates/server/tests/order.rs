//! Queue locks of orderly consumers over a crash of the broker.

mod common;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, LockBatchRequestBody, LockBatchResponseBody, MessageQueue};
use apogee_wire::codes::{request, response};
use common::{Peer, Pull, Server};

/// Asks for the lock of a queue; says whether the client has it.
fn lock(peer: &mut Peer, client: &str) -> bool {
    let queue = MessageQueue::new("T", "broker-a", 0);
    let body = LockBatchRequestBody {
        consumer_group: Some("C".into()),
        client_id: Some(client.into()),
        mq_set: [queue.clone()].into(),
        ..Default::default()
    };
    let answer = peer.call(Command::request(request::LOCK_BATCH_MQ).with_body(body.encode()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    LockBatchResponseBody::decode(&answer.body).expect("a body").lock_ok_mq_set.contains(&queue)
}

#[test]
fn a_queue_has_one_holder_and_after_a_crash_the_first_who_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    for body in [&b"one"[..], b"two", b"three"] {
        peer.send_ok("T", 0, body, "");
    }
    assert!(lock(&mut peer, "c1") && !lock(&mut peer, "c2") && lock(&mut peer, "c1"));
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    assert!(lock(&mut peer, "c2") && !lock(&mut peer, "c1"), "who held it before has no right to it");
    let (answer, _) = peer.pull(Pull::of("T", 0, 0));
    let bodies: Vec<_> =
        apogee_message::record::iter(&answer.body).map(|record| record.expect("a record").body).collect();
    assert_eq!(bodies, [&b"one"[..], b"two", b"three"], "in order");
}
