//! Consumers by group (upstream `ConsumerManager`). Subscriptions are kept for each client, not
//! for the group: during a rolling deployment clients of a group differ, and each gets what it
//! asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apogee_message::names;
use apogee_net::Conn;
use apogee_wire::bodies::{
    ConsumeFromWhere, ConsumeType, ConsumerConnection, ConsumerData, MessageModel, SubscriptionData,
};

use super::registry::{self, Client};
use super::{Channel, Subscription};
use crate::look::MemberLook;

/// Who consumes, by group.
pub struct Consumers<C = Conn> {
    registry: RwLock<Registry<C>>,
    conflicts: AtomicU64,
}

type Registry<C> = registry::Registry<C, Own, Shared>;
type Group<C> = registry::Group<C, Own, Shared>;
type Member<C> = registry::Member<C, Own>;

/// What one client of a group wants, by topic; None until it told.
#[derive(Default)]
struct Own {
    subscriptions: Option<BTreeMap<String, Arc<Subscription>>>,
    /// The fingerprint that the client gave with them; 0: none.
    fingerprint: i32,
}

/// What the newest heartbeat says of the group.
#[derive(Default)]
struct Shared {
    consume_type: Option<ConsumeType>,
    message_model: Option<MessageModel>,
    consume_from_where: Option<ConsumeFromWhere>,
    /// Topics about which clients are known to differ.
    conflicting: BTreeSet<String>,
}

/// Who is in a group; see [`Consumers::all_members`].
#[derive(Debug)]
pub struct Members {
    /// The group.
    pub group: Arc<str>,
    /// Whether the members share the messages or get all each.
    pub model: Option<MessageModel>,
    /// Each client once.
    pub members: Vec<MemberLook>,
}

/// One consumer group in a heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat<'a> {
    /// The group and, unless left out, its subscriptions.
    pub data: &'a ConsumerData,
    /// Stands for the subscriptions of the whole client; 0: the client knows no fingerprints.
    pub fingerprint: i32,
    /// The subscriptions are left out because they didn't change.
    pub without_subscriptions: bool,
}

/// What a heartbeat led to.
#[derive(Debug)]
pub struct Noted<C = Conn> {
    /// Members or subscriptions changed.
    pub change: Option<Change<C>>,
    /// Clients that are now found to want different things of a topic.
    pub conflicts: Vec<Conflict>,
    /// New expressions that have errors.
    pub complaints: Vec<Complaint>,
    /// The client must send its subscriptions: it left them out and they aren't known.
    pub wants_subscriptions: bool,
}

/// A group changed.
#[derive(Debug)]
pub struct Change<C = Conn> {
    /// The group.
    pub group: Arc<str>,
    /// Whom to tell, so that the members share the queues anew. Nobody in a broadcasting group,
    /// whose members have all queues each.
    pub notify: Vec<Arc<C>>,
}

/// A client subscribes to a topic with an expression that is wrong, or likely not what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The topic.
    pub topic: String,
    /// The expression.
    pub expression: String,
    /// What is wrong with it.
    pub what: String,
}

/// Two clients of a group subscribe to a topic with different expressions, or one of them not at all.
/// With shared queues each misses messages that went to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: String,
    /// The client whose heartbeat showed it, and its expression.
    pub newcomer: (Arc<str>, String),
    /// A client that was there before, and its expression.
    pub other: (Arc<str>, String),
}

impl<C> Default for Consumers<C> {
    fn default() -> Self {
        Self { registry: RwLock::default(), conflicts: AtomicU64::new(0) }
    }
}

