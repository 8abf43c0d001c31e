//! Consumers to whom the broker hands out messages one by one, instead of queues.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apogee_message::tag::java_hash;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, CheckClientRequestBody, SubscriptionData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{PeekMessageRequestHeader, RpcFields};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{Instrument, Span};

use crate::interceptor::{ConsumeOutcome, Consuming, Hooks, Interceptor, Interceptors};
use crate::peers::refused;
use crate::pull::Filter;
use crate::route::MASTER;
use crate::shared::Shared;
use crate::{Codecs, Error, Received};

mod keeper;
mod poller;
mod receipt;

use keeper::{Held, Keeper, Settled, Word};
use poller::{Popping, poll_all};

/// Messages of one pop, at most: brokers refuse more.
const MOST: u32 = 32;
/// After how many seconds a message comes again, by how often it came (upstream `popDelayLevel`).
const DELAYS: [u64; 16] = [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// After what time a message comes again that nobody has touched.
const UNTOUCHED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Settings {
    begin: Begin,
    invisible_time: Duration,
    batch: u32,
    max_open: u32,
    max_reconsume_times: i32,
    in_order: bool,
}

/// Where a group begins that was never in a queue (upstream `ConsumeInitMode`).
#[derive(Debug, Clone, Copy)]
enum Begin {
    First = 0,
    Last = 1,
}

/// How a [`PopConsumer`] is to be.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// let builder = client.pop_consumer("billing").subscribe_tags("Orders", "book || pen").from_first();
/// let consumer = builder.invisible_time(Duration::from_secs(30)).open().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PopConsumerBuilder {
    shared: Arc<Shared>,
    group: String,
    subscriptions: Vec<(String, Filter)>,
    settings: Settings,
    interceptors: Interceptors,
}

/// Consumes by POP (upstream `DefaultMQPushConsumer` in the mode `POP`): the broker hands out messages, not queues, so
/// that more members than queues share the work, and one that hangs holds up nobody.
///
/// A message that was handed out is invisible to others for a time, which is renewed as long as its [`PopDelivery`] is
/// held. Brokers must offer it: Apache RocketMQ does since 5.0.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// let mut consumer = client.pop_consumer("billing").subscribe("Orders").open().await?;
/// while let Some(delivery) = consumer.next().await {
///     println!("{:?}", delivery.body);
///     delivery.ack();
/// }
/// consumer.close(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
pub struct PopConsumer {
    popping: Arc<Popping>,
    /// They end with the consumer.
    pollers: JoinSet<()>,
    deliveries: mpsc::UnboundedReceiver<PopDelivery>,
    /// Ends by itself when everything is settled.
    keeper: JoinHandle<()>,
    /// Handlers at work, which go on when nobody waits for [`PopConsumer::run`] any more.
    handlers: JoinSet<()>,
    hooks: Arc<Hooks>,
}

/// A message that waits to be settled: by [`PopDelivery::ack`], or by [`PopDelivery::retry`], which is also what
/// dropping it means. Nobody else gets it meanwhile.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn example(delivery: apogee_client::PopDelivery) {
/// match delivery.tag() {
///     Some("book") => delivery.ack(),
///     _ => delivery.retry_after(Duration::from_secs(60)),
/// }
/// # }
/// ```
pub struct PopDelivery {
    message: Received,
    id: u64,
    keeper: mpsc::UnboundedSender<Word>,
    max_reconsume_times: i32,
    is_settled: bool,
    /// Interceptors wait for its end.
    consuming: Option<Box<Consuming>>,
}

impl PopConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let settings = Settings {
            begin: Begin::Last,
            invisible_time: Duration::from_secs(60),
            batch: MOST,
            max_open: 3 * MOST,
            max_reconsume_times: 16,
            in_order: false,
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

    /// Begins with the oldest message in a queue that the group was never in, instead of with the next one that comes.
    pub fn from_first(mut self) -> Self {
        self.settings.begin = Begin::First;
        self
    }

    /// How long a message that was handed out is kept from others after this client has died (60 s, at least 1 s).
    pub fn invisible_time(mut self, time: Duration) -> Self {
        self.settings.invisible_time = time.max(Duration::from_secs(1));
        self
    }

    /// Messages of one pop (32, which is also the most that brokers allow).
    pub fn batch(mut self, messages: u32) -> Self {
        self.settings.batch = messages.clamp(1, MOST);
        self
    }

    /// Messages of a topic that one broker has handed out and that are not settled (96).
    pub fn max_open_messages(mut self, messages: u32) -> Self {
        self.settings.max_open = messages.clamp(1, 1 << 20);
        self
    }

