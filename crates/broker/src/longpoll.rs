//! Pulls that found nothing wait here until a message for them is dispatched, or their time is up
//! (upstream `PullRequestHoldService`). Told the time; never looks at a clock.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_net::Conn;
use apogee_wire::Command;

use crate::clients::Subscription;
use crate::metrics::requests::Begun;

/// Pulls that may wait; one more is answered at once.
const MOST_PARKED: usize = 200_000;

/// A pull that waits.
#[derive(Clone)]
pub struct Parked {
    /// Who asked.
    pub conn: Arc<Conn>,
    /// What was asked.
    pub request: Command,
    /// Which messages it wants.
    pub subscription: Arc<Subscription>,
    /// Offset in the queue from which on messages may match.
    pub offset: i64,
    /// When it is answered whatever comes, in milliseconds since 1970.
    pub deadline_ms: i64,
    /// What is counted when it is answered.
    pub(crate) begun: Begun,
}

/// All pulls that wait.
#[derive(Default)]
pub struct LongPolling {
    state: Mutex<State>,
    /// Lets the many messages that nobody waits for pass without the lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct State {
    next_id: u64,
    parked: HashMap<u64, (Parked, Arc<str>, i32)>,
    /// Ids grow: who waits longest is the first.
    by_queue: HashMap<Arc<str>, HashMap<i32, BTreeSet<u64>>>,
    by_deadline: BTreeSet<(i64, u64)>,
    by_conn: HashMap<u64, HashSet<u64>>,
}

impl LongPolling {
    /// Lets a pull wait for messages of a queue; says whether its time is up before that of all others.
    /// Given back when too many wait. The caller has to look at the queue once more afterwards: a
    /// message may have come meanwhile.
    pub fn park(&self, topic: &Arc<str>, queue_id: i32, parked: Parked) -> Result<bool, Box<Parked>> {
        let mut state = self.lock();
        if state.parked.len() >= MOST_PARKED {
            return Err(Box::new(parked));
        }
        let id = state.next_id;
        state.next_id += 1;
        state.by_deadline.insert((parked.deadline_ms, id));
        state.by_conn.entry(parked.conn.id()).or_default().insert(id);
        state.by_queue.entry(Arc::clone(topic)).or_default().entry(queue_id).or_default().insert(id);
        state.parked.insert(id, (parked, Arc::clone(topic), queue_id));
        self.count.store(state.parked.len(), Ordering::Release);
        Ok(state.by_deadline.first().is_some_and(|(_, first)| *first == id))
    }

    /// Pulls that wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes the pulls that a message with this tag code is for.
    pub fn arrived(&self, topic: &str, queue_id: i32, tag_code: i64) -> Vec<Parked> {
        self.take_matching(topic, queue_id, |subscription| subscription.wants(tag_code))
    }

    /// Takes all pulls that wait for a queue.
    pub fn take_queue(&self, topic: &str, queue_id: i32) -> Vec<Parked> {
        self.take_matching(topic, queue_id, |_| true)
    }

