//! Brokers register, give signs of life, and change permissions.

use std::collections::{BTreeMap, HashSet};

use apogee_wire::bodies::{DataVersion, TopicQueueMappingInfo};

use super::brokers::{Broker, MASTER, Member, Rival};
use super::topics::{Queues, Slot};
use super::{BROKER_TIMEOUT_MS, BrokerId, MinIdChange, RouteTable, State};

/// Longest name of a topic, broker or cluster and longest address, in bytes. Upstream's brokers
/// accept topics of 255 characters.
const MAX_NAME: usize = 255;
/// Most broker names; a cluster has tens.
const MAX_BROKERS: usize = 10_000;
/// Most brokers of one name.
const MAX_MEMBERS: usize = 64;
/// Most topics of all brokers together: some 600 MB.
const MAX_TOPICS: usize = 4_000_000;
/// Most filter servers of a broker; hardly anybody has any.
const MAX_FILTER_SERVERS: usize = 64;

/// What a broker says of itself when it registers.
#[derive(Debug, Clone)]
pub struct Registration<'a> {
    /// Its cluster, name and address.
    pub broker: BrokerId<'a>,
    /// Its id among the brokers of its name; the master has 0.
    pub id: i64,
    /// Where slaves replicate from.
    pub ha_addr: &'a str,
    /// Availability zone.
    pub zone: Option<&'a str>,
    /// Silence after which it counts as gone, in ms; absent or not positive for
    /// [`BROKER_TIMEOUT_MS`].
    pub timeout_ms: Option<i64>,
    /// Whether its slaves stand in for a master that is gone; old brokers don't say.
    pub acting_master: Option<bool>,
    /// The connection it registers by: it is gone when that closes.
    pub link: u64,
    /// Version of its topics.
    pub version: DataVersion,
    /// Size in bytes of the encoded topics.
    pub len: usize,
}

/// A topic of a registering broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEntry {
    /// Name.
    pub name: Box<str>,
    /// Queues to read from.
    pub read: i32,
    /// Queues to write to.
    pub write: i32,
    /// Permission bits.
    pub perm: i32,
    /// Unit bits.
    pub sys_flag: i32,
}

/// The topics of a registering broker.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// All topics, or some of them.
    pub topics: Vec<TopicEntry>,
    /// Queue mappings of its static topics.
    pub statics: Vec<(String, TopicQueueMappingInfo)>,
    /// Addresses of its filter servers.
    pub filter_servers: Vec<String>,
}

/// Answer to a broker that registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// For a slave: its master's address and where to replicate from.
    pub master: Option<(String, String)>,
    /// Whether the broker was not registered before.
    pub first: bool,
    /// Topics whose route changed.
    pub changed: usize,
    /// Brokers to tell of a lower id.
    pub notice: Option<MinIdChange>,
}

/// Why a registration was refused; the text is meant for the broker's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Refused {
    #[error(
        "broker name {name} is taken in cluster {cluster}, by {addr}: the brokers of one name are one master and \
         its slaves; give brokerName another value in one of the clusters"
    )]
    OtherCluster { name: String, cluster: String, addr: String },
    #[error(
        "broker {name} with id {id} is registered from {addr} with newer data (state version {newer}): two brokers \
         have the same brokerName and brokerId, or a former master came back"
    )]
    NewerState { name: String, id: i64, addr: String, newer: i64 },
    #[error(
        "broker {name} with id {id} is registered from {addr}, and that one is still there: give one of the two \
         another brokerName or brokerId, or stop it"
    )]
    StillThere { name: String, id: i64, addr: String },
    #[error("{what} `{shown}...` is longer than {MAX_NAME} bytes")]
    TooLong { what: &'static str, shown: String },
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("this name server accepts no more than {MAX_BROKERS} broker names, and {MAX_MEMBERS} brokers of one name")]
    TooMany,
    #[error(
        "this name server accepts no more than {MAX_TOPICS} topics, and {MAX_FILTER_SERVERS} filter servers of a broker"
    )]
    TooMuch,
    #[error("broker {0} is not registered with this name server")]
    UnknownBroker(String),
}

