//! How a consumer is to be.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Consumer;
use super::balance::Balance;
use super::group::{Group, Kind, Settings, Subscription};
use super::held::Bounds;
use super::offsets::Offsets;
use crate::interceptor::{Hooks, Interceptor, Interceptors};
use crate::pull::{Filter, From};
use crate::shared::Shared;
use crate::{Codecs, Error};

/// How a consumer is to be.
///
/// ```no_run
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// use apogee_client::Balance;
///
/// let consumer = client
///     .consumer("billing")
///     .subscribe("Payments")
///     .subscribe_tags("Orders", "book || pen")
///     .from_first()
///     .balance(Balance::ConsistentHash)
///     .orderly()
///     .join()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConsumerBuilder {
    shared: Arc<Shared>,
    group: String,
    subscriptions: Vec<(String, Filter)>,
    settings: Settings,
    /// Where offsets are kept that are not the group's.
    folder: Option<PathBuf>,
    interceptors: Interceptors,
}

impl ConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let settings = Settings {
            kind: Kind::Concurrent,
            from: From::Last,
            balance: Balance::default(),
            bounds: Bounds { messages: 1_000, bytes: 16 << 20, span: 2_000 },
            max_reconsume_times: None,
            suspend: Duration::from_secs(1),
            commit_every: Duration::from_secs(5),
            rebalance_every: Duration::from_secs(20),
        };
        let interceptors = shared.settings.interceptors.clone();
        Self { shared, group, subscriptions: Vec::new(), settings, folder: None, interceptors }
    }

    /// All messages of a topic. All members of a group must subscribe alike.
    pub fn subscribe(self, topic: impl Into<String>) -> Self {
        self.filtered(topic, Filter::all())
    }

    /// Messages of a topic with one of some tags, written `a || b`.
    pub fn subscribe_tags(self, topic: impl Into<String>, tags: impl Into<String>) -> Self {
        self.filtered(topic, Filter::tags(tags))
    }

    /// Messages of a topic that a SQL92 expression matches, such as `price > 10 AND region = 'eu'`.
    pub fn subscribe_sql(self, topic: impl Into<String>, expression: impl Into<String>) -> Self {
        self.filtered(topic, Filter::sql(expression))
    }

    fn filtered(mut self, topic: impl Into<String>, filter: Filter) -> Self {
        let topic = topic.into();
        self.subscriptions.retain(|(other, _)| *other != topic);
        self.subscriptions.push((topic, filter));
        self
    }

    /// Where the group begins in a queue that it was never in (with the next message that comes).
    pub fn from(mut self, from: From) -> Self {
        self.settings.from = from;
        self
    }

    /// The same from the oldest message on.
    pub fn from_first(self) -> Self {
        self.from(From::First)
    }

    /// Of each queue, the messages come in order: the next one when the one before is settled (upstream
    /// `MessageListenerOrderly`). The queue is locked at its broker, so that no other member reads it meanwhile; all
    /// members must be orderly. A message that failed holds up its queue: see
    /// [`suspend`](ConsumerBuilder::suspend).
    pub fn orderly(mut self) -> Self {
        self.settings.kind = Kind::Orderly;
        self
    }

    /// How long a queue rests before a message that failed comes again (1 s; between 10 ms and 30 s). Of orderly
    /// consumers.
    pub fn suspend(mut self, time: Duration) -> Self {
        self.settings.suspend = time;
        self
    }

    /// Every member gets all messages (upstream `MessageModel.BROADCASTING`). How far it is, it keeps itself, in
    /// the file `<group>/offsets.json` under a folder: no two members may use the same one at a time. The file is as
    /// the Java client's, whose folder is `~/.rocketmq_offsets/<client id>`. A message that fails is written to
    /// the log and dropped.
    pub fn broadcasting(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// How queues are shared among the members.
    pub fn balance(mut self, balance: Balance) -> Self {
        self.settings.balance = balance;
        self
    }

    /// Messages of one queue that are fetched and not settled (1,000).
    pub fn max_open_messages(mut self, messages: usize) -> Self {
        self.settings.bounds.messages = messages.max(1);
        self
    }

    /// Bytes of bodies of one queue that are fetched and not settled (16 MiB).
    pub fn max_open_bytes(mut self, bytes: usize) -> Self {
        self.settings.bounds.bytes = bytes.max(1);
        self
    }

    /// How often a message is delivered again before it goes to the group's dead letters (16; an orderly consumer:
    /// without end).
    pub fn max_reconsume_times(mut self, times: u32) -> Self {
        self.settings.max_reconsume_times = Some(times.try_into().unwrap_or(i32::MAX));
        self
    }

    /// How often offsets are committed (5 s); what came since is delivered again after a crash.
    pub fn commit_every(mut self, every: Duration) -> Self {
        self.settings.commit_every = every;
        self
    }

    /// By which bodies are decoded, instead of the client's codecs.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.interceptors.codecs = codecs;
        self
    }

    /// Calls an interceptor before and after each message is consumed, after those of the client.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Joins the group.
    ///
    /// # Errors
    /// When a name is none, there is no subscription, a topic is not there, or the file of a broadcasting consumer's
    /// offsets cannot be read or is used by another.
    pub async fn join(mut self) -> Result<Consumer, Error> {
        self.group = self.shared.group(&self.group)?;
        if self.subscriptions.is_empty() {
            return Err(Error::NoSubscription(self.group));
        }
        for (topic, _) in &mut self.subscriptions {
            *topic = self.shared.topic(topic)?;
            self.shared.route(topic).await?;
        }
        let offsets = match self.folder {
            None => Offsets::AtBroker,
            Some(folder) => {
                self.settings.kind = self.settings.kind.broadcasting();
                Offsets::open(folder.join(&self.group)).await?
            }
        };
        let subscriptions = self.subscriptions.into_iter().map(|(topic, filter)| Subscription::new(topic, filter));
        let hooks = Hooks::new(&self.shared.id, &self.group, self.interceptors);
        let (group, given_back) =
            Group::new(self.shared, self.group, subscriptions.collect(), self.settings, offsets, hooks);
        group.check().await?;
        group.shared.add_consumer(&group)?;
        group.shared.heartbeat().await;
        Ok(Consumer::start(group, given_back))
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<_> = self.subscriptions.iter().map(|(topic, _)| topic).collect();
        f.debug_struct("ConsumerBuilder").field("group", &self.group).field("topics", &topics).finish_non_exhaustive()
    }
}
