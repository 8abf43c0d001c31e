//! A slave that stands in for its master: clients find it where the master was, read there and lock queues, and are back
//! with the master when it is.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::bodies::{Body, LockBatchRequestBody, LockBatchResponseBody, MessageQueue, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{GetRouteInfoRequestHeader, RpcFields};
use common::{PATIENCE, Peer, Pull, Server, binary};

const NAME: &str = "group";

/// One of the brokers; killed when dropped.
struct Broker {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Broker {
    fn start(folder: &Path, names: &Server, settings: &[&str]) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let log = folder.join("stderr");
        let store = format!("storePathRootDir={}", folder.join("store").display());
        let name = format!("brokerName={NAME}");
        let usual = ["bindAddress=127.0.0.1", "brokerIP1=127.0.0.1", "listenPort=0", "metricsPromExporterPort=0"];
        let acting = ["enableSlaveActingMaster=true", "brokerHeartbeatInterval=100", "syncBrokerMemberGroupPeriod=100"];
        let patience =
            ["brokerNotActiveTimeoutMillis=1000", "haSendHeartbeatInterval=100", "haHousekeepingInterval=1000"];
        let all =
            usual.into_iter().chain(acting).chain(patience).chain([&*name, &*store]).chain(settings.iter().copied());
        let stderr = std::fs::File::create(&log).expect("a file");
        let mut process = Process::new(binary());
        process.args(["broker", "-n", &names.namesrv.to_string()]).args(all.flat_map(|setting| ["--set", setting]));
        let mut child =
            process.env("APOGEE_LOG", "info").stdout(Stdio::piped()).stderr(stderr).spawn().expect("it starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        let address = ready.split("ms: broker ").nth(1).and_then(|rest| rest.split(' ').next());
        let address =
            address.unwrap_or_else(|| panic!("{ready:?}: {}", std::fs::read_to_string(&log).unwrap_or_default()));
        Self { child, address: address.parse().expect("an address"), log }
    }

    fn signal(&self, signal: &str) {
        let status = Process::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn logged(&self, what: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(what))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Addresses of the group by id, and the permission of a topic there, as a client is told.
fn route(names: &Server, topic: &str) -> Option<(BTreeMap<i64, String>, i32)> {
    let header = GetRouteInfoRequestHeader { topic, accept_standard_json_only: Some(true), rpc: RpcFields::default() };
    let question = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
    let answer = names.connect_namesrv().call(question);
    let route = TopicRouteData::decode(&answer.body).ok()?;
    let data = route.broker_datas.into_iter().find(|data| data.broker_name == NAME)?;
    let queues = route.queue_datas.into_iter().find(|queues| queues.broker_name == NAME)?;
    Some((data.broker_addrs.into_iter().collect(), queues.perm))
}

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
