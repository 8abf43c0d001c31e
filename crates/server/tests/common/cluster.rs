//! A replicated group of three servers, each of which is name server, controller and broker.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use apogee_client::Client;
use apogee_client::admin::ReplicaSet;
use tempfile::TempDir;

use super::{PATIENCE, Peer, binary};

const HOSTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
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
pub struct Group {
    /// Of each: the name server, the controller, the broker.
    pub ports: [u16; 3],
    folder: TempDir,
    nodes: [Option<Child>; 3],
    settings: Vec<String>,
}

impl Group {
    /// Starts all three.
    pub fn start(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let mut group = Self { ports: free_ports(), folder, nodes: [const { None }; 3], settings };
        for node in 0..3 {
            group.start_node(node);
        }
        group
    }

    pub fn start_node(&mut self, node: usize) {
        let mut process = Process::new(binary());
        process.args(["server", "--cluster", &HOSTS.join(","), "--host", HOSTS[node], "--name", "orders"]);
        for (flag, port) in ["--namesrv-port", "--controller-port", "--broker-port"].iter().zip(self.ports) {
            process.args([flag, &*port.to_string()]);
        }
        process.arg("--data").arg(self.data(node)).args(["--set", "metricsPromExporterPort=0"]);
        process.args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        let level = std::env::var("APOGEE_LOG").unwrap_or_else(|_| "error".to_owned());
        process.env("APOGEE_LOG", level).stdout(Stdio::piped());
        let mut child = process.spawn().expect("it starts");
        let output = child.stdout.take().expect("a pipe");
        // Who starts first has to wait for the others.
        std::thread::spawn(move || BufReader::new(output).lines().for_each(drop));
        self.nodes[node] = Some(child);
    }

    pub fn data(&self, node: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("node{node}"))
    }

    pub fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node].take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    pub fn addresses(&self, port: u16) -> String {
        HOSTS.map(|host| format!("{host}:{port}")).join(";")
    }

    pub fn client(&self) -> Client {
        Client::new(self.addresses(self.ports[0])).expect("addresses")
    }

    /// What the controllers say of the group, as soon as it is as wanted.
    pub async fn replicas(&self, what: &str, wanted: impl Fn(&ReplicaSet) -> bool) -> ReplicaSet {
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
    pub async fn complete(&self) -> ReplicaSet {
        self.replicas("all three in step", |set| set.master_id.is_some() && set.in_step.len() == 3).await
    }

    /// A connection to the broker of a node.
    pub fn connect(&self, node: usize) -> Peer {
        Peer::connect(self.broker(node))
    }

    /// The same, if the broker listens.
    pub fn try_connect(&self, node: usize) -> Option<Peer> {
        TcpStream::connect(self.broker(node)).is_ok().then(|| self.connect(node))
    }

    fn broker(&self, node: usize) -> SocketAddr {
        format!("{}:{}", HOSTS[node], self.ports[2]).parse().expect("an address")
    }

    /// The process of the master.
    pub fn node_of(&self, set: &ReplicaSet) -> usize {
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
