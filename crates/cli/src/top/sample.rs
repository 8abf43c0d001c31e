//! What topics and groups do, looked at a bounded number at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use apogee_client::admin::{Broker, BrokerState};
use apogee_client::{Admin, Error};
use apogee_message::names::{self, DLQ_PREFIX, RETRY_PREFIX};
use tokio::task::JoinSet;

/// How often the names of all topics are asked for.
const NAMES: Duration = Duration::from_secs(30);
/// Questions that wait for answers at a time.
const AT_ONCE: usize = 16;

/// A topic when it was looked at last.
#[derive(Debug, Clone, Default)]
pub struct Topic {
    /// Messages that are there.
    pub messages: i64,
    /// Queues.
    pub queues: usize,
    /// Messages sent to it, by second.
    pub rate: f64,
    seen: Option<Seen>,
}

/// A group when it was looked at last.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Messages that it has not consumed.
    pub lag: i64,
    /// Of these, such as are to be tried again.
    pub retries: i64,
    /// Messages that it consumed, by second.
    pub rate: f64,
    /// Topics that it consumes.
    pub topics: usize,
    /// Its members; none where that is not known.
    pub members: Option<usize>,
    seen: Option<Seen>,
}

/// A sum of offsets, and when it was read.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    offsets: i64,
}

impl Seen {
    /// How fast the sum grew since, by second; `otherwise` where nobody looked before.
    fn rate(before: Option<Self>, now: Self, otherwise: f64) -> f64 {
        let Some(before) = before else { return otherwise };
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        // Offsets that were set back are no messages.
        if seconds > 0.0 { (now.offsets - before.offsets).max(0) as f64 / seconds } else { otherwise }
    }
}

/// A broker and how it is.
#[derive(Debug, Clone)]
pub struct BrokerSeen {
    pub broker: Broker,
    /// None when it does not answer.
    pub state: Option<BrokerState>,
}

/// Looks at a cluster again and again. Of many topics and groups only some are asked for each time: those on the screen,
/// the busiest, and the others in turn.
pub struct Sampler {
    admin: Admin,
    system: bool,
    most: usize,
    names: Option<Instant>,
    pub brokers: Vec<BrokerSeen>,
    pub topics: BTreeMap<String, Topic>,
    pub groups: BTreeMap<String, Group>,
    /// The last names that had their turn.
    turns: [String; 2],
    /// Why the last look failed.
    pub error: Option<Error>,
}

impl Sampler {
    /// Looks at `most` topics and `most` groups at a time; at system topics only with `system`.
    pub fn new(admin: Admin, most: usize, system: bool) -> Self {
        let (topics, groups) = (BTreeMap::new(), BTreeMap::new());
        let turns = Default::default();
        Self { admin, system, most, names: None, brokers: Vec::new(), topics, groups, turns, error: None }
    }

    /// Looks once; names that are `shown` come first.
    pub async fn look(&mut self, shown: &[String]) {
        self.error = self.try_look(shown).await.err();
    }

    async fn try_look(&mut self, shown: &[String]) -> Result<(), Error> {
        if self.names.is_none_or(|at| at.elapsed() >= NAMES) {
            self.keep_names(self.admin.topics().await?);
            self.names = Some(Instant::now());
        }
        self.look_at_brokers().await?;
        let busy: Vec<(&String, f64)> = self.topics.iter().map(|(name, topic)| (name, topic.rate)).collect();
        let topics = chosen(&busy, shown, &mut self.turns[0], self.most);
        let busy: Vec<(&String, f64)> =
            self.groups.iter().map(|(name, group)| (name, group.rate + group.lag as f64)).collect();
        let groups = chosen(&busy, shown, &mut self.turns[1], self.most);
        self.look_at_topics(topics).await;
        self.look_at_groups(groups).await;
        Ok(())
    }