    /// How often a message is delivered again before it goes to the group's dead letters (16).
    pub fn max_reconsume_times(mut self, times: u32) -> Self {
        self.settings.max_reconsume_times = times.try_into().unwrap_or(i32::MAX);
        self
    }

    /// One message of a queue at a time, in their order, to whichever member asks: the next one is handed out when this
    /// one is acknowledged. All members of the group must want it.
    pub fn in_order(mut self) -> Self {
        self.settings.in_order = true;
        self
    }

    /// By which bodies are decoded, instead of the client's codecs.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.interceptors.codecs = codecs;
        self
    }

    /// Calls an interceptor for each message that is consumed, after those of the client.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Begins to consume.
    ///
    /// # Errors
    /// When a name is none, there is no subscription, a topic is not there, or its broker does not offer POP or cannot
    /// filter so.
    pub async fn open(mut self) -> Result<PopConsumer, Error> {
        self.group = self.shared.group(&self.group)?;
        if self.subscriptions.is_empty() {
            return Err(Error::NoSubscription(self.group));
        }
        for (topic, _) in &mut self.subscriptions {
            *topic = self.shared.topic(topic)?;
        }
        for (topic, filter) in &self.subscriptions {
            self.check(topic, filter).await?;
        }
        if self.settings.in_order {
            // A broker hands out nothing more of a queue until all that it handed out together is acknowledged.
            self.settings.batch = 1;
        }
        // What is in them is open, and so bounded.
        let (sender, deliveries) = mpsc::unbounded_channel();
        let (keeper, words) = mpsc::unbounded_channel();
        let hooks = Hooks::new(&self.shared.id, &self.group, self.interceptors);
        let (group, settings): (Arc<str>, _) = (self.group.into(), self.settings);
        let shared = Arc::clone(&self.shared);
        let kept = Keeper { shared, group: Arc::clone(&group), invisible_time: settings.invisible_time }.run(words);
        let popping = Arc::new(Popping {
            shared: self.shared,
            group,
            settings,
            deliveries: sender,
            keeper,
            ids: AtomicU64::new(0),
        });
        let mut pollers = JoinSet::new();
        for (topic, filter) in self.subscriptions {
            pollers.spawn(poll_all(Arc::clone(&popping), topic, filter));
        }
        let handlers = JoinSet::new();
        Ok(PopConsumer { popping, pollers, deliveries, keeper: tokio::spawn(kept), handlers, hooks })
    }

    /// Asks a broker whether it offers what is wanted.
    async fn check(&self, topic: &str, filter: &Filter) -> Result<(), Error> {
        let route = self.shared.route(topic).await?;
        let Some(queue) = route.readable.first() else {
            return Err(Error::NoQueue { topic: topic.to_owned(), action: "read from" });
        };
        let header = PeekMessageRequestHeader {
            topic,
            queue_id: queue.id,
            max_msg_nums: 1,
            consumer_group: &self.group,
            rpc: RpcFields { broker_name: Some(&queue.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::PEEK_MESSAGE).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, self.shared.settings.timeout).await?;
        match answer.code {
            response::SUCCESS | response::PULL_NOT_FOUND => {}
            response::REQUEST_CODE_NOT_SUPPORTED => return Err(Error::NoPop(address)),
            code => return Err(refused(&address, code, answer)),
        }
        if filter.kind != "TAG" {
            let subscription = SubscriptionData {
                topic: topic.to_owned(),
                sub_string: Some(filter.expression.clone()),
                expression_type: Some(filter.kind.to_owned()),
                tags_set: filter.wanted().map(str::to_owned).collect(),
                code_set: filter.wanted().map(java_hash).collect(),
                ..SubscriptionData::default()
            };
            let body = CheckClientRequestBody {
                client_id: Some(self.shared.id.clone()),
                group: Some(self.group.clone()),
                namespace: None,
                subscription_data: Some(subscription),
            };
            let question = Command::request(request::CHECK_CLIENT_CONFIG).with_body(body.encode());
            self.shared.ask_master(queue, question).await?;
        }
        Ok(())
    }
}

