//! A message that was handed out and waits to be settled.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::Span;

use super::keeper::{Held, Settled, Word};
use super::poller::Popping;
use crate::Received;
use crate::interceptor::{ConsumeOutcome, Consuming, Hooks};

/// After how many seconds a message comes again, by how often it came (upstream `popDelayLevel`).
const DELAYS: [u64; 16] = [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// After what time a message comes again that nobody has touched.
const UNTOUCHED: Duration = Duration::from_secs(1);

/// A message that waits to be settled: by [`PopDelivery::ack`], or by [`PopDelivery::retry`], which is also what
/// dropping it means. Nobody else gets it meanwhile.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn example(delivery: apogee_client::PopDelivery) {
/// match delivery.tag() {
///     Some("book") => delivery.ack(),
///     _ => delivery.retry_after(Duration::from_secs(60)),
/// }
/// # }
/// ```
pub struct PopDelivery {
    pub(super) message: Received,
    id: u64,
    keeper: mpsc::UnboundedSender<Word>,
    max_reconsume_times: i32,
    is_settled: bool,
    /// Interceptors wait for its end.
    consuming: Option<Box<Consuming>>,
}

impl PopDelivery {
    pub(super) fn new(message: Received, popping: &Popping, held: Held) -> Self {
        let (id, keeper) = (popping.ids.fetch_add(1, Ordering::Relaxed), popping.keeper.clone());
        // It is there as long as somebody can tell it something.
        let _ = keeper.send(Word::Held(id, held));
        let max_reconsume_times = popping.settings.max_reconsume_times;
        Self { message, id, keeper, max_reconsume_times, is_settled: false, consuming: None }
    }

    /// It is about to be given to whoever consumes it. One that is refused comes again.
    pub(super) fn begin(mut self, hooks: &Arc<Hooks>) -> Option<Self> {
        match hooks.before_consume(&mut self.message) {
            Ok(consuming) => {
                self.consuming = consuming;
                Some(self)
            }
            Err(error) => {
                let (queue, offset) = (&self.queue, self.offset);
                tracing::error!(%queue, offset, %error, "a message is not consumed: it goes back");
                self.retry();
                None
            }
        }
    }

    /// The span of its handling, for what is traced beside [`crate::PopConsumer::run`], which enters it.
    pub fn span(&self) -> Span {
        self.consuming.as_ref().map_or_else(Span::none, |consuming| consuming.span().clone())
    }

    /// The message was consumed. The broker is told at once, and again while it does not answer.
    pub fn ack(mut self) {
        self.settle(Settled::Acked);
    }

    /// The message was not consumed: it comes again after a while, 10 s at first, that grows from time to time, and after
    /// the last time goes to the group's dead letters.
    pub fn retry(mut self) {
        self.settle_for_retry();
    }

    /// The same after a time, at least 1 s.
    pub fn retry_after(mut self, after: Duration) {
        let settled = if self.is_last_time() { Settled::Dead } else { Settled::Again(after.max(UNTOUCHED)) };
        self.settle(settled);
    }

    /// Nothing was done with it: it comes again at once.
    pub(super) fn leave(mut self) {
        self.settle(Settled::Again(UNTOUCHED));
    }

    fn settle_for_retry(&mut self) {
        let times = usize::try_from(self.message.reconsume_times).unwrap_or_default();
        let after = Duration::from_secs(DELAYS[times.min(DELAYS.len() - 1)]);
        let settled = if self.is_last_time() { Settled::Dead } else { Settled::Again(after) };
        self.settle(settled);
    }

    fn is_last_time(&self) -> bool {
        self.message.reconsume_times >= self.max_reconsume_times
    }

    fn settle(&mut self, settled: Settled) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        if let Some(consuming) = self.consuming.take() {
            let outcome = match settled {
                Settled::Acked => ConsumeOutcome::Acknowledged,
                Settled::Again(_) | Settled::Dead => ConsumeOutcome::Retried,
            };
            consuming.after(&self.message, outcome);
        }
        // Nobody hears it when the consumer was closed: the message comes again.
        let _ = self.keeper.send(Word::Settled(self.id, settled));
    }
}

impl Deref for PopDelivery {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl Drop for PopDelivery {
    fn drop(&mut self) {
        self.settle_for_retry();
    }
}

impl fmt::Debug for PopDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PopDelivery").field(&self.message).finish()
    }
}
