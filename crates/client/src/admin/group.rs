//! Consumer groups as brokers have them: creating, changing, listing, removing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CustomizedRetryPolicy, ExponentialRetryPolicy, GroupForbidden, GroupRetryPolicy, GroupRetryPolicyType,
    SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper,
};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader, GetAllSubscriptionGroupResponseHeader,
    RpcFields, UpdateGroupForbiddenRequestHeader,
};

use super::page::{self, Page, all_pages};
use super::{Admin, At, body, changes, count};
use crate::Error;

/// A consumer group as a broker has it (upstream `SubscriptionGroupConfig`).
///
/// ```
/// use apogee_client::admin::GroupConfig;
///
/// let group = GroupConfig { max_retries: 3, ..GroupConfig::new("billing") };
/// assert!(group.may_consume && group.retry_queues == 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// Its name.
    pub name: String,
    /// Its members may consume (yes).
    pub may_consume: bool,
    /// They may get all messages each (yes).
    pub may_broadcast: bool,
    /// A member that has no offset may begin with the oldest message (yes).
    pub from_first: bool,
    /// It is declared to consume in order (no).
    pub ordered: bool,
    /// Queues of its retry topic (1).
    pub retry_queues: u32,
    /// How often a message comes again before it goes to the dead letters (16).
    pub max_retries: u32,
    /// How long it takes until a message comes again.
    pub retry_delays: RetryDelays,
    /// Its members are told when one comes or goes (yes).
    pub tells_changes: bool,
    /// How long consuming a message may take, in whole minutes (15); brokers just keep that.
    pub consume_timeout: Duration,
    /// Id of the broker that it reads from (0).
    pub broker_id: i64,
    /// Id of the broker that it reads from when it is far behind (1).
    pub slow_broker_id: i64,
    /// What else there is to say of it.
    pub attributes: BTreeMap<String, String>,
    /// Bits that mean something to units of a cluster.
    pub system_flag: i32,
}

/// How long it takes until a message comes again (upstream `GroupRetryPolicy`).
///
/// ```
/// use std::time::Duration;
/// use apogee_client::admin::RetryDelays;
///
/// let delays = RetryDelays::Steps(vec![Duration::from_secs(1), Duration::from_secs(10)]);
/// assert_ne!(delays, RetryDelays::Levels);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RetryDelays {
    /// As the broker's delay levels have it, from the third on.
    #[default]
    Levels,
    /// The first time the first of these, and so on; the last one from then on.
    Steps(Vec<Duration>),
    /// Growing.
    Growing {
        /// The first time.
        first: Duration,
        /// At most.
        most: Duration,
        /// From one time to the next.
        factor: u32,
    },
}

impl GroupConfig {
    /// A group with the settings that brokers give a new one.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(SubscriptionGroupConfig::new(name))
    }

    /// One as brokers write it.
    pub fn of(group: SubscriptionGroupConfig) -> Self {
        Self {
            name: group.group_name,
            may_consume: group.consume_enable,
            may_broadcast: group.consume_broadcast_enable,
            from_first: group.consume_from_min_enable,
            ordered: group.consume_message_orderly,
            retry_queues: group.retry_queue_nums.max(0) as u32,
            max_retries: group.retry_max_times.max(0) as u32,
            retry_delays: RetryDelays::of(group.group_retry_policy),
            tells_changes: group.notify_consumer_ids_changed_enable,
            consume_timeout: Duration::from_secs(60 * group.consume_timeout_minute.max(0) as u64),
            broker_id: group.broker_id,
            slow_broker_id: group.which_broker_when_consume_slowly,
            attributes: group.attributes,
            system_flag: group.group_sys_flag,
        }
    }

    /// As brokers write it.
    pub fn written(&self) -> SubscriptionGroupConfig {
        self.body(self.attributes.clone())
    }

    /// As brokers want it; `changes` are those of its attributes.
    fn body(&self, changes: BTreeMap<String, String>) -> SubscriptionGroupConfig {
        SubscriptionGroupConfig {
            attributes: changes,
            broker_id: self.broker_id,
            consume_broadcast_enable: self.may_broadcast,
            consume_enable: self.may_consume,
            consume_from_min_enable: self.from_first,
            consume_message_orderly: self.ordered,
            consume_timeout_minute: i32::try_from(self.consume_timeout.as_secs() / 60).unwrap_or(i32::MAX),
            group_name: self.name.clone(),
            group_retry_policy: self.retry_delays.body(),
            group_sys_flag: self.system_flag,
            notify_consumer_ids_changed_enable: self.tells_changes,
            retry_max_times: count(self.max_retries),
            retry_queue_nums: count(self.retry_queues),
            subscription_data_set: None,
            which_broker_when_consume_slowly: self.slow_broker_id,
        }
    }
}