impl RouteTable {
    /// Takes a registration as a sign of life if it says what the one before said: then its content
    /// need not be read at all. `None` if it is to be read and given to [`RouteTable::register`].
    pub fn renew(&self, now_ms: i64, registration: &Registration<'_>) -> Option<Registered> {
        let mut state = self.write();
        let broker = state.brokers.named_mut(registration.broker.name)?;
        let same_broker = *broker.cluster == *registration.broker.cluster
            && broker.zone.as_deref() == registration.zone
            && broker.acting_master == registration.acting_master.unwrap_or(false);
        let member = broker.members.get_mut(&registration.id)?;
        let same_member = *member.addr == *registration.broker.addr
            && *member.ha_addr == *registration.ha_addr
            && member.timeout_ms == registration.patience_ms()
            && member.link == registration.link;
        let same_content = member.version == registration.version && member.applied_len == registration.len;
        if !(same_broker && same_member && same_content) {
            return None;
        }
        member.seen_ms = now_ms;
        Some(Registered { master: broker.master_for(registration.id), ..Registered::default() })
    }

    /// Registers a broker and its topics. `whole`: topics that it registered before and does not
    /// name now are taken from it (`deleteTopicWithBrokerRegistration`).
    pub fn register(
        &self,
        now_ms: i64,
        registration: &Registration<'_>,
        content: &Content,
        whole: bool,
    ) -> Result<Registered, Refused> {
        check(registration, content)?;
        self.write().register(now_ms, registration, content, whole)
    }

    /// A sign of life. False when the broker is not registered.
    pub fn heartbeat(&self, now_ms: i64, broker: BrokerId<'_>) -> bool {
        let mut state = self.write();
        let found = state.brokers.named_mut(broker.name).filter(|found| *found.cluster == *broker.cluster);
        let mut members = found.into_iter().flat_map(|found| found.members.values_mut());
        match members.find(|member| *member.addr == *broker.addr) {
            Some(member) => member.seen_ms = now_ms,
            None => return false,
        }
        true
    }

    /// Takes the write permission from all topics of a broker, or gives back what it registered.
    /// Returns the number of its topics. A wipe lasts until it is taken back or the broker restarts,
    /// whatever topics the broker creates meanwhile.
    pub fn wipe_write(&self, broker: &str, wiped: bool) -> usize {
        let mut state = self.write();
        let Some(slot) = state.brokers.slot(broker) else { return 0 };
        if let Some(broker) = state.brokers.get_mut(slot) {
            broker.write_wiped = wiped;
        }
        state.topics.iter().filter(|(_, all)| all.iter().any(|queues| queues.broker == slot)).count()
    }

    /// Adds a topic to the brokers named beside it.
    pub fn register_topic(&self, topic: &str, queues: &[(String, TopicEntry)]) -> Result<(), Refused> {
        name("the topic name", topic)?;
        let mut state = self.write();
        let slot = |name: &String| state.brokers.slot(name).ok_or_else(|| Refused::UnknownBroker(name.clone()));
        let slots = queues.iter().map(|(broker, _)| slot(broker)).collect::<Result<Vec<_>, _>>()?;
        if state.topics.len() >= MAX_TOPICS && !state.topics.contains(topic) {
            return Err(Refused::TooMuch);
        }
        for (broker, (_, entry)) in slots.into_iter().zip(queues) {
            state.topics.put(topic, entry.at(broker));
        }
        Ok(())
    }
}

