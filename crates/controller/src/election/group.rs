//! One group: brokers of one name, of which one is the master.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::{Alive, Candidate, Done, Elected, Refused, Reply, View};
use super::{MAX_REPLICAS, bounded};

/// The highest epoch that a group takes over from its brokers: a heartbeat that makes no sense must not use up the epochs.
const HIGHEST_INHERITED_EPOCH: i32 = i32::MAX / 2;

/// Brokers of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    cluster: String,
    name: String,
    /// By id.
    replicas: BTreeMap<i64, Replica>,
    master: Option<i64>,
    master_epoch: i32,
    /// There was a master once.
    was_elected: bool,
    /// Those that have all that was acknowledged.
    in_sync: BTreeSet<i64>,
    in_sync_epoch: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Replica {
    address: String,
    check_code: String,
}

impl Group {
    pub(super) fn new(cluster: &str, name: &str, epoch: i32) -> Self {
        Self {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            replicas: BTreeMap::new(),
            master: None,
            master_epoch: epoch,
            was_elected: false,
            in_sync: BTreeSet::new(),
            in_sync_epoch: 0,
        }
    }

    /// The cluster that it belongs to.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The name of its brokers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the master.
    pub fn master(&self) -> Option<i64> {
        self.master
    }

    /// How often the master has changed.
    pub fn master_epoch(&self) -> i32 {
        self.master_epoch
    }

    /// Those that have all that was acknowledged, the master among them.
    pub fn in_sync(&self) -> &BTreeSet<i64> {
        &self.in_sync
    }

    /// Ids and addresses of its replicas.
    pub fn replicas(&self) -> impl Iterator<Item = (i64, &str)> {
        self.replicas.iter().map(|(id, replica)| (*id, &*replica.address))
    }

    /// Where a replica is.
    pub fn address(&self, id: i64) -> Option<&str> {
        self.replicas.get(&id).map(|replica| &*replica.address)
    }

    /// What brokers are told of it.
    pub fn view(&self) -> View {
        View {
            cluster: self.cluster.clone(),
            name: self.name.clone(),
            master: self.master,
            master_address: self.master.and_then(|id| self.address(id)).map(str::to_owned),
            master_epoch: self.master_epoch,
            in_sync: self.in_sync.clone(),
            in_sync_epoch: self.in_sync_epoch,
        }
    }

    /// Addresses of all replicas, by id.
    pub fn members(&self) -> BTreeMap<i64, String> {
        self.replicas().map(|(id, address)| (id, address.to_owned())).collect()
    }

    /// An election now would give it a master, or take one away that is gone.
    pub fn wants_election(&self, unclean: bool, alive: &Alive) -> bool {
        let is_gone = self.master.is_some_and(|master| !alive.contains_key(&master));
        let is_without = self.was_elected && self.master.is_none();
        is_gone || is_without && self.best(None, unclean, alive).is_some()
    }

    pub(super) fn next_id(&self) -> i64 {
        self.replicas.last_key_value().map_or(1, |(last, _)| last.saturating_add(1))
    }

    pub(super) fn check_cluster(&self, asked: &str) -> Result<(), Refused> {
        if self.cluster == asked {
            return Ok(());
        }
        let (name, cluster, asked) = (self.name.clone(), self.cluster.clone(), asked.to_owned());
        Err(Refused::OtherCluster { name, cluster, asked })
    }

    pub(super) fn apply_id(&mut self, id: i64, check_code: &str) -> Reply {
        if id < 1 {
            return Err(Refused::NoId(id));
        }
        match self.replicas.get(&id) {
            Some(replica) if replica.check_code == check_code => Ok(Done::IdApplied),
            Some(_) => Err(Refused::IdTaken { name: self.name.clone(), id }),
            None if self.replicas.len() >= MAX_REPLICAS => Err(Refused::Full("replicas".to_owned(), MAX_REPLICAS)),
            None => {
                // It is the broker's address and a time. The address counts until it registers.
                let address = check_code.split(';').next().unwrap_or_default();
                bounded(address)?;
                let replica = Replica { address: address.to_owned(), check_code: check_code.to_owned() };
                self.replicas.insert(id, replica);
                Ok(Done::IdApplied)
            }
        }
    }

