//! Topics as brokers have them: creating, changing, listing, removing.

use std::collections::BTreeMap;

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CreateTopicListRequestBody, TopicConfig as TopicBody, TopicConfigAndMappingSerializeWrapper,
    TopicConfigAndQueueMapping, TopicFilterType,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CreateTopicRequestHeader, DeleteTopicFromNamesrvRequestHeader, DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader, GetAllTopicConfigResponseHeader, GetTopicConfigRequestHeader, RpcFields,
};

use super::page::{self, Page, all_pages};
use super::{Admin, At, Scope, body, changes, count};
use crate::Error;
use crate::peers::accepted;

/// A topic as a broker has it (upstream `TopicConfig`).
///
/// ```
/// use apogee_client::admin::{Permission, TopicConfig};
///
/// let topic = TopicConfig::new("Orders", 8).permission(Permission::READ).attribute("message.type", "FIFO");
/// assert_eq!((topic.read_queues, topic.write_queues), (8, 8));
/// assert!(!topic.permission.write);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its name.
    pub name: String,
    /// Queues that can be read.
    pub read_queues: u32,
    /// Queues that can be sent to.
    pub write_queues: u32,
    /// What may be done with it.
    pub permission: Permission,
    /// It is declared to be in order; brokers just keep that.
    pub ordered: bool,
    /// What else there is to say of it, such as `message.type`.
    pub attributes: BTreeMap<String, String>,
    /// Bits that mean something to units of a cluster.
    pub system_flag: i32,
}

/// What may be done with a topic (upstream `PermName`).
///
/// ```
/// use apogee_client::admin::Permission;
///
/// assert_eq!(Permission::default(), Permission::READ_WRITE);
/// assert_eq!((Permission::READ.bits(), Permission::of(6)), (4, Permission::READ_WRITE));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Its messages can be read.
    pub read: bool,
    /// It can be sent to.
    pub write: bool,
    /// Topics that are created by sending to them take after it.
    pub inherit: bool,
}

impl TopicConfig {
    /// A topic with so many queues on each broker, that can be read and sent to.
    pub fn new(name: impl Into<String>, queues: u32) -> Self {
        Self {
            name: name.into(),
            read_queues: queues,
            write_queues: queues,
            permission: Permission::READ_WRITE,
            ordered: false,
            attributes: BTreeMap::new(),
            system_flag: 0,
        }
    }

    /// What may be done with it (all).
    pub fn permission(mut self, permission: Permission) -> Self {
        self.permission = permission;
        self
    }

    /// Gives it an attribute. Which there are depends on the broker: `message.type` is one that all have.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Refuses what no topic can be, and attributes that would become others.
    fn check(&self) -> Result<(), Error> {
        names::check_topic(&self.name)?;
        for (name, value) in &self.attributes {
            if name.contains(['=', ',', '+']) || name.starts_with('-') || value.contains(',') {
                return Err(Error::Argument(format!("{name}={value} cannot be an attribute of topic {}", self.name)));
            }
        }
        Ok(())
    }

    /// As brokers write it.
    pub fn written(&self) -> TopicBody {
        self.body(self.attributes.clone())
    }

    /// As brokers want it; `changes` are those of its attributes.
    fn body(&self, changes: BTreeMap<String, String>) -> TopicBody {
        TopicBody {
            attributes: changes,
            order: self.ordered,
            perm: self.permission.bits(),
            read_queue_nums: count(self.read_queues),
            topic_filter_type: TopicFilterType::SingleTag,
            topic_name: self.name.clone(),
            topic_sys_flag: self.system_flag,
            write_queue_nums: count(self.write_queues),
        }
    }

    fn of(topic: TopicBody) -> Self {
        Self {
            name: topic.topic_name,
            read_queues: topic.read_queue_nums.max(0) as u32,
            write_queues: topic.write_queue_nums.max(0) as u32,
            permission: Permission::of(topic.perm),
            ordered: topic.order,
            attributes: topic.attributes,
            system_flag: topic.topic_sys_flag,
        }
    }
}

