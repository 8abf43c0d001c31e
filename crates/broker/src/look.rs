//! What a doctor wants to know of a broker: out of its tables, without a question to a client, and hardly any to the
//! disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use apogee_message::names;
use apogee_replication::SlaveStatus;
use apogee_wire::bodies::{Finding, MessageModel};

use crate::broker::Broker;
use crate::clients::Members;
use crate::node::Current;
use crate::role::BrokerRole;
use crate::settings::BrokerSettings;
use crate::stats::Kind;

/// Queues with unread messages that are told of, all groups together.
const MOST_UNREAD: usize = 100_000;
/// Topics that are told of.
const MOST_TOPICS: usize = 10_000;

/// How a broker is, at one time.
#[derive(Debug, Clone)]
pub struct Look {
    /// Its name.
    pub name: String,
    /// The address that clients are told, as `host:port`.
    pub advertised: String,
    /// The name servers that it registers with.
    pub name_servers: String,
    /// It takes messages.
    pub active: bool,
    /// It copies a master; then what follows from clients is the master's to tell, and empty here.
    pub is_slave: bool,
    /// How full the disk of its log is, from 0 to 1.
    pub disk_usage: f64,
    /// From where on expired messages are removed at any hour, in percent.
    pub disk_cleans_at: i64,
    /// From where on messages are refused, in percent.
    pub disk_refuses_at: i64,
    /// It creates topics that are sent to.
    pub creates_topics: bool,
    /// Groups that have members, or messages to read.
    pub groups: Vec<GroupLook>,
    /// Some groups' queues are left out: there are too many.
    pub more_unread: bool,
    /// Dead letters, and topics that get messages and have no reader.
    pub topics: Vec<TopicLook>,
    /// How many half messages are undecided, and when the oldest was stored.
    pub undecided: (usize, Option<i64>),
    /// Of a master: its slaves.
    pub slaves: Option<SlavesLook>,
}

/// The slaves of a master.
#[derive(Debug, Clone)]
pub struct SlavesLook {
    /// Senders wait for slaves.
    pub are_waited_for: bool,
    /// Brokers that must be in step for messages to be taken, the master counted.
    pub least_in_step: u32,
    /// Brokers that are in step, the master counted.
    pub in_step: u32,
    /// Those that are connected.
    pub slaves: Vec<SlaveLook>,
}

/// A slave, as its master sees it.
#[derive(Debug, Clone)]
pub struct SlaveLook {
    /// Where it connects from.
    pub address: String,
    /// Bytes of the log that it lacks.
    pub behind: i64,
    /// Bytes that it gets in a second.
    pub rate: i64,
    /// It is not too far behind.
    pub in_step: bool,
}

/// A group.
#[derive(Debug, Clone)]
pub struct GroupLook {
    /// Its name.
    pub name: Arc<str>,
    /// Each member gets all messages.
    pub broadcasts: bool,
    /// Those who are connected.
    pub members: Vec<MemberLook>,
    /// Queues with messages that it has not consumed.
    pub unread: Vec<UnreadLook>,
}

/// A member of a group.
#[derive(Debug, Clone)]
pub struct MemberLook {
    /// Its id.
    pub id: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// What it is written in.
    pub language: &'static str,
    /// Number of the protocol's version that it speaks.
    pub version: i32,
    /// The kind and the expression that it wants, by topic; `None` until it told.
    pub wants: Option<BTreeMap<String, (String, String)>>,
}

/// A queue with messages that a group has not consumed.
#[derive(Debug, Clone)]
pub struct UnreadLook {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub queue_id: i32,
    /// Offset of the first message that the group has not consumed.
    pub committed: i64,
    /// Offset of the oldest message that is there.
    pub first: i64,
    /// Offset that the next message will get.
    pub end: i64,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicLook {
    /// Its name.
    pub name: String,
    /// Messages in it.
    pub messages: i64,
    /// When the last one was stored.
    pub last_ms: Option<i64>,
    /// Somebody has read it, or subscribes to it.
    pub is_read: bool,
}

/// Looks at the broker that runs, and tells it what was found.
#[derive(Clone)]
pub struct Observer {
    current: Arc<Current>,
}

impl Observer {
    pub(crate) fn new(current: Arc<Current>) -> Self {
        Self { current }
    }

    /// Seconds between two looks that are wanted, 0 for none; `None` once the broker has ended.
    pub fn interval(&self) -> Option<u64> {
        (!self.current.has_ended()).then(|| self.current.settings().doctor_interval)
    }

    /// What there is to see; `None` while no broker runs. Takes a while in a broker with many queues, and may
    /// wait for the disk: to be called on a thread of its own.
    pub fn look(&self) -> Option<Look> {
        let broker = self.current.broker()?;
        let settings = broker.settings.load();
        let is_slave = broker.role.is_slave();
        // A slave knows of its master's groups what they had a while ago.
        let (groups, more_unread) = if is_slave { Default::default() } else { groups(&broker) };
        Some(Look {
            is_slave,
            slaves: (!is_slave).then(|| slaves(&broker, &settings)),
            name: settings.broker_name.clone(),
            advertised: broker.advertised.clone(),
            name_servers: settings.namesrv_addr.clone(),
            active: broker.store.failure().is_none(),
            disk_usage: broker.store.disk_space().map_or(0.0, apogee_base::disk::Space::usage),
            disk_cleans_at: settings.disk_max_used_space_ratio,
            disk_refuses_at: settings.disk_space_warning_level_ratio,
            creates_topics: settings.auto_create_topic_enable,
            topics: if is_slave { Vec::new() } else { topics(&broker) },
            groups,
            more_unread,
            undecided: if is_slave { (0, None) } else { broker.transactions.undecided(&broker.store) },
        })
    }

