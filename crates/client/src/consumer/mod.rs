//! Consumers of a group: each message goes to one of them.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use apogee_message::names;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::interceptor::{ConsumeOutcome, Consuming, Hooks, Interceptor, Interceptors};
use crate::pull::{Filter, From};
use crate::shared::Shared;
use crate::{Error, Received};

mod balance;
mod group;
mod progress;

pub use balance::Balance;
pub(crate) use group::Group;
use group::{Settings, Subscription};
use progress::{Bounds, Progress};

/// How a consumer is to be.
#[derive(Clone)]
pub struct ConsumerBuilder {
    shared: Arc<Shared>,
    group: String,
    subscriptions: Vec<(String, Filter)>,
    settings: Settings,
    interceptors: Interceptors,
}

/// A member of a group. Messages come to it by [`Consumer::next`], or to a handler by [`Consumer::run`].
///
/// A message that is not acknowledged is delivered again: to another member when this one is gone, and after a while
/// when it was given back. [`Consumer::close`] leaves the group at once; dropped without that, the group notices after
/// the broker has missed the heartbeats for two minutes, or sooner when the connection closes with the process.
pub struct Consumer {
    /// They end with the consumer.
    tasks: JoinSet<()>,
    deliveries: mpsc::Receiver<Delivery>,
    /// Handlers at work, which go on when nobody waits for [`Consumer::run`] any more.
    handlers: JoinSet<()>,
    group: Arc<Group>,
    hooks: Arc<Hooks>,
}

/// A message that waits to be settled: by [`Delivery::ack`], or by [`Delivery::retry`], which is also what
/// dropping it means.
pub struct Delivery {
    message: Received,
    progress: Arc<Progress>,
    group: Arc<Group>,
    is_settled: bool,
    /// Interceptors wait for its end.
    consuming: Option<Box<Consuming>>,
}

/// A message that is to be delivered again.
struct GivenBack {
    message: Received,
    progress: Arc<Progress>,
    /// 0: as the group's policy has it.
    delay_level: i32,
}

impl ConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let settings = Settings {
            from: From::Last,
            balance: Balance::default(),
            bounds: Bounds { messages: 1_000, bytes: 16 << 20, span: 2_000 },
            max_reconsume_times: 16,
            commit_every: Duration::from_secs(5),
            rebalance_every: Duration::from_secs(20),
        };
        let interceptors = shared.settings.interceptors.clone();
        Self { shared, group, subscriptions: Vec::new(), settings, interceptors }
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

    /// How often a message is delivered again before it goes to the group's dead letters (16).
    pub fn max_reconsume_times(mut self, times: u32) -> Self {
        self.settings.max_reconsume_times = times.try_into().unwrap_or(i32::MAX);
        self
    }

    /// How often offsets are committed (5 s); what came since is delivered again after a crash.
    pub fn commit_every(mut self, every: Duration) -> Self {
        self.settings.commit_every = every;
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
    /// When a name is none, there is no subscription, or a topic is not there.
    pub async fn join(self) -> Result<Consumer, Error> {
        names::check_group(&self.group)?;
        if self.subscriptions.is_empty() {
            return Err(Error::NoSubscription(self.group));
        }
        for (topic, _) in &self.subscriptions {
            names::check_topic(topic)?;
            self.shared.route(topic).await?;
        }
        let subscriptions = self.subscriptions.into_iter().map(|(topic, filter)| Subscription::new(topic, filter));
        // One of each queue's is on its way to whoever calls `next`; more wait in their pulls.
        let (sender, deliveries) = mpsc::channel(1);
        let hooks = Hooks::new(&self.shared.id, &self.group, self.interceptors);
        let (group, given_back) = Group::new(self.shared, self.group, subscriptions.collect(), self.settings);
        group.check().await?;
        group.shared.add_consumer(&group)?;
        group.shared.heartbeat().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&group).keep_balanced(sender));
        tasks.spawn(Arc::clone(&group).keep_committing());
        tasks.spawn(Arc::clone(&group).send_back(given_back));
        Ok(Consumer { tasks, deliveries, handlers: JoinSet::new(), group, hooks })
    }
}

