//! A replicated group of three real processes: its master is killed, and another one takes over.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apogee_client::admin::ReplicaSet;
use apogee_client::{Client, Message};
use common::{PATIENCE, binary};
use tempfile::TempDir;

const HOSTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
/// How long writes may stand still when the master is killed.
const INTERRUPTION: Duration = Duration::from_secs(5);

/// Ports that can be had on all three addresses: of the name server, the controller, the broker and its slaves.
fn free_ports() -> [u16; 3] {
    let free = |port: u16| HOSTS.iter().all(|host| std::net::TcpListener::bind((*host, port)).is_ok());
    for _ in 0..100 {
        let some = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let [names, controller, broker] = [some(), some(), some()];
        let apart = names != controller && ![names, controller].contains(&(broker + 1));
        if apart && [names, controller, broker, broker + 1].into_iter().all(free) {
            return [names, controller, broker];
        }
    }
    panic!("no free ports");
}

/// Three servers, each on an address of its own.
struct Group {
    ports: [u16; 3],
    folder: TempDir,
    nodes: [Option<Child>; 3],
}

impl Group {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut group = Self { ports: free_ports(), folder, nodes: [const { None }; 3] };
        for node in 0..3 {
            group.start_node(node);
        }
        group
    }

    fn start_node(&mut self, node: usize) {
        let mut process = Process::new(binary());
        process.args(["server", "--cluster", &HOSTS.join(","), "--host", HOSTS[node], "--name", "orders"]);
        for (flag, port) in ["--namesrv-port", "--controller-port", "--broker-port"].iter().zip(self.ports) {
            process.args([flag, &*port.to_string()]);
        }
        process.arg("--data").arg(self.data(node)).args(["--set", "metricsPromExporterPort=0"]);
        let level = std::env::var("APOGEE_LOG").unwrap_or_else(|_| "error".to_owned());
        process.env("APOGEE_LOG", level).stdout(Stdio::piped());
        let mut child = process.spawn().expect("it starts");
        let output = child.stdout.take().expect("a pipe");
        // Who starts first has to wait for the others.
        std::thread::spawn(move || BufReader::new(output).lines().for_each(drop));
        self.nodes[node] = Some(child);
    }

    fn data(&self, node: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("node{node}"))
    }

    fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node].take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    fn addresses(&self, port: u16) -> String {
        HOSTS.map(|host| format!("{host}:{port}")).join(";")
    }

    fn client(&self) -> Client {
        Client::new(self.addresses(self.ports[0])).expect("addresses")
    }

    /// What the controllers say of the group, as soon as it is as wanted.
    async fn replicas(&self, what: &str, wanted: impl Fn(&ReplicaSet) -> bool) -> ReplicaSet {
        let client = self.client();
        // One that is down is passed over only where another one is named first.
        let up: Vec<String> = (0..3)
            .filter(|node| self.nodes[*node].is_some())
            .map(|node| format!("{}:{}", HOSTS[node], self.ports[1]))
            .collect();
        let controllers = client.admin().controllers(&up.join(";")).expect("addresses");
        let began = Instant::now();
        loop {
            let replicas = controllers.replicas(&["orders"]).await;
            match replicas.as_ref().ok().and_then(|sets| sets.get("orders")) {
                Some(set) if wanted(set) => return set.clone(),
                _ if began.elapsed() > PATIENCE => panic!("never {what}: {replicas:?}"),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until all three have everything.
    async fn complete(&self) -> ReplicaSet {
        self.replicas("all three in step", |set| set.master_id.is_some() && set.in_step.len() == 3).await
    }

    /// Which process an address is of.
    fn node_of(&self, set: &ReplicaSet) -> usize {
        let address = set.master_address.clone().expect("a master");
        HOSTS.iter().position(|host| address == format!("{host}:{}", self.ports[2])).expect("one of the three")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            // One that has ended is not there to be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What was acknowledged, and when.
#[derive(Default)]
struct Acknowledged {
    bodies: BTreeSet<String>,
    last: Option<Instant>,
    /// The longest time between two of them.
    gap: Duration,
}

/// Sends one message after the other until it is aborted.
fn produce(group: &Group, name: &'static str) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Acknowledged>>) {
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let (log, client) = (Arc::clone(&acknowledged), group.client());
    let task = tokio::spawn(async move {
        let producer = client.producer("P").expect("a producer");
        for number in 0.. {
            let body = format!("{name}{number}");
            // One that is in doubt may be there or not.
            if producer.send(Message::new("T", body.clone())).await.is_ok() {
                let mut log = log.lock().expect("not poisoned");
                let now = Instant::now();
                if let Some(last) = log.last.replace(now) {
                    log.gap = log.gap.max(now - last);
                }
                log.bodies.insert(body);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    (task, acknowledged)
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn count(acknowledged: &Mutex<Acknowledged>) -> usize {
    acknowledged.lock().expect("not poisoned").bodies.len()
}

/// Reads the topic from its beginning until all that is expected has come.
async fn assert_all_there(group: &Group, expected: &BTreeSet<String>) {
    let client = group.client();
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let mut missing = expected.clone();
    while !missing.is_empty() {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await;
        let message =
            message.unwrap_or_else(|_| panic!("{} acknowledged messages are lost: {missing:?}", missing.len()));
        missing.remove(&*String::from_utf8_lossy(&message.expect("open").expect("read").body));
    }
}

/// How many bytes the log of a node has.
fn log_bytes(data: &Path) -> u64 {
    let output =
        Process::new(binary()).args(["store", "check", "--json"]).arg(data.join("store")).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["problemCount"], 0, "{report}");
    report["logEnd"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_master_is_killed_writes_go_on_and_nothing_acknowledged_is_lost() {
    let mut group = Group::start();
    let before = group.complete().await;
    let (producing, acknowledged) = produce(&group, "m");
    wait_for("under load", || count(&acknowledged) > 50).await;
    let master = group.node_of(&before);
    let reached = count(&acknowledged);
    group.kill(master);
    let killed = Instant::now();
    wait_for("taking messages again", || count(&acknowledged) > reached + 50).await;
    println!("{:?} after the kill 50 more were acknowledged", killed.elapsed());
    let after = group.replicas("under another master", |set| set.master_epoch > before.master_epoch).await;
    assert_ne!(group.node_of(&after), master);
    // The old one comes back, gives up what nobody was promised, and follows.
    group.start_node(master);
    let whole = group.complete().await;
    assert_ne!(group.node_of(&whole), master, "it does not take its place back");
    let reached = count(&acknowledged);
    wait_for("going on with all three", || count(&acknowledged) > reached + 50).await;
    producing.abort();
    let Acknowledged { bodies, gap, .. } = std::mem::take(&mut *acknowledged.lock().expect("not poisoned"));
    println!("{} acknowledged, longest gap {gap:?}", bodies.len());
    assert!(gap < INTERRUPTION, "writes stood still for {gap:?}");
    assert_all_there(&group, &bodies).await;
    // The copies are the same log.
    for node in 0..3 {
        group.kill(node);
    }
    let ends = [0, 1, 2].map(|node| log_bytes(&group.data(node)));
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_moves_the_master_under_load() {
    let group = Group::start();
    let before = group.complete().await;
    let (producing, acknowledged) = produce(&group, "m");
    wait_for("under load", || count(&acknowledged) > 50).await;
    let old = before.master_id.expect("a master");
    let wanted = before.in_step.iter().map(|replica| replica.id).find(|id| *id != old).expect("another one");
    let client = group.client();
    let controllers = client.admin().controllers(&group.addresses(group.ports[1])).expect("addresses");
    controllers.elect("DefaultCluster", "orders", wanted).await.expect("elected");
    let after = group.replicas("under the wanted master", |set| set.master_id == Some(wanted)).await;
    assert!(after.master_epoch > before.master_epoch);
    let reached = count(&acknowledged);
    wait_for("taking messages again", || count(&acknowledged) > reached + 50).await;
    group.complete().await;
    producing.abort();
    let Acknowledged { bodies, gap, .. } = std::mem::take(&mut *acknowledged.lock().expect("not poisoned"));
    println!("{} acknowledged, longest gap {gap:?}", bodies.len());
    assert!(gap < INTERRUPTION, "writes stood still for {gap:?}");
    assert_all_there(&group, &bodies).await;
}