    pub(super) fn register(&mut self, id: i64, address: &str, alive: &Alive) -> Reply {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return Err(Refused::UnknownReplica { name: self.name.clone(), id });
        };
        if let Some(other) = alive.get(&id).filter(|standing| standing.address != address) {
            return Err(Refused::IdInUse { name: self.name.clone(), id, address: other.address.clone() });
        }
        if replica.address != address {
            address.clone_into(&mut replica.address);
        }
        if self.master == Some(id) {
            // A process that begins may have lost what the one before had not made durable, and others may have it:
            // what it writes from now on is of another epoch. Whether it is the master again an election says.
            self.next_epoch()?;
            self.master = None;
        }
        Ok(Done::Registered(Box::new(self.view())))
    }

    pub(super) fn elect(&mut self, candidate: Candidate, unclean: bool, alive: &Alive) -> Reply {
        let preferred = match candidate {
            Candidate::Designated(id) => Some(id),
            Candidate::Any | Candidate::Asking(_) => None,
        };
        let elected = match candidate {
            Candidate::Asking(id) | Candidate::Designated(id) if !self.was_elected => {
                // Nothing was ever acknowledged: whoever comes first.
                Some(id).filter(|id| self.replicas.contains_key(id)).ok_or(Refused::NotRegistered)?
            }
            _ => {
                let is_fine = |master: &i64| alive.contains_key(master) && preferred.is_none_or(|id| id == *master);
                if self.master.as_ref().is_some_and(is_fine) {
                    return Err(Refused::MasterStillExists(Box::new(self.view())));
                }
                match self.best(preferred, unclean, alive) {
                    Some(id) => id,
                    None if candidate == Candidate::Any && self.master.is_some() => return self.vacate(),
                    None => return Err(Refused::NobodyElectable),
                }
            }
        };
        let before = self.master;
        if !self.was_elected {
            self.inherit_epoch(alive);
        }
        self.next_epoch()?;
        self.in_sync_epoch = next(self.in_sync_epoch, &self.name)?;
        self.master = Some(elected);
        self.was_elected = true;
        self.in_sync = BTreeSet::from([elected]);
        Ok(self.elected(before))
    }

    pub(super) fn alter(
        &mut self,
        master: i64,
        master_epoch: i32,
        in_sync: &BTreeSet<i64>,
        in_sync_epoch: i32,
        alive: &Alive,
    ) -> Reply {
        if *in_sync == self.in_sync {
            return Err(Refused::SameInSync);
        }
        if self.master != Some(master) {
            return Err(Refused::OtherMaster { master: self.master, asked: master });
        }
        if self.master_epoch != master_epoch {
            return Err(Refused::OtherMasterEpoch { epoch: self.master_epoch, asked: master_epoch });
        }
        if self.in_sync_epoch != in_sync_epoch {
            return Err(Refused::OtherInSyncEpoch { epoch: self.in_sync_epoch, asked: in_sync_epoch });
        }
        if let Some(unknown) = in_sync.iter().find(|id| !self.replicas.contains_key(id)) {
            return Err(Refused::NoSuchReplica(*unknown));
        }
        if let Some(gone) = in_sync.iter().find(|id| !alive.contains_key(id)) {
            return Err(Refused::ReplicaNotAlive(*gone));
        }
        if !in_sync.contains(&master) {
            return Err(Refused::WithoutMaster(master));
        }
        self.in_sync_epoch = next(self.in_sync_epoch, &self.name)?;
        self.in_sync.clone_from(in_sync);
        Ok(Done::InSync(Box::new(self.view())))
    }

    /// Forgets replicas, none of them alive. False when none is left.
    pub(super) fn forget(&mut self, ids: &BTreeSet<i64>, alive: &Alive) -> Result<bool, Refused> {
        if let Some(id) = ids.iter().find(|id| alive.contains_key(id)) {
            return Err(Refused::ReplicaStillAlive { name: self.name.clone(), id: *id });
        }
        if self.master.is_some_and(|master| ids.contains(&master)) {
            self.next_epoch()?;
            self.master = None;
        }
        if self.in_sync.iter().any(|id| ids.contains(id)) {
            self.in_sync_epoch = next(self.in_sync_epoch, &self.name)?;
        }
        self.replicas.retain(|id, _| !ids.contains(id));
        self.in_sync.retain(|id| !ids.contains(id));
        Ok(!self.replicas.is_empty())
    }

    /// Whether the group as a whole can be forgotten.
    pub(super) fn check_unused(&self, even_alive: bool, alive: &Alive) -> Result<(), Refused> {
        let is_used = !even_alive && (self.master.is_some() || !alive.is_empty());
        if is_used { Err(Refused::GroupStillAlive(self.name.clone())) } else { Ok(()) }
    }

    /// The one to elect among those that are alive: the in-sync set first. As upstream has it, the newest epoch
    /// counts, then the longest log, then the lowest priority number; then the lowest id.
    fn best(&self, preferred: Option<i64>, unclean: bool, alive: &Alive) -> Option<i64> {
        let best = |clean: bool| {
            let is_in = |id: &i64| self.replicas.contains_key(id) && (!clean || self.in_sync.contains(id));
            let electable = alive.iter().filter(|(id, _)| is_in(id) && preferred.is_none_or(|only| only == **id));
            let rank = |(id, standing): &(&i64, &super::Standing)| {
                (Reverse(standing.epoch), Reverse(standing.max_offset), standing.priority, **id)
            };
            electable.min_by_key(rank).map(|(id, _)| *id)
        };
        best(true).or_else(|| if unclean { best(false) } else { None })
    }

    /// The master is gone, and nobody can take its place.
    fn vacate(&mut self) -> Reply {
        self.next_epoch()?;
        let before = self.master.take();
        Ok(self.elected(before))
    }

    fn elected(&self, before: Option<i64>) -> Done {
        Done::Elected(Box::new(Elected { view: self.view(), before, members: self.members() }))
    }

    /// Brokers may come from other controllers, and serve in no epoch that is not above those that their logs know.
    fn inherit_epoch(&mut self, alive: &Alive) {
        let replicas = alive.iter().filter(|(id, _)| self.replicas.contains_key(id));
        let known = replicas.map(|(_, standing)| standing.epoch).filter(|epoch| *epoch <= HIGHEST_INHERITED_EPOCH);
        self.master_epoch = known.fold(self.master_epoch, i32::max);
    }

    fn next_epoch(&mut self) -> Result<(), Refused> {
        self.master_epoch = next(self.master_epoch, &self.name)?;
        Ok(())
    }
}

fn next(epoch: i32, name: &str) -> Result<i32, Refused> {
    epoch.checked_add(1).ok_or_else(|| Refused::NoEpochLeft(name.to_owned()))
}
