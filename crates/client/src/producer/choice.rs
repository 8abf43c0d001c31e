//! Which queue a message goes to.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::tag::java_hash;
use tokio::time::Instant;

use super::Sending;
use super::outgoing::Outgoing;
use crate::route::Route;
use crate::{Error, Queue};

/// How long a broker that failed is avoided, where there are others.
const AVOIDED: Duration = Duration::from_secs(30);

impl Sending {
    /// The queue of the message's sharding key, or the next one, of a broker that did not fail lately.
    pub(super) fn choose(&self, route: &Route, message: &Outgoing, failed: Option<&str>) -> Result<Queue, Error> {
        let queues = &route.writable;
        let none = || Error::NoQueue { topic: message.topic.clone(), action: "write to" };
        if let Some(key) = &message.sharding_key {
            // As the Java client's choice by hash: the key of an order means the same queue to both.
            let number = java_hash(key).unsigned_abs() as usize % queues.len().max(1);
            return queues.get(number).cloned().ok_or_else(none);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = || (0..queues.len()).map(|nth| &queues[(first.wrapping_add(nth)) % queues.len()]);
        let avoided = self.avoided_now();
        let good = in_turn().find(|queue| failed != Some(&*queue.broker) && !avoided.contains(&queue.broker));
        let other = || in_turn().find(|queue| failed != Some(&*queue.broker));
        good.or_else(other).or_else(|| in_turn().next()).cloned().ok_or_else(none)
    }

    pub(super) fn avoid(&self, broker: &Arc<str>) {
        self.lock_avoided().insert(Arc::clone(broker), Instant::now() + AVOIDED);
    }

    pub(super) fn avoided_now(&self) -> Vec<Arc<str>> {
        let mut avoided = self.lock_avoided();
        if avoided.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        avoided.retain(|_, until| *until > now);
        avoided.keys().cloned().collect()
    }

    pub(super) fn lock_avoided(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
