//! What the producers and consumers of one client share: routes, connections, heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_message::names::{self, AUTO_CREATE_TOPIC, reply_topic};
use apogee_message::record::Record;
use apogee_net::Dial;
use apogee_wire::bodies::{Body, HeartbeatData, ProducerData, TopicRouteData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{GetRouteInfoRequestHeader, UnregisterClientRequestHeader};
use apogee_wire::{Command, Encoding, Language};
use bytes::Bytes;
use tokio::sync::watch;

use crate::asked::Asked;
use crate::consumer::Group;
use crate::id::{MessageIds, client_id, local_ip};
use crate::interceptor::Interceptors;
use crate::peers::{Peers, accepted, refused};
use crate::pop::Poppers;
use crate::producer::{Replies, Sending};
use crate::route::Route;
use crate::trace::Tracer;
use crate::{Error, Queue, Received};

/// Queues that a topic gets when it is created by the first message sent to it, at most (upstream
/// `defaultTopicQueueNums`).
pub(crate) const DEFAULT_QUEUES: i32 = 4;

/// How a client is to be, see [`crate::ClientBuilder`].
#[derive(Clone)]
pub(crate) struct Settings {
    pub clock: Arc<dyn Clock>,
    pub dial: Arc<dyn Dial>,
    pub timeout: Duration,
    pub connect_timeout: Duration,
    pub refresh: Duration,
    pub interceptors: Interceptors,
    /// Of topics and groups; may be empty.
    pub namespace: String,
    /// Unit of the cluster that it belongs to; may be empty.
    pub unit: String,
    /// Tells what becomes of messages.
    pub tracer: Option<Tracer>,
}

pub(crate) struct Shared {
    /// By which brokers tell clients apart.
    pub id: String,
    pub message_ids: MessageIds,
    pub peers: Peers,
    pub settings: Settings,
    pub names: Vec<String>,
    /// The name server that is asked first: the last one that answered.
    current: AtomicUsize,
    routes: RwLock<BTreeMap<String, Arc<Route>>>,
    /// Topics that are where another is, by name.
    routed_by: RwLock<BTreeMap<String, String>>,
    /// Topics to whose brokers a message did not get lately: the way is asked for before the next one is sent.
    doubted: Mutex<BTreeSet<String>>,
    /// One asks at a time: who comes meanwhile finds its answer.
    asking: tokio::sync::Mutex<()>,
    producers: Mutex<BTreeMap<String, Vec<Weak<Sending>>>>,
    consumers: Mutex<BTreeMap<String, Weak<Group>>>,
    /// Consumers by POP.
    pub poppers: Poppers,
    closed: watch::Sender<bool>,
    /// Those who wait for replies.
    pub replies: Replies,
}

impl Shared {
    /// What the producers and consumers of a client share, which keeps itself up to date.
    pub fn new(names: Vec<String>, settings: Settings) -> Arc<Self> {
        let ip = local_ip();
        let shared = Arc::new_cyclic(|shared: &Weak<Self>| Self {
            id: client_id(ip, &settings.unit),
            message_ids: MessageIds::new(ip),
            peers: Peers::new(
                Arc::clone(&settings.dial),
                Arc::new(Asked(Weak::clone(shared))),
                settings.connect_timeout,
            ),
            settings,
            names,
            current: AtomicUsize::default(),
            routes: RwLock::default(),
            routed_by: RwLock::default(),
            doubted: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            producers: Mutex::default(),
            consumers: Mutex::default(),
            poppers: Poppers::default(),
            closed: watch::Sender::default(),
            replies: Replies::default(),
        });
        tokio::spawn(keep_up(Arc::downgrade(&shared)));
        shared
    }

    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until the client is closed.
    pub async fn closed(&self) {
        // It cannot fail: what it waits for is part of this.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Fails once the client was closed.
    pub fn check_open(&self) -> Result<(), Error> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    pub fn now_ms(&self) -> i64 {
        self.settings.clock.now_ms()
    }

    /// A topic's name in the client's namespace.
    pub fn topic(&self, name: &str) -> Result<String, Error> {
        let topic = names::in_namespace(&self.settings.namespace, name);
        names::check_topic(&topic)?;
        Ok(topic)
    }

    /// A group's name in the client's namespace.
    pub fn group(&self, name: &str) -> Result<String, Error> {
        let group = names::in_namespace(&self.settings.namespace, name);
        names::check_group(&group)?;
        Ok(group)
    }

    /// Reads a message for somebody in the client's namespace, see [`Received::read`].
    pub fn received(&self, record: &Record<'_>, whole: &Bytes, queue: &Queue) -> (Received, Option<Error>) {
        let (mut message, unreadable) = Received::read(record, whole, queue);
        message.hide(&self.settings.namespace);
        (message, unreadable)
    }

    /// The route of a topic, as last heard.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        if let Some(route) = self.known(topic) {
            return Ok(route);
        }
        let _asking = self.asking.lock().await;
        match self.known(topic) {
            Some(route) => Ok(route),
            None => self.fetch(topic).await,
        }
    }

    /// The route of a topic to send to: one that does not exist is where topics are created. Asks anew when the last one
    /// heard had no master, or did not lead to one: there may be another one since.
    pub async fn route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.route(topic).await {
            Ok(route) if self.lock_doubted().remove(topic) || route.writable.is_empty() => {
                self.refresh(topic, &route).await;
                return Ok(self.known(topic).unwrap_or(route));
            }
            Err(Error::NoTopic(_)) => {}
            other => return other,
        }
        let template = self.ask_names(AUTO_CREATE_TOPIC).await.map_err(|error| match error {
            Error::NoTopic(_) => Error::NoTopic(topic.to_owned()),
            other => other,
        })?;
        let mut route = Route::of(&template, topic);
        route.writable.retain(|queue| queue.id < DEFAULT_QUEUES);
        Ok(Arc::new(route))
    }

    /// What was heard of a topic seems to have changed: asks anew, unless somebody else has done so since
    /// `used` was heard. When nobody answers, the last route stays.
    pub async fn refresh(&self, topic: &str, used: &Arc<Route>) {
        let _asking = self.asking.lock().await;
        if self.known(topic).is_none_or(|route| !Arc::ptr_eq(&route, used)) {
            return;
        }
        match self.fetch(topic).await {
            Ok(_) => {}
            Err(Error::NoTopic(_)) => {
                self.routes.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
            }
            Err(error) => tracing::warn!(topic, %error, "the route of a topic is not refreshed: the last one is used"),
        }
    }

    /// A message did not get to a broker of the topic.
    pub fn doubt(&self, topic: &str) {
        self.lock_doubted().insert(topic.to_owned());
    }

    fn lock_doubted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, topic: &str) -> Option<Arc<Route>> {
        self.read_routes().get(topic).cloned()
    }

    fn read_routes(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Route>>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let route = Arc::new(Route::of(&self.ask_names(&self.routed_by(topic)).await?, topic));
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.insert(topic.to_owned(), Arc::clone(&route));
        Ok(route)
    }

    /// The topic by which it is known where a topic is: itself, unless it was told otherwise.
    pub fn routed_by(&self, topic: &str) -> String {
        let routed_by = self.routed_by.read().unwrap_or_else(PoisonError::into_inner);
        routed_by.get(topic).map_or(topic, |other| other).to_owned()
    }

    /// A topic is where another is, from now on.
    pub fn route_by(&self, topic: &str, other: &str) {
        let mut routed_by = self.routed_by.write().unwrap_or_else(PoisonError::into_inner);
        routed_by.insert(topic.to_owned(), other.to_owned());
        self.routes.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Asks the name servers for a topic.
    async fn ask_names(&self, topic: &str) -> Result<TopicRouteData, Error> {
        let header =
            GetRouteInfoRequestHeader { topic, accept_standard_json_only: Some(true), rpc: Default::default() };
        let question = Command::request(request::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let is_answer = |code| matches!(code, response::SUCCESS | response::TOPIC_NOT_EXIST);
        let (name, answer) = self.ask_name_servers(question, self.settings.timeout, is_answer).await?;
        match answer.code {
            response::SUCCESS => TopicRouteData::decode(&answer.body).map_err(|error| Error::json(name, &error)),
            _ => Err(Error::NoTopic(topic.to_owned())),
        }
    }

    /// Asks the name servers, one after the other until one gives an answer with a code that is one. Returns its
    /// address, too.
    pub async fn ask_name_servers(
        &self,
        question: Command,
        timeout: Duration,
        is_answer: impl Fn(i32) -> bool,
    ) -> Result<(&str, Command), Error> {
        self.check_open()?;
        let (mut first, mut failures) = (self.current.load(Ordering::Relaxed), Vec::new());
        // It may have closed the connection because others know more than it does.
        first += usize::from(self.names.get(first).is_some_and(|name| self.peers.has_lost(name)));
        for nth in 0..self.names.len() {
            let number = (first + nth) % self.names.len();
            let name = &self.names[number];
            match self.peers.ask(name, self.own(question.clone()), timeout).await {
                Ok(answer) if is_answer(answer.code) => {
                    self.current.store(number, Ordering::Relaxed);
                    return Ok((name, answer));
                }
                Ok(answer) => failures.push(refused(name, answer.code, answer).to_string()),
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(Error::NameServers(failures.join("; ")))
    }

    /// The addresses of the name servers.
    pub fn name_servers(&self) -> &[String] {
        &self.names
    }

    /// Asks a broker that has a queue, with that id if it is there; returns its address, too.
    pub async fn ask_reader(
        &self,
        queue: &Queue,
        broker_id: i64,
        question: Command,
        timeout: Duration,
    ) -> Result<(String, Command), Error> {
        let route = self.route(&queue.topic).await?;
        let address =
            route.reader(&queue.broker, broker_id).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        let answer = self.peers.ask(address, self.own(question), timeout).await?;
        Ok((address.to_owned(), answer))
    }

    /// Asks the master of a queue; an answer that refuses is an error.
    pub async fn ask_master(&self, queue: &Queue, question: Command) -> Result<(String, Command), Error> {
        let route = self.route(&queue.topic).await?;
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        let answer = self.peers.call(address, self.own(question), self.settings.timeout).await?;
        Ok((address.to_owned(), answer))
    }

    /// A request as this client makes it.
    pub fn own(&self, mut request: Command) -> Command {
        request.language = Language::RUST;
        request
    }

    /// The same for requests that there are many of, with the binary header, which costs both sides less than JSON.
    /// (Codes over 32,767 do not fit in it, and empty values are lost.)
    pub fn own_binary(&self, request: Command) -> Command {
        Command { encoding: Encoding::Binary, ..self.own(request) }
    }

    /// A group has one producer more.
    pub fn add_producer(&self, group: &str, producer: &Arc<Sending>) {
        self.lock_producers().entry(group.to_owned()).or_default().push(Arc::downgrade(producer));
    }

    /// A group may have lost a producer.
    pub fn forget_producers(&self, group: &str) {
        let mut producers = self.lock_producers();
        if let Some(of_group) = producers.get_mut(group) {
            of_group.retain(|producer| producer.strong_count() > 0);
            if of_group.is_empty() {
                producers.remove(group);
            }
        }
    }

    /// A producer of a group.
    pub fn producer_of(&self, group: &str) -> Option<Arc<Sending>> {
        self.lock_producers().get(group)?.iter().find_map(Weak::upgrade)
    }

    fn lock_producers(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Weak<Sending>>>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group has this member now.
    pub fn add_consumer(&self, group: &Arc<Group>) -> Result<(), Error> {
        let mut consumers = self.lock_consumers();
        if consumers.get(&*group.name).and_then(Weak::upgrade).is_some_and(|other| !other.has_left()) {
            return Err(Error::Joined(group.name.to_string()));
        }
        consumers.insert(group.name.to_string(), Arc::downgrade(group));
        Ok(())
    }

    /// A group has lost this member: the brokers learn it at once.
    pub async fn remove_consumer(&self, group: &str) {
        if self.lock_consumers().remove(group).is_some() {
            self.say_goodbye(None, Some(group)).await;
        }
    }

    /// A group may have lost a member that consumed by POP.
    pub async fn pop_member_left(&self, group: &str) {
        if !self.is_closed() && !self.poppers.data().contains_key(group) {
            self.say_goodbye(None, Some(group)).await;
        }
    }

    /// The member of a group.
    pub fn consumer_of(&self, group: &str) -> Option<Arc<Group>> {
        self.lock_consumers().get(group).and_then(Weak::upgrade)
    }

    fn lock_consumers(&self) -> MutexGuard<'_, BTreeMap<String, Weak<Group>>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the brokers of all known topics that this client is alive, and what it is.
    pub async fn heartbeat(&self) {
        let Some(beat) = self.beat() else { return };
        for broker in self.masters() {
            if let Err(error) = self.peers.call(&broker, beat.clone(), self.settings.timeout).await {
                tracing::warn!(broker, %error, "a heartbeat failed");
            }
        }
    }

    /// Sees to it that all brokers of the cluster that a topic is in can reach this client, on connections on which they
    /// have not heard of it yet. The regular heartbeats reach them, too, from now on.
    pub async fn introduce(&self, topic: &str) -> Result<(), Error> {
        #[derive(Default)]
        struct Introduced(AtomicBool);
        let route = self.route_to_send(topic).await?;
        let replies = match &route.cluster {
            Some(cluster) => self.route(&reply_topic(cluster)).await.ok(),
            None => None,
        };
        for address in replies.as_ref().unwrap_or(&route).masters() {
            let introduced = async {
                let link = self.peers.link(address).await?;
                let known = link.conn.state(Introduced::default);
                if let (false, Some(beat)) = (known.is_some_and(|known| known.0.load(Ordering::Relaxed)), self.beat()) {
                    accepted(address, link.ask(beat, self.settings.timeout).await?)?;
                    known.inspect(|known| known.0.store(true, Ordering::Relaxed));
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = introduced.await {
                // Others may pass the reply on.
                tracing::warn!(broker = address, %error, "a broker does not know the way to this client");
            }
        }
        Ok(())
    }

    /// A heartbeat, when there is anything to tell.
    fn beat(&self) -> Option<Command> {
        let producers: Vec<_> = self.lock_producers().keys().cloned().collect();
        let consumers: Vec<_> = {
            let mut consumers = self.lock_consumers();
            consumers.retain(|_, group| group.upgrade().is_some_and(|group| !group.has_left()));
            let members = consumers.values().filter_map(Weak::upgrade).map(|group| group.data());
            members.chain(self.poppers.data().into_values()).collect()
        };
        if producers.is_empty() && consumers.is_empty() {
            return None;
        }
        let data = HeartbeatData {
            client_id: self.id.clone(),
            producer_data_set: producers.into_iter().map(|group_name| ProducerData { group_name }).collect(),
            consumer_data_set: consumers,
            ..HeartbeatData::default()
        };
        Some(self.own(Command::request(request::HEART_BEAT).with_body(data.encode())))
    }

    /// Addresses of the masters of all known topics.
    fn masters(&self) -> BTreeSet<String> {
        self.read_routes().values().flat_map(|route| route.masters()).map(str::to_owned).collect()
    }

    pub async fn close(&self) {
        if let (Some(tracer), false) = (&self.settings.tracer, self.is_closed()) {
            tracer.flush(self.settings.timeout).await;
        }
        if self.closed.send_replace(true) {
            return;
        }
        let producers = std::mem::take(&mut *self.lock_producers()).into_keys();
        for group in producers {
            self.say_goodbye(Some(&group), None).await;
        }
        let consumers = std::mem::take(&mut *self.lock_consumers());
        for (group, member) in consumers {
            if let Some(member) = member.upgrade() {
                member.forget();
            }
            self.say_goodbye(None, Some(&group)).await;
        }
        for group in self.poppers.data().into_keys() {
            self.say_goodbye(None, Some(&group)).await;
        }
        self.replies.close();
        self.peers.close();
    }

    async fn say_goodbye(&self, producer_group: Option<&str>, consumer_group: Option<&str>) {
        let header = UnregisterClientRequestHeader {
            client_id: &self.id,
            producer_group,
            consumer_group,
            rpc: Default::default(),
        };
        let farewell = self.own(Command::request(request::UNREGISTER_CLIENT).with_header(&header));
        for broker in self.masters() {
            if let Err(error) = self.peers.call(&broker, farewell.clone(), self.settings.timeout).await {
                tracing::debug!(broker, %error, "a broker does not know that this client is gone");
            }
        }
    }
}

/// Refreshes routes and sends heartbeats as long as there is a client.
async fn keep_up(shared: Weak<Shared>) {
    while let Some(every) = shared.upgrade().map(|shared| shared.settings.refresh) {
        tokio::time::sleep(every).await;
        let Some(shared) = shared.upgrade().filter(|shared| !shared.is_closed()) else { return };
        let routes: Vec<_> =
            shared.read_routes().iter().map(|(topic, route)| (topic.clone(), Arc::clone(route))).collect();
        for (topic, route) in routes {
            shared.refresh(&topic, &route).await;
        }
        shared.heartbeat().await;
    }
}
