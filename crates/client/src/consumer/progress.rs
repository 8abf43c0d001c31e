//! How far a group is in one queue.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What may be fetched and not yet settled of one queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub messages: usize,
    pub bytes: usize,
    /// From the first to the last of them: one that takes long must not leave all others to be read again.
    pub span: i64,
}

/// The messages of a queue that were fetched and are not settled, and so what may be committed: all before the
/// first of them.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    /// Something was settled.
    settled: Notify,
}

#[derive(Debug)]
struct State {
    /// By offset.
    open: BTreeMap<i64, Open>,
    bytes: usize,
    /// Where the next pull begins: all before it was fetched.
    next: i64,
    /// As the broker has it, or will have soon.
    committed: i64,
    /// The queue is somebody else's now.
    given_up: bool,
}

/// A message that is not settled.
#[derive(Debug)]
struct Open {
    /// Of its body.
    bytes: usize,
    /// Somebody works on it.
    is_given_out: bool,
}

impl Progress {
    /// Begins at an offset, which the broker knows or not.
    pub fn new(next: i64, committed: i64) -> Self {
        let state = State { open: BTreeMap::new(), bytes: 0, next, committed, given_up: false };
        Self { state: Mutex::new(state), settled: Notify::new() }
    }

    /// Notes what a pull brought: messages with their sizes, and where the next one begins.
    pub fn fetched(&self, messages: impl Iterator<Item = (i64, usize)>, next: i64) {
        let mut state = self.lock();
        for (offset, bytes) in messages {
            state.open.insert(offset, Open { bytes, is_given_out: false });
            state.bytes += bytes;
        }
        state.next = next;
    }

    /// A message needs nothing more.
    pub fn settle(&self, offset: i64) {
        let mut state = self.lock();
        if let Some(open) = state.open.remove(&offset) {
            state.bytes -= open.bytes;
        }
        drop(state);
        self.settled.notify_waiters();
    }

    /// A message is given to somebody, or taken back untouched.
    pub fn given_out(&self, offset: i64, is_given_out: bool) {
        if let Some(open) = self.lock().open.get_mut(&offset) {
            open.is_given_out = is_given_out;
        }
        self.settled.notify_waiters();
    }

    /// Waits until there is room for more.
    pub async fn room(&self, bounds: Bounds) {
        self.settled_until(|state| {
            let span = state.open.first_key_value().map_or(0, |(first, _)| state.next - first);
            state.open.len() < bounds.messages && state.bytes < bounds.bytes && span < bounds.span
        })
        .await;
    }

    /// Waits until nobody works on a message any more.
    pub async fn at_rest(&self) {
        self.settled_until(|state| !state.open.values().any(|open| open.is_given_out)).await;
    }

    async fn settled_until(&self, enough: impl Fn(&State) -> bool) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            // Before looking: what is settled in between counts.
            settled.as_mut().enable();
            if enough(&self.lock()) {
                return;
            }
            settled.await;
        }
    }

    /// The offset to commit, if it is another than the one committed.
    pub fn to_commit(&self) -> Option<i64> {
        let state = self.lock();
        let reached = state.open.first_key_value().map_or(state.next, |(first, _)| *first);
        (reached != state.committed).then_some(reached)
    }

    /// The broker has it.
    pub fn committed(&self, offset: i64) {
        self.lock().committed = offset;
    }

    /// The queue is somebody else's.
    pub fn give_up(&self) {
        self.lock().given_up = true;
        self.settled.notify_waiters();
    }

    pub fn is_given_up(&self) -> bool {
        self.lock().given_up
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUNDS: Bounds = Bounds { messages: 2, bytes: 100, span: 10 };

    #[test]
    fn only_what_is_before_the_first_open_message_is_committed() {
        let progress = Progress::new(5, -1);
        assert_eq!(progress.to_commit(), Some(5));
        progress.committed(5);
        assert_eq!(progress.to_commit(), None);
        progress.fetched([(5, 1), (7, 1), (8, 1)].into_iter(), 9);
        progress.settle(7);
        progress.settle(8);
        assert_eq!(progress.to_commit(), None);
        progress.settle(5);
        assert_eq!(progress.to_commit(), Some(9));
        // A pull that brought nothing that is wanted.
        progress.fetched(std::iter::empty(), 30);
        assert_eq!(progress.to_commit(), Some(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_leaves_waits_for_what_is_worked_on_and_not_for_what_nobody_has() {
        let progress = Progress::new(0, 0);
        progress.fetched([(0, 1), (1, 1), (2, 1)].into_iter(), 3);
        progress.given_out(0, true);
        progress.given_out(1, true);
        progress.given_out(1, false);
        let waited = tokio::time::timeout(Duration::from_secs(9), progress.at_rest()).await;
        assert!(waited.is_err());
        progress.settle(0);
        progress.at_rest().await;
        assert_eq!(progress.to_commit(), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn fetching_waits_while_there_is_too_much() {
        let too_much: [&[(i64, usize)]; 3] = [&[(1, 1), (2, 1)], &[(1, 100)], &[(1, 1), (11, 1)]];
        for messages in too_much {
            let progress = Progress::new(0, 0);
            progress.fetched(messages.iter().copied(), messages[messages.len() - 1].0 + 1);
            let waited = tokio::time::timeout(Duration::from_secs(9), progress.room(BOUNDS)).await;
            assert!(waited.is_err(), "{messages:?}");
            let (room, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(9), progress.room(BOUNDS)), async {
                tokio::task::yield_now().await;
                progress.settle(1);
            });
            assert!(room.is_ok(), "{messages:?}");
        }
    }
}
