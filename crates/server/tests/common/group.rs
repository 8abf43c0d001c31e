//! Brokers of one name, each a process of its own, that a slave may stand in for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::bodies::{Body, TopicRouteData};
use apogee_wire::codes::request;
use apogee_wire::headers::{GetRouteInfoRequestHeader, RpcFields};

use super::{PATIENCE, Server, binary};

/// Their name.
pub const NAME: &str = "group";

/// One of the brokers; killed when dropped.
pub struct Broker {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Broker {
    pub fn start(folder: &Path, names: &Server, settings: &[&str]) -> Self {
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

    pub fn signal(&self, signal: &str) {
        let status = Process::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    pub fn logged(&self, what: &str) -> bool {
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

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Addresses of the group by id, and the permission of a topic there, as a client is told.
pub fn route(names: &Server, topic: &str) -> Option<(BTreeMap<i64, String>, i32)> {
    let header = GetRouteInfoRequestHeader { topic, accept_standard_json_only: Some(true), rpc: RpcFields::default() };
    let question = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
    let answer = names.connect_namesrv().call(question);
    let route = TopicRouteData::decode(&answer.body).ok()?;
    let data = route.broker_datas.into_iter().find(|data| data.broker_name == NAME)?;
    let queues = route.queue_datas.into_iter().find(|queues| queues.broker_name == NAME)?;
    Some((data.broker_addrs.into_iter().collect(), queues.perm))
}
