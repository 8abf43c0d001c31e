//! A queue that a member has: what was fetched of it and waits, what is given out, and how far the group is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_wire::bodies::CMResult;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::asked;
use super::ready::Ready;
use crate::pull::BATCH;
use crate::{Queue, Received};

/// How long a lock counts that was not renewed: half as long as it does for brokers.
pub(super) const LOCK_COUNTS: Duration = Duration::from_secs(30);

/// What may be fetched and not yet settled of one queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub messages: usize,
    pub bytes: usize,
    /// From the first to the last of them: one that takes long must not leave all others to be read again.
    pub span: i64,
}

/// How a queue's messages are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As many as are wanted.
    Free,
    /// None before those given out are settled.
    OneByOne,
    /// The same, while the queue is locked at its broker.
    Locked,
}

/// The messages of a queue that were fetched and are not settled, and so what may be committed: all before the
/// first of them.
pub(crate) struct Held {
    pub queue: Queue,
    order: Order,
    bounds: Bounds,
    ready: Arc<Ready>,
    state: Mutex<State>,
    /// Of one that is no queue of the group's: who asked for its message to be consumed.
    asked: Option<Mutex<Option<oneshot::Sender<CMResult>>>>,
    /// There is room for more.
    has_room: Notify,
    /// Nobody works on a message any more.
    is_at_rest: Notify,
}

struct State {
    /// By offset: fetched and not settled.
    open: BTreeMap<i64, Open>,
    /// Those of them that wait to be given out, in order.
    waiting: VecDeque<Received>,
    /// Those of them that somebody works on.
    given_out: usize,
    /// Those of them that rest before they wait again.
    resting: usize,
    /// Of the bodies of those that are open.
    bytes: usize,
    /// Where the next pull begins: all before it was fetched.
    next: i64,
    /// As the broker has it, or will have soon.
    committed: i64,
    /// When it was locked the last time.
    locked: Option<Instant>,
    /// Whoever takes messages knows of it.
    is_listed: bool,
    /// Nothing of it is given out any more.
    is_closed: bool,
    /// The queue is somebody else's now: what is settled from here on means nothing.
    is_given_up: bool,
    last_taken: Option<Instant>,
    last_pulled: Option<Instant>,
}

/// A message that is not settled.
struct Open {
    /// Of its body.
    bytes: usize,
    /// When somebody began to work on it.
    given_out: Option<Instant>,
}

/// What can be told of a queue that is held.
pub(super) struct Figures {
    pub open: usize,
    pub bytes: usize,
    /// First and last offset of those that are open.
    pub range: Option<(i64, i64)>,
    pub reached: i64,
    pub locked: Option<Instant>,
    pub is_closed: bool,
    pub last_taken: Option<Instant>,
    pub last_pulled: Option<Instant>,
}

impl Held {
    /// Begins at an offset, which the broker knows or not.
    pub fn new(queue: Queue, order: Order, bounds: Bounds, ready: &Arc<Ready>, next: i64, committed: i64) -> Self {
        let state = State {
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            given_out: 0,
            resting: 0,
            bytes: 0,
            next,
            committed,
            locked: None,
            is_listed: false,
            is_closed: false,
            is_given_up: false,
            last_taken: None,
            last_pulled: None,
        };
        Self {
            queue,
            order,
            bounds,
            ready: Arc::clone(ready),
            state: Mutex::new(state),
            asked: None,
            has_room: Notify::new(),
            is_at_rest: Notify::new(),
        }
    }

    /// One that is no queue of the group's, but a message whose end is told.
    pub fn asked(mut self, who: oneshot::Sender<CMResult>) -> Self {
        self.asked = Some(Mutex::new(Some(who)));
        self
    }

    /// Tells who asked for a message what became of it; whether somebody did.
    pub fn told(&self, is_consumed: bool) -> bool {
        let Some(asked) = &self.asked else { return false };
        let who = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody may wait any more.
        let _ = who.map(|who| who.send(asked::result(is_consumed)));
        true
    }

    /// Notes what a pull brought, and where the next one begins. Who asks for messages gets them.
    pub fn fetched(self: &Arc<Self>, messages: impl IntoIterator<Item = Received>, next: i64) {
        let mut state = self.lock();
        for message in messages {
            state.bytes += message.body.len();
            state.open.insert(message.offset, Open { bytes: message.body.len(), given_out: None });
            state.waiting.push_back(message);
        }
        state.next = next;
        state.last_pulled = Some(Instant::now());
        self.list(state);
    }

    /// Notes a message that is never given out, but is open until it is settled.
    pub fn kept(&self, message: &Received) {
        let mut state = self.lock();
        state.bytes += message.body.len();
        let open = Open { bytes: message.body.len(), given_out: Some(Instant::now()) };
        state.open.insert(message.offset, open);
        state.given_out += 1;
    }

    /// Gives out up to so many messages. More may be there: then it stays to be asked, and says so.
    pub fn take(&self, most: usize, taken: &mut Vec<Received>) -> bool {
        let mut state = self.lock();
        let count = if self.gives_out(&state) { most.min(state.waiting.len()) } else { 0 };
        let now = Instant::now();
        for _ in 0..count {
            let Some(message) = state.waiting.pop_front() else { break };
            if let Some(open) = state.open.get_mut(&message.offset) {
                open.given_out = Some(now);
            }
            taken.push(message);
        }
        state.given_out += count;
        state.last_taken = Some(now);
        state.is_listed = self.gives_out(&state);
        let (is_listed, has_room) = (state.is_listed, self.is_room(&state));
        drop(state);
        if has_room {
            self.has_room.notify_one();
        }
        is_listed
    }

