//! A slave that stands in for its master delivers what comes due through another group, and the master that comes back
//! knows it.

mod common;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, HeartbeatData, ProducerData, SubscriptionGroupConfig};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader, GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader, PullMessageResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};
use common::group::{Broker, route, until};
use common::{PATIENCE, Peer, Pull, Server, http};

const COMMIT: i32 = 8;
/// Settings of both brokers of the group that a slave stands in for.
const GROUP: [&str; 3] = ["messageDelayLevel=1s 3s", "transactionTimeOut=1000", "transactionCheckInterval=500"];

fn names() -> Server {
    Server::start(&[
        "supportActingMaster=true",
        "notifyMinBrokerIdChanged=true",
        "scanNotActiveBrokerInterval=100",
        "brokerName=other",
        "transactionTimeOut=200",
        "transactionCheckInterval=500",
    ])
}

fn start_master(folder: &Path, names: &Server, port: u16) -> Broker {
    let ha = format!("haListenPort={port}");
    Broker::start(&folder.join("master"), names, &[&[&*ha][..], &GROUP].concat())
}

fn start_slave(folder: &Path, names: &Server) -> Broker {
    let own = ["brokerRole=SLAVE", "brokerId=1", "enableRemoteEscape=true"];
    Broker::start(&folder.join("slave"), names, &[&own[..], &GROUP].concat())
}

/// Bodies of all that consumers of a topic find at a broker, in order of their queues.
fn bodies(peer: &mut Peer, topic: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    for queue in 0..4 {
        let mut offset = 0;
        loop {
            let (answer, _) = peer.pull(Pull::of(topic, queue, offset));
            if answer.code != response::SUCCESS {
                break;
            }
            let body = |record: &Record<'_>| String::from_utf8_lossy(record.body).into_owned();
            bodies.extend(record::iter(&answer.body).map(|record| body(&record.expect("a record"))));
            offset = answer.header::<PullMessageResponseHeader>().expect("a header").next_begin_offset;
        }
    }
    bodies
}

fn count(peer: &mut Peer, topic: &str, queue_id: i32) -> i64 {
    let header = GetMaxOffsetRequestHeader { topic, queue_id, committed: None, rpc: RpcFields::default() };
    let answer = peer.call(Command::request(request::GET_MAX_OFFSET).with_header(&header));
    answer.header::<GetMaxOffsetResponseHeader>().map_or(0, |header| header.offset)
}

fn due_in(ms: u128) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now + ms)
}

fn is_back(names: &Server, master: &Broker) -> bool {
    let address = master.address.to_string();
    route(names, "T").is_some_and(|(brokers, permission)| permission == 6 && brokers.get(&0) == Some(&address))
}

#[test]
fn what_comes_due_while_the_master_is_away_comes_once_through_another_group() {
    let (folder, names, port) = (tempfile::tempdir().expect("a folder"), names(), http::free_port());
    let mut other = names.connect();
    other.send_ok("T", 0, b"at the other", "");
    let master = start_master(folder.path(), &names, port);
    let mut peer = Peer::connect(master.address);
    peer.send_ok("T", 0, b"at the master", "");
    peer.send_ok("OnlyHere", 0, b"at the master", "");
    let slave = start_slave(folder.path(), &names);
    // Far enough from now that nothing is due before the master is gone.
    peer.send_ok("OnlyHere", 0, b"nobody else takes it", "DELAY\u{1}2\u{2}");
    for number in 0..3 {
        peer.send_ok("T", 0, format!("level {number}").as_bytes(), "DELAY\u{1}2\u{2}");
    }
    peer.send_ok("T", 0, b"timed", &due_in(3_000));
    let mut at_slave = Peer::connect(slave.address);
    until("the slave has them", || {
        count(&mut at_slave, "SCHEDULE_TOPIC_XXXX", 1) == 4 && count(&mut at_slave, "rmq_sys_wheel_timer", 0) == 1
    });
    master.signal("-KILL");
    drop(master);

    let delivered = ["at the other", "level 0", "level 1", "level 2", "timed"];
    until("what is due comes at the other group", || {
        let mut there = bodies(&mut other, "T");
        there.sort();
        there == delivered
    });
    assert_eq!(count(&mut at_slave, "T", 0), 1, "the slave's log is a copy");

    let master = start_master(folder.path(), &names, port);
    until("the master is back", || is_back(&names, &master));
    assert!(slave.logged("the master says that it is back"), "before it is available");
    let mut peer = Peer::connect(master.address);
    // These come behind whatever else the master would deliver.
    peer.send_ok("T", 0, b"level again", "DELAY\u{1}2\u{2}");
    peer.send_ok("T", 0, b"timed again", &due_in(3_000));
    until("the master delivers again", || {
        let here = bodies(&mut peer, "T");
        ["level again", "timed again"].iter().all(|body| here.iter().any(|there| there == body))
    });
    let mut here = bodies(&mut peer, "T");
    here.sort();
    assert_eq!(here, ["at the master", "level again", "timed again"], "nothing comes twice");
    assert_eq!(bodies(&mut peer, "OnlyHere"), ["at the master", "nobody else takes it"], "nothing is lost");
    until("the slave forgets what its log tells", || {
        std::fs::metadata(folder.path().join("slave/store/config/deliveredForMaster")).is_ok_and(|file| file.len() == 0)
    });
}

