//! Producers by group (upstream `ProducerManager`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_net::Conn;
use apogee_wire::bodies::{Connection, ProducerInfo};

use super::Channel;
use super::registry::{Client, Registry};

/// Who produces, by group.
pub struct Producers<C = Conn> {
    registry: RwLock<Registry<C, (), Turn>>,
}

/// Whose turn it is to be asked.
#[derive(Default)]
struct Turn(AtomicUsize);

impl<C> Default for Producers<C> {
    fn default() -> Self {
        Self { registry: RwLock::default() }
    }
}

impl<C: Channel> Producers<C> {
    /// Notes a sign of life of a producer. Returns whether it is new to the group.
    pub fn heartbeat(&self, now_ms: i64, channel: &Arc<C>, client: &Client, group: &str) -> bool {
        let (_, _, is_new) = self.write().seen(now_ms, channel, client, group);
        is_new
    }

    /// A producer leaves a group. Returns whether it was there.
    pub fn unregister(&self, client_id: &str, group: &str) -> bool {
        self.write().leave(group, client_id).is_some()
    }

    /// A connection ended. Returns the groups that lost a producer.
    pub fn closed(&self, connection: u64) -> Vec<Arc<str>> {
        self.write().closed(connection)
    }

    /// The id of the client that a connection belongs to, as its heartbeats told it. Consumers and administrators have a
    /// producer, too.
    pub fn client_by(&self, connection: u64) -> Option<Arc<str>> {
        self.read().client_by(connection)
    }

    /// Forgets producers that were silent for longer than `timeout_ms`. Returns the groups that
    /// lost one.
    pub fn expire(&self, now_ms: i64, timeout_ms: i64) -> Vec<Arc<str>> {
        self.write().expire(now_ms, timeout_ms)
    }

    /// Whether the group has a producer.
    pub fn is_online(&self, group: &str) -> bool {
        self.read().get(group).is_some()
    }

    /// All groups that have a producer, by name.
    pub fn groups(&self) -> Vec<Arc<str>> {
        self.read().names()
    }

    /// The group's connections; None if there is no such group.
    pub fn connections(&self, group: &str) -> Option<Vec<Connection>> {
        Some(self.read().get(group)?.connections())
    }

    /// All producers, by group.
    pub fn infos(&self) -> BTreeMap<String, Vec<ProducerInfo>> {
        let registry = self.read();
        let infos = registry.iter().map(|(name, group)| {
            let of_group = group.members.values().map(|member| ProducerInfo {
                client_id: Some(member.client.id.to_string()),
                language: Some(member.client.language),
                last_update_timestamp: member.last_heartbeat_ms,
                // Java writes the address of a socket with a slash.
                remote_ip: Some(format!("/{}", member.channel.peer())),
                version: member.client.version,
            });
            (name.to_string(), of_group.collect())
        });
        infos.collect()
    }

    /// The newest open connection of a client that is a producer in any group.
    pub fn find(&self, client_id: &str) -> Option<Arc<C>> {
        self.read().find(client_id).cloned()
    }

    /// An open connection of the group, the next one at each call: any producer of a group can
    /// tell the state of its transactions.
    pub fn pick(&self, group: &str) -> Option<Arc<C>> {
        let registry = self.read();
        let group = registry.get(group)?;
        let open: Vec<&Arc<C>> =
            group.members.values().map(|member| &member.channel).filter(|channel| channel.is_open()).collect();
        if open.is_empty() {
            return None;
        }
        let turn = group.shared.0.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(open[turn % open.len()]))
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry<C, (), Turn>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry<C, (), Turn>> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Wire, client, names};
    use super::*;

    #[test]
    fn a_producer_is_there_from_its_heartbeat_to_its_leave() {
        let producers = Producers::default();
        let wire = Wire::new(1);
        assert!(producers.heartbeat(0, &wire, &client("a"), "g"));
        assert!(!producers.heartbeat(5, &wire, &client("a"), "g"));
        assert_eq!(producers.infos()["g"][0].last_update_timestamp, 5);
        assert_eq!(producers.infos()["g"][0].remote_ip.as_deref(), Some("/192.0.2.1:1001"));
        assert_eq!(producers.connections("g").expect("online")[0].client_addr.as_deref(), Some("192.0.2.1:1001"));
        assert!(!producers.unregister("b", "g"));
        assert!(producers.unregister("a", "g"));
        assert!(!producers.is_online("g") && producers.connections("g").is_none());
        assert!(producers.infos().is_empty());
    }

    #[test]
    fn a_closed_connection_leaves_all_its_groups() {
        let producers = Producers::default();
        let (one, two) = (Wire::new(1), Wire::new(2));
        producers.heartbeat(0, &one, &client("a"), "g");
        producers.heartbeat(0, &one, &client("a"), "h");
        producers.heartbeat(0, &two, &client("b"), "h");
        assert_eq!(names(&producers.closed(1)), ["g", "h"]);
        assert_eq!(names(&producers.groups()), ["h"]);
        assert!(producers.closed(1).is_empty());
    }

    #[test]
    fn a_client_is_found_as_long_as_it_is_in_a_group() {
        let producers = Producers::<Wire>::default();
        let (old, new) = (Wire::new(1), Wire::new(2));
        let found = |id| producers.find(id).map(|wire| wire.id());
        producers.heartbeat(0, &old, &client("a"), "g");
        producers.heartbeat(0, &old, &client("a"), "h");
        producers.heartbeat(0, &new, &client("a"), "h");
        assert_eq!(found("a"), Some(2));
        new.close();
        assert_eq!(found("a"), Some(1));
        producers.closed(2);
        producers.unregister("a", "g");
        assert_eq!(found("a"), Some(1));
        // The same connection, another client.
        producers.heartbeat(0, &old, &client("b"), "h");
        assert_eq!((found("a"), found("b")), (None, Some(1)));
        producers.closed(1);
        assert_eq!(found("b"), None);
    }

    #[test]
    fn silent_producers_expire() {
        let producers = Producers::default();
        producers.heartbeat(0, &Wire::new(1), &client("a"), "g");
        producers.heartbeat(1, &Wire::new(2), &client("b"), "g");
        assert_eq!(names(&producers.expire(120_001, 120_000)), ["g"]);
        assert_eq!(producers.connections("g").expect("b is left").len(), 1);
        assert!(producers.expire(120_001, 120_000).is_empty());
    }

    #[test]
    fn open_connections_are_picked_in_turn() {
        let producers = Producers::default();
        let wires: Vec<_> = (1..=3).map(Wire::new).collect();
        for wire in &wires {
            producers.heartbeat(0, wire, &client(&format!("c{}", wire.id())), "g");
        }
        wires[1].close();
        let picked: Vec<_> = (0..4).filter_map(|_| producers.pick("g")).map(|wire| wire.id()).collect();
        assert_eq!(picked, [1, 3, 1, 3]);
        wires.iter().for_each(|wire| wire.close());
        assert!(producers.pick("g").is_none() && producers.pick("none").is_none());
    }
}
