//! Which queue a message goes to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::tag::java_hash;
use tokio::time::Instant;

use super::outgoing::Outgoing;
use crate::route::Route;
use crate::{Error, Queue};

/// How long a broker that failed is avoided, where there are others.
const AVOIDED: Duration = Duration::from_secs(30);

/// How long a broker is avoided that took so long for an answer; both in milliseconds (upstream
/// `MQFaultStrategy`).
const RESTS: [(u64, u64); 5] = [(15_000, 30_000), (5_000, 10_000), (3_000, 6_000), (1_800, 5_000), (550, 2_000)];

/// Whose turn it is, and who is to be left alone for a while.
#[derive(Default)]
pub(super) struct Choice {
    /// Where the next message goes, among the queues of its topic.
    next: AtomicUsize,
    /// Brokers that failed or are slow, and until when they are avoided.
    avoided: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Choice {
    /// The first message goes to the queue in that place.
    pub fn beginning_at(first: usize) -> Self {
        Self { next: AtomicUsize::new(first), ..Self::default() }
    }

    /// The queue of the message's sharding key, or the next one, of a broker that did not fail lately.
    pub fn choose(&self, route: &Route, message: &Outgoing, failed: Option<&str>) -> Result<Queue, Error> {
        let queues = &route.writable;
        let none = || Error::NoQueue { topic: message.topic.clone(), action: "write to" };
        if let Some(key) = &message.sharding_key {
            return by_key(route, &message.topic, key);
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = || (0..queues.len()).map(|nth| &queues[(first.wrapping_add(nth)) % queues.len()]);
        let avoided = self.avoided_now();
        let good = in_turn().find(|queue| failed != Some(&*queue.broker) && !avoided.contains(&queue.broker));
        let other = || in_turn().find(|queue| failed != Some(&*queue.broker));
        good.or_else(other).or_else(|| in_turn().next()).cloned().ok_or_else(none)
    }

    /// A broker failed.
    pub fn failed(&self, broker: &Arc<str>) {
        self.lock().insert(Arc::clone(broker), Instant::now() + AVOIDED);
    }

    /// A broker took a message, and needed so long for it.
    pub fn answered(&self, broker: &Arc<str>, after: Duration) {
        if let Some(rest) = rest_after(after) {
            self.lock().insert(Arc::clone(broker), Instant::now() + rest);
        }
    }

    fn avoided_now(&self) -> Vec<Arc<str>> {
        let mut avoided = self.lock();
        if avoided.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        avoided.retain(|_, until| *until > now);
        avoided.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of a sharding key. As the Java client's choice by hash: the key of an order means the same queue to both.
pub(super) fn by_key(route: &Route, topic: &str, key: &str) -> Result<Queue, Error> {
    let number = java_hash(key).unsigned_abs() as usize % route.writable.len().max(1);
    let none = || Error::NoQueue { topic: topic.to_owned(), action: "write to" };
    route.writable.get(number).cloned().ok_or_else(none)
}

fn rest_after(answer: Duration) -> Option<Duration> {
    let slow = RESTS.iter().find(|(slow, _)| answer >= Duration::from_millis(*slow));
    slow.map(|(_, rest)| Duration::from_millis(*rest))
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::{BrokerData, QueueData, TopicRouteData};

    use super::*;

    fn route() -> Route {
        let broker = |name: &str| BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: [(0, format!("{name}:0"))].into_iter().collect(),
            ..BrokerData::default()
        };
        let queues = |name: &str| QueueData {
            broker_name: name.to_owned(),
            perm: 6,
            read_queue_nums: 2,
            write_queue_nums: 2,
            topic_sys_flag: 0,
        };
        let data = TopicRouteData {
            broker_datas: vec![broker("a"), broker("b")],
            queue_datas: vec![queues("a"), queues("b")],
            ..TopicRouteData::default()
        };
        Route::of(&data, "T")
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_failed_or_is_slow_is_left_alone_for_a_while() {
        let (route, message) = (route(), Outgoing::default());
        let chosen = |choice: &Choice, failed| {
            let queues = (0..4).map(|_| choice.choose(&route, &message, failed).expect("a queue").to_string());
            queues.collect::<Vec<_>>()
        };
        let all = ["T@a:0", "T@a:1", "T@b:0", "T@b:1"];
        let choice = Choice::default();
        assert_eq!(chosen(&choice, None), all);
        // An attempt that follows another goes elsewhere.
        assert!(chosen(&choice, Some("a")).iter().all(|queue| queue.starts_with("T@b")));
        let (a, b) = (&"a".into(), &"b".into());
        choice.answered(a, Duration::from_millis(549));
        assert_eq!(chosen(&choice, None), all);
        for (slow, rest) in [(550, 2), (2_000, 5), (60_000, 30)] {
            choice.answered(a, Duration::from_millis(slow));
            assert!(chosen(&choice, None).iter().all(|queue| queue.starts_with("T@b")));
            tokio::time::advance(Duration::from_secs(rest)).await;
            assert_eq!(chosen(&choice, None), all);
        }
        // Where there is nobody else, the choice is as always.
        choice.failed(a);
        choice.failed(b);
        assert_eq!(chosen(&choice, None), all);
        tokio::time::advance(AVOIDED).await;
        assert_eq!(chosen(&choice, None), all);
    }
}
