//! A master and all its slaves: who has what of the log, and who is waited for.

use std::collections::{BTreeMap, BTreeSet};

use crate::progress::{Meter, Progress};

mod in_sync;
#[cfg(test)]
mod tests;

pub use in_sync::{Mastership, Wanted};

/// What is set about copies; upstream's names are those of its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Brokers that must have a message before its sender is told, the master counted (`inSyncReplicas`).
    pub in_sync_replicas: u32,
    /// Brokers that must be there for messages to be taken, the master counted (`minInSyncReplicas`).
    pub min_in_sync_replicas: u32,
    /// Wait for as many as are there, of the two above (`enableAutoInSyncReplicas`).
    pub auto: bool,
    /// Wait for all replicas in sync, as the controller knows them (`allAckInSyncStateSet`).
    pub all_in_sync: bool,
    /// Bytes that a slave may lack and still be there (`haMaxGapNotInSync`).
    pub most_gap: i64,
    /// Milliseconds after which a replica that lacks something is not in sync any more (`haMaxTimeSlaveNotCatchup`).
    pub most_lag_ms: i64,
    /// Milliseconds after which a connection that brings nothing is not that of a slave that lives.
    pub silence_ms: i64,
}

/// Why somebody cannot be a slave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSlave {
    /// It says that it is this master.
    #[error("it calls itself broker {0}, which is the number of this master: two brokers have one identity file")]
    Master(i64),
    /// There is one by that number.
    #[error(
        "it calls itself broker {id}, and a slave by that number is connected from {address}: two brokers have one identity file"
    )]
    Twice {
        /// The number.
        id: i64,
        /// Where the other is.
        address: String,
    },
}

/// What is known of one slave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveStatus {
    /// Its side of the connection, `ip:port`.
    pub address: String,
    /// The number that the controller knows it by; none without a controller.
    pub id: Option<i64>,
    /// Where its copy began.
    pub from: i64,
    /// Up to where it has the log.
    pub acked: i64,
    /// Whether it counts as being there.
    pub in_sync: bool,
    /// How its copy goes on.
    pub progress: Progress,
    /// When it last had all that there was, in milliseconds since 1970.
    pub caught_up_ms: i64,
}

struct Slave {
    address: String,
    id: Option<i64>,
    is_learner: bool,
    from: i64,
    /// Up to where it has the log; `None` until its copy begins.
    acked: Option<i64>,
    heard_ms: i64,
    caught_up_ms: i64,
    /// Where the log ended at a time: once the slave has that much, it had everything at that time.
    target: (i64, i64),
    meter: Meter,
}

/// See the module.
pub struct Leader {
    rules: Rules,
    mastership: Option<Mastership>,
    slaves: BTreeMap<u64, Slave>,
    /// Where the log ends that slaves copy.
    end: i64,
    /// Up to where nobody waits for copies any more.
    copied: i64,
    /// Up to where all replicas in sync have the log.
    confirmed: i64,
    began_ms: i64,
}

impl Leader {
    /// A master whose log ends at `end`; with `mastership`, by the word of a controller.
    pub fn new(rules: Rules, mastership: Option<Mastership>, end: i64, now_ms: i64) -> Self {
        Self { rules, mastership, slaves: BTreeMap::new(), end, copied: 0, confirmed: 0, began_ms: now_ms }
    }

    /// What is set has changed.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The log ends here now.
    pub fn written(&mut self, end: i64) {
        self.end = self.end.max(end);
    }

    /// Somebody has connected, by a number that no other connection had; with a controller, said who it is.
    pub fn connected(
        &mut self,
        connection: u64,
        address: String,
        id_and_learner: Option<(i64, bool)>,
        now_ms: i64,
    ) -> Result<(), NoSlave> {
        let id = id_and_learner.map(|(id, _)| id);
        if let (Some(id), Some(mastership)) = (id, &self.mastership) {
            if id == mastership.id() {
                return Err(NoSlave::Master(id));
            }
            let alive = |(number, slave): &(&u64, &Slave)| {
                **number != connection && slave.id == Some(id) && now_ms - slave.heard_ms < self.rules.silence_ms
            };
            if let Some((_, other)) = self.slaves.iter().find(alive) {
                return Err(NoSlave::Twice { id, address: other.address.clone() });
            }
            // It has come again, and the connection that it had is dead without knowing it.
            self.slaves.retain(|number, slave| *number == connection || slave.id != Some(id));
        }
        let slave = Slave {
            address,
            id,
            is_learner: id_and_learner.is_some_and(|(_, is_learner)| is_learner),
            from: 0,
            acked: None,
            heard_ms: now_ms,
            caught_up_ms: now_ms,
            target: (self.end, now_ms),
            meter: Meter::default(),
        };
        self.slaves.insert(connection, slave);
        if let (Some(id), Some(mastership)) = (id, &mut self.mastership) {
            mastership.met(id);
        }
        Ok(())
    }

    /// A slave's copy begins at `from`; it has the log up to `has`. False when it was replaced by another connection.
    pub fn begins(&mut self, connection: u64, from: i64, has: i64, now_ms: i64) -> bool {
        if let Some(slave) = self.slaves.get_mut(&connection) {
            slave.from = from;
            slave.target = (self.end, now_ms);
        }
        self.acked(connection, has, now_ms)
    }

