//! The set of replicas that have all that was acknowledged (upstream `SyncStateSet`).

use std::collections::BTreeSet;

/// What a controller said of a master, and what the master asked it since.
#[derive(Debug, Clone)]
pub struct Mastership {
    id: i64,
    start: i64,
    members: BTreeSet<i64>,
    set_epoch: i32,
    /// Who may be a member for all that is known: those of all sets that were asked for since the last answer.
    asked: BTreeSet<i64>,
    /// Who was connected since this broker is the master.
    met: BTreeSet<i64>,
}

/// A set that the controller should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Numbers of brokers, the master's among them.
    pub members: BTreeSet<i64>,
    /// Epoch of the set that it is to replace.
    pub replaces: i32,
}

impl Mastership {
    /// Broker `id` is the master from `start` of the log on, with a set of an epoch of its own.
    pub fn new(id: i64, start: i64, members: BTreeSet<i64>, set_epoch: i32) -> Self {
        Self { id, start, members, set_epoch, asked: BTreeSet::new(), met: BTreeSet::new() }
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn start(&self) -> i64 {
        self.start
    }

    pub(super) fn has(&self, id: i64) -> bool {
        self.members.contains(&id)
    }

    pub(super) fn members(&self) -> &BTreeSet<i64> {
        &self.members
    }

    pub(super) fn count(&self) -> u32 {
        self.members.len() as u32
    }

    pub(super) fn met(&mut self, id: i64) {
        self.met.insert(id);
    }

    pub(super) fn in_sync_is(&mut self, members: BTreeSet<i64>, epoch: i32) {
        // The controller replaces a set only if it is the one that the master named: so what was asked for before
        // this one is decided.
        if epoch > self.set_epoch {
            (self.members, self.set_epoch) = (members, epoch);
            self.asked.clear();
        }
    }

    /// The others that may be in the set.
    pub(super) fn waited_for(&self) -> impl Iterator<Item = i64> {
        self.members.union(&self.asked).copied().filter(|id| *id != self.id)
    }

    /// The set that should be, where it is not the one that the controller is known to have.
    pub(super) fn wanted(&mut self, keeps: impl Fn(i64, bool) -> bool, mut joins: BTreeSet<i64>) -> Option<Wanted> {
        let stays = |id: &i64| *id == self.id || keeps(*id, self.met.contains(id));
        let mut members: BTreeSet<i64> = self.members.iter().copied().filter(stays).collect();
        members.append(&mut joins);
        if members == self.members && self.asked.is_subset(&self.members) {
            return None;
        }
        self.asked.extend(&members);
        Some(Wanted { members, replaces: self.set_epoch })
    }
}
