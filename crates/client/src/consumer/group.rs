//! A member of a group: what it wants, and what it tells brokers; how it commits and leaves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::names::retry_topic;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CheckClientRequestBody, ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
};
use apogee_wire::codes::request;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::AbortHandle;

use super::asked::AT_ONCE;
use super::balance::Balance;
use super::delivery::GivenBack;
use super::figures::Figures;
use super::held::{Bounds, Held, Order};
use super::offsets::Offsets;
use super::ready::Ready;
use crate::interceptor::Hooks;
use crate::pull::{Filter, From};
use crate::shared::Shared;
use crate::{Error, Queue};

/// Rest before something is tried again that failed.
pub(super) const REST: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Settings {
    pub kind: Kind,
    pub from: From,
    pub balance: Balance,
    pub bounds: Bounds,
    /// None: as is usual for the kind.
    pub max_reconsume_times: Option<i32>,
    /// Rest of a queue whose message failed.
    pub suspend: Duration,
    pub commit_every: Duration,
    pub rebalance_every: Duration,
}

/// Who gets a message, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One member, at any time.
    Concurrent,
    /// One member, in order.
    Orderly,
    /// All members, at any time.
    Broadcasting,
    /// All members, in order.
    BroadcastingOrderly,
}

impl Kind {
    /// The same for all members.
    pub fn broadcasting(self) -> Self {
        match self {
            Self::Concurrent | Self::Broadcasting => Self::Broadcasting,
            Self::Orderly | Self::BroadcastingOrderly => Self::BroadcastingOrderly,
        }
    }

    pub fn is_broadcasting(self) -> bool {
        matches!(self, Self::Broadcasting | Self::BroadcastingOrderly)
    }

    pub fn is_orderly(self) -> bool {
        matches!(self, Self::Orderly | Self::BroadcastingOrderly)
    }

    /// Whether queues are locked at their brokers.
    pub fn locks(self) -> bool {
        self == Self::Orderly
    }

    pub fn order(self) -> Order {
        match self {
            Self::Concurrent | Self::Broadcasting => Order::Free,
            Self::Orderly => Order::Locked,
            Self::BroadcastingOrderly => Order::OneByOne,
        }
    }
}

/// What a member wants of a topic.
pub(super) struct Subscription {
    pub topic: String,
    pub filter: Filter,
}

pub(crate) struct Group {
    pub shared: Arc<Shared>,
    pub name: Arc<str>,
    /// With that of the messages that are delivered again.
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) settings: Settings,
    pub(super) offsets: Offsets,
    /// One commits at a time: what was reached before must not come after what was reached later.
    pub(super) committing: tokio::sync::Mutex<()>,
    pub(super) hooks: Arc<Hooks>,
    pub(super) figures: Figures,
    /// Places for messages that it is asked to consume.
    pub(super) asked: Arc<Semaphore>,
    /// What can be taken.
    pub(super) ready: Arc<Ready>,
    /// When it joined, in milliseconds since 1970: brokers keep the newest subscriptions.
    pub(super) version: i64,
    queues: Mutex<HashMap<Queue, Assigned>>,
    pub(super) given_back: mpsc::UnboundedSender<GivenBack>,
    /// The queues are to be shared anew.
    pub(super) changed: Notify,
    /// No queue is taken any more.
    is_leaving: AtomicBool,
    /// Nothing is done any more.
    has_left: AtomicBool,
}

/// A queue that this member has.
struct Assigned {
    held: Arc<Held>,
    pulling: AbortHandle,
}

impl Subscription {
    pub fn new(topic: String, filter: Filter) -> Self {
        Self { topic, filter }
    }

    pub fn data(&self, version: i64) -> SubscriptionData {
        self.filter.subscription(&self.topic, version)
    }
}

impl Group {
    /// A member, and what it is given back.
    pub(super) fn new(
        shared: Arc<Shared>,
        name: String,
        mut subscriptions: Vec<Subscription>,
        settings: Settings,
        offsets: Offsets,
        hooks: Arc<Hooks>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<GivenBack>) {
        if !settings.kind.is_broadcasting() {
            subscriptions.push(Subscription::new(retry_topic(&name), Filter::all()));
        }
        // What is in it is open, and so bounded.
        let (given_back, to_deliver_again) = mpsc::unbounded_channel();
        let version = shared.now_ms();
        let figures = Figures::new(subscriptions.iter().map(|each| &*each.topic));
        let group = Self {
            shared,
            name: name.into(),
            subscriptions,
            settings,
            offsets,
            committing: tokio::sync::Mutex::default(),
            hooks,
            figures,
            asked: Arc::new(Semaphore::new(AT_ONCE)),
            ready: Arc::default(),
            version,
            queues: Mutex::default(),
            given_back,
            changed: Notify::new(),
            is_leaving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
        };
        (Arc::new(group), to_deliver_again)
    }

