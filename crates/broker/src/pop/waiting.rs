//! Pops that found nothing wait here until there may be something for their group, or their time is up (upstream
//! `PopLongPollingService`). Told the time; never looks at a clock.
//!
//! A message wakes one pop of each group, not all: only one can get it. Whoever is woken and goes away without having
//! looked passes it on ([`crate::handlers::pop`]).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_net::Conn;
use apogee_wire::Command;

use super::handle::Source;
use crate::clients::Subscription;
use crate::metrics::requests::Begun;

/// A pop, or a question whether there is something to pop.
#[derive(Clone)]
pub(crate) struct Waiter {
    pub conn: Arc<Conn>,
    pub request: Command,
    pub group: Arc<str>,
    pub topic: Arc<str>,
    /// The queue that it wants; negative: any.
    pub queue: i32,
    pub subscription: Arc<Subscription>,
    /// It pops in order.
    pub is_in_order: bool,
    /// The attempt that it belongs to.
    pub attempt: Option<Arc<str>>,
    /// When it is answered whatever comes, in milliseconds since 1970.
    pub deadline_ms: i64,
    pub begun: Begun,
}

/// How many may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Of one group and topic.
    pub each: usize,
    /// Altogether.
    pub all: usize,
}

/// All that wait.
#[derive(Default)]
pub(crate) struct Waiters {
    state: Mutex<State>,
    /// Lets the many messages that nobody waits for pass without the lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct State {
    next_id: u64,
    waiting: HashMap<u64, Waiter>,
    /// Who waits for a topic, by group. Ids grow: who waits longest is the first.
    by_topic: HashMap<Arc<str>, HashMap<Arc<str>, BTreeSet<u64>>>,
    /// Retry topics of those, with their topics and groups.
    retries: HashMap<String, (Arc<str>, Arc<str>)>,
    by_deadline: BTreeSet<(i64, u64)>,
    by_conn: HashMap<u64, HashSet<u64>>,
}

const RETRIES: [Source; 2] = [Source::Retry, Source::RetryV2];

impl Waiters {
    /// Lets one wait; says whether its time is up before that of all others. Given back when there is no room. The
    /// caller has to look once more afterwards: a message may have come meanwhile.
    pub fn park(&self, waiter: Waiter, room: Room) -> Result<bool, Box<Waiter>> {
        let mut state = self.lock();
        let known = state.by_topic.get(&waiter.topic).and_then(|groups| groups.get(&waiter.group));
        if state.waiting.len() >= room.all || known.is_some_and(|ids| ids.len() >= room.each) {
            return Err(Box::new(waiter));
        }
        let is_first = known.is_none();
        let id = state.next_id;
        state.next_id += 1;
        let (topic, group) = (Arc::clone(&waiter.topic), Arc::clone(&waiter.group));
        if is_first {
            for source in RETRIES {
                state.retries.insert(source.topic(&group, &topic), (Arc::clone(&topic), Arc::clone(&group)));
            }
        }
        state.by_deadline.insert((waiter.deadline_ms, id));
        state.by_conn.entry(waiter.conn.id()).or_default().insert(id);
        state.by_topic.entry(topic).or_default().entry(group).or_default().insert(id);
        state.waiting.insert(id, waiter);
        self.count.store(state.waiting.len(), Ordering::Release);
        Ok(state.by_deadline.first().is_some_and(|(_, first)| *first == id))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many of a group wait for a topic, or a queue of it.
    pub fn count(&self, group: &str, topic: &str, queue: i32) -> usize {
        let state = self.lock();
        let ids = state.by_topic.get(topic).and_then(|groups| groups.get(group)).into_iter().flatten();
        ids.filter(|id| state.waiting.get(id).is_some_and(|waiter| waiter.queue == queue)).count()
    }

    /// Takes, of each group, the one that waits longest for a message that has come.
    pub fn arrived(&self, topic: &str, queue: i32, tag_code: i64) -> Vec<Waiter> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut state = self.lock();
        let first = |ids: &BTreeSet<u64>, wants: &dyn Fn(&Waiter) -> bool| {
            ids.iter().copied().find(|id| state.waiting.get(id).is_some_and(wants))
        };
        let ids: Vec<u64> = match state.retries.get(topic) {
            Some((topic, group)) => {
                let ids = state.by_topic.get(topic).and_then(|groups| groups.get(group));
                ids.and_then(|ids| first(ids, &|_| true)).into_iter().collect()
            }
            None => {
                let wants = |waiter: &Waiter| {
                    (waiter.queue < 0 || waiter.queue == queue) && waiter.subscription.wants(tag_code)
                };
                let groups = state.by_topic.get(topic).into_iter().flat_map(HashMap::values);
                groups.filter_map(|ids| first(ids, &wants)).collect()
            }
        };
        self.take(&mut state, &ids)
    }