impl State {
    fn register(
        &mut self,
        now_ms: i64,
        registration: &Registration<'_>,
        content: &Content,
        whole: bool,
    ) -> Result<Registered, Refused> {
        let id = registration.id;
        self.admit(registration)?;
        self.admit_topics(&content.topics)?;
        let slot = self.brokers.enter(registration.broker.name, || Broker::new(registration));
        let broker = self.brokers.get_mut(slot).ok_or(Refused::TooMany)?;
        broker.cluster = registration.broker.cluster.into();
        broker.zone = registration.zone.map(Into::into);
        broker.acting_master = registration.acting_master.unwrap_or(false);

        let lowest = broker.lowest();
        // A slave that became the master, or the other way round, has one id only.
        let count = broker.members.len();
        broker.members.retain(|&other, member| other == id || *member.addr != *registration.broker.addr);
        if broker.members.len() < count {
            // Who speaks for the group may be another one now, with topics that were not looked at.
            broker.members.values_mut().for_each(|member| member.applied_len = 0);
        }
        let former = broker.members.get(&id);
        let first = former.is_none();
        let unchanged =
            former.is_some_and(|was| *was.addr == *registration.broker.addr && was.version == registration.version);
        // A broker makes itself known with all its topics; one that has a single topic to tell, as
        // brokers do of a new topic, leaves the others to come: they must not count as known.
        let partial = first && content.topics.len() == 1;
        let rival = former.and_then(|was| was.rival_after(registration));
        let member = Member {
            addr: registration.broker.addr.into(),
            ha_addr: registration.ha_addr.into(),
            filter_servers: content.filter_servers.clone(),
            link: registration.link,
            seen_ms: now_ms,
            timeout_ms: registration.patience_ms(),
            // The state version stays: by it a former master is told from the one that took its place.
            version: if partial {
                DataVersion { state_version: registration.version.state_version, ..DataVersion::default() }
            } else {
                registration.version
            },
            applied_len: if partial { 0 } else { registration.len },
            rival,
        };
        broker.members.insert(id, member);

        // Slaves that know the protocol of acting masters speak for the group while no master is up.
        let speaks = id == MASTER || registration.acting_master.is_some() && broker.min_id() == Some(id);
        if first && speaks {
            broker.write_wiped = false;
        }
        let master = broker.master_for(id);
        let notice = lowest.and_then(|lowest| broker.lowest_change(&lowest, registration));
        let changed = if speaks { self.put_topics(slot, content, !unchanged, whole) } else { 0 };
        Ok(Registered { master, first, changed, notice })
    }

    /// Whether the broker may come in beside those that are there.
    fn admit(&self, registration: &Registration<'_>) -> Result<(), Refused> {
        let BrokerId { cluster, name, addr } = registration.broker;
        let Some(broker) = self.brokers.named(name) else {
            return if self.brokers.len() < MAX_BROKERS { Ok(()) } else { Err(Refused::TooMany) };
        };
        let mut others = broker.addrs().map(|(_, other)| other).filter(|other| *other != addr);
        if *broker.cluster != *cluster
            && let Some(other) = others.next()
        {
            let (name, cluster) = (name.to_owned(), broker.cluster.to_string());
            return Err(Refused::OtherCluster { name, cluster, addr: other.to_owned() });
        }
        let Some(former) = broker.members.get(&registration.id) else {
            return if broker.members.len() < MAX_MEMBERS { Ok(()) } else { Err(Refused::TooMany) };
        };
        if *former.addr != *addr {
            let newer = former.version.state_version;
            if newer > registration.version.state_version {
                let (name, addr) = (name.to_owned(), former.addr.to_string());
                return Err(Refused::NewerState { name, id: registration.id, addr, newer });
            }
            let is_refused = former.rival.as_ref().is_some_and(|rival| rival.refused && *rival.addr == *addr);
            if is_refused && newer == registration.version.state_version {
                let (name, addr) = (name.to_owned(), former.addr.to_string());
                return Err(Refused::StillThere { name, id: registration.id, addr });
            }
            tracing::warn!(
                broker = name, id = registration.id, was = %former.addr, now = addr,
                "a broker registers in the place of another one; if both run, give them different brokerName or brokerId"
            );
        }
        Ok(())
    }

    fn admit_topics(&self, topics: &[TopicEntry]) -> Result<(), Refused> {
        let room = MAX_TOPICS.saturating_sub(self.topics.len());
        let new = || topics.iter().filter(|topic| !self.topics.contains(&topic.name)).count();
        // Counting the new ones is for a table that is nearly full.
        if topics.len() <= room || new() <= room { Ok(()) } else { Err(Refused::TooMuch) }
    }

    /// `all`: also those that the broker is known to have. Returns how many routes changed.
    fn put_topics(&mut self, slot: Slot, content: &Content, all: bool, whole: bool) -> usize {
        let mut changed = 0;
        for topic in &content.topics {
            if all || !self.topics.has(&topic.name, slot) {
                changed += usize::from(self.topics.put(&topic.name, topic.at(slot)));
            }
        }
        // A single topic is one that was just created or changed, and says nothing of the others.
        if whole && content.topics.len() != 1 && content.statics.is_empty() {
            changed += self.keep_only(slot, &content.topics);
        }
        if let (true, Some(broker)) = (all, self.brokers.get(slot)) {
            let known = content.statics.iter().filter(|(topic, _)| self.topics.contains(topic));
            self.statics.put_all(&broker.name, known);
        }
        changed
    }

