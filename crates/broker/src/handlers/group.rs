//! Subscription groups: creating, changing, listing, removing (upstream `AdminBrokerProcessor`).

use std::sync::Arc;

use apogee_message::names;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper,
};
use apogee_wire::codes::response;
use apogee_wire::headers::{
    DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupResponseHeader,
    GetSubscriptionGroupConfigRequestHeader, UpdateGroupForbiddenRequestHeader,
};

use super::answer::{self, Answer};
use super::attributes;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::groups::GroupTable;
use crate::lite;
use crate::retry;
use crate::topics::MOST_QUEUES;

/// `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP`: one group.
pub(crate) fn update(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    put(broker, conn, request, vec![SubscriptionGroupConfig::decode(&request.body)?])
}

/// `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST`: several groups, all or none.
pub(crate) fn update_list(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    put(broker, conn, request, SubscriptionGroupList::decode(&request.body)?.group_config_list)
}

fn put(broker: &Broker, conn: &Conn, request: &Command, configs: Vec<SubscriptionGroupConfig>) -> Answer {
    let checked = configs.into_iter().map(|config| check(&broker.groups, config));
    let mut changed = checked.collect::<Result<Vec<_>, _>>()?;
    // A group of light queues is what it is.
    changed.retain(|config| !broker.groups.is_light(&config.group_name));
    changed.retain(|config| broker.groups.get(&config.group_name).is_none_or(|group| *group != *config));
    if !changed.is_empty() {
        for config in &changed {
            tracing::info!(peer = %conn.peer(), ?config, "a group is created or changed by remote request");
        }
        broker.groups.update(changed, broker.now());
        broker.groups.save()?;
    }
    answer::done(request)
}

/// The group as it will be, with the attributes it keeps.
fn check(groups: &GroupTable, config: SubscriptionGroupConfig) -> Result<SubscriptionGroupConfig, BrokerError> {
    let group = &*config.group_name;
    names::check_group(group)?;
    if !(0..=MOST_QUEUES).contains(&config.retry_queue_nums) {
        let remark = format!(
            "group[{group}]: {} retry queues; accepted are 0 to {MOST_QUEUES} (retryQueueNums)",
            config.retry_queue_nums
        );
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    retry::check(&config.group_retry_policy).map_err(|error| {
        BrokerError::new(response::INVALID_PARAMETER, format!("group[{group}]: groupRetryPolicy: {error}"))
    })?;
    let current = groups.get(group).map(|group| group.attributes.clone()).unwrap_or_default();
    let attributes = attributes::alter(attributes::OF_GROUPS, &current, &config.attributes)?;
    Ok(SubscriptionGroupConfig { attributes, ..config })
}

/// `GET_ALL_SUBSCRIPTIONGROUP_CONFIG`: all groups, in pages.
pub(crate) fn all(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let table = broker.groups.snapshot();
    let total_group_num = i32::try_from(table.subscription_group_table.len()).unwrap_or(i32::MAX);
    let version = table.data_version.map(|version| version.encode()).unwrap_or_default();
    let groups: Vec<_> = table.subscription_group_table.into_iter().collect();
    let groups = answer::page(request, groups, "groupSeq", "maxGroupNum", &version);
    let body = SubscriptionGroupWrapper {
        data_version: table.data_version,
        forbidden_table: table.forbidden_table,
        subscription_group_table: groups.into_iter().collect(),
    };
    let head = GetAllSubscriptionGroupResponseHeader { total_group_num };
    Ok(Some(answer::success(request).with_header(&head).with_body(body.encode())))
}

/// `DELETE_SUBSCRIPTIONGROUP`: a group, and its offsets when that is asked for.
pub(crate) fn delete(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: DeleteSubscriptionGroupRequestHeader<'_> = request.header()?;
    // Of very many lite topics nobody would remove them one by one.
    let reads_lite = broker.groups.get(header.group_name).is_some_and(|group| lite::parent_of(&group).is_some());
    let removed = broker.groups.remove(header.group_name, broker.now());
    let with_offsets = header.clean_offset == Some(true) || reads_lite;
    tracing::info!(peer = %conn.peer(), group = header.group_name, removed, with_offsets, "a group is removed by remote request");
    broker.groups.save()?;
    if with_offsets {
        broker.offsets.remove_group(header.group_name);
        broker.pop.forget(|of, _| of == header.group_name);
        broker.offsets.save(broker.now())?;
    }
    broker.stats.forget(|name| name == header.group_name);
    broker.counters.events.forget(|name| name == header.group_name);
    answer::done(request)
}

/// `GET_SUBSCRIPTIONGROUP_CONFIG`: one group.
pub(crate) fn get(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: GetSubscriptionGroupConfigRequestHeader<'_> = request.header()?;
    let Some(group) = broker.groups.get(header.group) else {
        let remark = format!("No group in this broker. group: {}", header.group);
        return Err(BrokerError::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    answer::body(request, &*group)
}

/// `UPDATE_AND_GET_GROUP_FORBIDDEN`: whether a group may read a topic, changed when the request says
/// so.
pub(crate) fn forbidden(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: UpdateGroupForbiddenRequestHeader<'_> = request.header()?;
    let (group, topic) = (header.group, header.topic);
    names::check_group(group)?;
    names::check_topic(topic)?;
    if let Some(readable) = header.readable {
        tracing::info!(peer = %conn.peer(), group, topic, readable, "a group's right to read is changed by remote request");
        broker.groups.set_may_read(group, topic, readable, broker.now());
        broker.groups.save()?;
    }
    let readable = Some(broker.groups.may_read(group, topic));
    let body = GroupForbidden { group: Some(group.to_owned()), readable, topic: Some(topic.to_owned()) };
    answer::body(request, &body)
}