    /// Takes the one of a group that waits longest for a topic.
    pub fn next(&self, group: &str, topic: &str) -> Option<Waiter> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut state = self.lock();
        let id = *state.by_topic.get(topic)?.get(group)?.first()?;
        self.take(&mut state, &[id]).pop()
    }

    /// The same for the topic that messages are stored in: the one that is waited for, or its retry topic.
    pub fn next_of(&self, group: &str, stored: &str) -> Option<Waiter> {
        let own = self.lock().retries.get(stored).map(|(topic, _)| Arc::clone(topic));
        self.next(group, own.as_deref().unwrap_or(stored))
    }

    /// Takes the one of a group that waits longest to pop a queue in order; negative: any.
    pub fn next_in_order(&self, group: &str, topic: &str, queue: i32) -> Option<Waiter> {
        let wants = |waiter: &Waiter| waiter.is_in_order && (waiter.queue < 0 || queue < 0 || waiter.queue == queue);
        self.take_where(group, topic, 1, wants).pop()
    }

    /// Takes those of an attempt to pop in order: each of them gets what the attempt got.
    pub fn of_attempt(&self, group: &str, topic: &str, attempt: &str) -> Vec<Waiter> {
        self.take_where(group, topic, usize::MAX, |waiter| {
            waiter.is_in_order && waiter.attempt.as_deref() == Some(attempt)
        })
    }

    fn take_where(&self, group: &str, topic: &str, most: usize, wants: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut state = self.lock();
        let ids = state.by_topic.get(topic).and_then(|groups| groups.get(group)).into_iter().flatten();
        let ids = ids.filter(|id| state.waiting.get(id).is_some_and(&wants)).copied().take(most);
        let ids: Vec<u64> = ids.collect();
        self.take(&mut state, &ids)
    }

    /// Takes those whose time is up.
    pub fn expired(&self, now_ms: i64) -> Vec<Waiter> {
        let mut state = self.lock();
        let due = state.by_deadline.range(..=(now_ms, u64::MAX)).map(|(_, id)| *id).collect::<Vec<_>>();
        self.take(&mut state, &due)
    }

    /// When the next one's time is up, in milliseconds since 1970.
    pub fn next_deadline(&self) -> Option<i64> {
        self.lock().by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Takes those of a connection that is gone.
    pub fn closed(&self, conn: u64) -> Vec<Waiter> {
        let mut state = self.lock();
        let ids: Vec<u64> = state.by_conn.get(&conn).into_iter().flatten().copied().collect();
        self.take(&mut state, &ids)
    }

    /// Takes all.
    pub fn take_all(&self) -> Vec<Waiter> {
        self.expired(i64::MAX)
    }

    fn take(&self, state: &mut State, ids: &[u64]) -> Vec<Waiter> {
        let taken = ids.iter().filter_map(|id| state.remove(*id)).collect();
        self.count.store(state.waiting.len(), Ordering::Release);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiting.remove(&id)?;
        self.by_deadline.remove(&(waiter.deadline_ms, id));
        if let Some(ids) = self.by_conn.get_mut(&waiter.conn.id()) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_conn.remove(&waiter.conn.id());
            }
        }
        if let Some(groups) = self.by_topic.get_mut(&waiter.topic) {
            if let Some(ids) = groups.get_mut(&waiter.group) {
                ids.remove(&id);
                if ids.is_empty() {
                    groups.remove(&waiter.group);
                    for source in RETRIES {
                        self.retries.remove(&source.topic(&waiter.group, &waiter.topic));
                    }
                }
            }
            if groups.is_empty() {
                self.by_topic.remove(&waiter.topic);
            }
        }
        Some(waiter)
    }
}
