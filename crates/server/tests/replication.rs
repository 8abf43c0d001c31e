//! Masters and slaves, each a process of the real binary: the slave has the master's log byte for byte, whoever is
//! killed, and senders are told what became of their messages.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use apogee_message::ids::OffsetId;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, ClusterInfo, HARuntimeInfo};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{EndTransactionRequestHeader, RpcFields, SendMessageResponseHeader};
use common::{PATIENCE, Peer, binary};
use tempfile::TempDir;

/// Small files: that a copy goes from one to the next is tested, too.
const FILES: &str = "mappedFileSizeCommitLog=65536";

/// A decision on a transaction.
const ROLLBACK: i32 = 12;

/// A broker without a name server; killed when dropped.
struct Broker {
    child: Child,
    address: SocketAddr,
    store: PathBuf,
    log: PathBuf,
}

/// A port that nobody has.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Broker {
    fn start(folder: &Path, settings: &[&str]) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let (store, log) = (folder.join("store"), folder.join("stderr"));
        let store_setting = format!("storePathRootDir={}", store.display());
        let usual = ["bindAddress=127.0.0.1", "brokerIP1=127.0.0.1", "listenPort=0", "metricsPromExporterPort=0"];
        let usual = usual.into_iter().chain(["haSendHeartbeatInterval=200", FILES, &store_setting]);
        let stderr = std::fs::File::options().create(true).append(true).open(&log).expect("a file");
        let mut process = Process::new(binary());
        process.arg("broker").args(usual.chain(settings.iter().copied()).flat_map(|setting| ["--set", setting]));
        process.env("APOGEE_LOG", "info").env_remove("NAMESRV_ADDR").stdout(Stdio::piped()).stderr(stderr);
        let mut child = process.spawn().expect("the broker starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        let address = ready.split("broker 127").nth(1).and_then(|rest| rest.split(' ').next());
        let address =
            address.unwrap_or_else(|| panic!("{ready:?}: {}", std::fs::read_to_string(&log).unwrap_or_default()));
        Self { child, address: format!("127{address}").parse().expect("an address"), store, log }
    }

    fn master(folder: &Path, ha: u16, settings: &[&str]) -> Self {
        let port = format!("haListenPort={ha}");
        Self::start(folder, &[&[&*port], settings].concat())
    }

    fn slave(folder: &Path, ha: u16, settings: &[&str]) -> Self {
        let master = format!("haMasterAddress=127.0.0.1:{ha}");
        Self::start(folder, &[&["brokerRole=SLAVE", "brokerId=1", &*master], settings].concat())
    }

    fn connect(&self) -> Peer {
        Peer::connect(self.address)
    }

    fn status(&self) -> HARuntimeInfo {
        let answer = self.connect().call(Command::request(request::GET_BROKER_HA_STATUS));
        HARuntimeInfo::decode(&answer.body).expect("a status")
    }

    /// Where its log ends.
    fn end(&self) -> i64 {
        let status = self.status();
        if status.master { status.master_commit_log_max_offset } else { status.ha_client_runtime_info.max_offset }
    }

    fn signal(&self, signal: &str) {
        let status = Process::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits until it has logged something.
    fn logged(&self, what: &str) {
        until(&format!("{what:?} is logged"), || {
            std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(what))
        });
    }

    /// The bytes of its log.
    fn bytes(&self) -> Vec<u8> {
        let folder = self.store.join("commitlog");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("a log").map(|file| file.expect("a file").path()).collect();
        files.sort();
        let mut bytes: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).expect("a file")).collect();
        bytes.truncate(self.end() as usize);
        bytes
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn send_some(master: &Broker, count: usize) {
    let mut peer = master.connect();
    for number in 0..count {
        let body = vec![number as u8; 100 + number * 37 % 3_000];
        peer.send_ok(if number % 3 == 0 { "T" } else { "U" }, (number % 4) as i32, &body, "");
    }
}

/// Waits until a slave has all that its master has, and compares each byte.
fn assert_same(master: &Broker, slave: &Broker) {
    until("the slave has caught up", || slave.end() == master.end());
    assert!(slave.bytes() == master.bytes(), "the logs differ");
}

