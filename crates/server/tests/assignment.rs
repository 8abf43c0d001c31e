//! Which queues a member of a group reads, where that is left to brokers: of all brokers that have the topic.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ConsumerData, HeartbeatData, MessageModel, MessageRequestMode, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
};
use apogee_wire::codes::{request, response};
use common::group::{self, Broker, until};
use common::{Peer, Server};

/// A member, which stays as long as its connection.
fn member(address: SocketAddr, client: &str) -> Peer {
    let mut peer = Peer::connect(address);
    let group = ConsumerData { group_name: "G".into(), ..ConsumerData::default() };
    let beat = HeartbeatData { client_id: client.into(), consumer_data_set: vec![group], ..HeartbeatData::default() };
    assert_eq!(peer.call(Command::request(request::HEART_BEAT).with_body(beat.encode())).code, response::SUCCESS);
    peer
}

/// Broker, queue and mode of each; `None` where the member is to go on with what it has.
fn ask(peer: &mut Peer, client: &str) -> Option<BTreeSet<(String, i32, bool)>> {
    let question = QueryAssignmentRequestBody {
        client_id: Some(client.into()),
        consumer_group: Some("G".into()),
        message_model: Some(MessageModel::Clustering),
        strategy_name: Some("AVG".into()),
        topic: Some("T".into()),
    };
    let answer = peer.call(Command::request(request::QUERY_ASSIGNMENT).with_body(question.encode()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let assigned = QueryAssignmentResponseBody::decode(&answer.body).expect("a body").message_queue_assignments?;
    let parts = assigned.into_iter().map(|one| {
        let queue = one.message_queue.expect("a queue");
        (queue.broker_name, queue.queue_id, one.mode == MessageRequestMode::Pop)
    });
    Some(parts.collect())
}

fn set_pop(peer: &mut Peer) {
    let body = SetMessageRequestModeRequestBody {
        consumer_group: Some("G".into()),
        mode: MessageRequestMode::Pop,
        pop_share_queue_num: 0,
        topic: Some("T".into()),
    };
    let answer = peer.call(Command::request(request::SET_MESSAGE_REQUEST_MODE).with_body(body.encode()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

fn queues(brokers: &[(&str, i32)], is_pop: bool) -> BTreeSet<(String, i32, bool)> {
    brokers.iter().map(|(broker, id)| ((*broker).to_owned(), *id, is_pop)).collect()
}

#[test]
fn members_share_the_queues_of_all_brokers_and_keep_them_while_no_name_server_answers() {
    const SOON: &str = "loadBalancePollNameServerInterval=100";
    let folder = tempfile::tempdir().expect("a folder");
    let names = Server::start(&["brokerName=first", SOON]);
    let second = Broker::start(folder.path(), &names, &[SOON]);
    let (mut one, mut other) = (names.connect(), Peer::connect(second.address));
    for peer in [&mut one, &mut other] {
        peer.send_ok("T", 0, b"m", "");
    }
    let brokers = [names.broker, second.address];
    let _members = brokers.map(|broker| [member(broker, "a"), member(broker, "b")]);
    let first: Vec<_> = (0..4).map(|id| ("first", id)).collect();
    let rest: Vec<_> = (0..4).map(|id| (group::NAME, id)).collect();
    // Whichever broker is asked.
    for peer in [&mut one, &mut other] {
        until("the first half is one member's", || ask(peer, "a") == Some(queues(&first, false)));
        until("the second half is the other's", || ask(peer, "b") == Some(queues(&rest, false)));
    }
    names.kill();
    std::thread::sleep(std::time::Duration::from_millis(200));
    for _ in 0..3 {
        assert_eq!(ask(&mut other, "a"), Some(queues(&first, false)), "as it was known last");
    }
    set_pop(&mut other);
    assert_eq!(ask(&mut other, "b"), Some(queues(&[("first", -1), (group::NAME, -1)], true)));
}

#[test]
fn a_mode_is_told_to_the_members_and_outlives_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut admin = server.connect();
    admin.send_ok("T", 0, b"m", "");
    let mut peer = member(server.broker, "a");
    set_pop(&mut admin);
    let told = loop {
        let told = peer.read();
        if told.code == request::NOTIFY_CONSUMER_IDS_CHANGED && told.fields.get("consumerGroup") == Some("G") {
            break told;
        }
    };
    assert!(told.is_oneway());
    assert_eq!(ask(&mut peer, "a"), Some(queues(&[("broker-a", -1)], true)));
    server.kill();
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    assert_eq!(ask(&mut peer, "a"), None, "no member is known");
    let _member = member(server.broker, "a");
    assert_eq!(ask(&mut peer, "a"), Some(queues(&[("broker-a", -1)], true)));
}
