//! The broker's life from serving to its end, and the sends under way in it.
//!
//! A stop loses no answer: what was taken is answered before connections are closed, and what comes
//! later is refused, so that no producer has to guess whether its message is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::time::Duration;

use tokio::sync::Notify;

/// What the broker does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Everything.
    Serving,
    /// Leaves the name servers; serves those who are here.
    Leaving,
    /// Answers what is under way; takes no message and lets no pull wait.
    Refusing,
    /// Nobody is connected: threads and tasks end.
    Ended,
}

/// The stage, and who is under way.
pub(crate) struct Life {
    stage: AtomicU8,
    changed: Notify,
    /// Cloned for each send under way: counts them without memory of their own.
    sends: Arc<()>,
}

/// A send that is under way until this is dropped.
pub(crate) struct UnderWay {
    _send: Arc<()>,
}

impl Default for Life {
    fn default() -> Self {
        Self { stage: AtomicU8::new(Stage::Serving as u8), changed: Notify::new(), sends: Arc::default() }
    }
}

impl Life {
    /// Whether this stage, or a later one, has begun.
    pub fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Begins a stage. There is no way back.
    pub fn begin(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until this stage, or a later one, has begun.
    pub async fn reached(&self, stage: Stage) {
        loop {
            // Registered before the look: what begins between the two is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_at(stage) {
                return;
            }
            changed.await;
        }
    }

    /// Begins a send; `None` once sends are refused.
    pub fn send(&self) -> Option<UnderWay> {
        // Counted before it looks: who begins to refuse and then counts misses nobody.
        let send = UnderWay { _send: Arc::clone(&self.sends) };
        fence(Ordering::SeqCst);
        (!self.is_at(Stage::Refusing)).then_some(send)
    }

    /// Waits until no send is under way. For the time after refusing began.
    pub async fn sends_are_answered(&self) {
        while Arc::strong_count(&self.sends) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_began_before_refusing_is_waited_for_and_nothing_begins_after() {
        let life = Life::default();
        let under_way = life.send().expect("serving");
        life.begin(Stage::Leaving);
        assert!(life.send().is_some(), "those who are here are served");
        life.begin(Stage::Refusing);
        assert!(life.send().is_none());
        let brief = Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, life.sends_are_answered()).await.is_err());
        drop(under_way);
        life.sends_are_answered().await;
        life.begin(Stage::Leaving);
        assert!(life.is_at(Stage::Refusing), "there is no way back");
        life.reached(Stage::Refusing).await;
    }

    #[tokio::test]
    async fn who_waits_for_a_stage_learns_of_a_later_one() {
        let life = Arc::new(Life::default());
        let waiting = {
            let life = Arc::clone(&life);
            tokio::spawn(async move { life.reached(Stage::Leaving).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        life.begin(Stage::Ended);
        waiting.await.unwrap();
    }
}