    fn keep_names(&mut self, all: BTreeSet<String>) {
        let groups: BTreeSet<&str> = all.iter().filter_map(|name| name.strip_prefix(RETRY_PREFIX)).collect();
        let has = |name: &str| name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX);
        let wanted = |name: &&String| self.system || !(has(name) || names::is_system_topic(name));
        let topics: BTreeSet<&String> = all.iter().filter(wanted).collect();
        self.topics.retain(|name, _| topics.contains(name));
        self.groups.retain(|name, _| groups.contains(&**name));
        for name in topics {
            self.topics.entry(name.clone()).or_default();
        }
        for name in groups {
            self.groups.entry(name.to_owned()).or_default();
        }
    }

    async fn look_at_brokers(&mut self) -> Result<(), Error> {
        let mut looks = JoinSet::new();
        let mut brokers = Vec::new();
        for (at, broker) in self.admin.brokers().await?.into_iter().enumerate() {
            let admin = self.admin.broker(&broker.address);
            looks.spawn(async move { (at, admin.broker_states().await.ok().and_then(|mut states| states.pop())) });
            brokers.push(BrokerSeen { broker, state: None });
        }
        while let Some(Ok((at, state))) = looks.join_next().await {
            brokers[at].state = state.map(|state| state.value);
        }
        self.brokers = brokers;
        Ok(())
    }

    async fn look_at_topics(&mut self, names: Vec<String>) {
        let admin = self.admin.clone();
        let look = move |name: String| {
            let admin = admin.clone();
            async move { (admin.topic_stats(&name).await, name) }
        };
        for (stats, name) in side_by_side(names, look).await {
            // A topic that was removed meanwhile is not in the next list.
            let (Ok(stats), Some(topic)) = (stats, self.topics.get_mut(&name)) else { continue };
            let now = Seen { at: Instant::now(), offsets: stats.queues.iter().map(|queue| queue.end).sum() };
            topic.rate = Seen::rate(topic.seen, now, stats.puts_per_second);
            topic.seen = Some(now);
            topic.messages = stats.messages();
            topic.queues = stats.queues.len();
        }
    }

    async fn look_at_groups(&mut self, names: Vec<String>) {
        let admin = self.admin.clone();
        let look = move |name: String| {
            let admin = admin.clone();
            async move {
                let members = admin.members(&name).await.ok().map(|members| members.clients.len());
                (admin.progress(&name, None).await, members, name)
            }
        };
        for (progress, members, name) in side_by_side(names, look).await {
            let (Ok(progress), Some(group)) = (progress, self.groups.get_mut(&name)) else { continue };
            let now = Seen { at: Instant::now(), offsets: progress.queues.iter().map(|queue| queue.committed).sum() };
            group.rate = Seen::rate(group.seen, now, progress.per_second);
            group.seen = Some(now);
            group.members = members;
            group.lag = progress.lag();
            let retries = progress.queues.iter().filter(|queue| queue.queue.topic.starts_with(RETRY_PREFIX));
            group.retries = retries.map(|queue| queue.lag()).sum();
            let topics = progress.queues.iter().map(|queue| &*queue.queue.topic);
            group.topics = topics.filter(|topic| !topic.starts_with(RETRY_PREFIX)).collect::<BTreeSet<_>>().len();
        }
    }

    /// How many topics have been looked at.
    pub fn topics_seen(&self) -> usize {
        self.topics.values().filter(|topic| topic.seen.is_some()).count()
    }

    /// How many groups have been looked at.
    pub fn groups_seen(&self) -> usize {
        self.groups.values().filter(|group| group.seen.is_some()).count()
    }
}

/// Which names are looked at: those that are shown, the busiest as far as they take no more than half, and others from the
/// one on whose turn it is.
fn chosen(all: &[(&String, f64)], shown: &[String], turn: &mut String, most: usize) -> Vec<String> {
    if all.len() <= most {
        return all.iter().map(|(name, _)| (*name).clone()).collect();
    }
    let known: BTreeSet<&String> = all.iter().map(|(name, _)| *name).collect();
    let mut chosen: BTreeSet<&String> = shown.iter().filter(|name| known.contains(name)).take(most / 2).collect();
    let mut busy: Vec<&(&String, f64)> = all.iter().filter(|(_, busy)| *busy > 0.0).collect();
    busy.sort_by(|one, other| other.1.total_cmp(&one.1));
    for (name, _) in busy {
        if chosen.len() >= most / 2 {
            break;
        }
        chosen.insert(name);
    }
    let first = all.partition_point(|(name, _)| **name <= *turn);
    for (name, _) in all[first..].iter().chain(&all[..first]) {
        if chosen.len() >= most {
            break;
        }
        turn.clone_from(name);
        chosen.insert(name);
    }
    chosen.into_iter().cloned().collect()
}

/// Asks for each name, a few at a time.
async fn side_by_side<T, F>(names: Vec<String>, look: impl Fn(String) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut looks, mut seen) = (JoinSet::new(), Vec::with_capacity(names.len()));
    for name in names {
        if looks.len() >= AT_ONCE {
            seen.extend(looks.join_next().await.and_then(Result::ok));
        }
        looks.spawn(look(name));
    }
    while let Some(look) = looks.join_next().await {
        seen.extend(look.ok());
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_all_have_their_turn_and_the_busy_ones_each_time() {
        let names: Vec<String> = (0..100).map(|number| format!("T{number:02}")).collect();
        let all: Vec<(&String, f64)> = names.iter().map(|name| (name, if name == "T77" { 9.0 } else { 0.0 })).collect();
        let (mut turn, mut seen) = (String::new(), BTreeSet::new());
        for _ in 0..13 {
            let now = chosen(&all, &["T50".to_owned(), "gone".to_owned()], &mut turn, 10);
            assert_eq!(now.len(), 10);
            assert!(["T50", "T77"].iter().all(|name| now.iter().any(|now| now == name)), "{now:?}");
            seen.extend(now);
        }
        assert_eq!(seen.len(), names.len());
    }

    #[test]
    fn rates_are_of_what_came_between_two_looks() {
        let before = Seen { at: Instant::now(), offsets: 100 };
        let now = Seen { at: before.at + Duration::from_secs(2), offsets: 150 };
        assert_eq!(Seen::rate(Some(before), now, 7.0), 25.0);
        assert_eq!(Seen::rate(None, now, 7.0), 7.0);
        assert_eq!(Seen::rate(Some(now), Seen { at: now.at + Duration::from_secs(1), offsets: 0 }, 7.0), 0.0);
    }
}
