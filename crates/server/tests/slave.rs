//! A slave beside its master, each a process of the real binary, with a name server: what readers have of it, and what
//! becomes of what waited when it becomes the master.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use apogee_message::record::Record;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, SubscriptionGroupConfig};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetMaxOffsetRequestHeader, GetMaxOffsetResponseHeader, QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader, RpcFields, UpdateConsumerOffsetRequestHeader,
};
use common::batch::ask;
use common::pop::Pop;
use common::{PATIENCE, Peer, Pull, binary};

const TOPIC: &str = "T";
const GROUP: &str = "C";

/// A server of the binary; killed when dropped.
struct Served {
    child: Child,
}

impl Served {
    fn start(arguments: &[&str], settings: &[String]) -> Self {
        let mut process = Process::new(binary());
        process.args(arguments).args(settings.iter().flat_map(|setting| ["--set", setting]));
        process.env("APOGEE_LOG", "error").env_remove("NAMESRV_ADDR").stdout(Stdio::piped());
        let mut child = process.spawn().expect("the server starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        assert!(ready.contains("ready"), "{ready:?}");
        Self { child }
    }

    fn stop(mut self) {
        let status = Process::new("kill").arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
        common::wait(&mut self.child);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody has: they are free until all are found.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    std::array::from_fn(|at| listeners[at].local_addr().expect("an address").port())
}

/// A name server, and the ports of the two brokers.
struct Group {
    folder: tempfile::TempDir,
    _namesrv: Served,
    namesrv: u16,
    ports: [u16; 4],
    /// Of both brokers, beside those that all tests need.
    settings: Vec<String>,
}

impl Group {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[&str]) -> Self {
        let more = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let [namesrv, ports @ ..] = free_ports::<5>();
        let kv = format!("kvConfigPath={}", folder.path().join("kv.json").display());
        let settings = ["bindAddress=127.0.0.1".to_owned(), format!("listenPort={namesrv}"), kv];
        let process = Served::start(&["namesrv"], &settings);
        Self { folder, _namesrv: process, namesrv, ports, settings: more }
    }

    fn start(&self, id: usize, role: &str, store: &Path) -> Served {
        let [port, ha] = [self.ports[id * 2], self.ports[id * 2 + 1]];
        let mut settings = vec![
            "bindAddress=127.0.0.1".to_owned(),
            "brokerIP1=127.0.0.1".to_owned(),
            "metricsPromExporterPort=0".to_owned(),
            "mappedFileSizeCommitLog=1048576".to_owned(),
            format!("listenPort={port}"),
            format!("haListenPort={ha}"),
            format!("brokerRole={role}"),
            format!("brokerId={}", if role == "SLAVE" { 1 } else { 0 }),
            format!("storePathRootDir={}", store.display()),
        ];
        settings.extend(self.settings.iter().cloned());
        Served::start(&["broker", "-n", &format!("127.0.0.1:{}", self.namesrv)], &settings)
    }

    fn master(&self) -> Served {
        self.start(0, "ASYNC_MASTER", &self.folder.path().join("master"))
    }

    fn slave(&self, role: &str) -> Served {
        self.start(1, role, &self.folder.path().join("slave"))
    }

    fn connect(&self, id: usize) -> Peer {
        Peer::connect(SocketAddr::from(([127, 0, 0, 1], self.ports[id * 2])))
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// End of the first queue.
fn end(peer: &mut Peer) -> i64 {
    let header = GetMaxOffsetRequestHeader { topic: TOPIC, queue_id: 0, committed: None, rpc: RpcFields::default() };
    let answer = peer.call(Command::request(request::GET_MAX_OFFSET).with_header(&header));
    answer.header::<GetMaxOffsetResponseHeader>().expect("a header").offset
}

fn commit(peer: &mut Peer, offset: i64) -> i32 {
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        commit_offset: offset,
        rpc: RpcFields::default(),
    };
    peer.call(Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header)).code
}

fn committed(peer: &mut Peer) -> Option<i64> {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: GROUP,
        topic: TOPIC,
        queue_id: 0,
        set_zero_if_not_found: Some(false),
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::QUERY_CONSUMER_OFFSET).with_header(&header));
    answer.header::<QueryConsumerOffsetResponseHeader>().ok().map(|header| header.offset)
}

/// Bodies in the first queue, in their order.
fn bodies(peer: &mut Peer) -> Vec<String> {
    bodies_of(peer, 0)
}

