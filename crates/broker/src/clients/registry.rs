//! Members of groups by connection: what producers and consumers have in common.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use apogee_wire::bodies::Connection;
use apogee_wire::command::Language;

use super::Channel;

/// What a heartbeat says of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Chosen by the client, the same in all its groups and connections.
    pub id: Arc<str>,
    /// What the client is written in.
    pub language: Language,
    /// Release of the client's library.
    pub version: i32,
}

/// A client in a group.
pub(super) struct Member<C, M> {
    pub channel: Arc<C>,
    pub client: Client,
    pub last_heartbeat_ms: i64,
    /// What the group's kind keeps of a member.
    pub own: M,
}

/// Members by connection, thus in the order in which they connected, and what the group's kind
/// keeps of the group.
pub(super) struct Group<C, M, G> {
    pub members: BTreeMap<u64, Member<C, M>>,
    pub shared: G,
}

/// All groups of one kind. A group is here as long as it has members.
pub(super) struct Registry<C, M, G> {
    groups: HashMap<Arc<str>, Group<C, M, G>>,
    /// Where a connection is a member.
    by_connection: HashMap<u64, BTreeSet<Arc<str>>>,
    /// A client's connections, and in how many groups each is a member.
    by_client: HashMap<Arc<str>, BTreeMap<u64, usize>>,
}

impl<C, M, G> Default for Registry<C, M, G> {
    fn default() -> Self {
        Self { groups: HashMap::new(), by_connection: HashMap::new(), by_client: HashMap::new() }
    }
}

impl<C: Channel, M: Default, G: Default> Registry<C, M, G> {
    /// Notes a sign of life of a member, which joins if it was none. Returns the group and whether
    /// the client is new to it.
    pub fn seen(
        &mut self,
        now_ms: i64,
        channel: &Arc<C>,
        client: &Client,
        group: &str,
    ) -> (Arc<str>, &mut Group<C, M, G>, bool) {
        let name = match self.groups.get_key_value(group) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(group),
        };
        let group = self
            .groups
            .entry(Arc::clone(&name))
            .or_insert_with(|| Group { members: BTreeMap::new(), shared: G::default() });
        let is_new = group.find(&client.id).is_none();
        let id = channel.id();
        match group.members.get_mut(&id).filter(|member| member.client.id == client.id) {
            Some(member) => {
                member.last_heartbeat_ms = now_ms;
                member.client = client.clone();
            }
            None => {
                let channel = Arc::clone(channel);
                let client = client.clone();
                let member = Member { channel, client, last_heartbeat_ms: now_ms, own: M::default() };
                *self.by_client.entry(Arc::clone(&member.client.id)).or_default().entry(id).or_default() += 1;
                if let Some(before) = group.members.insert(id, member) {
                    forget(&mut self.by_client, &before.client.id, id);
                }
                self.by_connection.entry(id).or_default().insert(Arc::clone(&name));
            }
        }
        (name, group, is_new)
    }

    pub fn get(&self, group: &str) -> Option<&Group<C, M, G>> {
        self.groups.get(group)
    }

    pub fn get_mut(&mut self, group: &str) -> Option<&mut Group<C, M, G>> {
        self.groups.get_mut(group)
    }

    /// The newest open connection of a client, whatever its groups.
    pub fn find(&self, client_id: &str) -> Option<&Arc<C>> {
        let connections = self.by_client.get(client_id)?.keys().rev();
        let members = connections.filter_map(|id| {
            let mut groups = self.by_connection.get(id)?.iter().filter_map(|name| self.groups.get(name));
            groups.find_map(|group| group.members.get(id).filter(|member| &*member.client.id == client_id))
        });
        members.map(|member| &member.channel).find(|channel| channel.is_open())
    }

    /// The id of the client that has a connection.
    pub fn client_by(&self, connection: u64) -> Option<Arc<str>> {
        let mut groups = self.by_connection.get(&connection)?.iter().filter_map(|name| self.groups.get(name));
        groups.find_map(|group| group.members.get(&connection)).map(|member| Arc::clone(&member.client.id))
    }

    /// All groups in the order of their names.
    pub fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.groups.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Group<C, M, G>)> {
        self.groups.iter()
    }

    /// Removes a client from a group, whatever its connections. Returns the group if it lost it.
    pub fn leave(&mut self, group: &str, client_id: &str) -> Option<Arc<str>> {
        self.remove_from(group, |member| &*member.client.id == client_id)
    }

    /// Removes a connection from all groups. Returns the groups that lost a client.
    pub fn closed(&mut self, connection: u64) -> Vec<Arc<str>> {
        let groups = self.by_connection.get(&connection).cloned().unwrap_or_default();
        let lost = |group: &Arc<str>| self.remove_from(group, |member| member.channel.id() == connection);
        groups.iter().filter_map(lost).collect()
    }

    /// Removes members that were silent for longer than `timeout_ms`. Returns the groups that lost
    /// a client.
    pub fn expire(&mut self, now_ms: i64, timeout_ms: i64) -> Vec<Arc<str>> {
        let is_silent = |member: &Member<C, M>| now_ms.saturating_sub(member.last_heartbeat_ms) > timeout_ms;
        self.names().iter().filter_map(|group| self.remove_from(group, is_silent)).collect()
    }

    /// Removes members from a group. Returns its name if a client is gone: one that is still there
    /// by another connection is not.
    fn remove_from(&mut self, group: &str, gone: impl Fn(&Member<C, M>) -> bool) -> Option<Arc<str>> {
        let (name, _) = self.groups.get_key_value(group)?;
        let name = Arc::clone(name);
        let group = self.groups.get_mut(&name)?;
        let removed: Vec<_> = group.members.extract_if(.., |_, member| gone(member)).collect();
        for (connection, member) in &removed {
            forget(&mut self.by_client, &member.client.id, *connection);
            if let Some(groups) = self.by_connection.get_mut(connection) {
                groups.remove(&name);
                if groups.is_empty() {
                    self.by_connection.remove(connection);
                }
            }
        }
        let lost = removed.iter().any(|(_, member)| group.find(&member.client.id).is_none());
        if group.members.is_empty() {
            self.groups.remove(&name);
        }
        lost.then_some(name)
    }
}

