//! A member's part of a group: which queues it has, what it commits, what it sends back.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::names::retry_topic;
use apogee_message::tag::java_hash;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CheckClientRequestBody, ConsumeFromWhere, ConsumeType, ConsumerData, GetConsumerListByGroupResponseBody,
    MessageModel, SubscriptionData,
};
use apogee_wire::codes::request;
use apogee_wire::headers::{ConsumerSendMsgBackRequestHeader, GetConsumerListByGroupRequestHeader, RpcFields};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::balance::Balance;
use super::progress::{Bounds, Progress};
use super::{Delivery, GivenBack};
use crate::offsets;
use crate::pull::{Filter, From, Puller};
use crate::route::{MASTER, Route};
use crate::shared::Shared;
use crate::{Error, Queue};

/// Rest before something is tried again that failed.
const REST: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Settings {
    pub from: From,
    pub balance: Balance,
    pub bounds: Bounds,
    pub max_reconsume_times: i32,
    pub commit_every: Duration,
    pub rebalance_every: Duration,
}

/// What a member wants of a topic.
pub(super) struct Subscription {
    topic: String,
    filter: Filter,
}

pub(crate) struct Group {
    pub shared: Arc<Shared>,
    pub name: Arc<str>,
    /// With that of the messages that are delivered again.
    subscriptions: Vec<Subscription>,
    settings: Settings,
    /// When it joined, in milliseconds since 1970: brokers keep the newest subscriptions.
    version: i64,
    queues: Mutex<HashMap<Queue, Assigned>>,
    given_back: mpsc::UnboundedSender<GivenBack>,
    /// The group has other members.
    changed: Notify,
    /// No queue is taken any more.
    is_leaving: AtomicBool,
    /// Nothing is done any more.
    has_left: AtomicBool,
}

/// A queue that this member has.
struct Assigned {
    progress: Arc<Progress>,
    pulling: AbortHandle,
}

impl Subscription {
    pub fn new(topic: String, filter: Filter) -> Self {
        Self { topic, filter }
    }

    fn data(&self, version: i64) -> SubscriptionData {
        SubscriptionData {
            topic: self.topic.clone(),
            sub_string: Some(self.filter.expression.clone()),
            expression_type: Some(self.filter.kind.to_owned()),
            tags_set: self.filter.wanted().map(str::to_owned).collect(),
            code_set: self.filter.wanted().map(java_hash).collect(),
            sub_version: version,
            ..SubscriptionData::default()
        }
    }
}

impl Group {
    /// A member, and what it is given back.
    pub(super) fn new(
        shared: Arc<Shared>,
        name: String,
        mut subscriptions: Vec<Subscription>,
        settings: Settings,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<GivenBack>) {
        subscriptions.push(Subscription::new(retry_topic(&name), Filter::all()));
        // What is in it is open, and so bounded.
        let (given_back, to_send_back) = mpsc::unbounded_channel();
        let version = shared.now_ms();
        let group = Self {
            shared,
            name: name.into(),
            subscriptions,
            settings,
            version,
            queues: Mutex::default(),
            given_back,
            changed: Notify::new(),
            is_leaving: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
        };
        (Arc::new(group), to_send_back)
    }

