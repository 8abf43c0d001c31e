//! How a consumer by POP is made.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, CheckClientRequestBody};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{PeekMessageRequestHeader, RpcFields};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::keeper::Keeper;
use super::poller::{Popping, poll_all};
use super::{Begin, PopConsumer, Settings};
use crate::interceptor::{Hooks, Interceptor, Interceptors};
use crate::peers::refused;
use crate::pull::Filter;
use crate::route::MASTER;
use crate::shared::Shared;
use crate::{Codecs, Error};

/// Messages of one pop, at most: brokers refuse more.
const MOST: u32 = 32;

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

impl PopConsumerBuilder {
    pub(crate) fn new(shared: Arc<Shared>, group: String) -> Self {
        let settings = Settings {
            begin: Begin::Last,
            invisible_time: Duration::from_secs(60),
            batch: MOST,
            max_open: 3 * MOST,
            max_open_bytes: 16 << 20,
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

    /// Bytes of bodies of a topic that one broker has handed out and that are not settled (16 MiB). What one pop brings
    /// may go beyond.
    pub fn max_open_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_open_bytes = bytes.max(1);
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
        let (shared, version) = (Arc::clone(&self.shared), self.shared.now_ms());
        let kept = Keeper { shared, group: Arc::clone(&group), invisible_time: settings.invisible_time }.run(words);
        let popping = Arc::new(Popping {
            shared: self.shared,
            group,
            settings,
            deliveries: sender,
            keeper,
            ids: AtomicU64::new(0),
            subscriptions: self.subscriptions,
            version,
        });
        popping.shared.poppers.add(&popping);
        popping.shared.heartbeat().await;
        let mut pollers = JoinSet::new();
        for (topic, filter) in &popping.subscriptions {
            pollers.spawn(poll_all(Arc::clone(&popping), topic.clone(), filter.clone()));
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
            let body = CheckClientRequestBody {
                client_id: Some(self.shared.id.clone()),
                group: Some(self.group.clone()),
                namespace: None,
                subscription_data: Some(filter.subscription(topic, 0)),
            };
            let question = Command::request(request::CHECK_CLIENT_CONFIG).with_body(body.encode());
            self.shared.ask_master(queue, question).await?;
        }
        Ok(())
    }
}