/// A client's connection is in one group less.
fn forget(by_client: &mut HashMap<Arc<str>, BTreeMap<u64, usize>>, client_id: &Arc<str>, connection: u64) {
    let Some(connections) = by_client.get_mut(client_id) else { return };
    if let Some(groups) = connections.get_mut(&connection) {
        *groups -= 1;
        if *groups == 0 {
            connections.remove(&connection);
        }
    }
    if connections.is_empty() {
        by_client.remove(client_id);
    }
}

impl<C: Channel, M, G> Group<C, M, G> {
    /// The client's newest connection, an open one if there is any.
    pub fn find(&self, client_id: &str) -> Option<&Member<C, M>> {
        let mut of_client = self.members.values().rev().filter(|member| &*member.client.id == client_id);
        let newest = of_client.next()?;
        if newest.channel.is_open() {
            return Some(newest);
        }
        Some(of_client.find(|member| member.channel.is_open()).unwrap_or(newest))
    }

    pub fn channels(&self) -> Vec<Arc<C>> {
        self.members.values().map(|member| Arc::clone(&member.channel)).collect()
    }

    pub fn connections(&self) -> Vec<Connection> {
        self.members.values().map(Member::connection).collect()
    }
}

impl<C: Channel, M> Member<C, M> {
    fn connection(&self) -> Connection {
        Connection {
            client_addr: Some(self.channel.peer().to_string()),
            client_id: Some(self.client.id.to_string()),
            language: Some(self.client.language),
            version: self.client.version,
        }
    }
}