fn bodies_of(peer: &mut Peer, queue: i32) -> Vec<String> {
    let (mut bodies, mut offset) = (Vec::new(), 0);
    loop {
        let (answer, next) = peer.pull(Pull::of(TOPIC, queue, offset));
        if answer.code != response::SUCCESS {
            return bodies;
        }
        let mut rest = &answer.body[..];
        while !rest.is_empty() {
            let record = Record::read(rest).expect("a record");
            bodies.push(String::from_utf8_lossy(record.body).into_owned());
            rest = &rest[record.size as usize..];
        }
        offset = next.expect("a next offset");
    }
}

#[test]
fn readers_go_on_at_the_slave_and_nothing_of_it_is_lost_when_the_master_is_back() {
    let group = Group::new();
    let master = group.master();
    let _slave = group.slave("SLAVE");
    let mut at_master = group.connect(0);
    for number in 0..50 {
        at_master.send_ok(TOPIC, 0, number.to_string().as_bytes(), "");
    }
    // Durable at once, which one that came by itself is a little later.
    let group_config = SubscriptionGroupConfig::new(GROUP).encode();
    let created = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(group_config);
    assert_eq!(at_master.call(created).code, response::SUCCESS);
    assert_eq!(bodies(&mut at_master).len(), 50);
    assert_eq!(commit(&mut at_master, 10), response::SUCCESS);
    let mut at_slave = group.connect(1);
    until("the slave has the messages", || end(&mut at_slave) == 50);
    until("the slave has the offset", || committed(&mut at_slave) == Some(10));
    assert_eq!(at_slave.send(TOPIC, 0, b"x", "").code, response::SYSTEM_BUSY);
    drop((master, at_master));
    let expected: Vec<_> = (0..50).map(|number: i32| number.to_string()).collect();
    assert_eq!(bodies(&mut at_slave), expected);
    assert_eq!(commit(&mut at_slave, 40), response::SUCCESS);
    // Where nothing is yet a reader waits, and is not moved.
    let (waited, next) = at_slave.pull(Pull::of(TOPIC, 0, 70));
    assert_eq!((waited.code, next), (response::PULL_NOT_FOUND, Some(70)));
    let _master = group.master();
    let mut at_master = group.connect(0);
    until("the master has the slave's offset", || committed(&mut at_master) == Some(40));
}

#[test]
fn a_slave_that_becomes_the_master_delivers_what_waited_once() {
    let group = Group::new();
    let master = group.master();
    let slave = group.slave("SLAVE");
    let mut at_master = group.connect(0);
    for number in 0..20 {
        at_master.send_ok(TOPIC, 0, format!("now {number}").as_bytes(), "");
        at_master.send_ok(TOPIC, 0, format!("level {number}").as_bytes(), "DELAY\u{1}2\u{2}");
        at_master.send_ok(TOPIC, 0, format!("timer {number}").as_bytes(), "TIMER_DELAY_MS\u{1}4000\u{2}");
        // Delivered by the old master, mostly.
        at_master.send_ok(TOPIC, 0, format!("soon {number}").as_bytes(), "TIMER_DELAY_MS\u{1}200\u{2}");
    }
    let mut at_slave = group.connect(1);
    until("what was due soon is at the slave", || end(&mut at_slave) >= 40);
    // The master is gone for good.
    drop((master, at_master, at_slave));
    slave.stop();
    let _master = group.slave("ASYNC_MASTER");
    let mut peer = group.connect(1);
    until("all are there", || end(&mut peer) >= 80);
    peer.send_ok(TOPIC, 0, b"new", "");
    // What would come twice has come by then.
    std::thread::sleep(Duration::from_secs(2));
    let bodies = bodies(&mut peer);
    let different: BTreeSet<_> = bodies.iter().collect();
    assert_eq!((bodies.len(), different.len()), (81, 81), "{bodies:?}");
}

