//! What producers and consumers of one process share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apogee_base::clock::{Clock, SystemClock};
use apogee_message::names;
#[cfg(feature = "tls")]
use apogee_net::Tls;
use apogee_net::{Dial, Tcp};

use crate::consumer::ConsumerBuilder;
use crate::interceptor::{Interceptor, Interceptors};
use crate::pop::PopConsumerBuilder;
use crate::producer::ProducerBuilder;
use crate::pull_consumer::PullConsumerBuilder;
use crate::reader::ReaderBuilder;
use crate::shared::{Settings, Shared};
use crate::trace::{self, Tracer};
use crate::{Admin, Codecs, Error, Producer};

/// The connections of a process to a cluster, its routes and heartbeats; cheap to clone.
///
/// It says good-bye to the brokers in [`Client::close`]. Dropped without that, it is forgotten by them after two
/// minutes of silence.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// How a client is to be.
#[derive(Clone)]
pub struct ClientBuilder {
    name_servers: String,
    settings: Settings,
    /// Where traces go.
    traces: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Client {
    /// A client of a cluster; its name servers as `host:port`, separated by semicolons. Nothing is connected
    /// until it is needed.
    ///
    /// # Errors
    /// [`Error::NoNameServer`] when there is no address in the text.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(name_servers: impl Into<String>) -> Result<Self, Error> {
        Self::builder(name_servers).build()
    }

    /// The same with settings of its own.
    pub fn builder(name_servers: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            name_servers: name_servers.into(),
            settings: Settings {
                clock: Arc::new(SystemClock),
                dial: Arc::new(Tcp),
                timeout: Duration::from_secs(3),
                connect_timeout: Duration::from_secs(3),
                refresh: Duration::from_secs(30),
                interceptors: Interceptors::default(),
                namespace: String::new(),
                unit: String::new(),
                tracer: None,
            },
            traces: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// A producer of a group with the usual settings.
    ///
    /// # Errors
    /// When the group's name is none.
    pub fn producer(&self, group: impl Into<String>) -> Result<Producer, Error> {
        self.producer_builder(group).build()
    }

    /// The same with settings of its own.
    pub fn producer_builder(&self, group: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// A consumer of a group, which gets its part of the messages.
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// A consumer to whom brokers hand out messages instead of queues, where they offer that.
    pub fn pop_consumer(&self, group: impl Into<String>) -> PopConsumerBuilder {
        PopConsumerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// Consumes queues that are chosen by hand, in the name of a group.
    pub fn pull_consumer(&self, group: impl Into<String>) -> PullConsumerBuilder {
        PullConsumerBuilder::new(Arc::clone(&self.shared), group.into())
    }

    /// Reads all queues of a topic, without a group that keeps the place.
    pub fn reader(&self, topic: impl Into<String>) -> ReaderBuilder {
        ReaderBuilder::new(Arc::clone(&self.shared), topic.into())
    }

    /// Looks after the cluster: topics, groups, offsets, clients, messages, brokers and name servers.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.shared))
    }

    /// The full name of a topic or group in the client's namespace, as brokers know it.
    pub fn qualified(&self, name: &str) -> String {
        names::in_namespace(&self.shared.settings.namespace, name)
    }

    /// The id by which brokers know it.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Tells the brokers that it goes, and closes the connections. Everything made from it fails from now on.
    pub async fn close(&self) {
        self.shared.close().await;
    }
}

impl ClientBuilder {
    /// How long one answer may take (3 s).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// How long connecting may take (3 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Who tells the time of day (the system): for tests and simulations.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.settings.clock = clock;
        self
    }

    /// How connections are made (straight): through a proxy, a tunnel, a network that is simulated.
    pub fn dial(mut self, dial: impl Dial) -> Self {
        self.settings.dial = Arc::new(dial);
        self
    }

    /// Secures all connections, those to name servers and those to brokers.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), apogee_client::Error> {
    /// use apogee_client::{Client, Tls};
    ///
    /// let client = Client::builder("ns.example:9876").tls(Tls::new().roots("ca.pem")).build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How often routes are asked for anew, and heartbeats are sent (30 s). Brokers forget a client after 120 s.
    pub fn refresh(mut self, every: Duration) -> Self {
        self.settings.refresh = every;
        self
    }

    /// What bodies go through in all that is made from the client, unless it has codecs of its own.
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.settings.interceptors.codecs = codecs;
        self
    }

