//! Facts of consumer groups and producers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use apogee_client::admin::{
    ClientInfo, GroupMembers, GroupProgress, MemberState, MessageModel, QueueTimes, Subscription,
};
use apogee_client::{Admin, Error, Queue};
use apogee_message::names;
use tokio::task::JoinSet;

use super::Bounds;
use crate::facts::{Facts, Group, Holder, Member, Missing, Producer, Unread, is_group_of_system};

/// Questions that are on their way at a time.
const TOGETHER: usize = 32;

/// Asks for all groups, and more for those that have messages to read. Returns the topics that groups have to do with.
pub async fn ask(admin: &Admin, bounds: Bounds, topics: &BTreeSet<String>, facts: &mut Facts) -> BTreeSet<String> {
    match admin.producers().await {
        Ok(producers) => {
            facts.producers =
                producers.into_iter().map(|it| Producer { group: it.group, client: member(it.client) }).collect();
        }
        Err(error) => facts.lacks("old-clients", format!("the producers are not known: {error}")),
    }
    let names = match admin.groups().await {
        Ok(names) => names,
        Err(error) => {
            facts.lacks("stuck-queue", format!("the groups are not known: {error}"));
            return BTreeSet::new();
        }
    };
    let progress = match admin.clone().timeout(bounds.timeout.max(LIST)).all_progress().await {
        Ok(progress) => progress,
        Err(error) => {
            facts.lacks("stuck-queue", format!("how far the groups are is not known: {error}"));
            BTreeMap::new()
        }
    };
    let mut read: BTreeSet<String> = BTreeSet::new();
    for progress in progress.values() {
        read.extend(progress.queues.iter().map(|queue| queue.queue.topic.to_string()));
    }
    // Those that are furthest behind first.
    let lag = |name: &String| progress.get(name).map_or(0, GroupProgress::lag);
    let mut names: Vec<_> = names.into_iter().filter(|name| !is_group_of_system(name)).collect();
    names.sort_by_key(|name| std::cmp::Reverse(lag(name)));
    if names.len() > bounds.groups {
        let why =
            format!("{} groups, of which the {} that are furthest behind were looked at", names.len(), bounds.groups);
        facts.lacks("stuck-queue", why);
        names.truncate(bounds.groups);
    }
    let mut groups = Vec::new();
    for names in names.chunks(TOGETHER) {
        let mut asked = JoinSet::new();
        for name in names {
            let (admin, name) = (admin.clone(), name.clone());
            let queues = progress.get(&name).map(unread).unwrap_or_default();
            asked.spawn(async move {
                let members = admin.members(&name).await;
                (name, members, queues)
            });
        }
        for (name, members, queues) in asked.join_all().await {
            match members {
                Ok(members) => groups.push((group(name, &members, queues), members)),
                Err(error) => facts.lacks("subscriptions", format!("the members of {name} are not known: {error}")),
            }
        }
    }
    groups.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let mut budget = bounds.members;
    for (mut group, members) in groups {
        read.extend(members.subscriptions.iter().map(|subscription| subscription.topic.clone()));
        missing(&group.name, &members.subscriptions, topics, facts);
        look_closer(admin, &mut group, &mut budget, facts).await;
        if !group.members.is_empty() || !group.queues.is_empty() {
            facts.groups.push(group);
        }
    }
    if budget == 0 {
        facts.lacks("subscriptions", format!("only {} members were asked what they do", bounds.members));
    }
    read
}

/// How long the list of all groups' progress may take: brokers make it anew for each question.
const LIST: Duration = Duration::from_secs(10);

fn unread(progress: &GroupProgress) -> Vec<Unread> {
    let queues = progress.queues.iter().filter(|queue| queue.lag() > 0);
    queues
        .map(|queue| Unread {
            topic: queue.queue.topic.to_string(),
            broker: queue.queue.broker.to_string(),
            id: queue.queue.id,
            committed: queue.committed,
            end: queue.end,
            ..Unread::default()
        })
        .collect()
}

fn group(name: String, members: &GroupMembers, queues: Vec<Unread>) -> Group {
    Group {
        name,
        broadcasts: members.model == Some(MessageModel::Broadcasting),
        members: members.clients.iter().cloned().map(member).collect(),
        queues,
    }
}

fn member(client: ClientInfo) -> Member {
    Member { id: client.id, address: client.address, language: client.language, version: client.version, wants: None }
}

fn missing(group: &str, subscriptions: &[Subscription], topics: &BTreeSet<String>, facts: &mut Facts) {
    let wanted = subscriptions.iter().map(|subscription| &subscription.topic);
    let gone =
        wanted.filter(|topic| !topic.starts_with('%') && !names::is_system_topic(topic) && !topics.contains(*topic));
    facts.missing.extend(gone.map(|topic| Missing {
        topic: topic.clone(),
        group: Some(group.to_owned()),
        asked: None,
    }));
}

