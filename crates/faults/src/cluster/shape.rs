//! The clusters that scenarios break: which hosts there are, and how their processes are started.

use std::path::Path;

use super::host::Program;
use super::network::address;

/// Name that all brokers of a cluster share.
pub const BROKER: &str = "group";
/// Their cluster.
const CLUSTER: &str = "faults";
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
        match self {
            Self::Single => 1,
            Self::Pair { .. } | Self::Group => 3,
        }
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
        match self {
            Self::Single | Self::Pair { .. } => None,
            Self::Group => Some(join(1..=3, CONTROLLER_PORT)),
        }
    }

    /// The process of a host, with its data in `data`, and settings of brokers beside those that the shape needs.
    pub fn program(self, binary: &Path, host: usize, data: &Path, settings: &[String]) -> Program {
        let (own, data) = (address(host).to_string(), data.display().to_string());
        let broker = ["broker", "--namesrv", &self.name_servers()].map(str::to_owned).to_vec();
        let own_settings = [
            format!("storePathRootDir={data}/store"),
            format!("brokerIP1={own}"),
            format!("brokerName={BROKER}"),
            format!("brokerClusterName={CLUSTER}"),
        ];
        let (mut arguments, needed): (Vec<String>, Vec<String>) = match self {
            Self::Single => (["server", "--data", &data, "--host", &own].map(str::to_owned).to_vec(), Vec::new()),
            Self::Group => {
                let all = (1..=3).map(|host| address(host).to_string()).collect::<Vec<_>>().join(",");
                let group = ["server", "--cluster", &all, "--name", BROKER, "--data", &data, "--host", &own];
                (group.map(str::to_owned).to_vec(), Vec::new())
            }
            Self::Pair { .. } if !self.brokers().contains(&host) => {
                let arguments = ["namesrv", "--port", &NAMES_PORT.to_string()].map(str::to_owned).to_vec();
                return Program { path: binary.to_owned(), arguments };
            }
            Self::Pair { is_sync } => {
                let role = match (host, is_sync) {
                    (1, true) => "SYNC_MASTER",
                    (1, false) => "ASYNC_MASTER",
                    _ => "SLAVE",
                };
                let needed = [
                    format!("brokerId={}", host - 1),
                    format!("brokerRole={role}"),
                    format!("inSyncReplicas={}", if is_sync { 2 } else { 1 }),
                ];
                (broker, own_settings.into_iter().chain(needed).collect())
            }
        };
        arguments = with(arguments, needed);
        arguments = with(arguments, SETTINGS.iter().map(|setting| (*setting).to_owned()));
        Program { path: binary.to_owned(), arguments: with(arguments, settings.iter().cloned()) }
    }
}

fn with(mut arguments: Vec<String>, settings: impl IntoIterator<Item = String>) -> Vec<String> {
    for setting in settings {
        arguments.extend(["--set".to_owned(), setting]);
    }
    arguments
}

fn join(hosts: std::ops::RangeInclusive<usize>, port: u16) -> String {
    hosts.map(|host| format!("{}:{port}", address(host))).collect::<Vec<_>>().join(";")
}
