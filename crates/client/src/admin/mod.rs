//! Administration: topics, groups, offsets, clients, messages, brokers and name servers (upstream
//! `DefaultMQAdminExt`).
//!
//! [`Admin`] is for all brokers of all clusters unless it is told otherwise. What one broker says of itself comes
//! as [`At`]; what is spread over several, such as the queues of a topic, comes as one.
//!
//! Topics and groups have their full names here, whatever the client's namespace: see [`crate::Client::qualified`].
//!
//! What is changed on several brokers is changed one after the other, and ends with the first that fails. All
//! changes may be made again: those who have them already do nothing.
//!
//! ```no_run
//! use apogee_client::Client;
//! use apogee_client::admin::TopicConfig;
//!
//! # async fn example() -> Result<(), apogee_client::Error> {
//! let client = Client::new("127.0.0.1:9876")?;
//! let admin = client.admin().cluster("DefaultCluster");
//! admin.put_topic(&TopicConfig::new("Orders", 8).attribute("message.type", "FIFO")).await?;
//! let progress = admin.progress("billing", None).await?;
//! println!("billing is {} messages behind", progress.lag());
//! # Ok(())
//! # }
//! ```

mod access;
mod broker;
mod client;
mod cluster;
mod controller;
mod engine;
mod group;
mod lite;
mod message;
mod namesrv;
mod offset;
mod page;
mod progress;
mod route;
mod static_topic;
mod topic;
mod trace;
mod track;
mod tuning;
mod unit;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apogee_wire::Command;
use apogee_wire::bodies::{Body, MessageQueue};

use crate::peers::accepted;
use crate::shared::Shared;
use crate::{Error, Queue};

pub use access::{Access, Rule, User, UserChange};
pub use broker::{BrokerState, Counter, Rate, Rates, Replica, Replication, SlaveState};
pub use client::{
    ClientInfo, ConsumeFromWhere, ConsumeType, Consumed, GroupMembers, MemberQueue, MemberRates, MemberState,
    MessageModel, Outcome, PoppedQueue, ProducerInfo, Subscription,
};
pub use cluster::Broker;
pub use controller::{ControllerState, Controllers, Elected, ReplicaId, ReplicaSet};
pub use engine::{Epoch, Epochs, ReadAhead, TimerEngine};
pub use group::{GroupConfig, RetryDelays};
pub use lite::{LiteClient, LiteLag, LiteParent, LiteProgress, LiteState, LiteTopic};
pub use message::Query;
pub use offset::{CommittedOffset, QueueOffset};
pub use progress::{GroupProgress, QueueProgress, QueueTimes};
pub use route::{QueueRange, TopicBroker, TopicRoute, TopicStats};
pub use static_topic::StaticTopic;
pub use topic::{Permission, TopicConfig};
pub use trace::{TraceEvent, TraceKind};
pub use track::{Track, TrackState};
pub use tuning::{ColdReader, ColdReads, GroupMode, RequestMode};
pub use unit::{QueueUnit, QueueUnits};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer one may take that a broker has to get from a client first.
const RELAYED: Duration = Duration::from_secs(10);

/// Looks after a cluster; made by [`crate::Client::admin`]; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
    scope: Scope,
    timeout: Duration,
}

/// Which brokers are meant.
#[derive(Debug, Clone)]
enum Scope {
    All,
    Cluster(String),
    /// The one at an address.
    Broker(String),
}