/// Asks the members what they do, and how long the messages have been waiting.
async fn look_closer(admin: &Admin, group: &mut Group, budget: &mut usize, facts: &mut Facts) {
    if group.members.is_empty() {
        return;
    }
    let mut times: HashMap<Queue, QueueTimes> = HashMap::new();
    let mut first: HashMap<Queue, i64> = HashMap::new();
    let topics: BTreeSet<_> = group.queues.iter().map(|queue| queue.topic.clone()).collect();
    for topic in topics {
        match admin.times(&group.name, &topic).await {
            Ok(of_topic) => times.extend(of_topic.into_iter().map(|times| (times.queue.clone(), times))),
            Err(error) => {
                facts.lacks("stuck-queue", format!("times of {} in {topic} are not known: {error}", group.name))
            }
        }
        if let Ok(stats) = admin.topic_stats(&topic).await {
            first.extend(stats.queues.into_iter().map(|range| (range.queue, range.first)));
        }
    }
    let is_still = |queue: &Queue| times.get(queue).is_some_and(|times| times.behind >= facts.stuck_after);
    let is_stuck = group.queues.iter().any(|queue| is_still(&queue_of(queue)));
    // Asking costs a client something: only those who may differ, or may be stuck.
    let states = match group.members.len() > 1 && !group.broadcasts || is_stuck {
        true => member_states(admin, group, budget, facts).await,
        false => Vec::new(),
    };
    for queue in &mut group.queues {
        let name = queue_of(queue);
        queue.still = times.get(&name).map(|times| times.behind);
        queue.first = first.get(&name).copied();
        queue.holder = holder(&states, &name, states.len() == group.members.len());
    }
    for (id, state) in states {
        if let Some(member) = group.members.iter_mut().find(|member| member.id == id) {
            let wants =
                state.subscriptions.iter().map(|wanted| (wanted.topic.clone(), wish(&wanted.kind, &wanted.expression)));
            member.wants = Some(wants.collect());
        }
    }
}

fn queue_of(queue: &Unread) -> Queue {
    Queue { topic: queue.topic.as_str().into(), broker: queue.broker.as_str().into(), id: queue.id }
}

/// What a subscription wants, as people read it; tags in order, which makes no difference.
pub fn wish(kind: &str, expression: &str) -> String {
    if !kind.is_empty() && kind != "TAG" {
        return format!("{kind} {expression}");
    }
    let mut tags: Vec<_> = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()).collect();
    tags.sort_unstable();
    if tags.is_empty() { "*".to_owned() } else { tags.join(" || ") }
}

/// Asks the members of a group which queues they read.
pub async fn hold(admin: &Admin, group: &mut Group) {
    /// Members that are asked.
    const MOST: usize = 20;
    let (mut budget, mut told) = (MOST, Facts::default());
    let states = member_states(admin, group, &mut budget, &mut told).await;
    let all_told = states.len() == group.members.len();
    for queue in &mut group.queues {
        queue.holder = holder(&states, &queue_of(queue), all_told);
    }
}

async fn member_states(
    admin: &Admin,
    group: &Group,
    budget: &mut usize,
    facts: &mut Facts,
) -> Vec<(String, MemberState)> {
    let mut asked = JoinSet::new();
    for member in group.members.iter().take(*budget) {
        let (admin, group, id) = (admin.clone(), group.name.clone(), member.id.clone());
        asked.spawn(async move { (admin.member_state(&group, &id, false).await, id) });
    }
    *budget -= asked.len();
    let mut states = Vec::new();
    for (state, id) in asked.join_all().await {
        match state {
            Ok(state) => states.push((id, state)),
            Err(error) => facts.lacks("subscriptions", silent(&group.name, &id, &error)),
        }
    }
    states
}

fn silent(group: &str, id: &str, error: &Error) -> String {
    format!("{id} of {group} does not tell what it does: {error}")
}

/// Who reads a queue. `all_told`: every member said which queues it reads.
fn holder(states: &[(String, MemberState)], queue: &Queue, all_told: bool) -> Holder {
    for (id, state) in states {
        if let Some(held) = state.queues.iter().find(|held| held.queue == *queue && !held.dropped) {
            let idle = held.last_consumed.and_then(|last| SystemTime::now().duration_since(last).ok());
            return Holder::Member { id: id.clone(), idle, waiting: Some(held.waiting) };
        }
    }
    if all_told && !states.is_empty() { Holder::Nobody } else { Holder::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_tags_makes_no_difference() {
        assert_eq!(wish("TAG", "b|| a"), wish("", "a || b"));
        assert_eq!((wish("TAG", ""), wish("SQL92", "a > 1")), ("*".to_owned(), "SQL92 a > 1".to_owned()));
    }
}