impl Consumer {
    /// The next message; waits for it. `None` when the client was closed.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.recv().await?;
            if let Some(delivery) = delivery.begin(&self.hooks) {
                return Some(delivery);
            }
        }
    }

    /// Hands each message to a handler, of which at most `concurrency` are at work. What succeeds is acknowledged;
    /// what fails or panics is delivered again. Ends when the client was closed. May be dropped, for example by a
    /// `select!` with a signal: handlers at work go on, and [`Consumer::close`] waits for them.
    pub async fn run<F, E>(&mut self, concurrency: usize, handler: impl Fn(Received) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let places = Arc::new(Semaphore::new(concurrency.max(1)));
        // A place first: a message that waited for one would come again when this is dropped meanwhile.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Some(delivery) = self.next().await else { break };
            while self.handlers.try_join_next().is_some() {}
            let handled = handler(delivery.message.clone());
            self.handlers.spawn(async move {
                let _place = place;
                match handled.await {
                    Ok(()) => delivery.ack(),
                    Err(error) => {
                        let (queue, offset) = (&delivery.queue, delivery.offset);
                        tracing::warn!(%queue, offset, %error, "a message's handler failed: it will come again");
                        delivery.retry();
                    }
                }
            });
        }
        while self.handlers.join_next().await.is_some() {}
    }

    /// Leaves the group: takes no more messages, waits up to `patience` until those given out are settled, commits, and
    /// tells the brokers, so that others get its queues at once.
    ///
    /// # Errors
    /// When an offset could not be committed: what was settled since the last time is delivered again.
    pub async fn close(mut self, patience: Duration) -> Result<(), Error> {
        // Those that nobody took yet go back untouched.
        self.deliveries.close();
        while let Ok(delivery) = self.deliveries.try_recv() {
            delivery.leave();
        }
        let left = self.group.leave(patience).await;
        self.tasks.shutdown().await;
        left
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group.name
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // After `close` there is nothing left to do.
        self.group.forget();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("group", &self.group.name).finish_non_exhaustive()
    }
}

impl Delivery {
    /// It is about to be given to whoever consumes it. One that is refused comes again.
    fn begin(mut self, hooks: &Arc<Hooks>) -> Option<Self> {
        match hooks.before_consume(&mut self.message) {
            Ok(consuming) => {
                self.consuming = consuming;
                Some(self)
            }
            Err(error) => {
                let (queue, offset) = (&self.queue, self.offset);
                tracing::error!(group = &*self.group.name, %queue, offset, %error, "a message is not consumed: it goes back");
                self.retry();
                None
            }
        }
    }

    /// Tells the interceptors what became of it.
    fn end(&mut self, outcome: ConsumeOutcome<'_>) {
        if let Some(consuming) = self.consuming.take() {
            consuming.after(&self.message, outcome);
        }
    }

    /// The message was consumed.
    pub fn ack(mut self) {
        self.end(ConsumeOutcome::Acknowledged);
        self.is_settled = true;
        self.progress.settle(self.message.offset);
    }

    /// The message was not consumed: it comes again after a while that grows from time to time, and after the last time
    /// goes to the group's dead letters.
    pub fn retry(self) {
        self.retry_at_level(0);
    }

    /// The same after the time of a delay level, see [`crate::Message::delay_level`]; 0: as the group's policy has it.
    pub fn retry_at_level(mut self, delay_level: u32) {
        self.give_back(delay_level.try_into().unwrap_or(i32::MAX));
    }

    fn give_back(&mut self, delay_level: i32) {
        if !self.is_settled {
            self.end(ConsumeOutcome::Retried);
            self.is_settled = true;
            let (message, progress) = (self.message.clone(), Arc::clone(&self.progress));
            self.group.give_back(GivenBack { message, progress, delay_level });
        }
    }

    /// Nothing was done with it, and it comes again: it is neither acknowledged nor sent back.
    fn leave(mut self) {
        self.is_settled = true;
        self.progress.given_out(self.message.offset, false);
    }
}

impl Deref for Delivery {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.give_back(0);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.message).finish()
    }
}