fn folders() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let (master, slave) = (folder.path().join("master"), folder.path().join("slave"));
    (folder, master, slave)
}

#[test]
fn a_slave_has_its_masters_log_byte_for_byte_whoever_is_killed() {
    let (_folder, at_master, at_slave) = folders();
    let ha = free_port();
    let master = Broker::master(&at_master, ha, &[]);
    send_some(&master, 300);
    assert!(master.end() > 3 * 65_536, "there are several files");
    let slave = Broker::slave(&at_slave, ha, &[]);
    assert_same(&master, &slave);
    let [of_master] = &master.status().ha_connection_info[..] else { panic!("one slave") };
    assert!(of_master.in_sync && of_master.diff == 0, "{of_master:?}");

    send_some(&master, 50);
    drop(slave);
    send_some(&master, 50);
    let slave = Broker::slave(&at_slave, ha, &[]);
    assert_same(&master, &slave);

    send_some(&master, 20);
    drop(master);
    let master = Broker::master(&at_master, ha, &[]);
    send_some(&master, 20);
    assert_same(&master, &slave);
    until("there is one connection", || master.status().ha_connection_info.len() == 1);
}

#[test]
fn a_master_that_waits_for_copies_tells_senders_where_their_messages_are_and_that_they_are_alone() {
    let (_folder, at_master, at_slave) = folders();
    let ha = free_port();
    let master = Broker::master(&at_master, ha, &["brokerRole=SYNC_MASTER", "slaveTimeout=300"]);
    let mut peer = master.connect();
    // The topic is there before anything is measured.
    let alone = peer.send("T", 0, b"alone", "");
    assert_eq!(alone.code, response::FLUSH_SLAVE_TIMEOUT);
    let began = Instant::now();
    let alone = peer.send("T", 0, b"alone", "");
    assert_eq!(alone.code, response::FLUSH_SLAVE_TIMEOUT);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let header = alone.header::<SendMessageResponseHeader>().expect("where it is");
    assert_eq!(header.queue_offset, 1, "it is stored all the same");
    let began = Instant::now();
    assert_eq!(peer.send("T", 0, b"in a hurry", "WAIT\u{1}false").code, response::SUCCESS);
    assert!(began.elapsed() < Duration::from_millis(300));

    let slave = Broker::slave(&at_slave, ha, &[]);
    until("the slave has caught up", || slave.end() == master.end());
    for flush in ["with two", "with two again"] {
        assert_eq!(peer.send("T", 0, flush.as_bytes(), "").code, response::SUCCESS);
    }
    slave.signal("-STOP");
    assert_eq!(peer.send("T", 0, b"the slave is slow", "").code, response::FLUSH_SLAVE_TIMEOUT);
    slave.signal("-CONT");
    until("the slave has caught up", || slave.end() == master.end());
    assert_eq!(peer.send("T", 0, b"it is there again", "").code, response::SUCCESS);
    assert_same(&master, &slave);
}

#[test]
fn messages_are_refused_while_too_few_brokers_are_there() {
    let (_folder, at_master, at_slave) = folders();
    let ha = free_port();
    let counts = ["brokerRole=SYNC_MASTER", "enableAutoInSyncReplicas=true", "minInSyncReplicas=2"];
    let master = Broker::master(&at_master, ha, &counts);
    let mut peer = master.connect();
    let refused = peer.send("T", 0, b"x", "");
    assert_eq!(refused.code, response::SYSTEM_ERROR);
    let remark = refused.remark.as_deref().unwrap_or_default();
    assert!(remark.contains("minInSyncReplicas"), "{remark}");
    let slave = Broker::slave(&at_slave, ha, &[]);
    until("messages are taken", || master.connect().send("T", 0, b"x", "").code == response::SUCCESS);
    assert_same(&master, &slave);
    drop(slave);
    until("messages are refused", || master.connect().send("T", 0, b"x", "").code == response::SYSTEM_ERROR);
}

