//! Controllers, each a process of its own, and brokers as controllers see them.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use apogee_wire::bodies::{Body, SyncStateSet};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::*;
use apogee_wire::{Command, frame};
use tempfile::TempDir;

use super::{PATIENCE, Peer, binary};

/// `apogee controller`, as often as wanted; killed when dropped.
pub struct Controllers {
    pub addresses: Vec<SocketAddr>,
    processes: Vec<Option<Child>>,
    folder: TempDir,
}

impl Controllers {
    pub fn start(count: usize) -> Self {
        let probes: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let addresses = probes.iter().map(|probe| probe.local_addr().expect("an address")).collect();
        drop(probes);
        let folder = tempfile::tempdir().expect("a folder");
        let mut controllers = Self { addresses, processes: (0..count).map(|_| None).collect(), folder };
        (0..count).for_each(|node| controllers.up(node));
        controllers
    }

    /// What `controllerDLegerPeers` says.
    pub fn peers(addresses: &[SocketAddr]) -> String {
        let peers: Vec<_> = addresses.iter().enumerate().map(|(id, address)| format!("n{id}-{address}")).collect();
        peers.join(";")
    }

    pub fn up(&mut self, node: usize) {
        let conf = self.folder.path().join(format!("controller-{node}.conf"));
        let store = self.folder.path().join(format!("store-{node}")).display().to_string();
        let lines = [
            "controllerDLegerGroup=group1".to_owned(),
            format!("controllerDLegerPeers={}", Self::peers(&self.addresses)),
            format!("controllerDLegerSelfId=n{node}"),
            format!("controllerStorePath={store}"),
            "bindAddress=127.0.0.1".to_owned(),
        ];
        if !conf.exists() {
            std::fs::write(&conf, lines.join("\n")).expect("written");
        }
        let mut process = Process::new(binary());
        process.args(["controller", "-c"]).arg(&conf).env("APOGEE_LOG", "error");
        let mut child = process.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        assert!(ready.contains(&format!("controller {}", self.addresses[node])), "{ready:?}");
        self.processes[node] = Some(child);
    }

    /// As a crash does.
    pub fn kill(&mut self, node: usize) {
        let mut child = self.processes[node].take().expect("it is up");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// Which of them leads, by the word of those that are up.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for node in (0..self.addresses.len()).filter(|node| self.processes[*node].is_some()) {
                let question = Command::request(request::CONTROLLER_GET_METADATA_INFO);
                let state = Peer::connect(self.addresses[node]).call(question);
                if state.fields.get("isLeader") == Some("true") {
                    return node;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks whoever leads.
    pub fn ask(&self, asked: &Command) -> Command {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = Peer::connect(self.addresses[self.leader()]).call(asked.clone());
            if answer.code != response::CONTROLLER_NOT_LEADER {
                return answer;
            }
            assert!(Instant::now() < deadline, "{answer:?}");
        }
    }

    /// A broker takes an id and registers.
    pub fn join(&self, cluster: &str, name: &str, id: i64, address: &str) -> Broker {
        let check_code = format!("{address};1");
        let apply = ApplyBrokerIdRequestHeader {
            cluster_name: Some(cluster),
            broker_name: Some(name),
            applied_broker_id: Some(id),
            register_check_code: Some(&check_code),
        };
        self.succeeds(&Command::request(request::CONTROLLER_APPLY_BROKER_ID).with_header(&apply));
        let register = RegisterBrokerToControllerRequestHeader {
            cluster_name: Some(cluster),
            broker_name: Some(name),
            broker_id: Some(id),
            broker_address: Some(address),
            invoke_time: None,
        };
        self.succeeds(&Command::request(request::CONTROLLER_REGISTER_BROKER).with_header(&register));
        let beat = Command::request(request::BROKER_HEARTBEAT).with_header(&BrokerHeartbeatRequestHeader {
            cluster_name: cluster,
            broker_addr: address,
            broker_name: name,
            broker_id: Some(id),
            // Its log is new: it knows of none.
            epoch: Some(0),
            max_offset: Some(100),
            confirm_offset: Some(100),
            heartbeat_timeout_mills: Some(10_000),
            election_priority: None,
        });
        let is_up = Arc::new(AtomicBool::new(true));
        let (heard, hears) = std::sync::mpsc::channel();
        for &controller in &self.addresses {
            let (is_up, beat, heard) = (Arc::clone(&is_up), frame::to_bytes(&beat.clone().oneway()), heard.clone());
            std::thread::spawn(move || {
                while is_up.load(Ordering::Relaxed) {
                    if std::net::TcpStream::connect(controller).is_ok() {
                        let mut peer = Peer::connect(controller);
                        // What follows on a connection is dealt with later.
                        if peer.try_write(&beat) {
                            peer.call(Command::request(request::CONTROLLER_GET_METADATA_INFO));
                            let _ = heard.send(());
                        }
                        while is_up.load(Ordering::Relaxed) && peer.try_write(&beat) {
                            std::thread::sleep(Duration::from_millis(100));
                        }
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        for _ in self.processes.iter().flatten() {
            hears.recv_timeout(PATIENCE).expect("a controller that is up hears of the broker");
        }
        Broker { cluster: cluster.to_owned(), name: name.to_owned(), id, is_up }
    }

    pub fn succeeds(&self, asked: &Command) -> Command {
        let answer = self.ask(asked);
        assert_eq!(answer.code, response::SUCCESS, "{asked:?}: {answer:?}");
        answer
    }

    /// Master, epoch and in-sync set of a group.
    pub fn group(&self, name: &str) -> (Option<i64>, i32, Vec<i64>) {
        let header = GetReplicaInfoRequestHeader { broker_name: Some(name) };
        let answer = self.succeeds(&Command::request(request::CONTROLLER_GET_REPLICA_INFO).with_header(&header));
        let info: GetReplicaInfoResponseHeader<'_> = answer.header().expect("a header");
        let set = SyncStateSet::decode(&answer.body).expect("a set").sync_state_set;
        (info.master_broker_id, info.master_epoch.unwrap_or_default(), set.into_iter().collect())
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A broker that does nothing but send heartbeats to all controllers, until it is dropped.
pub struct Broker {
    cluster: String,
    name: String,
    pub id: i64,
    is_up: Arc<AtomicBool>,
}

impl Broker {
    pub fn elect(&self) -> Command {
        Command::request(request::CONTROLLER_ELECT_MASTER).with_header(&ElectMasterRequestHeader {
            cluster_name: &self.cluster,
            broker_name: &self.name,
            broker_id: self.id,
            designate_elect: false,
            invoke_time: None,
        })
    }

    pub fn alter(&self, master_epoch: i32, set: &[i64], set_epoch: i32) -> Command {
        let header = AlterSyncStateSetRequestHeader {
            broker_name: Some(&self.name),
            master_broker_id: Some(self.id),
            master_epoch: Some(master_epoch),
            invoke_time: None,
        };
        let body = SyncStateSet { sync_state_set: set.iter().copied().collect(), sync_state_set_epoch: set_epoch };
        Command::request(request::CONTROLLER_ALTER_SYNC_STATE_SET).with_header(&header).with_body(body.encode())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.is_up.store(false, Ordering::Relaxed);
    }
}