    fn take_matching(&self, topic: &str, queue_id: i32, wants: impl Fn(&Subscription) -> bool) -> Vec<Parked> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut state = self.lock();
        let Some(waiting) = state.by_queue.get(topic).and_then(|queues| queues.get(&queue_id)) else {
            return Vec::new();
        };
        let ids: Vec<u64> = waiting
            .iter()
            .copied()
            .filter(|id| state.parked.get(id).is_some_and(|(parked, ..)| wants(&parked.subscription)))
            .collect();
        self.take(&mut state, &ids)
    }

    /// Takes the pulls whose time is up.
    pub fn expired(&self, now_ms: i64) -> Vec<Parked> {
        let mut state = self.lock();
        let due = state.by_deadline.range(..=(now_ms, u64::MAX)).map(|(_, id)| *id).collect::<Vec<_>>();
        self.take(&mut state, &due)
    }

    /// When the next pull's time is up, in milliseconds since 1970.
    pub fn next_deadline(&self) -> Option<i64> {
        self.lock().by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the pulls of a connection that is gone.
    pub fn closed(&self, conn: u64) -> Vec<Parked> {
        let mut state = self.lock();
        let ids: Vec<u64> = state.by_conn.get(&conn).into_iter().flatten().copied().collect();
        self.take(&mut state, &ids)
    }

    /// Takes all pulls.
    pub fn take_all(&self) -> Vec<Parked> {
        self.expired(i64::MAX)
    }

    fn take(&self, state: &mut State, ids: &[u64]) -> Vec<Parked> {
        let taken = ids.iter().filter_map(|id| state.remove(*id)).collect();
        self.count.store(state.parked.len(), Ordering::Release);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Parked> {
        let (parked, topic, queue_id) = self.parked.remove(&id)?;
        self.by_deadline.remove(&(parked.deadline_ms, id));
        if let Some(ids) = self.by_conn.get_mut(&parked.conn.id()) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_conn.remove(&parked.conn.id());
            }
        }
        if let Some(queues) = self.by_queue.get_mut(&topic) {
            if let Some(ids) = queues.get_mut(&queue_id) {
                ids.remove(&id);
                if ids.is_empty() {
                    queues.remove(&queue_id);
                }
            }
            if queues.is_empty() {
                self.by_queue.remove(&topic);
            }
        }
        Some(parked)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use apogee_wire::codes::request;

    use super::*;
    use crate::testing::Running;

    fn parked(conn: &Arc<Conn>, deadline_ms: i64, tags: &str) -> Parked {
        Parked {
            conn: Arc::clone(conn),
            request: Command::request(request::PULL_MESSAGE),
            subscription: Arc::new(Subscription::to_tags("T", tags, 0)),
            offset: 0,
            deadline_ms,
            begun: Begun::default(),
        }
    }

    fn deadlines(parked: &[Parked]) -> Vec<i64> {
        parked.iter().map(|parked| parked.deadline_ms).collect()
    }

    #[tokio::test]
    async fn each_pull_is_taken_once_by_what_comes_first() {
        let running = Running::start(1 << 30, |_| {}).await;
        let (one, other) = (running.connect().await, running.connect().await);
        let (pulls, topic) = (LongPolling::default(), Arc::from("T"));
        let park = |conn: &Arc<Conn>, queue, deadline, tags| pulls.park(&topic, queue, parked(conn, deadline, tags));
        assert!(matches!(park(&one, 0, 50, "A"), Ok(true)));
        assert!(matches!(park(&one, 0, 60, "*"), Ok(false)));
        assert!(matches!(park(&other, 0, 40, "B"), Ok(true)), "its time is up first");
        assert!(matches!(park(&other, 1, 70, "*"), Ok(false)));
        assert_eq!(
            deadlines(&pulls.arrived("T", 0, apogee_message::tag::tag_code(Some("A")))),
            [50, 60],
            "as they came"
        );
        assert_eq!(pulls.next_deadline(), Some(40));
        assert_eq!(deadlines(&pulls.expired(39)), [0; 0]);
        assert_eq!(deadlines(&pulls.expired(40)), [40]);
        assert_eq!(deadlines(&pulls.closed(one.id())), [0; 0]);
        assert_eq!(deadlines(&pulls.closed(other.id())), [70]);
        assert_eq!(pulls.next_deadline(), None);
        assert!(pulls.lock().by_queue.is_empty() && pulls.lock().by_conn.is_empty(), "nothing is left behind");
        running.stop().await;
    }

    #[tokio::test]
    async fn many_pulls_of_one_queue_are_taken_in_good_time() {
        const MANY: usize = 50_000;
        let running = Running::start(1 << 30, |_| {}).await;
        let (one, other) = (running.connect().await, running.connect().await);
        let (pulls, topic) = (LongPolling::default(), Arc::from("T"));
        let fill = |conns: [&Arc<Conn>; 2]| {
            for number in 0..MANY {
                let parked = parked(conns[number % 2], number as i64, "*");
                assert!(pulls.park(&topic, 0, parked).is_ok());
            }
        };
        let began = Instant::now();
        fill([&one, &other]);
        let closed = deadlines(&pulls.closed(one.id()));
        assert_eq!(closed.len(), MANY / 2);
        assert!(closed.iter().all(|deadline| deadline % 2 == 0), "the other's wait on");
        assert_eq!(pulls.expired(MANY as i64 / 2).len(), MANY / 4);
        assert_eq!(pulls.take_queue("T", 0).len(), MANY / 4);
        fill([&one, &other]);
        assert_eq!(pulls.take_all().len(), MANY);
        // Each of them costs about the same: were it the square of their number, it would be a minute.
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        running.stop().await;
    }
}