    fn keep_only(&mut self, slot: Slot, topics: &[TopicEntry]) -> usize {
        let kept: HashSet<&str> = topics.iter().map(|topic| &*topic.name).collect();
        let (removed, forgotten) = self.topics.remove_where(|topic, broker| broker == slot && !kept.contains(topic));
        self.statics.forget(&forgotten);
        removed
    }
}

impl Broker {
    fn new(registration: &Registration<'_>) -> Self {
        Self {
            name: registration.broker.name.into(),
            cluster: registration.broker.cluster.into(),
            zone: None,
            acting_master: false,
            write_wiped: false,
            members: BTreeMap::new(),
        }
    }

    /// What a slave is told of its master.
    fn master_for(&self, id: i64) -> Option<(String, String)> {
        let master = self.members.get(&MASTER).filter(|_| id != MASTER)?;
        Some((master.addr.to_string(), master.ha_addr.to_string()))
    }

    /// What a registration changed about the lowest id: who has it, or which one it is.
    fn lowest_change(&self, before: &(i64, Box<str>), registration: &Registration<'_>) -> Option<MinIdChange> {
        let now = self.lowest()?;
        if now == *before {
            return None;
        }
        // The same address may have it under another id.
        let is_gone = now.1 != before.1 && self.members.get(&before.0).is_none_or(|member| member.addr != before.1);
        // A newcomer knows that it has the lowest id.
        let newcomer = (now.0 == registration.id).then_some(now.0);
        let change = self.min_id_change(newcomer, is_gone.then_some(&*before.1))?;
        Some(MinIdChange { ha_addr: newcomer.map(|_| registration.ha_addr.to_owned()), ..change })
    }

    /// Whom to tell what of the lowest id that is up now: all but the one with the id `except`.
    pub(super) fn min_id_change(&self, except: Option<i64>, offline_addr: Option<&str>) -> Option<MinIdChange> {
        let (&min_id, min) = self.members.first_key_value()?;
        let links: Vec<u64> =
            self.members.iter().filter(|(id, _)| Some(**id) != except).map(|(_, member)| member.link).collect();
        let (min_addr, offline_addr) = (min.addr.to_string(), offline_addr.map(Into::into));
        (!links.is_empty()).then_some(MinIdChange { links, min_id, min_addr, offline_addr, ha_addr: None })
    }
}

impl Member {
    /// Who else is known to have its name and id once a process with them registers.
    fn rival_after(&self, registration: &Registration<'_>) -> Option<Rival> {
        if *self.addr == *registration.broker.addr {
            return self.rival.clone();
        }
        // A process may have been given another address. One whose place was taken and that registers again is
        // another process: the place is its, and the newcomer's no more.
        let refused = self.rival.as_ref().is_some_and(|rival| *rival.addr == *registration.broker.addr);
        (self.link != registration.link).then(|| Rival { addr: self.addr.clone(), refused })
    }
}

impl Registration<'_> {
    fn patience_ms(&self) -> i64 {
        self.timeout_ms.filter(|&timeout| timeout > 0).unwrap_or(BROKER_TIMEOUT_MS)
    }
}

impl TopicEntry {
    fn at(&self, broker: Slot) -> Queues {
        Queues { broker, read: self.read, write: self.write, perm: self.perm, sys_flag: self.sys_flag }
    }
}

fn check(registration: &Registration<'_>, content: &Content) -> Result<(), Refused> {
    name("the broker's name", registration.broker.name)?;
    name("the broker's cluster", registration.broker.cluster)?;
    name("the broker's address", registration.broker.addr)?;
    for (what, text) in [("the address for replication", Some(registration.ha_addr)), ("the zone", registration.zone)] {
        length(what, text.unwrap_or_default())?;
    }
    if content.filter_servers.len() > MAX_FILTER_SERVERS {
        return Err(Refused::TooMuch);
    }
    content.filter_servers.iter().try_for_each(|server| name("the address of a filter server", server))?;
    content.topics.iter().try_for_each(|topic| name("the topic name", &topic.name))
}

fn name(what: &'static str, text: &str) -> Result<(), Refused> {
    if text.is_empty() { Err(Refused::Empty { what }) } else { length(what, text) }
}

fn length(what: &'static str, text: &str) -> Result<(), Refused> {
    if text.len() <= MAX_NAME {
        return Ok(());
    }
    Err(Refused::TooLong { what, shown: text.chars().take(32).collect() })
}
