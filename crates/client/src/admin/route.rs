//! Where topics are, and what is in their queues.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{GroupList, TopicList, TopicRouteData, TopicStatsTable};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetRouteInfoRequestHeader, GetTopicStatsInfoRequestHeader, GetTopicsByClusterRequestHeader,
    QueryTopicConsumeByWhoRequestHeader, RpcFields,
};

use super::{Admin, Permission, Scope, body, queue_of, time};
use crate::peers::accepted;
use crate::{Error, Queue};

/// Where a topic is.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let route = admin.route("Orders").await?;
/// for broker in &route.brokers {
///     println!("{}: {} queues, {:?}", broker.name, broker.write_queues, broker.addresses);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRoute {
    /// The brokers that have it, by name.
    pub brokers: Vec<TopicBroker>,
    /// How many queues each broker has for messages in order, where name servers keep it.
    pub order: Option<String>,
}

/// A topic's part on the brokers of one name; see [`TopicRoute`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicBroker {
    /// The name that a master shares with its slaves.
    pub name: String,
    /// Their cluster.
    pub cluster: String,
    /// Their addresses as `host:port`, by id; 0 is the master.
    pub addresses: BTreeMap<i64, String>,
    /// Queues that can be read.
    pub read_queues: u32,
    /// Queues that can be sent to.
    pub write_queues: u32,
    /// What may be done with them.
    pub permission: Permission,
}

/// What is in a topic's queues.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let stats = admin.topic_stats("Orders").await?;
/// println!("{} messages, {:.1} a second", stats.messages(), stats.puts_per_second);
/// for queue in &stats.queues {
///     println!("{}: {} to {}", queue.queue, queue.first, queue.end);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TopicStats {
    /// Its queues, in order.
    pub queues: Vec<QueueRange>,
    /// Messages sent to it in the last minute, by second.
    pub puts_per_second: f64,
}

/// Offsets of a queue; see [`TopicStats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRange {
    /// The queue.
    pub queue: Queue,
    /// Offset of its oldest message.
    pub first: i64,
    /// Offset that the next message will get.
    pub end: i64,
    /// When its newest message was stored; `None` when it has none.
    pub last_stored: Option<SystemTime>,
}

impl TopicRoute {
    /// The clusters that the topic is in.
    pub fn clusters(&self) -> BTreeSet<&str> {
        self.brokers.iter().map(|broker| &*broker.cluster).collect()
    }

    fn of(data: TopicRouteData) -> Self {
        let mut queues: BTreeMap<_, _> =
            data.queue_datas.into_iter().map(|queues| (queues.broker_name.clone(), queues)).collect();
        let brokers = data.broker_datas.into_iter().map(|broker| {
            let queues = queues.remove(&broker.broker_name).unwrap_or_default();
            TopicBroker {
                name: broker.broker_name,
                cluster: broker.cluster.unwrap_or_default(),
                addresses: broker.broker_addrs,
                read_queues: queues.read_queue_nums.max(0) as u32,
                write_queues: queues.write_queue_nums.max(0) as u32,
                permission: Permission::of(queues.perm),
            }
        });
        let mut brokers: Vec<_> = brokers.collect();
        brokers.sort_by(|one, other| one.name.cmp(&other.name));
        Self { brokers, order: data.order_topic_conf }
    }
}

impl TopicStats {
    /// Messages that are there, all queues together.
    pub fn messages(&self) -> i64 {
        self.queues.iter().map(|queue| queue.end - queue.first).sum()
    }
}