    /// A slave has the log up to `end`. False when it was replaced by another connection.
    pub fn acked(&mut self, connection: u64, end: i64, now_ms: i64) -> bool {
        let Some(slave) = self.slaves.get_mut(&connection) else { return false };
        slave.heard_ms = now_ms;
        let before = slave.acked.replace(end);
        slave.meter.add(now_ms, before.map_or(0, |before| (end - before).max(0)));
        if end >= slave.target.0 {
            slave.caught_up_ms = slave.target.1;
            slave.target = (self.end, now_ms);
            if end >= self.end {
                slave.caught_up_ms = now_ms;
            }
        }
        true
    }

    /// A connection is closed.
    pub fn gone(&mut self, connection: u64) {
        self.slaves.remove(&connection);
    }

    /// What the controller says of the replicas in sync. An older set than is known changes nothing.
    pub fn in_sync_is(&mut self, members: BTreeSet<i64>, epoch: i32) {
        if let Some(mastership) = &mut self.mastership {
            mastership.in_sync_is(members, epoch);
        }
    }

    /// The set of replicas in sync that the controller should know, where it is another one than it knows.
    pub fn wanted(&mut self, now_ms: i64) -> Option<Wanted> {
        let confirmed = self.confirmed();
        let (slaves, most_lag) = (&self.slaves, self.rules.most_lag_ms);
        let began_ms = self.began_ms;
        let mastership = self.mastership.as_mut()?;
        let of = |id: i64| slaves.values().find(|slave| slave.id == Some(id));
        let start = mastership.start();
        let keeps = |id: i64, was_met: bool| match of(id) {
            Some(slave) => now_ms - slave.caught_up_ms <= most_lag,
            None => !was_met && now_ms - began_ms <= most_lag,
        };
        let joins = slaves.values().filter(|slave| {
            let has_all = slave.acked.is_some_and(|acked| acked >= confirmed && acked >= start);
            has_all && !slave.is_learner && now_ms - slave.caught_up_ms <= most_lag
        });
        let joins = joins.filter_map(|slave| slave.id).collect();
        mastership.wanted(keeps, joins)
    }

    /// Up to where nobody waits for copies any more. Grows only.
    pub fn copied(&mut self) -> i64 {
        let copied = match &self.mastership {
            Some(mastership) if self.rules.all_in_sync => self.least_of(mastership.waited_for()),
            _ => self.nth_of_all(),
        };
        self.copied = self.copied.max(copied.unwrap_or(0));
        self.copied
    }

    /// Up to where all replicas in sync have the log, the master counted: what may be read. Grows only.
    pub fn confirmed(&mut self) -> i64 {
        if let Some(least) = self.mastership.as_ref().and_then(|mastership| self.least_of(mastership.waited_for())) {
            self.confirmed = self.confirmed.max(least.min(self.end));
        }
        self.confirmed
    }

    /// The set of replicas in sync that the controller is known to have; `None` without a controller.
    pub fn in_sync(&self) -> Option<&BTreeSet<i64>> {
        self.mastership.as_ref().map(Mastership::members)
    }

    /// How many brokers are in sync and how many must be, while those are too few for messages to be taken.
    pub fn shortage(&self) -> Option<(u32, u32)> {
        let least = self.rules.min_in_sync_replicas;
        let (there, needed) = match &self.mastership {
            Some(mastership) => (mastership.count(), least),
            None if self.rules.auto => (self.there(), self.needed()),
            None => return None,
        };
        (there < needed).then_some((there, needed))
    }

    /// Brokers that have the log but for a gap, the master counted.
    pub fn there(&self) -> u32 {
        1 + self.slaves.values().filter(|slave| self.is_there(slave)).count() as u32
    }

    /// What is known of the slaves.
    pub fn slaves(&self, now_ms: i64) -> Vec<SlaveStatus> {
        let status = |slave: &Slave| {
            let acked = slave.acked.unwrap_or(0);
            // What is before its beginning it does not copy.
            let behind = (self.end - acked.max(slave.from)).max(0);
            let in_sync = match (&self.mastership, slave.id) {
                (Some(mastership), Some(id)) => mastership.has(id),
                _ => self.is_there(slave),
            };
            let progress = Progress { behind, rate: slave.meter.rate(now_ms) };
            let (address, id, from, caught_up_ms) = (slave.address.clone(), slave.id, slave.from, slave.caught_up_ms);
            SlaveStatus { address, id, from, acked, in_sync, progress, caught_up_ms }
        };
        self.slaves.values().map(status).collect()
    }

    fn is_there(&self, slave: &Slave) -> bool {
        slave.acked.is_some_and(|acked| self.end - acked <= self.rules.most_gap)
    }

    /// How many must have a message, the master counted.
    fn needed(&self) -> u32 {
        let most = self.rules.in_sync_replicas;
        if self.rules.auto { self.there().min(most).max(self.rules.min_in_sync_replicas) } else { most }
    }

    /// What those have whom a message needs, whoever they are.
    fn nth_of_all(&self) -> Option<i64> {
        let Some(others) = self.needed().checked_sub(2) else { return Some(self.end) };
        let mut acks: Vec<i64> = self.slaves.values().filter_map(|slave| slave.acked).collect();
        acks.sort_unstable_by(|one, other| other.cmp(one));
        acks.get(others as usize).copied()
    }

    /// What all of some have; `None` while one of them is not connected.
    fn least_of(&self, mut ids: impl Iterator<Item = i64>) -> Option<i64> {
        ids.try_fold(self.end, |least, id| {
            let acks = self.slaves.values().filter(|slave| slave.id == Some(id)).filter_map(|slave| slave.acked);
            acks.max().map(|acked| least.min(acked))
        })
    }
}