impl<C: Channel> Consumers<C> {
    /// Notes a sign of life of a consumer and what it subscribes to.
    pub fn heartbeat(&self, now_ms: i64, channel: &Arc<C>, client: &Client, heartbeat: Heartbeat<'_>) -> Noted<C> {
        let data = heartbeat.data;
        let mut registry = self.write();
        let (name, group, is_new) = registry.seen(now_ms, channel, client, &data.group_name);
        group.shared.update(data);
        let mut changed = is_new;
        let (mut conflicts, mut complaints) = (Vec::new(), Vec::new());
        let mut wants_subscriptions = false;
        if heartbeat.without_subscriptions {
            wants_subscriptions = !group.knows(channel.id(), heartbeat.fingerprint);
        } else {
            let topics = group.subscribe(channel.id(), heartbeat.fingerprint, &data.subscription_data_set);
            changed |= !topics.is_empty();
            complaints = group.complaints(channel.id(), &topics);
            conflicts = group.conflicts(&name, channel.id(), &topics);
        }
        self.conflicts.fetch_add(conflicts.len() as u64, Ordering::Relaxed);
        Noted { change: changed.then(|| group.change(name)), conflicts, complaints, wants_subscriptions }
    }

    /// A consumer leaves a group.
    pub fn unregister(&self, client_id: &str, group: &str) -> Option<Change<C>> {
        self.remove(|registry| registry.leave(group, client_id).into_iter().collect()).pop()
    }

    /// A connection ended: the groups that lost a consumer by it.
    pub fn closed(&self, connection: u64) -> Vec<Change<C>> {
        self.remove(|registry| registry.closed(connection))
    }

    /// Forgets consumers that were silent for longer than `timeout_ms`: the groups that lost one.
    pub fn expire(&self, now_ms: i64, timeout_ms: i64) -> Vec<Change<C>> {
        self.remove(|registry| registry.expire(now_ms, timeout_ms))
    }

    /// Whether the group has a consumer.
    pub fn is_online(&self, group: &str) -> bool {
        self.read().get(group).is_some()
    }

    /// All groups that have a consumer, by name.
    pub fn groups(&self) -> Vec<Arc<str>> {
        self.read().names()
    }

    /// The group's clients, each once, in the order in which they came.
    pub fn client_ids(&self, group: &str) -> Vec<Arc<str>> {
        let registry = self.read();
        let members = registry.get(group).into_iter().flat_map(|group| group.members.values());
        let mut known = BTreeSet::new();
        members.map(|member| &member.client.id).filter(|id| known.insert(Arc::clone(id))).cloned().collect()
    }

    /// The group's connections.
    pub fn channels(&self, group: &str) -> Vec<Arc<C>> {
        self.read().get(group).map(Group::channels).unwrap_or_default()
    }

    /// A client of the group, by its newest open connection.
    pub fn find(&self, group: &str, client_id: &str) -> Option<(Arc<C>, Client)> {
        let registry = self.read();
        let member = registry.get(group)?.find(client_id)?;
        Some((Arc::clone(&member.channel), member.client.clone()))
    }

    /// What the client at that connection wants of a topic. For a connection that told nothing,
    /// the newest subscription of the group.
    pub fn subscription(&self, group: &str, connection: u64, topic: &str) -> Option<Arc<Subscription>> {
        let registry = self.read();
        let group = registry.get(group)?;
        match group.members.get(&connection).and_then(|member| member.own.subscriptions.as_ref()) {
            Some(own) => own.get(topic).cloned(),
            None => group.newest(topic).cloned(),
        }
    }