#[test]
fn a_half_message_is_decided_through_another_group_and_offsets_are_kept() {
    let (folder, names, port) = (tempfile::tempdir().expect("a folder"), names(), http::free_port());
    let mut producer = names.connect();
    producer.send_ok("T", 1, b"at the other", "");
    let group = ProducerData { group_name: "P".into() };
    let beat = HeartbeatData { client_id: "c".into(), producer_data_set: vec![group], ..Default::default() };
    assert_eq!(producer.call(Command::request(request::HEART_BEAT).with_body(beat.encode())).code, response::SUCCESS);
    let master = start_master(folder.path(), &names, port);
    let slave = start_slave(folder.path(), &names);
    let mut peer = Peer::connect(master.address);
    peer.send_ok("T", 1, b"at the master", "");
    let group = SubscriptionGroupConfig::new("G");
    let create = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(group.encode());
    assert_eq!(peer.call(create).code, response::SUCCESS);
    peer.send_ok("T", 1, b"half", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}UNIQ_KEY\u{1}K\u{2}");
    let mut at_slave = Peer::connect(slave.address);
    until("the slave has them", || count(&mut at_slave, "RMQ_SYS_TRANS_HALF_TOPIC", 0) == 1);
    let rpc = RpcFields::default;
    let at = |commit_offset| {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: "G",
            topic: "T",
            queue_id: 1,
            commit_offset,
            rpc: rpc(),
        };
        Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header)
    };
    until("the slave has the group", || at_slave.call(at(0)).code == response::SUCCESS);
    master.signal("-KILL");
    drop(master);

    let question = producer.read_within(PATIENCE).expect("a question");
    assert_eq!(question.code, request::CHECK_TRANSACTION_STATE, "{question:?}");
    let header: CheckTransactionStateRequestHeader<'_> = question.header().expect("a header");
    assert_eq!(header.msg_id, Some("K"));
    let commit = Command::request(request::END_TRANSACTION).with_header(&EndTransactionRequestHeader {
        topic: None,
        producer_group: "P",
        tran_state_table_offset: header.tran_state_table_offset,
        commit_log_offset: header.commit_log_offset,
        commit_or_rollback: COMMIT,
        from_transaction_check: Some(true),
        msg_id: "K",
        transaction_id: None,
        rpc: RpcFields::default(),
    });
    assert_eq!(producer.call(commit).code, response::SUCCESS);
    assert_eq!(bodies(&mut names.connect(), "T"), ["at the other", "half"]);
    assert_eq!(at_slave.call(at(1)).code, response::SUCCESS);

    let master = start_master(folder.path(), &names, port);
    until("the master is back", || is_back(&names, &master));
    let mut peer = Peer::connect(master.address);
    let asked = QueryConsumerOffsetRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 1,
        set_zero_if_not_found: None,
        rpc: rpc(),
    };
    let offset = peer.call(Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&asked));
    assert_eq!(offset.header::<QueryConsumerOffsetResponseHeader>().expect("an offset").offset, 1);
    until("the master notes that it is decided", || count(&mut peer, "RMQ_SYS_TRANS_OP_HALF_TOPIC", 0) == 1);
    assert_eq!(count(&mut peer, "RMQ_SYS_TRANS_HALF_TOPIC", 0), 1, "nobody was asked about it again");
    assert_eq!(bodies(&mut peer, "T"), ["at the master"]);
}