impl Permission {
    /// Reading only.
    pub const READ: Self = Self { read: true, write: false, inherit: false };
    /// Sending only.
    pub const WRITE: Self = Self { read: false, write: true, inherit: false };
    /// Both.
    pub const READ_WRITE: Self = Self { read: true, write: true, inherit: false };

    /// As brokers write it: 4 reads, 2 writes, 1 inherits.
    pub fn of(bits: i32) -> Self {
        Self { read: bits & 4 != 0, write: bits & 2 != 0, inherit: bits & 1 != 0 }
    }

    /// As brokers write it.
    pub fn bits(self) -> i32 {
        i32::from(self.read) << 2 | i32::from(self.write) << 1 | i32::from(self.inherit)
    }
}

impl Default for Permission {
    fn default() -> Self {
        Self::READ_WRITE
    }
}

impl Admin {
    /// A topic as each broker has it; empty when none has it.
    ///
    /// # Errors
    /// When a broker doesn't answer.
    pub async fn topic_configs(&self, topic: &str) -> Result<Vec<At<TopicConfig>>, Error> {
        names::check_topic(topic)?;
        let mut configs = Vec::new();
        for address in self.masters().await? {
            if let Some(value) = self.topic_at(&address, topic).await? {
                configs.push(At { address, value });
            }
        }
        Ok(configs)
    }

    async fn topic_at(&self, address: &str, topic: &str) -> Result<Option<TopicConfig>, Error> {
        let header = GetTopicConfigRequestHeader { topic, rpc: RpcFields::default() };
        let answer = self.ask(address, &Command::request(request::GET_TOPIC_CONFIG).with_header(&header)).await?;
        if answer.code == response::TOPIC_NOT_EXIST {
            return Ok(None);
        }
        let config: TopicConfigAndQueueMapping = body(address, &accepted(address, answer)?)?;
        Ok(Some(TopicConfig::of(TopicBody {
            attributes: config.attributes,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name.unwrap_or_else(|| topic.to_owned()),
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        })))
    }

    /// All topics as each broker has them.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for topic in admin.all_topic_configs().await? {
    ///     println!("{} at {}: {} queues", topic.name, topic.address, topic.write_queues);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker doesn't answer.
    pub async fn all_topic_configs(&self) -> Result<Vec<At<TopicConfig>>, Error> {
        let mut configs = Vec::new();
        for address in self.masters().await? {
            let topics = all_pages(async |first, version| self.topic_page(&address, first, version).await).await?;
            let of_broker = topics.into_values().map(TopicConfig::of);
            configs.extend(of_broker.map(|value| At { address: address.clone(), value }));
        }
        Ok(configs)
    }

    async fn topic_page(&self, address: &str, topic_seq: i32, version: Option<&str>) -> Result<Page<TopicBody>, Error> {
        let header =
            GetAllTopicConfigRequestHeader { topic_seq, data_version: version, max_topic_num: Some(page::LENGTH) };
        let answer = self.call(address, &Command::request(request::GET_ALL_TOPIC_CONFIG).with_header(&header)).await?;
        let head: GetAllTopicConfigResponseHeader = answer.header().map_err(|error| Error::header(address, &error))?;
        let list: TopicConfigAndMappingSerializeWrapper = body(address, &answer)?;
        Ok(Page { total: head.total_topic_num, version: list.data_version, entries: list.topic_config_table })
    }