    /// What a heartbeat says of it.
    pub fn data(&self) -> ConsumerData {
        ConsumerData {
            group_name: self.name.to_string(),
            consume_type: Some(ConsumeType::Passively),
            message_model: Some(MessageModel::Clustering),
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

    /// Takes its part of the queues, again and again.
    pub(super) async fn keep_balanced(self: Arc<Self>, sender: mpsc::Sender<Delivery>) {
        let mut pulls = JoinSet::new();
        while !self.is_leaving.load(Ordering::Acquire) {
            let rest = match self.take_part(&sender, &mut pulls).await {
                Ok(()) => self.settings.rebalance_every,
                Err(error) => {
                    tracing::warn!(group = &*self.name, %error, "queues are not shared anew: what it has, it keeps");
                    // A broker that began anew has forgotten its members.
                    self.shared.heartbeat().await;
                    REST
                }
            };
            // Whichever comes first.
            let _ = tokio::time::timeout(rest, self.changed.notified()).await;
            while pulls.try_join_next().is_some() {}
        }
    }

    async fn take_part(
        self: &Arc<Self>,
        sender: &mpsc::Sender<Delivery>,
        pulls: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        for subscription in &self.subscriptions {
            let route = match self.shared.route(&subscription.topic).await {
                // Nothing was sent back yet.
                Err(Error::NoTopic(_)) if subscription.topic == retry_topic(&self.name) => continue,
                other => other?,
            };
            let members = self.members(&route).await?;
            if !members.contains(&self.shared.id) {
                return Err(Error::NotMember(self.name.to_string()));
            }
            let part = self.settings.balance.part_of(&self.shared.id, &members, &route.readable);
            self.give_up_others(&subscription.topic, &part).await;
            for queue in part {
                if !self.lock().contains_key(&queue) && !self.is_leaving.load(Ordering::Acquire) {
                    self.take(subscription, queue, sender, pulls).await?;
                }
            }
        }
        Ok(())
    }

    /// Ids of the group's members, in order.
    async fn members(&self, route: &Route) -> Result<Vec<String>, Error> {
        let header = GetConsumerListByGroupRequestHeader { consumer_group: &self.name, rpc: RpcFields::default() };
        let question = self.shared.own(Command::request(request::GET_CONSUMER_LIST_BY_GROUP).with_header(&header));
        let mut last = Error::NoMaster(self.name.to_string());
        for address in route.brokers.keys().filter_map(|broker| route.reader(broker, MASTER)) {
            match self.shared.peers.call(address, question.clone(), self.shared.settings.timeout).await {
                Ok(answer) => {
                    let list = GetConsumerListByGroupResponseBody::decode(&answer.body);
                    let list = list.map_err(|error| Error::json(address, &error))?;
                    let members: BTreeSet<_> = list.consumer_id_list.into_iter().collect();
                    return Ok(members.into_iter().collect());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Gives up the queues of a topic that are not in its part any more.
    async fn give_up_others(&self, topic: &str, part: &[Queue]) {
        let lost: Vec<_> = {
            let mut queues = self.lock();
            queues.extract_if(|queue, _| &*queue.topic == topic && !part.contains(queue)).collect()
        };
        for (queue, assigned) in lost {
            assigned.pulling.abort();
            assigned.progress.give_up();
            if let Err(error) = self.commit(&queue, &assigned.progress).await {
                tracing::warn!(group = &*self.name, %queue, %error, "the offset of a queue given up is not committed");
            }
        }
    }

    async fn take(
        self: &Arc<Self>,
        subscription: &Subscription,
        queue: Queue,
        sender: &mpsc::Sender<Delivery>,
        pulls: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let puller = Puller {
            shared: Arc::clone(&self.shared),
            group: Arc::clone(&self.name),
            filter: subscription.filter.clone(),
        };
        let committed = offsets::committed(&self.shared, &self.name, &queue).await?;
        let start = match committed {
            Some(offset) => offset,
            // Messages that come again are not news.
            None if subscription.topic == retry_topic(&self.name) => 0,
            None => puller.first_offset(&queue, self.settings.from).await?,
        };
        let progress = Arc::new(Progress::new(start, committed.unwrap_or(-1)));
        let pulling =
            pulls.spawn(Arc::clone(self).pull(puller, queue.clone(), start, Arc::clone(&progress), sender.clone()));
        self.lock().insert(queue, Assigned { progress, pulling });
        Ok(())
    }

    /// Pulls a queue as long as this member has it.
    async fn pull(
        self: Arc<Self>,
        puller: Puller,
        queue: Queue,
        mut offset: i64,
        progress: Arc<Progress>,
        sender: mpsc::Sender<Delivery>,
    ) {
        let mut broker_id = MASTER;
        loop {
            progress.room(self.settings.bounds).await;
            let pulled = match puller.pull(&queue, offset, broker_id).await {
                Ok(pulled) => pulled,
                Err(error) => {
                    if puller.recovers(&queue, &error, "a pull").await {
                        continue;
                    }
                    tracing::error!(group = &*self.name, %queue, %error, "a queue cannot be read: it is tried later");
                    // Whoever shares the queues takes it again.
                    self.lock().remove(&queue);
                    return;
                }
            };
            (offset, broker_id) = (pulled.next, pulled.broker_id);
            let sizes = pulled.messages.iter().map(|pulled| (pulled.message.offset, pulled.message.body.len()));
            progress.fetched(sizes, pulled.next);
            for pulled in pulled.messages {
                // Not made before there is room: one that is dropped goes back to the broker.
                let Ok(place) = sender.reserve().await else { return };
                progress.given_out(pulled.message.offset, true);
                let (progress, group) = (Arc::clone(&progress), Arc::clone(&self));
                let delivery =
                    Delivery { message: pulled.message, progress, group, is_settled: false, consuming: None };
                match pulled.unreadable {
                    None => place.send(delivery),
                    Some(error) => {
                        tracing::error!(group = &*self.name, %error, "a message cannot be read: it goes back");
                        delivery.retry();
                    }
                }
            }
        }
    }

    /// Commits again and again.
    pub async fn keep_committing(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.settings.commit_every).await;
            if let Err(error) = self.commit_all().await {
                tracing::warn!(group = &*self.name, %error, "an offset is not committed, and is tried again");
            }
        }
    }

    /// Commits all queues; the last error, if any.
    async fn commit_all(&self) -> Result<(), Error> {
        let queues: Vec<_> =
            self.lock().iter().map(|(queue, assigned)| (queue.clone(), Arc::clone(&assigned.progress))).collect();
        let mut done = Ok(());
        for (queue, progress) in queues {
            if let Err(error) = self.commit(&queue, &progress).await {
                done = Err(error);
            }
        }
        done
    }

    async fn commit(&self, queue: &Queue, progress: &Progress) -> Result<(), Error> {
        let Some(commit_offset) = progress.to_commit() else { return Ok(()) };
        offsets::commit(&self.shared, &self.name, queue, commit_offset).await?;
        progress.committed(commit_offset);
        Ok(())
    }

    /// A message is to come again.
    pub(super) fn give_back(&self, given_back: GivenBack) {
        if !self.has_left() {
            // Nobody takes it when the consumer is gone: the message is not committed, and comes again.
            let _ = self.given_back.send(given_back);
        }
    }

    /// Sends back what was given back.
    pub(super) async fn send_back(self: Arc<Self>, mut given_back: mpsc::UnboundedReceiver<GivenBack>) {
        let mut sending = JoinSet::new();
        while let Some(given_back) = given_back.recv().await {
            sending.spawn(Arc::clone(&self).send_back_one(given_back));
            while sending.try_join_next().is_some() {}
        }
    }

    /// Sends a message back until the broker has it, or the queue is somebody else's: then it comes again there.
    async fn send_back_one(self: Arc<Self>, given_back: GivenBack) {
        let GivenBack { message, progress, delay_level } = given_back;
        let header = ConsumerSendMsgBackRequestHeader {
            offset: message.physical_offset,
            group: &self.name,
            delay_level,
            origin_msg_id: Some(&message.message_id()),
            origin_topic: Some(message.topic()),
            unit_mode: Some(false),
            max_reconsume_times: Some(self.settings.max_reconsume_times),
            rpc: RpcFields { broker_name: Some(&message.queue.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::CONSUMER_SEND_MSG_BACK).with_header(&header);
        while !progress.is_given_up() {
            match self.shared.ask_master(&message.queue, question.clone()).await {
                Ok(_) => {
                    progress.settle(message.offset);
                    return;
                }
                Err(error) => {
                    let (queue, offset) = (&message.queue, message.offset);
                    tracing::warn!(group = &*self.name, %queue, offset, %error, "a message is not sent back yet");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Pulls no more, waits until what was given out is settled, commits and says good-bye.
    pub async fn leave(&self, patience: Duration) -> Result<(), Error> {
        self.is_leaving.store(true, Ordering::Release);
        let open: Vec<_> = {
            let queues = self.lock();
            queues.values().for_each(|assigned| assigned.pulling.abort());
            queues.values().map(|assigned| Arc::clone(&assigned.progress)).collect()
        };
        let settled = async {
            for progress in open {
                progress.at_rest().await;
            }
        };
        if tokio::time::timeout(patience, settled).await.is_err() {
            tracing::warn!(group = &*self.name, "messages were given out and not settled: they come again");
        }
        self.has_left.store(true, Ordering::Release);
        let committed = self.commit_all().await;
        self.shared.remove_consumer(&self.name).await;
        committed
    }

    /// Gone without a word.
    pub fn forget(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.has_left.store(true, Ordering::Release);
        self.lock().drain().for_each(|(_, assigned)| assigned.pulling.abort());
    }

    pub fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Queue, Assigned>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
