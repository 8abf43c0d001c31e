//! Locks of an orderly consumer's queues, which brokers keep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, LockBatchRequestBody, LockBatchResponseBody, MessageQueue, UnlockBatchRequestBody};
use apogee_wire::codes::request;
use tokio::time::Instant;

use super::group::{Group, REST};
use super::held::{Held, LOCK_COUNTS};
use crate::{Error, Queue};

/// How often locks are renewed.
const RENEW: Duration = Duration::from_secs(20);

impl Group {
    /// Renews the locks of its queues. A lock that another member has now ends a queue: what is worked on means nothing
    /// any more, and the rest is left to that member.
    pub(super) async fn keep_locked(self: Arc<Self>) {
        let mut rest = RENEW;
        loop {
            tokio::time::sleep(rest).await;
            rest = RENEW;
            let held = self.all_held();
            for (broker, held) in by_broker(held.iter().map(|held| (&held.queue, held))) {
                if let Err(error) = self.renew(&held).await {
                    tracing::warn!(group = &*self.name, broker, %error, "locks are not renewed, and end soon");
                    rest = REST;
                }
            }
        }
    }

    /// Renews locks of one broker.
    async fn renew(&self, all: &[&Arc<Held>]) -> Result<(), Error> {
        let asked = Instant::now();
        let queues: Vec<_> = all.iter().map(|held| &held.queue).collect();
        let locked = self.ask_for(&queues).await?;
        for held in all {
            if locked.contains(&held.queue.to_wire()) && held.was_locked_within(2 * LOCK_COUNTS) {
                self.has_locked(held, asked);
            } else {
                tracing::warn!(group = &*self.name, queue = %held.queue, "a queue's lock is lost: it is given up");
                self.stop_pulling(|queue| *queue == held.queue);
                held.give_up();
                self.let_go(held);
                self.changed.notify_one();
            }
        }
        Ok(())
    }

    /// Locks queues; those that it could.
    pub(super) async fn lock_queues(&self, queues: Vec<Queue>) -> Vec<Queue> {
        let mut locked = Vec::new();
        for (broker, queues) in by_broker(queues.iter().map(|queue| (queue, queue))) {
            match self.ask_for(&queues).await {
                Ok(answer) => {
                    locked.extend(queues.into_iter().filter(|queue| answer.contains(&queue.to_wire())).cloned());
                }
                Err(error) => tracing::warn!(group = &*self.name, broker, %error, "queues are not locked yet"),
            }
        }
        locked
    }

    /// Notes that a queue was locked at a moment, where queues are.
    pub(super) fn has_locked(&self, held: &Arc<Held>, at: Instant) {
        if self.settings.kind.locks() {
            held.locked(at);
        }
    }

    /// Asks a broker for the locks of some of its queues.
    async fn ask_for(&self, queues: &[&Queue]) -> Result<Vec<MessageQueue>, Error> {
        let Some(first) = queues.first() else { return Ok(Vec::new()) };
        let body = LockBatchRequestBody {
            client_id: Some(self.shared.id.clone()),
            consumer_group: Some(self.name.to_string()),
            mq_set: queues.iter().map(|queue| queue.to_wire()).collect(),
            only_this_broker: false,
        };
        let question = Command::request(request::LOCK_BATCH_MQ).with_body(body.encode());
        let (address, answer) = self.shared.ask_master(first, question).await?;
        let body = LockBatchResponseBody::decode(&answer.body).map_err(|error| Error::json(&address, &error))?;
        Ok(body.lock_ok_mq_set)
    }

    /// Unlocks queues for other members. Where that fails, brokers forget the locks after a minute.
    pub(super) async fn unlock(&self, all: &[Arc<Held>]) {
        if !self.settings.kind.locks() {
            return;
        }
        for (broker, queues) in by_broker(all.iter().map(|held| (&held.queue, &held.queue))) {
            let body = UnlockBatchRequestBody {
                client_id: Some(self.shared.id.clone()),
                consumer_group: Some(self.name.to_string()),
                mq_set: queues.iter().map(|queue| queue.to_wire()).collect(),
                only_this_broker: false,
            };
            let question = Command::request(request::UNLOCK_BATCH_MQ).with_body(body.encode());
            if let Err(error) = self.shared.ask_master(queues[0], question).await {
                tracing::warn!(group = &*self.name, broker, %error, "queues stay locked for a minute");
            }
        }
    }
}

/// Groups by the broker of a queue.
fn by_broker<'q, T>(all: impl Iterator<Item = (&'q Queue, T)>) -> BTreeMap<&'q str, Vec<T>> {
    let mut groups = BTreeMap::<_, Vec<T>>::new();
    for (queue, item) in all {
        groups.entry(&*queue.broker).or_default().push(item);
    }
    groups
}