impl Admin {
    /// Names of all topics that name servers know, those of the system and of groups included.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let of_users = admin.topics().await?.into_iter().filter(|topic| !topic.starts_with('%'));
    /// println!("{:?}", of_users.collect::<Vec<_>>());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn topics(&self) -> Result<BTreeSet<String>, Error> {
        let question = match &self.scope {
            Scope::All => Command::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER),
            Scope::Cluster(cluster) => Command::request(request::GET_TOPICS_BY_CLUSTER)
                .with_header(&GetTopicsByClusterRequestHeader { cluster }),
            Scope::Broker(_) => {
                let configs = self.all_topic_configs().await?;
                return Ok(configs.into_iter().map(|config| config.value.name).collect());
            }
        };
        self.topic_list(question).await
    }

    /// Names of the topics that belong to the system; those of clusters and brokers among them, which have topics.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let system = admin.system_topics().await?;
    /// let of_users = admin.topics().await?.into_iter().filter(|topic| !system.contains(topic));
    /// println!("{}", of_users.count());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When somebody doesn't answer.
    pub async fn system_topics(&self) -> Result<BTreeSet<String>, Error> {
        let mut topics = self.topic_list(Command::request(request::GET_SYSTEM_TOPIC_LIST_FROM_NS)).await?;
        let of_brokers = Command::request(request::GET_SYSTEM_TOPIC_LIST_FROM_BROKER);
        for list in self.all_bodies::<TopicList>(&of_brokers).await? {
            topics.extend(list.value.topic_list);
        }
        Ok(topics)
    }

    async fn topic_list(&self, question: Command) -> Result<BTreeSet<String>, Error> {
        let (name_server, answer) = self.ask_names(question).await?;
        Ok(body::<TopicList>(name_server, &accepted(name_server, answer)?)?.topic_list)
    }

    /// Where a topic is.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has it, and when no name server answers.
    pub async fn route(&self, topic: &str) -> Result<TopicRoute, Error> {
        match self.route_data(topic).await {
            Err(Error::Refused { code: response::TOPIC_NOT_EXIST, .. }) => Err(Error::NoTopic(topic.to_owned())),
            data => data.map(TopicRoute::of),
        }
    }

    /// The same with all that a name server says, as it says it: the mapping of a static topic, too.
    ///
    /// # Errors
    /// [`Error::Refused`] when no broker has it, with the name server's words about why, and when no name server answers.
    pub async fn route_data(&self, topic: &str) -> Result<TopicRouteData, Error> {
        names::check_topic(topic)?;
        let header =
            GetRouteInfoRequestHeader { topic, accept_standard_json_only: Some(true), rpc: RpcFields::default() };
        let question = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let (name_server, answer) = self.ask_names(question).await?;
        body(name_server, &accepted(name_server, answer)?)
    }

    /// Looks for a topic where another is, in all that this client does from now on: for topics that name servers do not
    /// know, such as light ones, of which brokers keep queues only. A cluster's name is a topic that all its brokers have.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.route_by("%LMQ%meter-7", "Meters");
    /// println!("{} messages", admin.topic_stats("%LMQ%meter-7").await?.messages());
    /// # Ok(())
    /// # }
    /// ```
    pub fn route_by(&self, topic: &str, other: &str) {
        self.shared.route_by(topic, other);
    }

    /// Addresses of those who can tell of a topic: of each name its master, else a slave.
    pub(super) async fn readers_of(&self, topic: &str) -> Result<Vec<String>, Error> {
        if let Scope::Broker(address) = &self.scope {
            return Ok(vec![address.clone()]);
        }
        let mut brokers = self.route(&self.shared.routed_by(topic)).await?.brokers;
        if let Scope::Cluster(cluster) = &self.scope {
            brokers.retain(|broker| broker.cluster == *cluster);
            if brokers.is_empty() {
                return Err(Error::Argument(format!("topic {topic} is not in the cluster {cluster}")));
            }
        }
        Ok(brokers.into_iter().filter_map(|broker| broker.addresses.into_values().next()).collect())
    }

    /// What is in a topic's queues.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has it, and when one refuses or doesn't answer.
    pub async fn topic_stats(&self, topic: &str) -> Result<TopicStats, Error> {
        let header = GetTopicStatsInfoRequestHeader { topic, rpc: RpcFields::default() };
        let question = Command::request(request::GET_TOPIC_STATS_INFO).with_header(&header);
        let mut stats = TopicStats { queues: Vec::new(), puts_per_second: 0.0 };
        for address in self.readers_of(topic).await? {
            let table: TopicStatsTable = self.body(&address, &question).await?;
            stats.puts_per_second += table.topic_put_tps;
            stats.queues.extend(table.offset_table.into_iter().map(|(queue, range)| QueueRange {
                queue: queue_of(queue),
                first: range.min_offset,
                end: range.max_offset,
                last_stored: time(range.last_update_timestamp),
            }));
        }
        stats.queues.sort_by(|one, other| one.queue.cmp(&other.queue));
        Ok(stats)
    }

    /// The groups that consume a topic: members that are there subscribe to it, or it has offsets of theirs.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for group in admin.groups_of("Orders").await? {
    ///     println!("{group} is {} behind", admin.progress(&group, Some("Orders")).await?.lag());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has it, and when one refuses or doesn't answer.
    pub async fn groups_of(&self, topic: &str) -> Result<BTreeSet<String>, Error> {
        let header = QueryTopicConsumeByWhoRequestHeader { topic, rpc: RpcFields::default() };
        let question = Command::request(request::QUERY_TOPIC_CONSUME_BY_WHO).with_header(&header);
        let mut groups = BTreeSet::new();
        for address in self.readers_of(topic).await? {
            groups.append(&mut self.body::<GroupList>(&address, &question).await?.group_list);
        }
        Ok(groups)
    }
}
