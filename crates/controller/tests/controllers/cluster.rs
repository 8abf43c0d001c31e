//! Controllers and brokers of a test.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apogee_base::clock::{Clock, SystemClock};
use apogee_base::disk::{Disk, SimDisk};
use apogee_controller::{Controller, ControllerSettings};
use apogee_net::{Conn, Dial, Dialled, Dialling, Limits, Server, Service, Tcp, Unasked};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, SyncStateSet};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::*;

/// How long anything may take before a test counts it as never.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Way to others that can be cut, by the port dialled.
#[derive(Default)]
pub struct Wires {
    cut: Mutex<HashSet<u16>>,
    open: Mutex<Vec<(u16, Arc<Mutex<bool>>)>>,
}

impl Wires {
    /// Nobody reaches these ports any more by this way, and what is open to them is closed.
    pub fn cut(&self, ports: &[u16]) {
        self.cut.lock().expect("fine").extend(ports);
        let open = self.open.lock().expect("fine");
        for (_, dead) in open.iter().filter(|(port, _)| ports.contains(port)) {
            *dead.lock().expect("fine") = true;
        }
    }

    pub fn mend(&self) {
        self.cut.lock().expect("fine").clear();
    }
}

impl Dial for Wires {
    fn dial<'d>(&'d self, address: &'d str) -> Dialling<'d> {
        Box::pin(async move {
            let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
            if self.cut.lock().expect("fine").contains(&port) {
                return Err(io::ErrorKind::HostUnreachable.into());
            }
            let Dialled { stream, peer, local } = Tcp.dial(address).await?;
            let dead = Arc::new(Mutex::new(false));
            self.open.lock().expect("fine").push((port, Arc::clone(&dead)));
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(relay(stream, far, dead));
            Ok(Dialled { stream: Box::new(near), peer, local })
        })
    }
}

/// Copies both ways until the wire is cut.
async fn relay(mut stream: Box<dyn apogee_net::Stream>, mut far: tokio::io::DuplexStream, dead: Arc<Mutex<bool>>) {
    let is_cut = async {
        while !*dead.lock().expect("fine") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        // Whoever closes it: both ends see it.
        _ = tokio::io::copy_bidirectional(&mut stream, &mut far) => {}
        () = is_cut => {}
    }
}

/// Controllers that are up, by place in `controllerDLegerPeers`.
pub struct Cluster {
    pub ports: Vec<u16>,
    pub disks: Vec<Arc<SimDisk>>,
    pub wires: Vec<Arc<Wires>>,
    pub nodes: Vec<Option<Controller>>,
    settings: Vec<(String, String)>,
}