impl PopConsumer {
    /// The next message; waits for it. `None` when the client was closed. May be dropped: nothing is lost.
    pub async fn next(&mut self) -> Option<PopDelivery> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.popping.shared.closed() => return None,
                delivery = self.deliveries.recv() => delivery?,
            };
            if let Some(delivery) = delivery.begin(&self.hooks) {
                return Some(delivery);
            }
        }
    }

    /// Hands each message to a handler, of which at most `concurrency` are at work. What succeeds is acknowledged;
    /// what fails or panics is delivered again. Ends when the client was closed. May be dropped, for example by a
    /// `select!` with a signal: handlers at work go on, and [`PopConsumer::close`] waits for them.
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
            let span = delivery.span();
            let handled = span.in_scope(|| handler(delivery.message.clone())).instrument(span.clone());
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

    /// Asks for no more messages, gives those back that nobody took, and waits up to `patience` until those that were
    /// handed out are settled and the brokers know it. What is not settled by then comes again.
    pub async fn close(mut self, patience: Duration) {
        self.pollers.shutdown().await;
        self.deliveries.close();
        while let Ok(delivery) = self.deliveries.try_recv() {
            delivery.leave();
        }
        let Self { popping, mut keeper, mut handlers, .. } = self;
        drop(popping);
        let settled = async {
            while handlers.join_next().await.is_some() {}
            // It ends when nobody holds a delivery any more.
            (&mut keeper).await
        };
        if tokio::time::timeout(patience, settled).await.is_err() {
            tracing::warn!("messages were handed out and not settled: they come again");
            keeper.abort();
        }
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.popping.group
    }
}

impl fmt::Debug for PopConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopConsumer").field("group", &self.popping.group).finish_non_exhaustive()
    }
}

impl PopDelivery {
    fn new(message: Received, popping: &Popping, held: Held) -> Self {
        let (id, keeper) = (popping.ids.fetch_add(1, Ordering::Relaxed), popping.keeper.clone());
        // It is there as long as somebody can tell it something.
        let _ = keeper.send(Word::Held(id, held));
        let max_reconsume_times = popping.settings.max_reconsume_times;
        Self { message, id, keeper, max_reconsume_times, is_settled: false, consuming: None }
    }

    /// It is about to be given to whoever consumes it. One that is refused comes again.
    fn begin(mut self, hooks: &Arc<Hooks>) -> Option<Self> {
        match hooks.before_consume(&mut self.message) {
            Ok(consuming) => {
                self.consuming = consuming;
                Some(self)
            }
            Err(error) => {
                let (queue, offset) = (&self.queue, self.offset);
                tracing::error!(%queue, offset, %error, "a message is not consumed: it goes back");
                self.retry();
                None
            }
        }
    }

    /// The span of its handling, for what is traced beside [`PopConsumer::run`], which enters it.
    pub fn span(&self) -> Span {
        self.consuming.as_ref().map_or_else(Span::none, |consuming| consuming.span().clone())
    }

    /// The message was consumed. The broker is told at once, and again while it does not answer.
    pub fn ack(mut self) {
        self.settle(Settled::Acked);
    }

    /// The message was not consumed: it comes again after a while, 10 s at first, that grows from time to time, and after
    /// the last time goes to the group's dead letters.
    pub fn retry(mut self) {
        self.settle_for_retry();
    }

    /// The same after a time, at least 1 s.
    pub fn retry_after(mut self, after: Duration) {
        let settled = if self.is_last_time() { Settled::Dead } else { Settled::Again(after.max(UNTOUCHED)) };
        self.settle(settled);
    }

    /// Nothing was done with it: it comes again at once.
    fn leave(mut self) {
        self.settle(Settled::Again(UNTOUCHED));
    }

    fn settle_for_retry(&mut self) {
        let times = usize::try_from(self.message.reconsume_times).unwrap_or_default();
        let after = Duration::from_secs(DELAYS[times.min(DELAYS.len() - 1)]);
        let settled = if self.is_last_time() { Settled::Dead } else { Settled::Again(after) };
        self.settle(settled);
    }

    fn is_last_time(&self) -> bool {
        self.message.reconsume_times >= self.max_reconsume_times
    }

    fn settle(&mut self, settled: Settled) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        if let Some(consuming) = self.consuming.take() {
            let outcome = match settled {
                Settled::Acked => ConsumeOutcome::Acknowledged,
                Settled::Again(_) | Settled::Dead => ConsumeOutcome::Retried,
            };
            consuming.after(&self.message, outcome);
        }
        // Nobody hears it when the consumer was closed: the message comes again.
        let _ = self.keeper.send(Word::Settled(self.id, settled));
    }
}

impl Deref for PopDelivery {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl Drop for PopDelivery {
    fn drop(&mut self) {
        self.settle_for_retry();
    }
}

impl fmt::Debug for PopDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PopDelivery").field(&self.message).finish()
    }
}
