//! The queues that are consumed by hand: what was fetched of each, and how far each is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::pull::{PulledMessage, Puller};
use crate::route::MASTER;
use crate::{Error, Queue, Received};

/// What may be fetched of one queue and not handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub messages: usize,
    pub bytes: usize,
}

pub(super) struct Assignment {
    bounds: Bounds,
    state: Mutex<State>,
    /// Something was fetched, failed, or is not paused any more.
    ready: Notify,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<Queue, Assigned>,
    /// Whose turn it was.
    last: Option<Queue>,
}

struct Assigned {
    fetched: VecDeque<PulledMessage>,
    /// Of the bodies.
    bytes: usize,
    /// Where the next pull begins.
    next: i64,
    /// Where it was when the last messages handed out were done.
    done: i64,
    /// As the broker has it, or needs not have it.
    committed: Option<i64>,
    is_paused: bool,
    /// Why nothing more comes.
    failed: Option<Error>,
    /// Something was handed out.
    room: Arc<Notify>,
    fetching: JoinHandle<()>,
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.fetching.abort();
    }
}

impl Assigned {
    /// The first offset that was not handed out.
    fn position(&self) -> i64 {
        self.fetched.front().map_or(self.next, |first| first.message.offset)
    }

    fn is_ready(&self) -> bool {
        !self.is_paused && (!self.fetched.is_empty() || self.failed.is_some())
    }

    fn pop(&mut self) -> Option<PulledMessage> {
        let first = self.fetched.pop_front()?;
        self.bytes -= first.message.body.len();
        Some(first)
    }
}