impl Cluster {
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, &[]).await
    }

    pub async fn start_with(size: usize, settings: &[(&str, &str)]) -> Self {
        let ports = free_ports(size);
        let mut cluster = Self {
            disks: (0..size).map(|node| Arc::new(SimDisk::new(node as u64))).collect(),
            wires: (0..size).map(|_| Arc::default()).collect(),
            nodes: ports.iter().map(|_| None).collect(),
            ports,
            settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        for node in 0..size {
            cluster.up(node).await;
        }
        cluster
    }

    pub fn settings(&self, node: usize) -> ControllerSettings {
        use apogee_base::settings::Settings;
        let peers: Vec<_> = self.ports.iter().enumerate().map(|(id, port)| format!("n{id}-127.0.0.1:{port}")).collect();
        let mut settings = ControllerSettings {
            controller_d_leger_peers: peers.join(";"),
            controller_d_leger_self_id: format!("n{node}"),
            controller_store_path: "ctl".into(),
            config_store_path: "ctl/controller.properties".into(),
            bind_address: "127.0.0.1".into(),
            ..ControllerSettings::default()
        };
        for (key, value) in &self.settings {
            settings.set(key, value).expect("a setting");
        }
        settings
    }

    pub async fn up(&mut self, node: usize) {
        let (clock, disk) = (Arc::new(SystemClock) as Arc<dyn Clock>, Arc::clone(&self.disks[node]) as Arc<dyn Disk>);
        let dial = Arc::clone(&self.wires[node]) as Arc<dyn Dial>;
        let started = Controller::start_with(self.settings(node), clock, disk, dial).await;
        self.nodes[node] = Some(started.expect("a controller"));
    }

    /// Ends a controller at once; what was not synced is lost.
    pub async fn kill(&mut self, node: usize) {
        let controller = self.nodes[node].take().expect("it is up");
        controller.stop(Duration::ZERO).await;
        self.disks[node].crash();
    }

    /// The one that leads, as soon as there is one.
    pub async fn leader(&self) -> usize {
        let mut leader = None;
        until("a leader", || {
            leader = self.nodes.iter().position(|node| node.as_ref().is_some_and(Controller::is_leader));
            leader.is_some()
        })
        .await;
        leader.expect("a leader")
    }

    pub fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node])
    }

    /// Asks whoever leads until one answers as a leader does.
    pub async fn ask(&self, asked: &Command) -> Command {
        let (answer, conn) = self.ask_and_stay(asked).await;
        conn.close("asked");
        answer
    }

    /// The same; the connection stays.
    async fn ask_and_stay(&self, asked: &Command) -> (Command, Arc<Conn>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for node in (0..self.ports.len()).filter(|node| self.nodes[*node].is_some()) {
                let Some(conn) = connect(&self.address(node)).await else { continue };
                match conn.call(asked.clone(), PATIENCE).await {
                    Ok(answer) if answer.code != response::CONTROLLER_NOT_LEADER => return (answer, conn),
                    _ => conn.close("asked"),
                }
            }
            assert!(Instant::now() < deadline, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Registers brokers of a group by id, each at a port of its own.
    pub async fn brokers(&self, name: &str, ids: &[i64]) -> Vec<Broker> {
        let mut brokers = Vec::new();
        for &id in ids {
            brokers.push(Broker::join(self, name, id).await);
        }
        brokers
    }

    pub async fn view(&self, name: &str) -> (Option<i64>, i32, BTreeSet<i64>) {
        let asked = Command::request(request::CONTROLLER_GET_REPLICA_INFO)
            .with_header(&GetReplicaInfoRequestHeader { broker_name: Some(name) });
        let answer = self.ask(&asked).await;
        let header: GetReplicaInfoResponseHeader<'_> = answer.header().expect("a header");
        let set = SyncStateSet::decode(&answer.body).expect("a set");
        (header.master_broker_id, header.master_epoch.unwrap_or_default(), set.sync_state_set)
    }

    /// Waits until a group's master is this one.
    pub async fn until_master(&self, name: &str, wanted: Option<i64>) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (master, epoch, set) = self.view(name).await;
            if master == wanted {
                return epoch;
            }
            assert!(Instant::now() < deadline, "{master:?} of {set:?} is the master, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let probes: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    probes.iter().map(|probe| probe.local_addr().expect("an address").port()).collect()
}

pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn connect(address: &str) -> Option<Arc<Conn>> {
    apogee_net::connect(&Tcp, address, Arc::new(Unasked), Limits::default(), PATIENCE).await.ok()
}

/// Asks one controller; `None` when it is not there.
pub async fn ask(address: &str, asked: &Command) -> Option<Command> {
    let conn = connect(address).await?;
    let answer = conn.call(asked.clone(), PATIENCE).await.ok();
    conn.close("asked");
    answer
}

/// What a broker was told by `NOTIFY_BROKER_ROLE_CHANGED`: master and epoch.
type News = Arc<Mutex<Vec<(Option<i64>, i32)>>>;

struct Port(News);

impl Service for Port {
    fn request(&self, _: &Arc<Conn>, asked: &Command) {
        assert_eq!(asked.code, request::NOTIFY_BROKER_ROLE_CHANGED);
        let header: NotifyBrokerRoleChangedRequestHeader<'_> = asked.header().expect("a header");
        let epoch = header.master_epoch.unwrap_or_default();
        self.0.lock().expect("fine").push((header.master_broker_id, epoch));
    }
}

/// A broker as controllers see one: it has an id, and sends heartbeats to all of them until it is dropped.
pub struct Broker {
    pub name: String,
    pub id: i64,
    pub address: String,
    pub news: News,
    _port: Server,
    heartbeats: Vec<tokio::task::JoinHandle<()>>,
    conns: Arc<Mutex<Vec<Arc<Conn>>>>,
}

impl Broker {
    async fn join(cluster: &Cluster, name: &str, id: i64) -> Self {
        let (news, port) = (News::default(), Server::bind("127.0.0.1", 0, Limits::default()).expect("a port"));
        port.start(Arc::new(Port(Arc::clone(&news))), None);
        let address = port.local_addr().to_string();
        let check_code = format!("{address};1");
        let apply = Command::request(request::CONTROLLER_APPLY_BROKER_ID).with_header(&ApplyBrokerIdRequestHeader {
            cluster_name: Some("C"),
            broker_name: Some(name),
            applied_broker_id: Some(id),
            register_check_code: Some(&check_code),
        });
        assert_eq!(cluster.ask(&apply).await.code, response::SUCCESS);
        let (name, heartbeats, conns) = (name.to_owned(), Vec::new(), Arc::default());
        let mut broker = Self { name, id, address, news, _port: port, heartbeats, conns };
        // By a connection that stays, as brokers do: its end would be the end of the broker until a heartbeat comes.
        let (answer, conn) = cluster.ask_and_stay(&broker.register()).await;
        assert_eq!(answer.code, response::SUCCESS);
        broker.conns.lock().expect("fine").push(conn);
        broker.beat(cluster);
        // Heard by all controllers that are up.
        let up = cluster.nodes.iter().filter(|node| node.is_some()).count() as f64;
        let alive = || cluster.nodes.iter().flatten().filter(|node| alive_at(node) >= 1.0).count() as f64;
        until("all hear the broker", || alive() >= up).await;
        broker
    }

    pub fn register(&self) -> Command {
        Command::request(request::CONTROLLER_REGISTER_BROKER).with_header(&RegisterBrokerToControllerRequestHeader {
            cluster_name: Some("C"),
            broker_name: Some(&self.name),
            broker_id: Some(self.id),
            broker_address: Some(&self.address),
            invoke_time: None,
        })
    }

    /// Sends heartbeats to all controllers, also to those that come up later.
    pub fn beat(&mut self, cluster: &Cluster) {
        for node in 0..cluster.ports.len() {
            let (address, beat) = (cluster.address(node), self.heartbeat(100));
            let conns = Arc::clone(&self.conns);
            self.heartbeats.push(tokio::spawn(async move {
                loop {
                    if let Some(conn) = connect(&address).await {
                        conns.lock().expect("fine").push(Arc::clone(&conn));
                        while conn.is_open() {
                            conn.send_oneway(beat.clone());
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }));
        }
    }

    pub fn heartbeat(&self, max_offset: i64) -> Command {
        Command::request(request::BROKER_HEARTBEAT).with_header(&BrokerHeartbeatRequestHeader {
            cluster_name: "C",
            broker_addr: &self.address,
            broker_name: &self.name,
            broker_id: Some(self.id),
            // Its log is new: it knows of none.
            epoch: Some(0),
            max_offset: Some(max_offset),
            confirm_offset: Some(max_offset),
            heartbeat_timeout_mills: Some(10_000),
            election_priority: Some(i32::MAX),
        })
    }

    pub fn elect(&self, designate_elect: bool) -> Command {
        Command::request(request::CONTROLLER_ELECT_MASTER).with_header(&ElectMasterRequestHeader {
            cluster_name: "C",
            broker_name: &self.name,
            broker_id: self.id,
            designate_elect,
            invoke_time: None,
        })
    }

    pub fn alter(&self, epoch: i32, set: &[i64], set_epoch: i32) -> Command {
        let header = AlterSyncStateSetRequestHeader {
            broker_name: Some(&self.name),
            master_broker_id: Some(self.id),
            master_epoch: Some(epoch),
            invoke_time: None,
        };
        let body = SyncStateSet { sync_state_set: set.iter().copied().collect(), sync_state_set_epoch: set_epoch };
        Command::request(request::CONTROLLER_ALTER_SYNC_STATE_SET).with_header(&header).with_body(body.encode())
    }

    /// Ends it as a crash of its process does.
    pub fn kill(self) {
        drop(self);
    }

    /// Closes its connections, and makes no others.
    pub fn quiet(&mut self) {
        self.heartbeats.drain(..).for_each(|task| task.abort());
        self.conns.lock().expect("fine").drain(..).for_each(|conn| conn.close("the broker ends"));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.quiet();
    }
}

/// Brokers that a controller hears from.
fn alive_at(controller: &Controller) -> f64 {
    metric(controller, "apogee_controller_replicas_alive")
}

pub fn metric(controller: &Controller, name: &str) -> f64 {
    let scopes = controller.metrics().scopes();
    let family = scopes.iter().flat_map(|scope| &scope.families).find(|family| family.name == name);
    match &family.expect("a family").points[0].value {
        apogee_telemetry::Value::Number(number) => *number,
        apogee_telemetry::Value::Histogram(_) => panic!("{name} is no number"),
    }
}