impl RetryDelays {
    /// As brokers write it.
    pub fn of(policy: GroupRetryPolicy) -> Self {
        let duration = |milliseconds: i64| Duration::from_millis(milliseconds.max(0) as u64);
        match (policy.kind, policy.customized_retry_policy, policy.exponential_retry_policy) {
            (GroupRetryPolicyType::Exponential, _, growing) => {
                let growing = growing.unwrap_or_default();
                Self::Growing {
                    first: duration(growing.initial),
                    most: duration(growing.max),
                    factor: u32::try_from(growing.multiplier).unwrap_or(0),
                }
            }
            (GroupRetryPolicyType::Customized, Some(steps), _) => {
                Self::Steps(steps.next.into_iter().map(duration).collect())
            }
            (GroupRetryPolicyType::Customized, None, _) => Self::Levels,
        }
    }

    fn body(&self) -> GroupRetryPolicy {
        let milliseconds = |duration: &Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let policy = GroupRetryPolicy::default();
        match self {
            Self::Levels => policy,
            Self::Steps(steps) => {
                let next = steps.iter().map(milliseconds).collect();
                GroupRetryPolicy { customized_retry_policy: Some(CustomizedRetryPolicy { next }), ..policy }
            }
            Self::Growing { first, most, factor } => {
                let (initial, max, multiplier) = (milliseconds(first), milliseconds(most), i64::from(*factor));
                GroupRetryPolicy {
                    exponential_retry_policy: Some(ExponentialRetryPolicy { initial, max, multiplier }),
                    kind: GroupRetryPolicyType::Exponential,
                    ..policy
                }
            }
        }
    }
}

