//! What a consumer subscribes to, as the broker knows it.

mod common;

use apogee_message::record::Record;
use apogee_message::tag;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, ConsumerData, ConsumerRunningInfo, HeartbeatData, MessageModel, SubscriptionData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{GetConsumerRunningInfoRequestHeader, PullMessageRequestHeader};
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
    let command = Pull::of("T", 0, 0).command();
    let header: PullMessageRequestHeader<'_> = command.header().expect("a header");
    let header = PullMessageRequestHeader { sys_flag: 0, subscription: None, sub_version: version, ..header };
    Command::request(request::PULL_MESSAGE).with_header(&header)
}

/// The broker's question; what it tells meanwhile is passed over.
fn question(peer: &mut Peer) -> Command {
    loop {
        let command = peer.read();
        if command.code == request::GET_CONSUMER_RUNNING_INFO {
            return command;
        }
        assert_eq!(command.code, request::NOTIFY_CONSUMER_IDS_CHANGED, "{command:?}");
    }
}

#[test]
fn a_pull_ahead_of_its_heartbeat_is_answered_after_the_client_was_asked() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"red", "TAGS\u{1}red\u{2}");
    peer.send_ok("T", 0, b"blue", "TAGS\u{1}blue\u{2}");
    heartbeat(&mut peer, subscription("red", 1));

    let opaque = peer.request(pull(2));
    let asked = question(&mut peer);
    let header: GetConsumerRunningInfoRequestHeader<'_> = asked.header().expect("a header");
    assert_eq!((header.consumer_group, header.client_id, header.jstack_enable), ("C", "c1", Some(false)));
    let info = ConsumerRunningInfo { subscription_set: vec![subscription("blue", 2)], ..Default::default() };
    peer.reply(&asked, info.encode());

    let answer = peer.read();
    assert_eq!((answer.opaque, answer.code), (opaque, response::SUCCESS), "{answer:?}");
    assert_eq!(Record::read(&answer.body).expect("a record").body, b"blue");
    // It is known from now on.
    assert_eq!(peer.call(pull(2)).code, response::SUCCESS);
}

#[test]
fn a_client_that_does_not_know_better_is_refused() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 0, b"red", "TAGS\u{1}red\u{2}");
    heartbeat(&mut peer, subscription("red", 1));
    let opaque = peer.request(pull(2));
    let asked = question(&mut peer);
    peer.reply(
        &asked,
        ConsumerRunningInfo { subscription_set: vec![subscription("red", 1)], ..Default::default() }.encode(),
    );
    let answer = peer.read();
    assert_eq!((answer.opaque, answer.code), (opaque, response::SUBSCRIPTION_NOT_LATEST), "{answer:?}");
    // Nobody to ask.
    let mut stranger = server.connect();
    assert_eq!(stranger.call(pull(2)).code, response::SUBSCRIPTION_NOT_LATEST);
    server.assert_serving();
}