    /// The group's newest subscription to a topic.
    pub fn newest_subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        self.read().get(group)?.newest(topic).cloned()
    }

    /// Topics that any client of the group subscribes to, by name.
    pub fn topics_of(&self, group: &str) -> BTreeSet<String> {
        self.read().get(group).map(Group::topics).unwrap_or_default()
    }

    /// Groups of which any client subscribes to the topic, by name.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<Arc<str>> {
        let registry = self.read();
        let groups = registry.iter().filter(|(_, group)| group.newest(topic).is_some());
        groups.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Whether the group's clients share the messages or get all each; None if none is online.
    pub fn message_model(&self, group: &str) -> Option<MessageModel> {
        self.read().get(group)?.shared.message_model
    }

    /// Everything about an online group, each topic with its newest subscription.
    pub fn connection(&self, group: &str) -> Option<ConsumerConnection> {
        let registry = self.read();
        let group = registry.get(group)?;
        let subscriptions = group.topics().into_iter().filter_map(|topic| {
            let newest = group.newest(&topic)?;
            Some((topic, newest.data().clone()))
        });
        Some(ConsumerConnection {
            connection_set: group.connections(),
            consume_from_where: group.shared.consume_from_where,
            consume_type: group.shared.consume_type,
            message_model: group.shared.message_model,
            subscription_table: subscriptions.collect(),
        })
    }

    /// The members of all groups.
    pub fn all_members(&self) -> Vec<Members> {
        let registry = self.read();
        let members = |group: &Group<C>| {
            let mut known = BTreeSet::new();
            // The newest connection of a client counts.
            let of_group = group.members.values().rev().filter(|member| known.insert(&member.client.id));
            of_group.map(Member::<C>::look).collect()
        };
        let all = registry.iter().map(|(name, group)| Members {
            group: Arc::clone(name),
            model: group.shared.message_model,
            members: members(group),
        });
        all.collect()
    }

    /// Conflicts found since the start.
    pub fn conflict_count(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    fn remove(&self, remove: impl FnOnce(&mut Registry<C>) -> Vec<Arc<str>>) -> Vec<Change<C>> {
        let mut registry = self.write();
        let lost = remove(&mut registry).into_iter();
        lost.map(|name| match registry.get_mut(&name) {
            Some(group) => {
                group.forget_settled();
                group.change(name)
            }
            None => Change { group: name, notify: Vec::new() },
        })
        .collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry<C>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry<C>> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Channel> Group<C> {
    /// Whether the member told its subscriptions under that fingerprint.
    fn knows(&self, connection: u64, fingerprint: i32) -> bool {
        self.members
            .get(&connection)
            .is_some_and(|member| member.own.subscriptions.is_some() && member.own.fingerprint == fingerprint)
    }

    /// Replaces what a member wants. Returns the topics for which it wants something else now.
    fn subscribe(&mut self, connection: u64, fingerprint: i32, wanted: &[SubscriptionData]) -> BTreeSet<String> {
        let Some(member) = self.members.get_mut(&connection) else { return BTreeSet::new() };
        let mut before = member.own.subscriptions.take().unwrap_or_default();
        let mut changed = BTreeSet::new();
        let mut now = BTreeMap::new();
        for data in wanted {
            let topic = data.topic.clone();
            let subscription = match before.remove(&topic) {
                // A heartbeat rarely brings news.
                Some(same) if same.data() == data => same,
                old => {
                    let new = Arc::new(Subscription::new(data.clone()));
                    if old.is_none_or(|old| !old.is_alike(&new)) {
                        changed.insert(topic.clone());
                    }
                    new
                }
            };
            now.insert(topic, subscription);
        }
        changed.extend(before.into_keys());
        member.own = Own { subscriptions: Some(now), fingerprint };
        changed
    }

    /// What is wrong with the member's subscriptions to these topics.
    fn complaints(&self, connection: u64, topics: &BTreeSet<String>) -> Vec<Complaint> {
        let Some(member) = self.members.get(&connection) else { return Vec::new() };
        let complaint = |topic: &String| {
            let subscription = member.own.get(topic)?;
            let what = subscription.complaint()?;
            Some(Complaint { topic: topic.clone(), expression: subscription.expression().to_owned(), what })
        };
        topics.iter().filter_map(complaint).collect()
    }

    /// Other clients of the group that want something else than the member does, whose wishes about
    /// these topics changed; each topic once until the clients agree.
    fn conflicts(&mut self, name: &Arc<str>, connection: u64, changed: &BTreeSet<String>) -> Vec<Conflict> {
        let Some(newcomer) = self.members.get(&connection).filter(|_| !changed.is_empty()) else { return Vec::new() };
        let mut found = Vec::new();
        // What it leaves out is among the topics of the others.
        for topic in changed.iter().cloned().chain(self.topics()).collect::<BTreeSet<_>>() {
            let other = self.members.values().find(|member| self.differ(newcomer, member, &topic));
            let Some(other) = other else { continue };
            let expression = |member: &Member<C>| {
                let wanted = member.own.get(&topic);
                (Arc::clone(&member.client.id), wanted.map_or("nothing", |wanted| wanted.expression()).to_owned())
            };
            if !self.shared.conflicting.contains(&topic) {
                let (newcomer, other) = (expression(newcomer), expression(other));
                found.push(Conflict { group: Arc::clone(name), topic, newcomer, other });
            }
        }
        self.shared.conflicting.extend(found.iter().map(|conflict| conflict.topic.clone()));
        self.forget_settled();
        found
    }

    /// Whether two members are clients that want different things of a topic. In a group that shares
    /// its queues, who wants nothing of it is given queues that nobody reads then.
    fn differ(&self, one: &Member<C>, other: &Member<C>, topic: &str) -> bool {
        if one.client.id == other.client.id {
            return false;
        }
        match (one.own.get(topic), other.own.get(topic)) {
            (Some(one), Some(other)) => !one.is_alike(other),
            (None, None) => false,
            _ => {
                let shares = self.shared.message_model == Some(MessageModel::Clustering)
                    && self.shared.consume_type == Some(ConsumeType::Passively);
                let both_told = one.own.subscriptions.is_some() && other.own.subscriptions.is_some();
                shares && both_told && !topic.starts_with(names::RETRY_PREFIX)
            }
        }
    }

    /// Forgets conflicts that are none any more: clients left, or changed their minds.
    fn forget_settled(&mut self) {
        let mut conflicting = std::mem::take(&mut self.shared.conflicting);
        conflicting.retain(|topic| {
            let mut members = self.members.values();
            members.any(|one| self.members.values().any(|other| self.differ(one, other, topic)))
        });
        self.shared.conflicting = conflicting;
    }

    fn newest(&self, topic: &str) -> Option<&Arc<Subscription>> {
        let all = self.members.values().filter_map(|member| member.own.get(topic));
        all.max_by_key(|subscription| subscription.data().sub_version)
    }

    fn topics(&self) -> BTreeSet<String> {
        let all = self.members.values().filter_map(|member| member.own.subscriptions.as_ref());
        all.flat_map(BTreeMap::keys).cloned().collect()
    }

    fn change(&self, group: Arc<str>) -> Change<C> {
        let is_broadcasting = self.shared.message_model == Some(MessageModel::Broadcasting);
        Change { group, notify: if is_broadcasting { Vec::new() } else { self.channels() } }
    }
}

impl<C: Channel> Member<C> {
    fn look(&self) -> MemberLook {
        let wish = |(topic, wanted): (&String, &Arc<Subscription>)| {
            (topic.clone(), (wanted.kind().to_owned(), wanted.expression().to_owned()))
        };
        MemberLook {
            id: Arc::clone(&self.client.id),
            address: self.channel.peer(),
            language: self.client.language.name(),
            version: self.client.version,
            wants: self.own.subscriptions.as_ref().map(|wants| wants.iter().map(wish).collect()),
        }
    }
}

impl Own {
    fn get(&self, topic: &str) -> Option<&Arc<Subscription>> {
        self.subscriptions.as_ref()?.get(topic)
    }
}

impl Shared {
    fn update(&mut self, data: &ConsumerData) {
        self.consume_type = data.consume_type.or(self.consume_type);
        self.message_model = data.message_model.or(self.message_model);
        self.consume_from_where = data.consume_from_where.or(self.consume_from_where);
    }
}

#[cfg(test)]
mod tests;
