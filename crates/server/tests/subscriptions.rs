//! What a consumer subscribes to, as the broker knows it.

mod common;

use apogee_message::record;
use apogee_message::tag;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, ConsumerData, HeartbeatData, MessageModel, SubscriptionData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::PullMessageRequestHeader;
use common::{Peer, Pull, Server};

fn subscription(tag: &str, version: i64) -> SubscriptionData {
    SubscriptionData {
        topic: "T".into(),
        sub_string: Some(tag.into()),
        tags_set: [tag.to_owned()].into(),
        code_set: [tag::java_hash(tag)].into(),
        sub_version: version,
        ..Default::default()
    }
}

/// Tells the broker of a consumer in group C.
fn heartbeat(peer: &mut Peer, subscription: SubscriptionData) {
    let data = ConsumerData {
        group_name: "C".into(),
        message_model: Some(MessageModel::Clustering),
        subscription_data_set: vec![subscription],
        ..Default::default()
    };
    let heartbeat = HeartbeatData { client_id: "c1".into(), consumer_data_set: vec![data], ..Default::default() };
    let answer = peer.call(Command::request(request::HEART_BEAT).with_body(heartbeat.encode()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// A pull that relies on what the heartbeat told.
fn pull(version: i64) -> Command {
    pull_by(None, version)
}

fn pull_by(expression_type: Option<&str>, version: i64) -> Command {
    let command = Pull::of("T", 0, 0).command();
    let header: PullMessageRequestHeader<'_> = command.header().expect("a header");
    let header =
        PullMessageRequestHeader { sys_flag: 0, subscription: None, sub_version: version, expression_type, ..header };
    Command::request(request::PULL_MESSAGE).with_header(&header)
}

/// Bodies of the messages of an answer.
fn bodies(answer: &Command) -> Vec<&[u8]> {
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    record::iter(&answer.body).map(|record| record.expect("a record").body).collect()
}

#[test]
fn a_pull_by_tags_ahead_of_its_heartbeat_gets_all_and_the_client_compares() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"red", "TAGS\u{1}red\u{2}");
    peer.send_ok("T", 0, b"blue", "TAGS\u{1}blue\u{2}");
    heartbeat(&mut peer, subscription("red", 1));
    assert_eq!(bodies(&peer.call(pull(1))), [b"red"]);
    assert_eq!(bodies(&peer.call(pull(2))), [b"red".as_slice(), b"blue"]);
    // Filtered again as soon as it is told.
    heartbeat(&mut peer, subscription("blue", 2));
    assert_eq!(bodies(&peer.call(pull(2))), [b"blue"]);
}

#[test]
fn a_pull_by_an_expression_ahead_of_its_heartbeat_is_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"one", "a\u{1}1\u{2}");
    let by = |version| SubscriptionData {
        topic: "T".into(),
        sub_string: Some("a = 1".into()),
        expression_type: Some("SQL92".into()),
        sub_version: version,
        ..Default::default()
    };
    heartbeat(&mut peer, by(1));
    let answer = peer.call(pull_by(Some("SQL92"), 2));
    assert_eq!(answer.code, response::SUBSCRIPTION_NOT_LATEST, "{answer:?}");
    heartbeat(&mut peer, by(2));
    assert_eq!(bodies(&peer.call(pull_by(Some("SQL92"), 2))), [b"one"]);
}
