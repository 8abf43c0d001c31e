//! Why a topic has no route: one answer of upstream's to many causes, told apart.

use std::fmt;

use apogee_message::names::{self, AUTO_CREATE_TOPIC, DLQ_PREFIX, NameError, RETRY_PREFIX};

use super::{PERM_INHERIT, State};

/// Characters of topic names.
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%|";
/// Longer names get no suggestion: the work grows with the square of the length.
const LONGEST_SUGGESTION: usize = 128;

/// There is no route for a topic. Its text begins as upstream's does and goes on with the cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("No topic route info in name server for the topic: {topic}\n{cause}{}", Suggestion(similar))]
pub struct NoRoute {
    /// The topic asked for.
    pub topic: String,
    /// Why it has no route.
    pub cause: Cause,
    /// A topic whose name differs by one letter.
    pub similar: Option<String>,
}

/// Why a topic has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// No broker is up.
    NoBroker,
    /// No broker has it; some create topics on first use.
    NotCreatedYet {
        /// Brokers that are up.
        brokers: usize,
    },
    /// No broker has it, and none creates topics on first use.
    CreationOff {
        /// Brokers that are up.
        brokers: usize,
        /// A cluster to create it in.
        cluster: String,
    },
    /// Nobody may read or write it.
    NoPermission {
        /// The brokers that have it.
        brokers: Vec<String>,
        /// One of their clusters.
        cluster: String,
        /// A broker whose write permission an operator took away.
        wiped: Option<String>,
    },
    /// A group's topic, which a broker makes when the group first needs it.
    GroupTopic {
        /// When that is.
        when: &'static str,
    },
    /// No topic can have this name.
    Illegal(NameError),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBroker => f.write_str(
                "No broker is registered here: start one, or see that the brokers' namesrvAddr names this name server \
                 and that they reach it.",
            ),
            Self::NotCreatedYet { brokers } => write!(
                f,
                "{} registered here, none has the topic: it is created when the first message is sent to it.",
                Up(*brokers)
            ),
            Self::CreationOff { brokers, cluster } => write!(
                f,
                "{} registered here, none has the topic, and automatic creation is off (autoCreateTopicEnable=false): \
                 create it, for example by `mqadmin updateTopic -c {cluster} -t TOPIC`, or see that the clients use \
                 the right name server.",
                Up(*brokers)
            ),
            Self::NoPermission { brokers, cluster, wiped } => {
                let names = brokers.join(", ");
                write!(
                    f,
                    "The topic exists on {names}, but has no permission: nobody may read or write it (perm 0). "
                )?;
                match wiped {
                    Some(broker) => write!(f, "Restore it by `mqadmin addWritePerm -b {broker}`."),
                    None => write!(f, "Give it one, for example by `mqadmin updateTopic -c {cluster} -t TOPIC -p 6`."),
                }
            }
            Self::Illegal(error) => write!(f, "No topic can have this name: {error}."),
            Self::GroupTopic { when } => write!(f, "A broker makes this topic {when}."),
        }
    }
}

struct Up(usize);

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 broker is"),
            brokers => write!(f, "{brokers} brokers are"),
        }
    }
}

struct Suggestion<'a>(&'a Option<String>);

impl fmt::Display for Suggestion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |similar| write!(f, " Did you mean `{similar}`?"))
    }
}

impl State {
    /// Why a topic that has no usable route has none.
    pub(super) fn why_not(&self, topic: &str) -> NoRoute {
        let cause = self.cause(topic);
        let unknown = matches!(cause, Cause::NotCreatedYet { .. } | Cause::CreationOff { .. });
        let similar = if unknown && topic != AUTO_CREATE_TOPIC { self.similar(topic) } else { None };
        NoRoute { topic: topic.to_owned(), cause, similar }
    }

    fn cause(&self, topic: &str) -> Cause {
        let holders = self.topics.get(topic).iter().filter_map(|queues| self.brokers.get(queues.broker));
        let holders: Vec<_> = holders.collect();
        if let Some(first) = holders.first() {
            return Cause::NoPermission {
                brokers: holders.iter().map(|broker| broker.name.to_string()).collect(),
                cluster: first.cluster.to_string(),
                wiped: holders.iter().find(|broker| broker.write_wiped).map(|broker| broker.name.to_string()),
            };
        }
        if let Err(illegal) = names::check_topic(topic) {
            return Cause::Illegal(illegal);
        }
        let Some((_, some)) = self.brokers.iter().next() else { return Cause::NoBroker };
        if topic.starts_with(RETRY_PREFIX) {
            return Cause::GroupTopic { when: "when a consumer of the group first connects to it" };
        }
        if topic.starts_with(DLQ_PREFIX) {
            return Cause::GroupTopic { when: "when a message of the group first runs out of retries" };
        }
        let brokers = self.brokers.len();
        let creates = self.topics.get(AUTO_CREATE_TOPIC).iter().any(|queues| queues.perm & PERM_INHERIT != 0);
        if creates {
            Cause::NotCreatedYet { brokers }
        } else {
            Cause::CreationOff { brokers, cluster: some.cluster.to_string() }
        }
    }

    /// A topic whose name differs by one letter more, less or other, or by two neighbours swapped.
    /// Looks the variants up instead of comparing with all names: a client asks for a topic that
    /// doesn't exist again and again, and there may be a million others.
    fn similar(&self, topic: &str) -> Option<String> {
        if !topic.is_ascii() || topic.len() > LONGEST_SUGGESTION {
            return None;
        }
        let known = |bytes: &[u8]| {
            let name = std::str::from_utf8(bytes).ok()?;
            self.topics.contains(name).then(|| name.to_owned())
        };
        let mut bytes = topic.as_bytes().to_vec();
        for at in 0..bytes.len() {
            if at + 1 < bytes.len() {
                bytes.swap(at, at + 1);
                let swapped = known(&bytes);
                bytes.swap(at, at + 1);
                if swapped.is_some() {
                    return swapped;
                }
            }
            let own = bytes[at];
            for &other in ALPHABET {
                bytes[at] = other;
                if let Some(replaced) = known(&bytes) {
                    return Some(replaced);
                }
            }
            bytes.remove(at);
            if let Some(shorter) = known(&bytes) {
                return Some(shorter);
            }
            bytes.insert(at, own);
        }
        for at in 0..=bytes.len() {
            bytes.insert(at, 0);
            for &more in ALPHABET {
                bytes[at] = more;
                if let Some(longer) = known(&bytes) {
                    return Some(longer);
                }
            }
            bytes.remove(at);
        }
        None
    }
}
