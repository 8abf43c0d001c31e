//! Topics: wanted ones are there, and what is sent is read.

use std::time::Duration;

use apogee_message::names;

use super::{Found, about};
use crate::{Facts, Severity};

/// A topic that got a message so recently is in use.
const IN_USE: Duration = Duration::from_secs(600);
/// A half message may wait for so long.
const UNDECIDED: Duration = Duration::from_secs(600);

/// Topics that are wanted exist.
pub fn missing(facts: &Facts, found: &mut Found<'_>) {
    let states = facts.brokers.iter().filter_map(|broker| broker.state.as_ref().ok());
    let creates = states.filter_map(|state| state.creates_topics).any(|creates| creates);
    for missing in &facts.missing {
        let topic = &missing.topic;
        let (subject, what) = match (&missing.group, &missing.asked) {
            (Some(group), _) => {
                (format!("{topic} for {group}"), format!("{group} subscribes to {topic}, which no broker has"))
            }
            (None, Some((peer, times))) => {
                (topic.clone(), format!("clients asked for it {times} times, last {peer}, and no broker has it"))
            }
            (None, None) => continue,
        };
        let (severity, why, advice) = if creates {
            let advice = format!(
                "Nothing, if its first message is still to come: that creates it. Else see that the name is spelt \
                 right, or create it: `mqadmin updateTopic -c CLUSTER -t {topic}`."
            );
            (Severity::Note, "Its consumers wait, and say nothing.", advice)
        } else {
            let advice = format!(
                "Create it: `mqadmin updateTopic -c CLUSTER -t {topic}`. Or let brokers create topics that are sent \
                 to: autoCreateTopicEnable=true. Or see that the name is spelt right, and that the clients use the \
                 right name server."
            );
            let why = "Topics are not created by sending to them here (autoCreateTopicEnable=false): producers fail \
                       with `No route info of this topic`, consumers wait.";
            (Severity::Warning, why, advice)
        };
        found.add(severity, subject, what, why, advice);
    }
}

/// What is sent is read.
pub fn unread(facts: &Facts, found: &mut Found<'_>) {
    for topic in &facts.topics {
        let is_used = topic.messages > 0 && topic.idle.is_some_and(|idle| idle < IN_USE);
        if !is_used || topic.is_read != Some(false) || !is_of_users(&topic.name) {
            continue;
        }
        found.add(
            Severity::Note,
            &topic.name,
            format!(
                "{} messages, the last {} ago, and no group has ever read one",
                topic.messages,
                about(topic.idle.unwrap_or_default())
            ),
            "They take room on the disk for nothing, or a consumer that should read them does not.",
            "Start the consumer and see that it names the topic exactly so; or stop sending.".to_owned(),
        );
    }
}

fn is_of_users(topic: &str) -> bool {
    !names::is_system_topic(topic) && !topic.starts_with('%')
}

/// No message was given up.
pub fn dead_letters(facts: &Facts, found: &mut Found<'_>) {
    for topic in facts.topics.iter().filter(|topic| topic.messages > 0) {
        let Some(group) = topic.name.strip_prefix(names::DLQ_PREFIX) else { continue };
        let last = topic.idle.map(|idle| format!(", the last {} ago", about(idle))).unwrap_or_default();
        found.add(
            Severity::Warning,
            group,
            format!("{} dead letters{last}: messages that {group} failed to consume too often", topic.messages),
            "Nobody consumes them any more; they are removed when they are old enough.",
            format!(
                "See what they are (`mqadmin consumeMessage -t {name}`), mend the consumer, and send them again. They \
                 can be read once the topic may: `mqadmin updateTopicPerm -c CLUSTER -t {name} -p 6`.",
                name = topic.name
            ),
        );
    }
}

/// Half messages are decided.
pub fn undecided(facts: &Facts, found: &mut Found<'_>) {
    for halves in facts.halves.iter().filter(|halves| halves.oldest >= UNDECIDED) {
        let many = halves.undecided.map(|count| format!("{count} half messages are undecided, ")).unwrap_or_default();
        found.add(
            Severity::Warning,
            &halves.broker,
            format!("{many}the oldest half message has been waiting for a decision for {}", about(halves.oldest)),
            "Transactions hang: their messages are not delivered, and are dropped after transactionCheckMax questions.",
            "See that producers of the transactions' groups run and answer the broker's questions (their \
             TransactionListener); a message that was given up is in TRANS_CHECK_MAX_TIME_TOPIC."
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::found;
    use crate::facts::{Halves, Missing, Topic};
    use crate::{Broker, BrokerState};

    fn topic(name: &str, is_read: Option<bool>, idle: u64) -> Facts {
        let topic = Topic { name: name.into(), messages: 3, idle: Some(Duration::from_secs(idle)), is_read };
        Facts { topics: vec![topic], ..Facts::default() }
    }

    #[test]
    fn a_topic_that_grows_unread_is_named() {
        assert_eq!(found(&topic("T", Some(false), 5)), ["note unread-topic T"]);
        for fine in [
            topic("T", Some(true), 5),
            topic("T", None, 5),
            topic("T", Some(false), 601),
            topic("%RETRY%G", Some(false), 5),
        ] {
            assert!(found(&fine).is_empty(), "{fine:?}");
        }
    }

    #[test]
    fn dead_letters_are_the_group_s() {
        assert_eq!(found(&topic("%DLQ%G", Some(false), 5)), ["warning dead-letters G"]);
    }

    #[test]
    fn a_missing_topic_is_worse_where_none_are_created() {
        let missing = Missing { topic: "T".into(), group: Some("G".into()), asked: None };
        let facts = |creates| {
            let state = BrokerState { active: true, creates_topics: Some(creates), ..BrokerState::default() };
            let broker = Broker { name: "a".into(), address: "h:1".into(), state: Ok(state) };
            Facts { brokers: vec![broker], missing: vec![missing.clone()], ..Facts::default() }
        };
        assert_eq!(found(&facts(true)), ["note missing-topic T for G"]);
        assert_eq!(found(&facts(false)), ["warning missing-topic T for G"]);
    }

    #[test]
    fn half_messages_may_wait_a_while() {
        let halves = |seconds| {
            let halves = Halves { broker: "a".into(), undecided: Some(2), oldest: Duration::from_secs(seconds) };
            Facts { halves: vec![halves], ..Facts::default() }
        };
        assert!(found(&halves(599)).is_empty());
        assert_eq!(found(&halves(600)), ["warning half-messages a"]);
    }
}
