//! Routes, clusters and lists of topics.

use std::collections::{BTreeMap, HashMap};

use apogee_wire::bodies::{
    BrokerData, BrokerMemberGroup, ClusterInfo, DataVersion, QueueData, TopicList, TopicQueueMappingInfo,
    TopicRouteData,
};

use super::brokers::{Broker, MASTER};
use super::topics::Queues;
use super::{BrokerId, NoRoute, PERM_INHERIT, PERM_READ, PERM_WRITE, RouteTable, State};

/// Prefix of the topics by which old name servers are asked for the brokers of a group.
const MEMBER_GROUP_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// Unit bits of a topic.
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 2;

/// How a route is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct RouteOptions<'a> {
    /// Let the slave with the lowest id stand in for a master that is gone.
    pub acting_master: bool,
    /// Only brokers of this zone, and those without a master.
    pub zone: Option<&'a str>,
}

/// Which topics are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// Those of a unit.
    Unit,
    /// Those subscribed to by units.
    UnitSub,
    /// Those subscribed to by units and not of one themselves.
    UnitSubOnly,
}

impl Units {
    fn holds(self, sys_flag: i32) -> bool {
        match self {
            Self::Unit => sys_flag & UNIT != 0,
            Self::UnitSub => sys_flag & UNIT_SUB != 0,
            Self::UnitSubOnly => sys_flag & (UNIT | UNIT_SUB) == UNIT_SUB,
        }
    }
}

/// Queue mappings of static topics, by topic and broker name. There are few static topics.
#[derive(Debug, Default)]
pub(super) struct StaticTopics {
    by_topic: HashMap<String, BTreeMap<String, TopicQueueMappingInfo>>,
}

impl StaticTopics {
    pub fn put_all<'m>(&mut self, broker: &str, mappings: impl Iterator<Item = &'m (String, TopicQueueMappingInfo)>) {
        for (topic, mapping) in mappings {
            self.by_topic.entry(topic.clone()).or_default().insert(broker.to_owned(), mapping.clone());
        }
    }

    pub fn forget(&mut self, topics: &[Box<str>]) {
        if !self.by_topic.is_empty() {
            topics.iter().for_each(|topic| drop(self.by_topic.remove(&**topic)));
        }
    }
}

impl RouteTable {
    /// The route of a topic, or why there is none.
    pub fn route(&self, topic: &str, options: RouteOptions<'_>) -> Result<TopicRouteData, NoRoute> {
        let state = self.read();
        let all = state.topics.get(topic);
        let usable = all.iter().any(|queues| {
            let perm = state.brokers.get(queues.broker).map_or(0, |broker| broker.perm(queues));
            perm & (PERM_READ | PERM_WRITE | PERM_INHERIT) != 0
        });
        if !usable {
            return Err(state.why_not(topic));
        }
        let mut route = TopicRouteData::default();
        for queues in all {
            let Some(broker) = state.brokers.get(queues.broker) else { continue };
            if options.zone.is_some_and(|zone| !broker.serves(zone)) {
                continue;
            }
            let mut data = broker.data();
            let acts = options.acting_master && broker.acting_master && !topic.starts_with(MEMBER_GROUP_PREFIX);
            if acts
                && !broker.has_master()
                && let Some((_, addr)) = data.broker_addrs.pop_first()
            {
                data.broker_addrs.insert(MASTER, addr);
            }
            route.broker_datas.push(data);
            route.queue_datas.push(QueueData {
                broker_name: broker.name.to_string(),
                read_queue_nums: queues.read,
                write_queue_nums: queues.write,
                perm: broker.perm(queues),
                topic_sys_flag: queues.sys_flag,
            });
            for member in broker.members.values().filter(|member| !member.filter_servers.is_empty()) {
                route.filter_server_table.insert(member.addr.to_string(), member.filter_servers.clone());
            }
        }
        route.topic_queue_mapping_by_broker = state.statics.by_topic.get(topic).cloned();
        Ok(route)
    }

    /// All clusters and their brokers.
    pub fn cluster_info(&self) -> ClusterInfo {
        let state = self.read();
        let mut info = ClusterInfo::default();
        for (_, broker) in state.brokers.iter() {
            info.broker_addr_table.insert(broker.name.to_string(), broker.data());
            info.cluster_addr_table.entry(broker.cluster.to_string()).or_default().insert(broker.name.to_string());
        }
        info
    }

    /// The brokers of a name; none if there is no such broker.
    pub fn member_group(&self, cluster: &str, name: &str) -> BrokerMemberGroup {
        let state = self.read();
        let broker = state.brokers.named(name);
        BrokerMemberGroup {
            cluster: Some(cluster.to_owned()),
            broker_name: Some(name.to_owned()),
            broker_addrs: broker.map(Broker::addr_map).unwrap_or_default(),
        }
    }

    /// Version of the topics that a broker registered.
    pub fn version(&self, broker: BrokerId<'_>) -> Option<DataVersion> {
        let state = self.read();
        let found = state.brokers.named(broker.name).filter(|found| *found.cluster == *broker.cluster)?;
        found.member_at(broker.addr).map(|member| member.version)
    }

    /// Names of all topics.
    pub fn topics(&self) -> TopicList {
        self.list(|_, _| true)
    }

    /// Names of the topics that brokers of a cluster have.
    pub fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        self.list(|state, queues| state.brokers.get(queues.broker).is_some_and(|broker| *broker.cluster == *cluster))
    }

    /// Names of topics by their unit bits.
    pub fn topics_of_units(&self, units: Units) -> TopicList {
        self.list(|_, queues| units.holds(queues.sys_flag))
    }

    /// Names of clusters and brokers, which are topics, too, and the address of some broker.
    pub fn system_topics(&self) -> TopicList {
        let state = self.read();
        let mut list = TopicList::default();
        for (_, broker) in state.brokers.iter() {
            list.topic_list.insert(broker.cluster.to_string());
            list.topic_list.insert(broker.name.to_string());
            list.broker_addr = list.broker_addr.or_else(|| broker.addrs().next().map(|(_, addr)| addr.to_owned()));
        }
        list
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.read().topics.len()
    }

    /// Bytes that the topics' routes take, names included.
    pub fn topic_memory(&self) -> usize {
        self.read().topics.memory()
    }

    fn list(&self, wanted: impl Fn(&State, &Queues) -> bool) -> TopicList {
        let state = self.read();
        let topics = state.topics.iter().filter(|(_, all)| all.iter().any(|queues| wanted(&state, queues)));
        TopicList { topic_list: topics.map(|(topic, _)| topic.to_owned()).collect(), ..TopicList::default() }
    }
}

impl Broker {
    /// What may be done with a topic of this broker now.
    pub(super) fn perm(&self, queues: &Queues) -> i32 {
        // A slave that stands in for its master takes no new messages.
        let stands_in = self.acting_master && !self.has_master();
        if self.write_wiped || stands_in { queues.perm & !PERM_WRITE } else { queues.perm }
    }

    /// A broker whose master is down is of use to all zones: its slaves still serve what they have.
    fn serves(&self, zone: &str) -> bool {
        !self.has_master() || self.zone.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(zone))
    }

    fn addr_map(&self) -> BTreeMap<i64, String> {
        self.addrs().map(|(id, addr)| (id, addr.to_owned())).collect()
    }

    fn data(&self) -> BrokerData {
        BrokerData {
            cluster: Some(self.cluster.to_string()),
            broker_name: self.name.to_string(),
            broker_addrs: self.addr_map(),
            zone_name: self.zone.as_deref().map(Into::into),
            enable_acting_master: self.acting_master,
        }
    }
}