    /// A message needs nothing more. How long somebody worked on it.
    pub fn settle(self: &Arc<Self>, offset: i64) -> Duration {
        let mut state = self.lock();
        let Some(open) = state.open.remove(&offset) else { return Duration::ZERO };
        state.bytes -= open.bytes;
        let worked = open.given_out.map_or(Duration::ZERO, |since| since.elapsed());
        let is_at_rest = open.given_out.is_some() && state.no_longer_given_out();
        let has_room = self.is_room(&state);
        self.list(state);
        if has_room {
            self.has_room.notify_one();
        }
        if is_at_rest {
            self.is_at_rest.notify_waiters();
        }
        worked
    }

    /// Nobody works on a message any more, which is to wait again after a rest: see [`Held::again`].
    pub fn rests(&self, offset: i64) {
        let mut state = self.lock();
        let Some(open) = state.open.get_mut(&offset) else { return };
        if open.given_out.take().is_some() {
            state.resting += 1;
            if state.no_longer_given_out() {
                drop(state);
                self.is_at_rest.notify_waiters();
            }
        }
    }

    /// A message has rested: it waits again, in its place.
    pub fn again(self: &Arc<Self>, message: Received) {
        let mut state = self.lock();
        state.resting -= 1;
        let place = state.waiting.partition_point(|other| other.offset < message.offset);
        state.waiting.insert(place, message);
        self.list(state);
    }

    /// Has whoever takes messages ask here, if there is something to take.
    fn list(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !state.is_listed && self.gives_out(&state) {
            state.is_listed = true;
            drop(state);
            self.ready.add(Arc::clone(self));
        }
    }

    fn gives_out(&self, state: &State) -> bool {
        if state.waiting.is_empty() || state.is_closed {
            return false;
        }
        let is_free = state.given_out == 0 && state.resting == 0;
        match self.order {
            Order::Free => true,
            Order::OneByOne => is_free,
            Order::Locked => is_free && state.was_locked_within(LOCK_COUNTS),
        }
    }

    fn is_room(&self, state: &State) -> bool {
        let span = state.open.first_key_value().map_or(0, |(first, _)| state.next - first);
        // One pull ahead of who takes messages, and no more.
        state.waiting.len() < BATCH as usize
            && state.open.len() < self.bounds.messages
            && state.bytes < self.bounds.bytes
            && span < self.bounds.span
    }

    /// Waits until there is room for more. For one that waits.
    pub async fn room(&self) {
        while !self.is_room(&self.lock()) {
            self.has_room.notified().await;
        }
    }

    /// Waits until nobody works on a message any more.
    pub async fn at_rest(&self) {
        loop {
            let mut rest = std::pin::pin!(self.is_at_rest.notified());
            // Before looking: what is settled in between counts.
            rest.as_mut().enable();
            if self.lock().given_out == 0 {
                return;
            }
            rest.await;
        }
    }

    /// The offset to commit, if it is another than the one committed.
    pub fn to_commit(&self) -> Option<i64> {
        let state = self.lock();
        let reached = state.reached();
        (reached != state.committed).then_some(reached)
    }

    /// The broker has it.
    pub fn committed(&self, offset: i64) {
        self.lock().committed = offset;
    }

    /// How far the group is.
    pub fn reached(&self) -> i64 {
        self.lock().reached()
    }

    /// It was locked at a moment.
    pub fn locked(self: &Arc<Self>, at: Instant) {
        let mut state = self.lock();
        state.locked = Some(at);
        self.list(state);
    }

    /// Whether it was locked in the last so much time.
    pub fn was_locked_within(&self, time: Duration) -> bool {
        self.lock().was_locked_within(time)
    }

    /// Gives nothing out any more. What is given out can still be settled.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.waiting.clear();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The queue is somebody else's.
    pub fn give_up(&self) {
        self.close();
        self.lock().is_given_up = true;
    }

    /// The group goes on with this offset, whatever is open: the queue begins anew elsewhere.
    pub fn move_to(&self, offset: i64) {
        self.give_up();
        let mut state = self.lock();
        state.open.clear();
        (state.next, state.committed) = (offset, offset);
    }

    pub fn is_given_up(&self) -> bool {
        self.lock().is_given_up
    }

    /// What can be told of it.
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        let (first, last) = (state.open.first_key_value(), state.open.last_key_value());
        Figures {
            open: state.open.len(),
            bytes: state.bytes,
            range: first.zip(last).map(|((first, _), (last, _))| (*first, *last)),
            reached: state.reached(),
            locked: state.locked,
            is_closed: state.is_closed,
            last_taken: state.last_taken,
            last_pulled: state.last_pulled,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One less is given out; whether it was the last.
    fn no_longer_given_out(&mut self) -> bool {
        self.given_out -= 1;
        self.given_out == 0
    }

    fn reached(&self) -> i64 {
        self.open.first_key_value().map_or(self.next, |(first, _)| *first)
    }

    fn was_locked_within(&self, time: Duration) -> bool {
        self.locked.is_some_and(|at| at.elapsed() < time)
    }
}

#[cfg(test)]
mod tests;