impl Assignment {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default(), ready: Notify::new() }
    }

    /// Drops all queues but these.
    pub fn keep(&self, wanted: &[Queue]) {
        self.lock().queues.retain(|queue, _| wanted.contains(queue));
    }

    /// Fetches a queue from an offset on. One that it has already stays paused if it is, and is to be committed.
    pub fn begin(self: &Arc<Self>, puller: &Puller, queue: Queue, offset: i64) {
        let room = Arc::new(Notify::new());
        let fetch = fetch(Arc::clone(self), puller.clone(), queue.clone(), offset, Arc::clone(&room));
        let mut state = self.lock();
        let before = state.queues.get(&queue);
        // Nothing is to be told of a queue before something was handed out of it, or somebody said where to be.
        let committed = before.is_none().then_some(offset);
        let assigned = Assigned {
            fetched: VecDeque::new(),
            bytes: 0,
            next: offset,
            done: offset,
            committed,
            is_paused: before.is_some_and(|before| before.is_paused),
            failed: None,
            room,
            fetching: tokio::spawn(fetch),
        };
        state.queues.insert(queue, assigned);
    }

    pub fn queues(&self) -> Vec<Queue> {
        self.lock().queues.keys().cloned().collect()
    }

    pub fn position(&self, queue: &Queue) -> Option<i64> {
        self.lock().queues.get(queue).map(Assigned::position)
    }

    pub fn set_paused<'q>(&self, queues: impl IntoIterator<Item = &'q Queue>, is_paused: bool) {
        let mut state = self.lock();
        for queue in queues {
            if let Some(assigned) = state.queues.get_mut(queue) {
                assigned.is_paused = is_paused;
            }
        }
        drop(state);
        self.ready.notify_one();
    }

    /// What was handed out last is done.
    pub fn done(&self) {
        let mut state = self.lock();
        let State { queues, last } = &mut *state;
        // All before it were done when it was handed out.
        if let Some(assigned) = last.as_ref().and_then(|last| queues.get_mut(last)) {
            assigned.done = assigned.position();
        }
    }

    /// The queues with what is done of each, where it was not committed.
    pub fn to_commit(&self) -> Vec<(Queue, i64)> {
        let state = self.lock();
        let open = state.queues.iter().filter(|(_, assigned)| assigned.committed != Some(assigned.done));
        open.map(|(queue, assigned)| (queue.clone(), assigned.done)).collect()
    }

    pub fn committed(&self, queue: &Queue, offset: i64) {
        if let Some(assigned) = self.lock().queues.get_mut(queue) {
            assigned.committed = Some(offset);
        }
    }

    /// Waits for messages of a queue whose turn it is, at most `max`.
    pub async fn take(&self, max: usize) -> Result<Vec<Received>, Error> {
        loop {
            if let Some(taken) = self.take_now(max) {
                return taken;
            }
            // Only one waits: a word from before it came is kept for it.
            self.ready.notified().await;
        }
    }

    fn take_now(&self, max: usize) -> Option<Result<Vec<Received>, Error>> {
        let mut state = self.lock();
        let behind = state.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let turns = state.queues.range::<Queue, _>((behind, Bound::Unbounded)).chain(&state.queues);
        let queue = turns.into_iter().find(|(_, assigned)| assigned.is_ready())?.0.clone();
        state.last = Some(queue.clone());
        let assigned = state.queues.get_mut(&queue)?;
        if assigned.fetched.is_empty() {
            let mut ended = state.queues.remove(&queue)?;
            return ended.failed.take().map(Err);
        }
        let mut taken = Vec::with_capacity(max.min(assigned.fetched.len()));
        while taken.len() < max
            && let Some(first) = assigned.fetched.front_mut()
        {
            // An error comes alone: after those before it.
            match first.unreadable.take() {
                Some(unreadable) if taken.is_empty() => {
                    assigned.pop();
                    assigned.room.notify_one();
                    return Some(Err(unreadable));
                }
                Some(unreadable) => {
                    first.unreadable = Some(unreadable);
                    break;
                }
                None => taken.extend(assigned.pop().map(|pulled| pulled.message)),
            }
        }
        assigned.room.notify_one();
        Some(Ok(taken))
    }

    /// Takes back the last messages that were taken.
    pub fn put_back(&self, messages: impl DoubleEndedIterator<Item = PulledMessage>) {
        let mut state = self.lock();
        let State { queues, last } = &mut *state;
        if let Some(assigned) = last.as_ref().and_then(|last| queues.get_mut(last)) {
            for pulled in messages.rev() {
                assigned.bytes += pulled.message.body.len();
                assigned.fetched.push_front(pulled);
            }
        }
        drop(state);
        self.ready.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a queue whose fetching has this notice of room: another's of the same queue began later.
    fn change(&self, queue: &Queue, room: &Arc<Notify>, change: impl FnOnce(&mut Assigned)) {
        if let Some(assigned) = self.lock().queues.get_mut(queue).filter(|found| Arc::ptr_eq(&found.room, room)) {
            change(assigned);
        }
        self.ready.notify_one();
    }

    fn has_room(&self, queue: &Queue) -> bool {
        self.lock()
            .queues
            .get(queue)
            .is_none_or(|assigned| assigned.fetched.len() < self.bounds.messages && assigned.bytes < self.bounds.bytes)
    }
}

/// Fetches a queue until it is dropped, or no attempt can help.
async fn fetch(assignment: Arc<Assignment>, puller: Puller, queue: Queue, mut offset: i64, room: Arc<Notify>) {
    let mut broker_id = MASTER;
    loop {
        while !assignment.has_room(&queue) {
            room.notified().await;
        }
        match puller.pull(&queue, offset, broker_id).await {
            Ok(pulled) => {
                (offset, broker_id) = (pulled.next, pulled.broker_id);
                assignment.change(&queue, &room, |assigned| {
                    assigned.bytes += pulled.messages.iter().map(|pulled| pulled.message.body.len()).sum::<usize>();
                    assigned.fetched.extend(pulled.messages);
                    assigned.next = offset;
                });
            }
            Err(error) => {
                if !puller.recovers(&queue, &error, "a pull").await {
                    assignment.change(&queue, &room, |assigned| assigned.failed = Some(error));
                    return;
                }
            }
        }
    }
}