    /// What was last found wrong with the broker.
    pub fn findings(&self) -> Arc<Vec<Finding>> {
        self.current.broker().map(|broker| broker.findings.load_full()).unwrap_or_default()
    }

    /// Replaces it.
    pub fn set_findings(&self, findings: Vec<Finding>) {
        if let Some(broker) = self.current.broker() {
            broker.findings.store(Arc::new(findings));
        }
    }
}

fn slaves(broker: &Broker, settings: &BrokerSettings) -> SlavesLook {
    let look = |slave: SlaveStatus| SlaveLook {
        address: slave.address,
        behind: slave.progress.behind,
        rate: slave.progress.rate,
        in_step: slave.in_sync,
    };
    let slaves: Vec<_> = broker.slaves().into_iter().map(look).collect();
    let elected = broker.in_sync().map(|members| members.len() as u32);
    let needed = if settings.broker_role == BrokerRole::SyncMaster { settings.in_sync_replicas } else { 1 };
    let has_least = elected.is_some() || settings.enable_auto_in_sync_replicas;
    SlavesLook {
        are_waited_for: elected.is_some() || needed > 1,
        least_in_step: if has_least { settings.min_in_sync_replicas } else { 1 },
        in_step: elected.unwrap_or_else(|| 1 + slaves.iter().filter(|slave| slave.in_step).count() as u32),
        slaves,
    }
}

fn groups(broker: &Broker) -> (Vec<GroupLook>, bool) {
    let mut groups: BTreeMap<Arc<str>, GroupLook> = BTreeMap::new();
    for Members { group, model, members } in broker.consumers.all_members() {
        let broadcasts = model == Some(MessageModel::Broadcasting);
        groups.insert(Arc::clone(&group), GroupLook { name: group, broadcasts, members, unread: Vec::new() });
    }
    let mut room = MOST_UNREAD;
    for (group, topic) in broker.offsets.all_pairs() {
        if room == 0 || broker.topics.get(&topic).is_none() {
            continue;
        }
        let unread = broker.offsets.queues(&group, &topic).into_iter().filter_map(|(queue_id, committed)| {
            let (first, end) = broker.store.queue_range(&topic, queue_id)?;
            (end > committed).then(|| UnreadLook { topic: Arc::clone(&topic), queue_id, committed, first, end })
        });
        let unread: Vec<_> = unread.take(room).collect();
        if unread.is_empty() {
            continue;
        }
        room -= unread.len();
        let none =
            || GroupLook { name: Arc::clone(&group), broadcasts: false, members: Vec::new(), unread: Vec::new() };
        groups.entry(Arc::clone(&group)).or_insert_with(none).unread.extend(unread);
    }
    // What its members dropped, a group does not read.
    for group in groups.values_mut().filter(|group| !group.members.is_empty()) {
        let GroupLook { members, unread, .. } = group;
        let wanted = |topic: &str| {
            members.iter().any(|member| match &member.wants {
                Some(wants) => wants.contains_key(topic),
                None => true,
            })
        };
        unread.retain(|queue| wanted(&queue.topic));
    }
    (groups.into_values().collect(), room == 0)
}

fn topics(broker: &Broker) -> Vec<TopicLook> {
    let read: BTreeSet<Arc<str>> = broker.offsets.all_pairs().into_iter().map(|(_, topic)| topic).collect();
    let mut found = Vec::new();
    for topic in broker.topics.all() {
        let name = &*topic.name;
        let is_dead = name.starts_with(names::DLQ_PREFIX);
        let is_of_others = name.starts_with('%') || names::is_system_topic(name);
        if found.len() == MOST_TOPICS || !is_dead && (is_of_others || read.contains(name)) {
            continue;
        }
        // Of topics that nobody reads only those that are in use.
        let [_, hour, _] = broker.stats.windows(Kind::TopicPutNums, name);
        if !is_dead && hour.sum == 0 {
            continue;
        }
        let queues = topic.config.read_queue_nums.max(topic.config.write_queue_nums);
        let ranges = (0..queues).filter_map(|id| Some((id, broker.store.queue_range(name, id)?)));
        let ranges: Vec<_> = ranges.filter(|(_, (first, end))| end > first).collect();
        if ranges.is_empty() {
            continue;
        }
        let last = ranges.iter().filter_map(|(id, (_, end))| broker.store.store_time(name, *id, end - 1));
        found.push(TopicLook {
            messages: ranges.iter().map(|(_, (first, end))| end - first).sum(),
            last_ms: last.max(),
            is_read: !broker.consumers.groups_of(name).is_empty(),
            name: name.to_owned(),
        });
    }
    found
}
