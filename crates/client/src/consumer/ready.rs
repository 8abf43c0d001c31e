//! What a consumer can take: queues of which messages wait, and messages that somebody asked it to consume.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::held::Held;

/// One consumer takes from it.
#[derive(Default)]
pub(crate) struct Ready {
    state: Mutex<State>,
    /// Something was added, or it was closed.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Each is in it once.
    queues: VecDeque<Arc<Held>>,
    is_closed: bool,
}

impl Ready {
    /// A queue has messages.
    pub fn add(&self, queue: Arc<Held>) {
        let mut state = self.lock();
        if !state.is_closed {
            state.queues.push_back(queue);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The next queue that has messages; waits for it. `None` once it is closed.
    pub async fn next(&self) -> Option<Arc<Held>> {
        loop {
            {
                let mut state = self.lock();
                if state.is_closed {
                    return None;
                }
                if let Some(queue) = state.queues.pop_front() {
                    return Some(queue);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.queues.clear();
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
