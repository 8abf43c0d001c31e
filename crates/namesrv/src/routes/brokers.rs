//! The brokers that are up.

use std::collections::{BTreeMap, HashMap};

use apogee_wire::bodies::DataVersion;

use super::topics::Slot;

/// Id of a master among the brokers of one name.
pub(super) const MASTER: i64 = 0;

/// A name under which brokers registered: a master and its slaves, by id.
#[derive(Debug)]
pub(super) struct Broker {
    pub name: Box<str>,
    pub cluster: Box<str>,
    pub zone: Option<Box<str>>,
    /// The slave with the lowest id stands in for a master that is gone.
    pub acting_master: bool,
    /// An operator took the write permission from all topics of this broker.
    pub write_wiped: bool,
    /// By id; never empty.
    pub members: BTreeMap<i64, Member>,
}

/// One broker process.
#[derive(Debug)]
pub(super) struct Member {
    pub addr: Box<str>,
    pub ha_addr: Box<str>,
    pub filter_servers: Vec<String>,
    /// The connection it registered by.
    pub link: u64,
    /// Last sign of life, ms since the epoch.
    pub seen_ms: i64,
    /// Silence after which it counts as gone, in ms.
    pub timeout_ms: i64,
    /// Version of the topics it registered.
    pub version: DataVersion,
    /// Size of the registration applied last: tells the whole of a version from a part of it.
    /// 0: the next one is to be applied whatever it says.
    pub applied_len: usize,
    /// Another process of the same name and id, whose place this one took.
    pub rival: Option<Rival>,
}

/// A process that has, or had, the name and id of another one.
#[derive(Debug, Clone)]
pub(super) struct Rival {
    /// Its address.
    pub addr: Box<str>,
    /// It had taken the place of one that is still there, and is kept out while that one lives.
    pub refused: bool,
}

impl Broker {
    pub fn has_master(&self) -> bool {
        self.members.contains_key(&MASTER)
    }

    pub fn min_id(&self) -> Option<i64> {
        self.members.keys().next().copied()
    }

    /// The lowest id, and the address of the broker that has it.
    pub fn lowest(&self) -> Option<(i64, Box<str>)> {
        self.members.first_key_value().map(|(&id, member)| (id, member.addr.clone()))
    }

    pub fn member_at(&self, addr: &str) -> Option<&Member> {
        self.members.values().find(|member| *member.addr == *addr)
    }

    pub fn addrs(&self) -> impl Iterator<Item = (i64, &str)> {
        self.members.iter().map(|(&id, member)| (id, &*member.addr))
    }
}

/// Brokers by name. Each has a slot, a small number that topics refer to it by.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    slots: Vec<Option<Broker>>,
    by_name: HashMap<Box<str>, Slot>,
}

impl Brokers {
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, slot: Slot) -> Option<&Broker> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Broker> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub fn named(&self, name: &str) -> Option<&Broker> {
        self.get(self.slot(name)?)
    }

    pub fn named_mut(&mut self, name: &str) -> Option<&mut Broker> {
        self.get_mut(self.slot(name)?)
    }

    /// The slot of a broker, taken now if it is new.
    pub fn enter(&mut self, name: &str, new: impl FnOnce() -> Broker) -> Slot {
        if let Some(slot) = self.slot(name) {
            return slot;
        }
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if free == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[free] = Some(new());
        self.by_name.insert(name.into(), free as Slot);
        free as Slot
    }

    /// Frees a slot; no topic may refer to it any more.
    pub fn leave(&mut self, slot: Slot) {
        if let Some(broker) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.by_name.remove(&broker.name);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Broker)> {
        self.slots.iter().enumerate().filter_map(|(slot, broker)| Some((slot as Slot, broker.as_ref()?)))
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}
