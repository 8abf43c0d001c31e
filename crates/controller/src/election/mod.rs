//! Who is the master of each group of brokers: a state machine without time, sockets or disk.
//!
//! Replicas of it get the same [`Command`]s in the same order and so have the same state. What only the leader of
//! the controllers knows, which brokers it hears from, comes along in the command.
//!
//! Invariant: epochs only grow, also those of a group that was forgotten and comes back.
//! Invariant: an epoch has at most one master.
//! Invariant: a master is one of the in-sync set, but for a group's first one and where the operator allows others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod command;
mod group;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use command::{Alive, Candidate, Command, Done, Elected, Refused, Reply, Standing, View};
pub use group::Group;

/// Most groups that are kept: a cluster has hundreds.
pub const MAX_GROUPS: usize = 10_000;
/// Most replicas of one group.
pub const MAX_REPLICAS: usize = 100;
/// Longest name or address, in bytes.
pub const MAX_TEXT: usize = 255;

/// All groups, by broker name, as upstream keeps them: a name belongs to one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    groups: BTreeMap<String, Group>,
    /// The highest master epoch of a group that was forgotten: one that comes back goes on from there, for its
    /// brokers remember the epochs they saw.
    retired_epoch: i32,
}

impl Groups {
    /// Does what a command says. A refusal changes nothing.
    pub fn apply(&mut self, command: &Command) -> Reply {
        match command {
            Command::ApplyId { cluster, name, id, check_code } => self.apply_id(cluster, name, *id, check_code),
            Command::Register { cluster, name, id, address, alive } => {
                bounded(address)?;
                self.of(cluster, name)?.register(*id, address, alive)
            }
            Command::Elect { cluster, name, candidate, unclean, alive } => {
                let group = self.groups.get_mut(name).ok_or(Refused::NotRegistered)?;
                if let Some(cluster) = cluster {
                    group.check_cluster(cluster)?;
                }
                group.elect(*candidate, *unclean, alive)
            }
            Command::AlterInSync { name, master, master_epoch, in_sync, in_sync_epoch, alive } => {
                let group = self.groups.get_mut(name).ok_or(Refused::NoSuchGroupToAlter)?;
                group.alter(*master, *master_epoch, in_sync, *in_sync_epoch, alive)
            }
            Command::Clean { cluster, name, ids, even_alive, alive } => {
                let alive = if *even_alive { &Alive::new() } else { alive };
                let group = self.groups.get_mut(name).ok_or_else(|| Refused::NothingToClean(name.clone()))?;
                if let Some(cluster) = cluster {
                    group.check_cluster(cluster)?;
                }
                let is_left = match ids {
                    Some(ids) => group.forget(ids, alive)?,
                    None => {
                        group.check_unused(*even_alive, alive)?;
                        false
                    }
                };
                if !is_left {
                    self.retired_epoch = self.retired_epoch.max(group.master_epoch());
                    self.groups.remove(name);
                }
                Ok(Done::Cleaned)
            }
        }
    }

    /// The group of a broker name.
    pub fn get(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// All groups, by broker name.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// An id that no replica of the group has.
    pub fn next_id(&self, name: &str) -> i64 {
        self.groups.get(name).map_or(1, Group::next_id)
    }

    fn apply_id(&mut self, cluster: &str, name: &str, id: i64, check_code: &str) -> Reply {
        [cluster, name, check_code].into_iter().try_for_each(bounded)?;
        if let Some(group) = self.groups.get_mut(name) {
            group.check_cluster(cluster)?;
            return group.apply_id(id, check_code);
        }
        if id != 1 {
            return Err(Refused::FirstIdIsOne { name: name.to_owned(), id });
        }
        if self.groups.len() >= MAX_GROUPS {
            return Err(Refused::Full("groups".to_owned(), MAX_GROUPS));
        }
        let mut group = Group::new(cluster, name, self.retired_epoch);
        let reply = group.apply_id(id, check_code)?;
        self.groups.insert(name.to_owned(), group);
        Ok(reply)
    }

    fn of(&mut self, cluster: &str, name: &str) -> Result<&mut Group, Refused> {
        let group = self.groups.get_mut(name).ok_or_else(|| Refused::UnknownGroup(name.to_owned()))?;
        group.check_cluster(cluster)?;
        Ok(group)
    }
}

fn bounded(text: &str) -> Result<(), Refused> {
    match text.len() {
        0 => Err(Refused::Text("is empty".to_owned())),
        1..=MAX_TEXT => Ok(()),
        _ => Err(Refused::Text(format!("is longer than {MAX_TEXT} bytes"))),
    }
}