    /// Calls an interceptor before and after each message that anything made from the client sends or consumes. Several
    /// are called in their order.
    pub fn interceptor(mut self, interceptor: impl Interceptor + 'static) -> Self {
        self.settings.interceptors.push(interceptor);
        self
    }

    /// The namespace of all topics and groups: a topic `T` is `ns%T` to brokers. It needs not be written, and
    /// [`crate::Received::topic`] leaves it out; [`crate::Queue::topic`] and errors have full names. [`Client::admin`] takes and
    /// tells full names, too: see [`Client::qualified`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), apogee_client::Error> {
    /// use apogee_client::{Client, Message};
    ///
    /// let client = Client::builder("127.0.0.1:9876").namespace("test").build()?;
    /// let sent = client.producer("orders")?.send(Message::new("Orders", "one book")).await?;
    /// assert_eq!(&*sent.queue.topic, "test%Orders");
    /// # Ok(())
    /// # }
    /// ```
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.settings.namespace = namespace.into();
        self
    }

    /// The unit of the cluster that the client belongs to (upstream `unitName`): it is the end of its id, by which brokers
    /// tell clients apart.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.settings.unit = unit.into();
        self
    }

    /// Tells what becomes of each message that is sent or consumed to the topic `RMQ_SYS_TRACE_TOPIC`, where tools such as
    /// `queryMsgTraceById` find it (upstream `enableTrace`). The broker must have that topic (`traceTopicEnable`).
    ///
    /// Records are sent together, once a second, and by [`Client::close`]. They are for looking into things, and hold
    /// nothing up: what cannot be sent is lost, and logged. Nothing is told of failed and one-way sends, as upstream.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), apogee_client::Error> {
    /// use apogee_client::{Client, Message};
    ///
    /// let client = Client::builder("127.0.0.1:9876").trace().build()?;
    /// client.producer("orders")?.send(Message::new("Orders", "one book").key("order-1")).await?;
    /// client.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn trace(self) -> Self {
        self.trace_to(names::TRACE_TOPIC)
    }

    /// The same to another topic (upstream `customizedTraceTopic`), which is in the client's namespace.
    pub fn trace_to(mut self, topic: impl Into<String>) -> Self {
        self.traces = Some(topic.into());
        self
    }

    /// Makes it; see [`Client::new`].
    ///
    /// # Errors
    /// [`Error::NoNameServer`] when there is no address, [`Error::Tls`] when a file for TLS cannot be used; when the
    /// namespace cannot be one.
    #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
    pub fn build(mut self) -> Result<Client, Error> {
        let addresses = self.name_servers.split([';', ',']).map(str::trim).filter(|name| !name.is_empty());
        let addresses: Vec<_> = addresses.map(str::to_owned).collect();
        if addresses.is_empty() {
            return Err(Error::NoNameServer);
        }
        if !self.settings.namespace.is_empty() {
            names::check_namespace(&self.settings.namespace)?;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            self.settings.dial = Arc::new(tls.over(self.settings.dial)?);
        }
        let traces = match self.traces {
            Some(topic) => {
                names::check_topic(&topic)?;
                let settings = &mut self.settings;
                let (tracer, words) = Tracer::new(&topic, &settings.namespace, Arc::clone(&settings.clock));
                // Behind all others: it sees what they made of a message.
                settings.interceptors.push(tracer.clone());
                settings.tracer = Some(tracer);
                Some((words, topic))
            }
            None => None,
        };
        let shared = Shared::new(addresses, self.settings);
        if let Some((words, topic)) = traces {
            tokio::spawn(trace::collect(Arc::downgrade(&shared), words, topic));
        }
        Ok(Client { shared })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("name_servers", &self.name_servers).finish_non_exhaustive()
    }
}