#[test]
fn who_speaks_something_else_or_half_of_it_is_closed_and_harms_nobody() {
    let (_folder, at_master, at_slave) = folders();
    let ha = free_port();
    let master = Broker::master(&at_master, ha, &["haHousekeepingInterval=1000"]);
    send_some(&master, 20);
    let slave = Broker::slave(&at_slave, ha, &[]);
    let beyond = master.end() + 1;
    let handshake = [&1_i32.to_be_bytes()[..], &[0; 4], &2_i64.to_be_bytes()].concat();
    let words = [&b"GET / HTTP/1.1\r\n\r\n"[..], &(-5_i64).to_be_bytes(), &beyond.to_be_bytes(), &handshake, &[0; 5]];
    for word in words {
        let mut stream = TcpStream::connect(("127.0.0.1", ha)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(word).expect("written");
        let mut answer = Vec::new();
        // A connection that is reset is closed, too.
        let _ = stream.read_to_end(&mut answer);
        let said = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || said.contains("move the other broker's store away"), "{said}");
    }
    send_some(&master, 20);
    assert_same(&master, &slave);
    master.logged("enableControllerMode");
}

#[test]
fn a_slave_that_has_more_than_its_master_is_refused_with_a_reason_on_both_sides_and_keeps_what_it_has() {
    let (_folder, at_master, at_slave) = folders();
    let ha = free_port();
    let master = Broker::master(&at_master, ha, &[]);
    send_some(&master, 40);
    let slave = Broker::slave(&at_slave, ha, &[]);
    assert_same(&master, &slave);
    let before = slave.bytes();
    drop(master);
    std::fs::remove_dir_all(&at_master).expect("removed");
    let master = Broker::master(&at_master, ha, &[]);
    send_some(&master, 5);
    slave.logged("the master refuses this slave");
    master.logged("the slave is refused");
    assert_eq!(slave.bytes(), before);
}

#[test]
fn a_master_that_is_stopped_waits_for_no_copies_of_its_own_notes() {
    let (_folder, at_master, at_slave) = folders();
    let ha = free_port();
    let mut master = Broker::master(&at_master, ha, &["brokerRole=SYNC_MASTER", "inSyncReplicas=2"]);
    let slave = Broker::slave(&at_slave, ha, &[]);
    assert_same(&master, &slave);
    let mut peer = master.connect();
    let answer = peer.send("T", 0, b"half", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}");
    let half: SendMessageResponseHeader<'_> = answer.header().expect("a header");
    let id: OffsetId = half.msg_id.parse().expect("an offset id");
    assert_same(&master, &slave);
    // It counts as in sync for some time still.
    slave.signal("-STOP");
    peer.request(Command::request(request::END_TRANSACTION).with_header(&EndTransactionRequestHeader {
        topic: None,
        producer_group: "P",
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: id.offset,
        commit_or_rollback: ROLLBACK,
        from_transaction_check: Some(false),
        msg_id: "id",
        transaction_id: None,
        rpc: RpcFields::default(),
    }));
    // Answered or still waiting: it has been read.
    let _ = peer.read_within(Duration::from_secs(1));
    master.signal("-TERM");
    assert!(common::wait(&mut master.child).success());
}

#[test]
fn of_two_brokers_with_one_id_the_second_is_refused_while_the_first_is_there() {
    let (_folder, at_first, at_second) = folders();
    let names = common::Server::start(&[]);
    let namesrv = format!("namesrvAddr={}", names.namesrv);
    let twin = |folder: &Path| Broker::start(folder, &["brokerName=twins", "autoCreateTopicEnable=true", &namesrv]);
    let registered = || {
        let answer = names.connect_namesrv().call(Command::request(request::GET_BROKER_CLUSTER_INFO));
        let info = ClusterInfo::decode(&answer.body).expect("a cluster");
        info.broker_addr_table.get("twins").and_then(|twins| twins.broker_addrs.get(&0).cloned())
    };
    let first = twin(&at_first);
    until("the first is known", || registered() == Some(first.address.to_string()));
    let second = twin(&at_second);
    until("the second takes its place", || registered() == Some(second.address.to_string()));
    // A new topic is told at once.
    send_some(&first, 1);
    until("the first is back", || registered() == Some(first.address.to_string()));
    send_some(&second, 1);
    second.logged(&format!("broker twins with id 0 is registered from {}, and that one is still there", first.address));
    assert_eq!(registered(), Some(first.address.to_string()));
    drop(first);
    until("the second is known when the first is gone", || registered() == Some(second.address.to_string()));
}
