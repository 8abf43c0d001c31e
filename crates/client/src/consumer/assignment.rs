//! Which queues a member has, and pulling them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apogee_message::names::retry_topic;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, GetConsumerListByGroupResponseBody};
use apogee_wire::codes::request;
use apogee_wire::headers::{GetConsumerListByGroupRequestHeader, RpcFields};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::delivery::{GivenBack, When};
use super::group::{Group, REST, Settings, Subscription};
use super::held::Held;
use crate::pull::Puller;
use crate::route::{MASTER, Route};
use crate::{Error, Queue};

/// How soon a queue is asked for again that another member has locked.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long a queue stays locked for a message that is worked on, once it is another member's.
const RELEASE: Duration = Duration::from_secs(20);

impl Group {
    /// Takes its part of the queues, again and again.
    pub(super) async fn keep_balanced(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        while !self.is_leaving() {
            let rest = match self.take_part(&mut tasks).await {
                Ok(true) => self.settings.rebalance_every,
                Ok(false) => ASK_AGAIN,
                Err(error) => {
                    tracing::warn!(group = &*self.name, %error, "queues are not shared anew: what it has, it keeps");
                    // A broker that began anew has forgotten its members.
                    self.shared.heartbeat().await;
                    REST
                }
            };
            // Whichever comes first.
            let _ = tokio::time::timeout(rest, self.changed.notified()).await;
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Whether it has all of its part. What fails keeps it from nothing else; the last error.
    async fn take_part(self: &Arc<Self>, tasks: &mut JoinSet<()>) -> Result<bool, Error> {
        let mut done = Ok(true);
        for subscription in &self.subscriptions {
            match self.take_part_of(subscription, tasks).await {
                Ok(true) => {}
                Ok(false) => done = done.map(|_| false),
                Err(error) => done = Err(error),
            }
        }
        done
    }

    async fn take_part_of(
        self: &Arc<Self>,
        subscription: &Subscription,
        tasks: &mut JoinSet<()>,
    ) -> Result<bool, Error> {
        let route = match self.shared.route(&subscription.topic).await {
            // Nothing was sent back yet.
            Err(Error::NoTopic(_)) if subscription.topic == retry_topic(&self.name) => return Ok(true),
            other => other?,
        };
        let part = self.part_of(&route).await?;
        let is_lost = |queue: &Queue| *queue.topic == subscription.topic && !part.contains(queue);
        for held in self.stop_pulling(is_lost) {
            self.release(held, tasks).await;
        }
        let missing: Vec<_> = part.into_iter().filter(|queue| self.held(queue).is_none()).collect();
        let (count, asked) = (missing.len(), Instant::now());
        let missing = if self.settings.kind.locks() { self.lock_queues(missing).await } else { missing };
        let mut done = Ok(missing.len() == count);
        for queue in missing {
            if let Err(error) = self.take(subscription, queue, asked, tasks).await {
                done = Err(error);
            }
        }
        done
    }

    /// Which queues of a topic are this member's.
    async fn part_of(&self, route: &Route) -> Result<Vec<Queue>, Error> {
        if self.settings.kind.is_broadcasting() {
            return Ok(route.readable.clone());
        }
        let members = self.members(route).await?;
        if !members.contains(&self.shared.id) {
            return Err(Error::NotMember(self.name.to_string()));
        }
        Ok(self.settings.balance.part_of(&self.shared.id, &members, &route.readable))
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

    /// Gives up a queue that is another member's now. One that is locked stays so until nobody works on its message.
    async fn release(self: &Arc<Self>, held: Arc<Held>, tasks: &mut JoinSet<()>) {
        if self.settings.kind.locks() {
            let group = Arc::clone(self);
            tasks.spawn(async move {
                if tokio::time::timeout(RELEASE, held.at_rest()).await.is_err() {
                    let queue = &held.queue;
                    tracing::warn!(group = &*group.name, %queue, "a queue is given up, and somebody works on its message");
                }
                group.give_up(&held).await;
                group.unlock(std::slice::from_ref(&held)).await;
                group.let_go(&held);
                // It may be this member's again.
                group.changed.notify_one();
            });
        } else {
            self.give_up(&held).await;
            self.let_go(&held);
        }
    }

    /// Goes on elsewhere in a queue. What is worked on means nothing any more; an orderly consumer waits for it.
    pub(super) async fn restart(self: Arc<Self>, held: Arc<Held>, offset: i64) {
        self.stop_pulling(|queue| *queue == held.queue);
        self.restart_closed(&held, offset).await;
    }

    async fn restart_closed(&self, held: &Arc<Held>, offset: i64) {
        held.close();
        if self.settings.kind.is_orderly() {
            // Who takes longer works beside the next one.
            let _ = tokio::time::timeout(RELEASE, held.at_rest()).await;
        }
        let queue = &held.queue;
        let committing = self.committing.lock().await;
        held.move_to(offset);
        if let Err(error) = self.offsets.set(self, queue, offset).await {
            tracing::warn!(group = &*self.name, %queue, offset, %error, "a queue goes on where it was: its offset is not set");
        }
        drop(committing);
        self.unlock(std::slice::from_ref(held)).await;
        self.let_go(held);
        self.changed.notify_one();
    }

    async fn give_up(&self, held: &Arc<Held>) {
        held.give_up();
        if let Err(error) = self.commit(std::slice::from_ref(held)).await {
            let queue = &held.queue;
            tracing::warn!(group = &*self.name, %queue, %error, "the offset of a queue given up is not committed");
        }
    }

    /// Begins with a queue; it was locked at a moment, where it needs that.
    async fn take(
        self: &Arc<Self>,
        subscription: &Subscription,
        queue: Queue,
        locked: Instant,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let puller = Puller {
            shared: Arc::clone(&self.shared),
            group: Arc::clone(&self.name),
            filter: subscription.filter.clone(),
        };
        let committed = self.offsets.committed(self, &queue).await?;
        let start = match committed {
            Some(offset) => offset,
            // Messages that come again are not news.
            None if subscription.topic == retry_topic(&self.name) => 0,
            None => puller.first_offset(&queue, self.settings.from).await?,
        };
        let Settings { kind, bounds, .. } = &self.settings;
        let held = Held::new(queue, kind.order(), *bounds, &self.ready, start, committed.unwrap_or(-1));
        let held = Arc::new(held);
        self.has_locked(&held, locked);
        let pull = || tasks.spawn(Arc::clone(self).pull(puller, Arc::clone(&held), start));
        if !self.hold(&held, pull) {
            self.unlock(&[held]).await;
        }
        Ok(())
    }

    /// Pulls a queue as long as this member has it.
    async fn pull(self: Arc<Self>, puller: Puller, held: Arc<Held>, mut offset: i64) {
        let (queue, mut broker_id) = (&held.queue, MASTER);
        loop {
            held.room().await;
            let begun = Instant::now();
            let pulled = match puller.pull(queue, offset, broker_id).await {
                Ok(pulled) => pulled,
                Err(error) => {
                    if puller.recovers(queue, &error, "a pull").await {
                        continue;
                    }
                    tracing::error!(group = &*self.name, %queue, %error, "a queue cannot be read: it is tried later");
                    held.give_up();
                    // Whoever shares the queues takes it again.
                    self.let_go(&held);
                    return;
                }
            };
            if pulled.is_moved {
                self.restart_closed(&held, pulled.next).await;
                return;
            }
            (offset, broker_id) = (pulled.next, pulled.broker_id);
            if !pulled.messages.is_empty() {
                self.figures.pulled(&queue.topic, pulled.messages.len(), begun.elapsed());
            }
            let mut readable = Vec::with_capacity(pulled.messages.len());
            for pulled in pulled.messages {
                match pulled.unreadable {
                    None => readable.push(pulled.message),
                    Some(error) => {
                        tracing::error!(group = &*self.name, %error, "a message cannot be read: it goes back");
                        held.kept(&pulled.message);
                        // Where order matters, it would come out of order.
                        let when = if self.settings.kind.is_orderly() { When::Never } else { When::Policy };
                        self.give_back(GivenBack { message: pulled.message, held: Arc::clone(&held), when });
                    }
                }
            }
            held.fetched(readable, pulled.next);
        }
    }
}
