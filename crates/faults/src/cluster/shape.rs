//! The clusters that scenarios break: which hosts there are, and how their processes are started.

use std::path::Path;

use super::host::Program;
use super::network::address;

/// Name that all brokers of a cluster share.
pub const BROKER: &str = "group";
/// Port of every name server.
const NAMES_PORT: u16 = 9876;
/// Port of every controller.
const CONTROLLER_PORT: u16 = 9878;
/// Small files, so that their borders are met often; no limits that a small disk meets before its end.
const SETTINGS: [&str; 3] =
    ["mappedFileSizeCommitLog=4194304", "mappedFileSizeConsumeQueue=60000", "defaultTopicQueueNums=4"];

/// A kind of cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One machine with all of it.
    Single,
    /// A master on the first, a slave on the second, a name server on the third; nobody elects.
    Pair {
        /// `SYNC_MASTER` that waits for the slave; else `ASYNC_MASTER`.
        is_sync: bool,
    },
    /// Three machines, each with name server, controller and broker.
    Group,
}

impl Shape {
    /// How many hosts it has.
    pub fn hosts(self) -> usize {
        if self == Self::Single { 1 } else { 3 }
    }

    /// The hosts that have brokers.
    pub fn brokers(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Single => 1..=1,
            Self::Pair { .. } => 1..=2,
            Self::Group => 1..=3,
        }
    }

    /// Addresses of its name servers.
    pub fn name_servers(self) -> String {
        let hosts = match self {
            Self::Single => 1..=1,
            Self::Pair { .. } => 3..=3,
            Self::Group => 1..=3,
        };
        join(hosts, NAMES_PORT)
    }

    /// Addresses of its controllers.
    pub fn controllers(self) -> Option<String> {
        (self == Self::Group).then(|| join(1..=3, CONTROLLER_PORT))
    }

    /// The process of a host, with its data in `data`, and settings beside those that the shape needs.
    pub fn program(self, binary: &Path, host: usize, data: &Path, settings: &[String]) -> Program {
        let (own, data) = (address(host).to_string(), data.display().to_string());
        let mut arguments: Vec<String> = match self {
            Self::Single => vec!["server".into(), "--data".into(), data, "--host".into(), own],
            Self::Group => {
                let all = (1..=3).map(|host| address(host).to_string()).collect::<Vec<_>>().join(",");
                let group = ["server", "--cluster", &all, "--name", BROKER, "--data", &data, "--host", &own];
                group.map(str::to_owned).to_vec()
            }
            Self::Pair { .. } if host == 3 => {
                let arguments = vec!["namesrv".into(), "--port".into(), NAMES_PORT.to_string()];
                return Program { path: binary.to_owned(), arguments };
            }
            Self::Pair { is_sync } => {
                let mut arguments = vec!["broker".to_owned(), "--namesrv".into(), self.name_servers()];
                let role = match (host, is_sync) {
                    (1, true) => "SYNC_MASTER",
                    (1, false) => "ASYNC_MASTER",
                    _ => "SLAVE",
                };
                for setting in [
                    format!("storePathRootDir={data}/store"),
                    format!("brokerIP1={own}"),
                    format!("brokerId={}", host - 1),
                    format!("brokerRole={role}"),
                    format!("inSyncReplicas={}", if is_sync { 2 } else { 1 }),
                    format!("brokerName={BROKER}"),
                ] {
                    arguments.extend(["--set".to_owned(), setting]);
                }
                arguments
            }
        };
        for setting in SETTINGS.iter().map(|setting| (*setting).to_owned()).chain(settings.iter().cloned()) {
            arguments.extend(["--set".to_owned(), setting]);
        }
        Program { path: binary.to_owned(), arguments }
    }
}

fn join(hosts: std::ops::RangeInclusive<usize>, port: u16) -> String {
    hosts.map(|host| format!("{}:{port}", address(host))).collect::<Vec<_>>().join(";")
}