impl Admin {
    /// Names of all groups that the brokers have.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// println!("{} groups", admin.groups().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker doesn't answer.
    pub async fn groups(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.all_group_configs().await?.into_iter().map(|config| config.value.name).collect())
    }

    /// A group as each broker has it; empty when none has it.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for config in admin.group_configs("billing").await? {
    ///     println!("{}: {} retries", config.address, config.max_retries);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker doesn't answer.
    pub async fn group_configs(&self, group: &str) -> Result<Vec<At<GroupConfig>>, Error> {
        names::check_group(group)?;
        let mut configs = Vec::new();
        for address in self.masters().await? {
            if let Some(value) = self.group_at(&address, group).await? {
                configs.push(At { address, value });
            }
        }
        Ok(configs)
    }

    /// The whole list is read: Apache's broker creates a group that it is asked for by name.
    async fn group_at(&self, address: &str, group: &str) -> Result<Option<GroupConfig>, Error> {
        Ok(self.groups_at(address).await?.remove(group).map(GroupConfig::of))
    }

    async fn groups_at(&self, address: &str) -> Result<BTreeMap<String, SubscriptionGroupConfig>, Error> {
        all_pages(async |first, version| self.group_page(address, first, version).await).await
    }

    /// All groups as each broker has them.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let stopped = admin.all_group_configs().await?.into_iter().filter(|group| !group.may_consume);
    /// println!("{:?}", stopped.map(|group| group.value.name).collect::<Vec<_>>());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker doesn't answer.
    pub async fn all_group_configs(&self) -> Result<Vec<At<GroupConfig>>, Error> {
        let mut configs = Vec::new();
        for address in self.masters().await? {
            let of_broker = self.groups_at(&address).await?.into_values().map(GroupConfig::of);
            configs.extend(of_broker.map(|value| At { address: address.clone(), value }));
        }
        Ok(configs)
    }

    async fn group_page(
        &self,
        address: &str,
        group_seq: i32,
        version: Option<&str>,
    ) -> Result<Page<SubscriptionGroupConfig>, Error> {
        let header = GetAllSubscriptionGroupRequestHeader {
            group_seq,
            data_version: version,
            max_group_num: Some(page::LENGTH),
        };
        let question = Command::request(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG).with_header(&header);
        let answer = self.call(address, &question).await?;
        // Old brokers don't say how many there are.
        let head = answer.header().ok().map(|head: GetAllSubscriptionGroupResponseHeader| head.total_group_num);
        let list: SubscriptionGroupWrapper = body(address, &answer)?;
        Ok(Page { total: head, version: list.data_version, entries: list.subscription_group_table })
    }

    /// Creates a group on each broker, or changes it: it is as given afterwards.
    ///
    /// ```no_run
    /// use apogee_client::admin::GroupConfig;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.put_group(&GroupConfig { max_retries: 3, ..GroupConfig::new("billing") }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn put_group(&self, group: &GroupConfig) -> Result<(), Error> {
        names::check_group(&group.name)?;
        for address in self.masters().await? {
            let now = self.group_at(&address, &group.name).await?.map(|group| group.attributes).unwrap_or_default();
            let body = group.body(changes(&now, &group.attributes)).encode();
            let question = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body);
            self.call(&address, &question).await?;
        }
        Ok(())
    }

    /// Creates a group on each broker, or changes it, and of its attributes only those that are named: `+name` sets one,
    /// `-name` removes one. The group's own `attributes` are not looked at.
    ///
    /// ```no_run
    /// use std::collections::BTreeMap;
    /// use apogee_client::admin::GroupConfig;
    ///
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let changes = BTreeMap::from([("+priority.factor".to_owned(), "50".to_owned())]);
    /// admin.change_group(&GroupConfig::new("billing"), &changes).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn change_group(&self, group: &GroupConfig, changes: &BTreeMap<String, String>) -> Result<(), Error> {
        names::check_group(&group.name)?;
        let body = group.body(changes.clone()).encode();
        let question = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body);
        self.call_all(&question).await.map(drop)
    }

    /// Creates groups on each broker, or changes them, all in one request. Attributes are set, none is removed.
    ///
    /// # Errors
    /// When a name is none, or a broker refuses, as old ones do, or doesn't answer.
    pub async fn put_groups(&self, groups: &[GroupConfig]) -> Result<(), Error> {
        let mut group_config_list = Vec::with_capacity(groups.len());
        for group in groups {
            names::check_group(&group.name)?;
            group_config_list.push(group.body(changes(&BTreeMap::new(), &group.attributes)));
        }
        let body = SubscriptionGroupList { group_config_list }.encode();
        let question = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST).with_body(body);
        self.call_all(&question).await.map(drop)
    }

    /// Removes a group from each broker, with its offsets or without. A group that is not there is no error. Its topics
    /// stay, `%RETRY%` and `%DLQ%` with its name: see [`Admin::delete_topic`].
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.delete_group("billing", true).await?;
    /// admin.delete_topic("%RETRY%billing").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn delete_group(&self, group: &str, with_offsets: bool) -> Result<(), Error> {
        names::check_group(group)?;
        let header = DeleteSubscriptionGroupRequestHeader {
            group_name: group,
            clean_offset: Some(with_offsets),
            rpc: RpcFields::default(),
        };
        self.call_all(&Command::request(request::DELETE_SUBSCRIPTIONGROUP).with_header(&header)).await?;
        Ok(())
    }

    /// Whether a group may read a topic, on each broker.
    ///
    /// # Errors
    /// When a name is none, or a broker doesn't answer.
    pub async fn may_read(&self, group: &str, topic: &str) -> Result<Vec<At<bool>>, Error> {
        self.forbidden(group, topic, None).await
    }

    /// Lets a group read a topic, or forbids it, on each broker.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.set_may_read("billing", "Orders", false).await?;
    /// assert!(!admin.may_read("billing", "Orders").await?[0].value);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn set_may_read(&self, group: &str, topic: &str, may: bool) -> Result<(), Error> {
        self.forbidden(group, topic, Some(may)).await.map(drop)
    }

    async fn forbidden(&self, group: &str, topic: &str, readable: Option<bool>) -> Result<Vec<At<bool>>, Error> {
        names::check_group(group)?;
        names::check_topic(topic)?;
        let header = UpdateGroupForbiddenRequestHeader { group, topic, readable, rpc: RpcFields::default() };
        let question = Command::request(request::UPDATE_AND_GET_GROUP_FORBIDDEN).with_header(&header);
        let said = self.all_bodies::<GroupForbidden>(&question).await?;
        Ok(said
            .into_iter()
            .map(|said| At { value: said.value.readable != Some(false), address: said.address })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_comes_back_as_it_was_given() {
        let seconds = Duration::from_secs;
        let growing = RetryDelays::Growing { first: seconds(1), most: seconds(60), factor: 3 };
        for retry_delays in [RetryDelays::Levels, RetryDelays::Steps(vec![seconds(1), seconds(9)]), growing] {
            let group = GroupConfig { retry_delays, may_broadcast: false, ..GroupConfig::new("G") };
            let written = group.body(BTreeMap::new()).encode();
            assert_eq!(GroupConfig::of(SubscriptionGroupConfig::decode(&written).expect("read")), group);
        }
    }
}
