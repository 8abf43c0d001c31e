//! A name server on a free port, with a clock that stands still and files in memory.

use std::sync::Arc;
use std::time::Duration;

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::{Disk, SimDisk};
use apogee_namesrv::{NameServer, NamesrvSettings};
use apogee_net::{Conn, Limits, Service, Tcp, connect};
use apogee_wire::Command;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

mod golden;
mod server;

const PATIENCE: Duration = Duration::from_secs(5);

struct Running {
    server: NameServer,
    clock: Arc<ManualClock>,
    disk: Arc<SimDisk>,
}

fn settings() -> NamesrvSettings {
    NamesrvSettings {
        listen_port: 0,
        bind_address: "127.0.0.1".into(),
        kv_config_path: "conf/kvConfig.json".into(),
        config_store_path: "conf/namesrv.properties".into(),
        scan_not_active_broker_interval: 10,
        ..NamesrvSettings::default()
    }
}

fn start(settings: NamesrvSettings) -> Running {
    start_on(Arc::new(SimDisk::new(1)), settings)
}

fn start_on(disk: Arc<SimDisk>, settings: NamesrvSettings) -> Running {
    let clock = Arc::new(ManualClock::new(1_000_000));
    let (seen_clock, seen_disk) = (Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&disk) as Arc<dyn Disk>);
    let server = NameServer::start(settings, seen_clock, seen_disk).expect("a free port");
    Running { server, clock, disk }
}

/// A client that keeps the requests the server makes to it.
struct Client {
    conn: Arc<Conn>,
    requests: UnboundedReceiver<Command>,
}

struct Keep(UnboundedSender<Command>);

impl Service for Keep {
    fn request(&self, _: &Arc<Conn>, request: &Command) {
        // The test may have ended.
        let _ = self.0.send(request.clone());
    }
}

impl Client {
    async fn connect(running: &Running) -> Self {
        let (keep, requests) = unbounded_channel();
        let address = running.server.local_addr().to_string();
        let conn = connect(&Tcp, &address, Arc::new(Keep(keep)), Limits::default(), PATIENCE).await.expect("connected");
        Self { conn, requests }
    }

    async fn call(&self, request: Command) -> Command {
        self.conn.call(request, PATIENCE).await.expect("an answer")
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