    /// Creates a topic on each broker, or changes it: it is as given afterwards.
    ///
    /// ```no_run
    /// use apogee_client::admin::TopicConfig;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.cluster("DefaultCluster").put_topic(&TopicConfig::new("Orders", 8)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn put_topic(&self, topic: &TopicConfig) -> Result<(), Error> {
        topic.check()?;
        for address in self.masters().await? {
            let now = self.topic_at(&address, &topic.name).await?.map(|topic| topic.attributes).unwrap_or_default();
            let written = |(name, value): (String, String)| match value.is_empty() {
                true => name,
                false => format!("{name}={value}"),
            };
            let attributes: Vec<_> = changes(&now, &topic.attributes).into_iter().map(written).collect();
            let attributes = attributes.join(",");
            let header = CreateTopicRequestHeader {
                topic: &topic.name,
                default_topic: names::AUTO_CREATE_TOPIC,
                read_queue_nums: count(topic.read_queues),
                write_queue_nums: count(topic.write_queues),
                perm: topic.permission.bits(),
                topic_filter_type: "SINGLE_TAG",
                topic_sys_flag: Some(topic.system_flag),
                order: topic.ordered,
                attributes: Some(&attributes).filter(|text| !text.is_empty()).map(|text| &**text),
                force: None,
                rpc: RpcFields::default(),
            };
            self.call(&address, &Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header)).await?;
        }
        Ok(())
    }

    /// Creates several topics on each broker, or changes them, with one request: each is as given afterwards. A broker that
    /// finds one of them wrong takes none.
    ///
    /// ```no_run
    /// use apogee_client::admin::TopicConfig;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let topics = ["Orders", "Bills"].map(|name| TopicConfig::new(name, 8));
    /// admin.cluster("DefaultCluster").put_topics(&topics).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there are none, a name is none, or a broker refuses or doesn't answer.
    pub async fn put_topics(&self, topics: &[TopicConfig]) -> Result<(), Error> {
        if topics.is_empty() {
            return Err(Error::Argument("no topic is named".to_owned()));
        }
        topics.iter().try_for_each(TopicConfig::check)?;
        for address in self.masters().await? {
            let mut list = Vec::with_capacity(topics.len());
            for topic in topics {
                let now = self.topic_at(&address, &topic.name).await?.map(|topic| topic.attributes).unwrap_or_default();
                list.push(topic.body(changes(&now, &topic.attributes)));
            }
            let body = CreateTopicListRequestBody { topic_config_list: list }.encode();
            self.call(&address, &Command::request(request::UPDATE_AND_CREATE_TOPIC_LIST).with_body(body)).await?;
        }
        Ok(())
    }

    /// Changes what may be done with a topic, and nothing else of it, on each broker that has it.
    ///
    /// ```no_run
    /// use apogee_client::admin::Permission;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// // Nobody can send to it any more, and what is there is still consumed.
    /// admin.set_topic_permission("Orders", Permission::READ).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has it, and when one refuses or doesn't answer.
    pub async fn set_topic_permission(&self, topic: &str, permission: Permission) -> Result<(), Error> {
        let configs = self.topic_configs(topic).await?;
        if configs.is_empty() {
            return Err(Error::NoTopic(topic.to_owned()));
        }
        for At { address, value } in configs {
            self.broker(address).put_topic(&value.permission(permission)).await?;
        }
        Ok(())
    }

    /// Removes a topic with its messages from each broker, and from the name servers. A topic that is not there is
    /// no error.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.cluster("DefaultCluster").delete_topic("Orders").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When somebody refuses or doesn't answer.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        names::check_topic(topic)?;
        let header = DeleteTopicRequestHeader { topic, rpc: RpcFields::default() };
        self.call_all(&Command::request(request::DELETE_TOPIC_IN_BROKER).with_header(&header)).await?;
        let cluster_name = match &self.scope {
            Scope::All => None,
            Scope::Cluster(cluster) => Some(&**cluster),
            // The broker tells the name servers what it has.
            Scope::Broker(_) => return Ok(()),
        };
        let header = DeleteTopicFromNamesrvRequestHeader { topic, cluster_name, rpc: RpcFields::default() };
        self.call_all_names(&Command::request(request::DELETE_TOPIC_IN_NAMESRV).with_header(&header)).await?;
        Ok(())
    }
}