/// What the broker or name server at an address says.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for config in admin.topic_configs("Orders").await? {
///     println!("{}: {} queues", config.address, config.write_queues);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// Who says it, as `host:port`.
    pub address: String,
    /// What it says.
    pub value: T,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, scope: Scope::All, timeout: TIMEOUT }
    }

    /// Only for the brokers of a cluster.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let names: Vec<_> = admin.cluster("DefaultCluster").brokers().await?.into_iter().map(|broker| broker.name).collect();
    /// println!("{names:?}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster(&self, name: impl Into<String>) -> Self {
        Self { scope: Scope::Cluster(name.into()), ..self.clone() }
    }

    /// Only for the broker at an address (`host:port`), whether or not name servers know it.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// let state = admin.broker("127.0.0.1:10911").broker_states().await?.remove(0);
    /// println!("{}", state.version);
    /// # Ok(())
    /// # }
    /// ```
    pub fn broker(&self, address: impl Into<String>) -> Self {
        Self { scope: Scope::Broker(address.into()), ..self.clone() }
    }

    /// How long each answer may take (5 s).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks a peer, whatever it answers.
    async fn ask(&self, address: &str, question: &Command) -> Result<Command, Error> {
        self.ask_for(address, question, self.timeout).await
    }

    async fn ask_for(&self, address: &str, question: &Command, timeout: Duration) -> Result<Command, Error> {
        self.shared.check_open()?;
        self.shared.peers.ask(address, self.shared.own(question.clone()), timeout).await
    }

    /// Asks a peer; an answer that refuses is an error.
    async fn call(&self, address: &str, question: &Command) -> Result<Command, Error> {
        accepted(address, self.ask(address, question).await?)
    }

    /// Asks a peer for a body.
    async fn body<T: Body>(&self, address: &str, question: &Command) -> Result<T, Error> {
        body(address, &self.call(address, question).await?)
    }

    /// Asks the first name server that answers, whatever it says; returns its address, too.
    async fn ask_names(&self, question: Command) -> Result<(&str, Command), Error> {
        self.shared.ask_name_servers(question, self.timeout, |_| true).await
    }

    /// Asks all name servers, each of which keeps what it is told for itself.
    async fn call_all_names(&self, question: &Command) -> Result<Vec<At<Command>>, Error> {
        let mut answers = Vec::new();
        for name in self.shared.name_servers() {
            answers.push(At { address: name.clone(), value: self.call(name, question).await? });
        }
        Ok(answers)
    }

    /// Asks all masters.
    async fn call_all(&self, question: &Command) -> Result<Vec<At<Command>>, Error> {
        let mut answers = Vec::new();
        for address in self.masters().await? {
            let value = self.call(&address, question).await?;
            answers.push(At { address, value });
        }
        Ok(answers)
    }

    /// Asks all masters for a body.
    async fn all_bodies<T: Body>(&self, question: &Command) -> Result<Vec<At<T>>, Error> {
        let read = |answer: At<Command>| {
            let value = body(&answer.address, &answer.value)?;
            Ok(At { address: answer.address, value })
        };
        self.call_all(question).await?.into_iter().map(read).collect()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("scope", &self.scope).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The body of an answer.
fn body<T: Body>(peer: &str, answer: &Command) -> Result<T, Error> {
    T::decode(&answer.body).map_err(|error| Error::json(peer, &error))
}

/// A queue as brokers write it.
fn queue_of(queue: MessageQueue) -> Queue {
    Queue { topic: queue.topic.into(), broker: queue.broker_name.into(), id: queue.queue_id }
}

/// A time in milliseconds since 1970; brokers write 0 and less for none.
fn time(milliseconds: i64) -> Option<SystemTime> {
    let since = u64::try_from(milliseconds).ok().filter(|since| *since > 0)?;
    UNIX_EPOCH.checked_add(Duration::from_millis(since))
}

/// Milliseconds since 1970.
fn milliseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A count as it travels.
fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Which changes lead from some attributes to others, as brokers want them: `+name` sets, `-name` removes.
fn changes(now: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let set = wanted.iter().filter(|(name, value)| now.get(*name) != Some(value));
    let set = set.map(|(name, value)| (format!("+{name}"), value.clone()));
    let removed = now.keys().filter(|name| !wanted.contains_key(*name)).map(|name| (format!("-{name}"), String::new()));
    set.chain(removed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_stay_are_not_named() {
        let attributes = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let now = attributes(&[("stays", "1"), ("changes", "1"), ("goes", "1")]);
        let wanted = attributes(&[("stays", "1"), ("changes", "2"), ("comes", "3")]);
        assert_eq!(changes(&now, &wanted), attributes(&[("+changes", "2"), ("+comes", "3"), ("-goes", "")]));
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn a_time_that_is_none_is_not_the_year_1970() {
        assert_eq!((time(0), time(-1)), (None, None));
        assert_eq!(time(1_700_000_000_000).map(milliseconds), Some(1_700_000_000_000));
        assert_eq!(milliseconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
