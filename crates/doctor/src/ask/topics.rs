//! Facts of topics.

use std::collections::BTreeSet;
use std::time::SystemTime;

use apogee_client::{Admin, Error};
use apogee_message::names;
use tokio::task::JoinSet;

use super::Bounds;
use crate::facts::{Facts, Halves, Topic};

/// Questions that are on their way at a time.
const TOGETHER: usize = 32;
/// The group in whose name brokers follow half messages.
const TRANSACTIONS: &str = "CID_RMQ_SYS_TRANS";

/// Asks for topics that no group is known to read, and for dead letters.
pub async fn ask(admin: &Admin, bounds: Bounds, topics: &BTreeSet<String>, read: &BTreeSet<String>, facts: &mut Facts) {
    let clusters_and_brokers = match admin.system_topics().await {
        Ok(topics) => topics,
        Err(error) => {
            return facts.lacks("unread-topic", format!("which topics are the system's is not known: {error}"));
        }
    };
    let dead = topics.iter().filter(|topic| topic.starts_with(names::DLQ_PREFIX));
    let unread = topics.iter().filter(|topic| {
        !topic.starts_with('%')
            && !names::is_system_topic(topic)
            && !clusters_and_brokers.contains(*topic)
            && !read.contains(*topic)
            && !is_reply_topic(topic)
    });
    for (check, wanted) in [("dead-letters", dead.collect::<Vec<_>>()), ("unread-topic", unread.collect())] {
        if wanted.len() > bounds.topics {
            facts.lacks(check, format!("{} topics, of which {} were looked at", wanted.len(), bounds.topics));
        }
        let wanted: Vec<_> = wanted.into_iter().take(bounds.topics).collect();
        for some in wanted.chunks(TOGETHER) {
            let mut asked = JoinSet::new();
            for name in some {
                let (admin, name) = (admin.clone(), (*name).clone());
                asked.spawn(async move { topic(&admin, &name).await.map_err(|error| (name, error)) });
            }
            for topic in asked.join_all().await {
                match topic {
                    Ok(topic) => facts.topics.push(topic),
                    // Removed since the list was made.
                    Err((_, Error::NoTopic(_))) => {}
                    Err((name, error)) => facts.lacks(check, format!("what is in {name} is not known: {error}")),
                }
            }
        }
    }
    facts.topics.sort_by(|one, other| one.name.cmp(&other.name));
}

/// Upstream's topics of replies: who waits for one reads it in other ways.
fn is_reply_topic(topic: &str) -> bool {
    topic.ends_with("_REPLY_TOPIC")
}

async fn topic(admin: &Admin, name: &str) -> Result<Topic, Error> {
    let stats = admin.topic_stats(name).await?;
    let messages = stats.queues.iter().map(|queue| queue.end - queue.first).sum();
    let last = stats.queues.iter().filter_map(|queue| queue.last_stored).max();
    let idle = last.map(|last| SystemTime::now().duration_since(last).unwrap_or_default());
    // Not for dead letters, which nobody is expected to read.
    let is_read = match messages > 0 && !name.starts_with('%') {
        true => Some(!admin.groups_of(name).await?.is_empty()),
        false => None,
    };
    Ok(Topic { name: name.to_owned(), messages, idle, is_read })
}

/// Asks each master how long half messages have been waiting.
pub async fn ask_halves(admin: &Admin, facts: &mut Facts) {
    let reached: Vec<_> = facts.brokers.iter().filter(|broker| broker.state.is_ok()).cloned().collect();
    for broker in reached {
        let times = admin.broker(&broker.address).times(TRANSACTIONS, names::TRANS_HALF_TOPIC).await;
        // A broker that never had one has no such topic.
        let Ok(times) = times else { continue };
        let oldest = times.iter().map(|times| times.behind).max().unwrap_or_default();
        if !oldest.is_zero() {
            facts.halves.push(Halves { broker: broker.name, undecided: None, oldest });
        }
    }
}
