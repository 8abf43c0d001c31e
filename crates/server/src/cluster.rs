//! `apogee server --cluster`: what each machine of a replicated group is started with. All of them have the same
//! command line but for their own address.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use apogee_broker::settings::BrokerSettings;
use apogee_controller::settings::ControllerSettings;

use crate::address::own_addresses;
use crate::args::ServerArgs;

/// Copies of a message, the master's among them, before its sender is told that it is stored: with fewer, the loss of
/// one machine could lose it.
const COPIES: u32 = 2;
/// Milliseconds between two heartbeats of a broker.
const HEARTBEAT_MS: u64 = 500;
/// Milliseconds of silence after which a broker counts as gone; one whose process ended is noticed at once.
const SILENCE_MS: u64 = 3_000;
/// Milliseconds after which messages no longer wait for a replica that stands still or is cut off. Shorter than upstream's
/// 15 s, in which no message is acknowledged; a disk that is slow for a moment must not cost the replica its place.
const LAG_MS: i64 = 5_000;
/// Milliseconds between two questions who the master is.
const LOOK_MS: u64 = 1_000;

/// The machines of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// All of them, in an order that is the same on each.
    hosts: Vec<String>,
    /// This one's place among them.
    own: usize,
}

impl Cluster {
    /// What the command line says; none without `--cluster`. The text of an error says what to change.
    pub fn of(args: &ServerArgs) -> Result<Option<Self>, String> {
        if args.cluster.is_empty() {
            return Ok(None);
        }
        Self::new(&args.cluster, args.host.as_deref(), own_addresses).map(Some)
    }

    fn new(hosts: &[String], host: Option<&str>, own_addresses: fn() -> Vec<IpAddr>) -> Result<Self, String> {
        let mut hosts: Vec<String> = hosts.iter().map(|host| host.trim().to_owned()).collect();
        let listed = hosts.join(",");
        if let Some(odd) = hosts.iter().find(|host| host.is_empty() || host.contains([':', ';', '/'])) {
            return Err(format!(
                "--cluster {listed}: `{odd}` is not a host; give names or IPv4 addresses without ports"
            ));
        }
        hosts.sort_unstable();
        if let Some(pair) = hosts.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("--cluster {listed}: {} is there twice", pair[0]));
        }
        if hosts.len() < 3 || hosts.len().is_multiple_of(2) {
            return Err(format!(
                "--cluster {listed}: {} machines; a master is elected by most of them, so give three, or five: an even \
                 number survives no more losses than one less",
                hosts.len()
            ));
        }
        let own = match host {
            Some(host) => hosts.iter().position(|known| known == host).ok_or_else(|| {
                format!("--host {host} is not among --cluster {listed}: give this machine's address as it stands there")
            })?,
            None => {
                let own = own_addresses();
                let is_own = |host: &&String| host.parse::<IpAddr>().is_ok_and(|address| own.contains(&address));
                let mut found = hosts.iter().filter(is_own);
                match (found.next(), found.next()) {
                    (Some(one), None) => hosts.iter().position(|host| host == one).unwrap_or_default(),
                    _ => {
                        return Err(format!(
                            "it is not clear which of --cluster {listed} this machine is: say so with --host"
                        ));
                    }
                }
            }
        };
        Ok(Self { hosts, own })
    }

    /// This machine's address.
    pub fn host(&self) -> &str {
        &self.hosts[self.own]
    }

    /// Where to listen unless the command line says so: several can share a machine on addresses of the loopback.
    pub fn bind(&self) -> Option<IpAddr> {
        self.host().parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_loopback).map(IpAddr::V4)
    }

    /// All machines with a port.
    pub fn addresses(&self, port: u16) -> String {
        self.hosts.iter().map(|host| format!("{host}:{port}")).collect::<Vec<_>>().join(";")
    }

    /// What a broker of the group needs to be replicated.
    pub fn broker(&self, args: &ServerArgs) -> BrokerSettings {
        BrokerSettings {
            broker_name: args.name.clone().unwrap_or_else(|| BrokerSettings::default().broker_name),
            broker_ip1: self.host().to_owned(),
            namesrv_addr: self.addresses(args.namesrv_port),
            enable_controller_mode: true,
            controller_addr: self.addresses(args.controller_port),
            min_in_sync_replicas: COPIES,
            broker_heartbeat_interval: HEARTBEAT_MS,
            controller_heart_beat_timeout_mills: SILENCE_MS,
            sync_broker_metadata_period: LOOK_MS,
            ha_max_time_slave_not_catchup: LAG_MS,
            ..BrokerSettings::default()
        }
    }

    /// What this machine's controller is started with.
    pub fn controller(&self, args: &ServerArgs, bind: IpAddr) -> ControllerSettings {
        let peers =
            self.hosts.iter().enumerate().map(|(number, host)| format!("n{number}-{host}:{}", args.controller_port));
        let folder = |name: &str| text(&args.data.join("controller").join(name));
        ControllerSettings {
            controller_d_leger_peers: peers.collect::<Vec<_>>().join(";"),
            controller_d_leger_self_id: format!("n{}", self.own),
            controller_store_path: folder("state"),
            config_store_path: folder("controller.properties"),
            bind_address: bind.to_string(),
            ..ControllerSettings::default()
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(hosts: &str, host: Option<&str>) -> Result<Cluster, String> {
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        Cluster::new(&hosts, host, || vec![Ipv4Addr::new(10, 0, 0, 2).into()])
    }

    #[test]
    fn machines_agree_on_their_order_and_find_themselves() {
        let one = cluster("10.0.0.3, 10.0.0.1,10.0.0.2", None).unwrap();
        assert_eq!((one.host(), one.own, one.bind()), ("10.0.0.2", 1, None));
        let other = cluster("10.0.0.1,10.0.0.2,10.0.0.3", Some("10.0.0.3")).unwrap();
        assert_eq!(other.addresses(9878), one.addresses(9878));
        let laptop = cluster("127.0.0.1,127.0.0.2,127.0.0.3", Some("127.0.0.2")).unwrap();
        assert_eq!(laptop.bind(), Some(Ipv4Addr::new(127, 0, 0, 2).into()));
    }

    #[test]
    fn what_makes_no_cluster_is_explained() {
        for (hosts, host, text) in [
            ("a,b", Some("a"), "give three"),
            ("a,b,c,d", Some("a"), "give three, or five"),
            ("a,b,b", Some("a"), "b is there twice"),
            ("a,b,c:1", Some("a"), "`c:1` is not a host"),
            ("a,b,", Some("a"), "`` is not a host"),
            ("a,b,c", Some("d"), "--host d is not among"),
            ("a,b,c", None, "say so with --host"),
        ] {
            let error = cluster(hosts, host).unwrap_err();
            assert!(error.contains(text), "{hosts}: {error}");
        }
    }
}