#[test]
fn a_slave_keeps_files_with_messages_that_its_master_has_given_out() {
    let settings = ["fileReservedTime=0", "deleteWhen=04", "popCkStayBufferTime=300", "popCkStayBufferTimeOut=0"];
    let group = Group::with(&settings);
    let (_master, _slave) = (group.master(), group.slave("SLAVE"));
    let (mut at_master, mut at_slave) = (group.connect(0), group.connect(1));
    at_master.send_ok("Old", 0, b"old", "");
    let popped = Pop { group: GROUP, invisible: 600_000, ..Pop::of("Old") }.by(&mut at_master).remove(0);
    // Five files of the log.
    for _ in 0..500 {
        at_master.send_ok(TOPIC, 0, &[b'x'; 10_000], "");
    }
    until("the slave has them", || end(&mut at_slave) == 500);
    let fields = [("consumerGroup", GROUP), ("topic", "Old"), ("queueId", "0")];
    let is_noted =
        |peer: &mut Peer| peer.call(ask(request::QUERY_CONSUMER_OFFSET, &fields)).fields.get("offset") == Some("1");
    until("the slave knows that it is out", || is_noted(&mut at_slave));
    let first = group.folder.path().join("slave/commitlog/00000000000000000000");
    let clean = |peer: &mut Peer| peer.call(ask(request::DELETE_EXPIRED_COMMITLOG, &[])).code;
    assert_eq!(clean(&mut at_slave), response::SUCCESS);
    std::thread::sleep(Duration::from_millis(500));
    assert!(first.exists(), "its message is out");
    let handle = popped.handle.as_str();
    let fields = [("consumerGroup", GROUP), ("topic", "Old"), ("queueId", "0"), ("extraInfo", handle), ("offset", "0")];
    assert_eq!(at_master.call(ask(request::ACK_MESSAGE, &fields)).code, response::SUCCESS);
    until("the file is removed", || clean(&mut at_slave) == response::SUCCESS && !first.exists());
}

#[test]
fn a_slave_that_comes_late_has_what_only_compacted_logs_have() {
    let small = ["compactionCqMappedFileSize=460", "compactionMappedFileSize=2300", "compactionScheduleInternal=200"];
    let group = Group::with(&[&small[..], &["fileReservedTime=0", "deleteWhen=04"]].concat());
    let master = group.master();
    let mut at_master = group.connect(0);
    let config = [("topic", TOPIC), ("defaultTopic", "TBW102"), ("readQueueNums", "2"), ("writeQueueNums", "2")];
    let policy = [
        ("perm", "6"),
        ("order", "false"),
        ("topicFilterType", "SINGLE_TAG"),
        ("attributes", "+cleanup.policy=COMPACTION"),
    ];
    let created = at_master.call(ask(request::UPDATE_AND_CREATE_TOPIC, &[&config[..], &policy].concat()));
    assert_eq!(created.code, response::SUCCESS, "{created:?}");
    let put = |peer: &mut Peer, queue: i32, number: i64| {
        let key = format!("KEYS\u{1}k{}\u{2}", number % 10);
        assert_eq!(peer.send_ok(TOPIC, queue, number.to_string().as_bytes(), &key), number);
    };
    for number in 0..100 {
        put(&mut at_master, 0, number);
        put(&mut at_master, 1, number);
    }
    until("it is compacted", || bodies_of(&mut at_master, 0).len() <= 19 && bodies_of(&mut at_master, 1).len() <= 19);
    // Three files of the log.
    for _ in 0..300 {
        at_master.send_ok("Other", 0, &[b'x'; 10_000], "");
    }
    let first = group.folder.path().join("master/commitlog/00000000000000000000");
    let clean = |peer: &mut Peer| peer.call(ask(request::DELETE_EXPIRED_COMMITLOG, &[])).code;
    until("the log's beginning is removed", || clean(&mut at_master) == response::SUCCESS && !first.exists());
    // One of the queues goes on.
    for number in 100..103 {
        put(&mut at_master, 0, number);
    }
    let slave = group.slave("SLAVE");
    let mut at_slave = group.connect(1);
    let kept = |peer: &mut Peer| [0, 1].map(|queue| bodies_of(peer, queue));
    let newest = |kept: &[Vec<String>; 2]| {
        let expected =
            |newest: std::ops::Range<i64>, kept: &[String]| newest.map(|n| n.to_string()).all(|n| kept.contains(&n));
        expected(93..103, &kept[0]) && expected(90..100, &kept[1])
    };
    until("the slave has the newest of each key", || newest(&kept(&mut at_slave)));
    assert!(newest(&kept(&mut at_master)));
    drop((master, at_master, at_slave));
    slave.stop();
    let _master = group.slave("ASYNC_MASTER");
    let mut peer = group.connect(1);
    assert!(newest(&kept(&mut peer)));
    put(&mut peer, 0, 103);
    put(&mut peer, 1, 100);
}