    /// What a heartbeat says of it.
    pub fn data(&self) -> ConsumerData {
        ConsumerData {
            group_name: self.name.to_string(),
            consume_type: Some(ConsumeType::Passively),
            message_model: Some(match self.settings.kind.is_broadcasting() {
                true => MessageModel::Broadcasting,
                false => MessageModel::Clustering,
            }),
            consume_from_where: Some(match self.settings.from {
                From::First => ConsumeFromWhere::FirstOffset,
                From::Time(_) => ConsumeFromWhere::Timestamp,
                From::Last | From::Offset(_) => ConsumeFromWhere::LastOffset,
            }),
            subscription_data_set: self.subscriptions.iter().map(|each| each.data(self.version)).collect(),
            unit_mode: false,
        }
    }

    /// Members came or went: the queues are shared anew.
    pub fn members_changed(&self) {
        self.changed.notify_one();
    }

    /// Asks a broker whether it can filter as is wanted, where that is not plain.
    pub async fn check(&self) -> Result<(), Error> {
        for subscription in self.subscriptions.iter().filter(|each| each.filter.kind != "TAG") {
            let route = self.shared.route(&subscription.topic).await?;
            let Some(queue) = route.readable.first() else { continue };
            let body = CheckClientRequestBody {
                client_id: Some(self.shared.id.clone()),
                group: Some(self.name.to_string()),
                namespace: None,
                subscription_data: Some(subscription.data(self.version)),
            };
            self.shared
                .ask_master(queue, Command::request(request::CHECK_CLIENT_CONFIG).with_body(body.encode()))
                .await?;
        }
        Ok(())
    }

    /// How often a message is delivered again.
    pub(super) fn max_reconsume_times(&self) -> i32 {
        /// Usual of consumers that are not orderly.
        const USUAL: i32 = 16;
        let usual = if self.settings.kind.is_orderly() { i32::MAX } else { USUAL };
        self.settings.max_reconsume_times.unwrap_or(usual)
    }

    /// Commits again and again.
    pub(super) async fn keep_committing(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.settings.commit_every).await;
            self.figures.sample();
            if let Err(error) = self.commit(&self.all_held()).await {
                tracing::warn!(group = &*self.name, %error, "an offset is not committed, and is tried again");
            }
        }
    }

    /// Commits how far the group is in some queues; the last error, if any.
    pub(super) async fn commit(&self, queues: &[Arc<Held>]) -> Result<(), Error> {
        let _committing = self.committing.lock().await;
        let reached: Vec<_> = queues.iter().filter_map(|held| Some((Arc::clone(held), held.to_commit()?))).collect();
        self.offsets.commit(self, &reached).await
    }

    /// Pulls no more, waits until what was given out is settled, commits and says good-bye.
    pub(super) async fn leave(&self, patience: Duration) -> Result<(), Error> {
        self.is_leaving.store(true, Ordering::Release);
        self.changed.notify_one();
        self.ready.close();
        let queues: Vec<_> = {
            let queues = self.lock();
            queues.values().for_each(|assigned| assigned.pulling.abort());
            queues.values().map(|assigned| Arc::clone(&assigned.held)).collect()
        };
        queues.iter().for_each(|held| held.close());
        let settled = async {
            for held in &queues {
                held.at_rest().await;
            }
        };
        if tokio::time::timeout(patience, settled).await.is_err() {
            tracing::warn!(group = &*self.name, "messages were given out and not settled: they come again");
        }
        self.has_left.store(true, Ordering::Release);
        let committed = self.commit(&queues).await;
        self.unlock(&queues).await;
        self.shared.remove_consumer(&self.name).await;
        committed
    }

    /// Gone without a word.
    pub fn forget(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.has_left.store(true, Ordering::Release);
        self.changed.notify_one();
        self.ready.close();
        self.lock().drain().for_each(|(_, assigned)| assigned.pulling.abort());
    }

    /// No queue is to be taken any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    /// A queue that it holds.
    pub(super) fn held(&self, queue: &Queue) -> Option<Arc<Held>> {
        self.lock().get(queue).map(|assigned| Arc::clone(&assigned.held))
    }

    /// All queues that it holds.
    pub(super) fn all_held(&self) -> Vec<Arc<Held>> {
        self.lock().values().map(|assigned| Arc::clone(&assigned.held)).collect()
    }

    /// Holds one queue more, unless it is leaving: `pull` begins to pull.
    pub(super) fn hold(&self, held: &Arc<Held>, pull: impl FnOnce() -> AbortHandle) -> bool {
        let mut queues = self.lock();
        if self.is_leaving() {
            return false;
        }
        queues.insert(held.queue.clone(), Assigned { held: Arc::clone(held), pulling: pull() });
        true
    }

    /// Holds a queue no more, if it is that one.
    pub(super) fn let_go(&self, held: &Arc<Held>) {
        let mut queues = self.lock();
        if queues.get(&held.queue).is_some_and(|assigned| Arc::ptr_eq(&assigned.held, held)) {
            queues.remove(&held.queue);
        }
    }

    /// Pulls no more of the queues that are not wanted.
    pub(super) fn stop_pulling(&self, is_unwanted: impl Fn(&Queue) -> bool) -> Vec<Arc<Held>> {
        let queues = self.lock();
        let unwanted = queues.values().filter(|assigned| is_unwanted(&assigned.held.queue));
        unwanted
            .filter(|assigned| !assigned.held.is_closed())
            .map(|assigned| {
                assigned.pulling.abort();
                assigned.held.close();
                Arc::clone(&assigned.held)
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Queue, Assigned>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
