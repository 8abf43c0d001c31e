//! A slave that stands in for its master: clients find it where the master was, read there and lock queues, and are back
//! with the master when it is.

mod common;

use std::collections::BTreeMap;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, LockBatchRequestBody, LockBatchResponseBody, MessageQueue};
use apogee_wire::codes::{request, response};
use common::group::{Broker, NAME, route, until};
use common::{Peer, Pull, Server};

#[test]
fn readers_and_locks_find_the_slave_while_the_master_is_silent() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = Server::start(&[
        "supportActingMaster=true",
        "notifyMinBrokerIdChanged=true",
        "scanNotActiveBrokerInterval=100",
        "brokerName=other",
    ]);
    let ha = format!("haListenPort={}", common::http::free_port());
    let master = Broker::start(&folder.path().join("master"), &names, &[&ha]);
    let mut peer = Peer::connect(master.address);
    peer.send_ok("T", 0, b"one", "");
    let slave = Broker::start(&folder.path().join("slave"), &names, &["brokerRole=SLAVE", "brokerId=1"]);
    let (at_master, at_slave) = (master.address.to_string(), slave.address.to_string());
    let both = BTreeMap::from([(0, at_master), (1, at_slave.clone())]);
    until("clients are told of both", || route(&names, "T") == Some((both.clone(), 6)));
    until("the slave has the message", || {
        let pull = Peer::connect(slave.address).pull(Pull::of("T", 0, 0));
        pull.0.code == response::SUCCESS
    });
    assert!(!slave.logged("stands in for its master"), "the master is there");

    master.signal("-STOP");
    let acting = BTreeMap::from([(0, at_slave)]);
    until("clients are sent to the slave, and not to write", || route(&names, "T") == Some((acting.clone(), 4)));
    until("the slave stands in", || slave.logged("this slave stands in for its master"));
    let mut peer = Peer::connect(slave.address);
    let queue = MessageQueue { topic: "T".into(), broker_name: NAME.into(), queue_id: 0 };
    let body = LockBatchRequestBody {
        client_id: Some("c@1".into()),
        consumer_group: Some("G".into()),
        mq_set: vec![queue],
        ..LockBatchRequestBody::default()
    };
    let locked = peer.call(Command::request(request::LOCK_BATCH_MQ).with_body(body.encode()));
    let locked = LockBatchResponseBody::decode(&locked.body).expect("an answer");
    assert_eq!(locked.lock_ok_mq_set.len(), 1);
    assert_eq!(peer.pull(Pull::of("T", 0, 0)).0.code, response::SUCCESS);
    assert_ne!(peer.send("T", 0, b"two", "").code, response::SUCCESS, "it takes no messages");

    master.signal("-CONT");
    until("clients are back with the master", || route(&names, "T") == Some((both.clone(), 6)));
    until("the slave is beside it", || slave.logged("stands in for its master no longer"));
    Peer::connect(master.address).send_ok("T", 0, b"two", "");
}
