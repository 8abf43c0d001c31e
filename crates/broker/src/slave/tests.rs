//! Slaves beside masters, over real connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_base::disk::SimDisk;
use apogee_net::{Conn, Limits, Server, Service};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, SubscriptionGroupConfig, TopicConfig};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{RpcFields, UpdateConsumerOffsetRequestHeader};

use crate::replication::MasterPlace;
use crate::role::BrokerRole;
use crate::testing::{PATIENCE, Running, call, send};

const MEMORY: u64 = 1 << 30;

/// Copies what a slave lacks of its master's log.
fn copy_log(master: &Running, slave: &Running) {
    let (from, to) = (&master.broker.store, &slave.broker.store);
    while let Some(bytes) = from.log_slice(to.log_max_offset(), 1000) {
        to.append_copy(to.log_max_offset(), &bytes).unwrap();
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn slave_on(disk: SimDisk) -> Running {
    Running::start_on(disk, MEMORY, |settings| {
        (settings.broker_role, settings.broker_id) = (BrokerRole::Slave, 1);
        // Nobody is there; the tests tell it where its master is.
        settings.namesrv_addr = "127.0.0.1:1".into();
    })
}

fn follow(slave: &Running, master: Option<&Running>) {
    let broker = master.map(Running::address);
    slave.broker.replication.follow(MasterPlace { broker, ha: None });
}

fn topic(name: &str, queues: i32) -> TopicConfig {
    TopicConfig { perm: 6, ..TopicConfig::new(name, queues) }
}

async fn commit(slave: &Running, offset: i64) -> i32 {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: "G",
        topic: "T",
        queue_id: 0,
        commit_offset: offset,
        rpc: RpcFields::default(),
    };
    let conn = slave.connect().await;
    call(&conn, Command::request(code::UPDATE_CONSUMER_OFFSET).with_header(&header)).await.code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slave_becomes_and_stays_like_its_master() {
    let (master, disk) = (Running::start(MEMORY, |_| {}).await, SimDisk::new(2));
    // More than a page of them.
    master.broker.topics.update((0..2_100).map(|number| topic(&format!("T{number}"), 3)), 1);
    master.broker.groups.update([SubscriptionGroupConfig::new("G"), SubscriptionGroupConfig::new("H")], 1);
    master.broker.groups.set_may_read("G", "T1", false, 2);
    master.broker.offsets.commit("G", "T1", 2, 77);
    let slave = slave_on(disk.clone());
    slave.broker.topics.update([topic("Gone", 1)], 3);
    follow(&slave, Some(&master));
    until("topics are the master's", || slave.broker.topics.version() == master.broker.topics.version()).await;
    let configs =
        |running: &Running| running.broker.topics.all().iter().map(|one| one.config.clone()).collect::<Vec<_>>();
    assert_eq!(configs(&slave), configs(&master));
    until("offsets come", || slave.broker.offsets.query("G", "T1", 2) == Some(77)).await;
    assert_eq!(slave.broker.groups.snapshot(), master.broker.groups.snapshot());
    // What goes, goes, and what changes, changes.
    master.broker.topics.remove("T7", 4);
    master.broker.topics.update([topic("T1", 5)], 5);
    master.broker.groups.remove("H", 6);
    master.broker.offsets.remove_group("G");
    let broker = &slave.broker;
    until("a topic goes", || broker.topics.get("T7").is_none()).await;
    assert_eq!(broker.topics.get("T1").unwrap().config.read_queue_nums, 5);
    until("a group goes", || broker.groups.get("H").is_none()).await;
    until("offsets go", || broker.offsets.query("G", "T1", 2).is_none()).await;
    // All of it is on disk.
    master.stop().await;
    slave.stop().await;
    disk.crash();
    let again = slave_on(disk);
    assert!(again.broker.topics.get("T7").is_none() && again.broker.topics.get("T2099").is_some());
    assert!(!again.broker.groups.may_read("G", "T1"));
    assert_eq!(again.broker.offsets.query("G", "T1", 2), None);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_consumed_at_a_slave_is_not_lost_when_the_master_is_back() {
    let (masters_disk, slaves_disk) = (SimDisk::new(1), SimDisk::new(2));
    let master = Running::start_on(masters_disk.clone(), MEMORY, |_| {});
    master.broker.topics.update([topic("T", 1)], 1);
    master.broker.groups.update([SubscriptionGroupConfig::new("G")], 1);
    let conn = master.connect().await;
    for _ in 0..30 {
        send(&conn, "T", b"body", "").await;
    }
    master.broker.offsets.commit("G", "T", 0, 10);
    let slave = slave_on(slaves_disk);
    copy_log(&master, &slave);
    follow(&slave, Some(&master));
    until("the offset comes", || slave.broker.offsets.query("G", "T", 0) == Some(10)).await;
    master.stop().await;
    // The master is gone, and consumers go on here.
    assert_eq!(commit(&slave, 25).await, response::SUCCESS);
    let master = Running::start_on(masters_disk, MEMORY, |_| {});
    assert_eq!(master.broker.offsets.query("G", "T", 0), Some(10));
    follow(&slave, Some(&master));
    until("the master hears of it", || master.broker.offsets.query("G", "T", 0) == Some(25)).await;
    // Once it is given back, the master's word counts: an administrator may put a group back.
    master.broker.offsets.reset("G", "T", 0, 3);
    until("the slave follows", || slave.broker.offsets.query("G", "T", 0) == Some(3)).await;
    assert_eq!(master.broker.offsets.query("G", "T", 0), Some(3));
    slave.stop().await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_of_a_group_that_the_master_lost_is_let_go() {
    let master = Running::start(MEMORY, |_| {}).await;
    let slave = slave_on(SimDisk::new(2));
    slave.broker.topics.update([topic("T", 1)], 1);
    slave.broker.groups.update([SubscriptionGroupConfig::new("G")], 1);
    assert_eq!(commit(&slave, 25).await, response::SUCCESS);
    follow(&slave, Some(&master));
    until("it is let go", || slave.broker.offsets.query("G", "T", 0).is_none()).await;
    slave.stop().await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slave_refuses_what_is_its_masters_and_creates_nothing() {
    let slave = slave_on(SimDisk::new(1));
    let conn = slave.connect().await;
    let sent = call(&conn, crate::testing::send_request("T", b"body", "")).await;
    assert_eq!(sent.code, response::SYSTEM_BUSY);
    assert!(sent.remark.unwrap_or_default().contains("slave"), "it says why");
    let group = Command::request(code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP)
        .with_body(SubscriptionGroupConfig::new("G").encode());
    assert_eq!(call(&conn, group).await.code, response::SYSTEM_ERROR);
    assert!(slave.broker.groups.get("G").is_none() && slave.broker.topics.get("T").is_none());
    assert_eq!(slave.broker.store.log_max_offset(), 0);
    slave.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_found_later_is_followed() {
    let master = Running::start(MEMORY, |_| {}).await;
    master.broker.topics.update([topic("T", 1)], 1);
    let slave = slave_on(SimDisk::new(2));
    follow(&slave, None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(slave.broker.topics.get("T").is_none());
    follow(&slave, Some(&master));
    until("it has the topic", || slave.broker.topics.get("T").is_some()).await;
    slave.stop().await;
    master.stop().await;
}

/// Answers as a slave of Apache's does that stood in for its master.
struct Apaches;

impl Service for Apaches {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        let answer = Command::response_to(request, response::SUCCESS);
        let body = match request.code {
            code::GET_ALL_DELAY_OFFSET => r#"{"dataVersion":{"counter":9},"offsetTable":{18:1,2:77}}"#,
            code::GET_ALL_CONSUMER_OFFSET => r#"{"offsetTable":{"T@G":{0:25,1:3},"T@Unknown":{0:9}}}"#,
            _ => "",
        };
        conn.reply(&answer.with_body(body));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slave_of_apaches_did_is_taken_over() {
    let server = Server::bind("127.0.0.1", 0, Limits::default()).unwrap();
    server.start(Arc::new(Apaches), None);
    let master = Running::start(MEMORY, |_| {}).await;
    master.broker.topics.update([topic("T", 2)], 1);
    master.broker.groups.update([SubscriptionGroupConfig::new("G")], 1);
    let conn = master.connect().await;
    send(&conn, "T", b"of a level", "DELAY\u{1}18\u{2}").await;
    let waiting = || master.broker.store.queue_range("SCHEDULE_TOPIC_XXXX", 17).is_some_and(|(_, end)| end == 1);
    until("it waits", waiting).await;
    master.broker.offsets.commit("G", "T", 0, 10);
    master.broker.offsets.commit("G", "T", 1, 5);
    super::take_back(&master.broker, &server.local_addr().to_string()).await.unwrap();
    let query = |group, queue| master.broker.offsets.query(group, "T", queue);
    assert_eq!((query("G", 0), query("G", 1), query("Unknown", 0)), (Some(25), Some(5), None), "no offset goes back");
    let delays = master.broker.schedule.snapshot().offset_table;
    assert_eq!((delays.get(&18), delays.get(&2)), (Some(&1), None), "the log has no such message of level 2");
    master.stop().await;
}
