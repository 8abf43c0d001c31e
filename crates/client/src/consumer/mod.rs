//! Consumers of a group: each message goes to one of them, or to all.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::{Error, Queue, Received};

mod again;
mod asked;
mod assignment;
mod balance;
mod builder;
mod delivery;
mod figures;
mod group;
mod held;
mod locks;
mod offsets;
mod ready;
mod running;

pub(crate) use asked::asked;
pub use balance::{Allocate, Balance};
pub use builder::ConsumerBuilder;
pub use delivery::Delivery;
use delivery::GivenBack;
pub(crate) use group::Group;
use held::Held;

/// Messages that are taken of one queue before it is another's turn.
const TURN: usize = 32;

/// A member of a group. Messages come to it by [`Consumer::next`], or to a handler by [`Consumer::run`]; several
/// together by [`Consumer::next_batch`] and [`Consumer::run_batches`].
///
/// A message that is not acknowledged is delivered again: to another member when this one is gone, and after a while
/// when it was given back. [`Consumer::close`] leaves the group at once; dropped without that, the group notices after
/// the broker has missed the heartbeats for two minutes, or sooner when the connection closes with the process.
///
/// ```no_run
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// use std::time::Duration;
///
/// let mut consumer = client.consumer("billing").subscribe("Orders").join().await?;
/// while let Some(delivery) = consumer.next().await {
///     println!("{:?} from {}", delivery.body, delivery.queue);
///     delivery.ack();
/// }
/// consumer.close(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    /// They end with the consumer.
    tasks: JoinSet<()>,
    /// Whose turn it is, and how many may still be taken of it.
    turn: Option<(Arc<Held>, usize)>,
    /// Room for what is taken.
    taken: Vec<Received>,
    /// Handlers at work, which go on when nobody waits for [`Consumer::run`] any more.
    handlers: JoinSet<()>,
    group: Arc<Group>,
}

impl Consumer {
    fn start(group: Arc<Group>, given_back: mpsc::UnboundedReceiver<GivenBack>) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&group).keep_balanced());
        tasks.spawn(Arc::clone(&group).keep_committing());
        tasks.spawn(Arc::clone(&group).deliver_again(given_back));
        if group.settings.kind.locks() {
            tasks.spawn(Arc::clone(&group).keep_locked());
        }
        Self { tasks, turn: None, taken: Vec::new(), handlers: JoinSet::new(), group }
    }

    /// The next message; waits for it. `None` when the client was closed.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let held = self.take(1).await?;
            let message = self.taken.pop()?;
            if let Some(delivery) = Delivery::begin(message, &held, &self.group) {
                return Some(delivery);
            }
        }
    }

    /// The next messages of one queue, in order: one at least, and as many as are there, up to `most`. `None` when
    /// the client was closed. Each is settled for itself; an orderly consumer gets the queue's next ones when all are
    /// settled, and those of them again that failed.
    ///
    /// ```no_run
    /// # async fn insert(rows: &[apogee_client::Delivery]) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(mut consumer: apogee_client::Consumer) {
    /// while let Some(batch) = consumer.next_batch(100).await {
    ///     let is_inserted = insert(&batch).await.is_ok();
    ///     for delivery in batch {
    ///         if is_inserted { delivery.ack() } else { delivery.retry() }
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn next_batch(&mut self, most: usize) -> Option<Vec<Delivery>> {
        loop {
            let held = self.take(most.max(1)).await?;
            let begun = self.taken.drain(..).filter_map(|message| Delivery::begin(message, &held, &self.group));
            let batch: Vec<_> = begun.collect();
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Takes up to so many messages of a queue; which queue. Taken is what is in `self.taken`.
    async fn take(&mut self, most: usize) -> Option<Arc<Held>> {
        // A wait that was given up took nothing.
        self.taken.clear();
        loop {
            let (held, left) = match self.turn.take() {
                Some(turn) => turn,
                None => (self.group.ready.next().await?, TURN),
            };
            let has_more = held.take(most, &mut self.taken);
            let left = left.saturating_sub(self.taken.len());
            match has_more {
                true if left > 0 => self.turn = Some((Arc::clone(&held), left)),
                true => self.group.ready.add(Arc::clone(&held)),
                false => {}
            }
            if !self.taken.is_empty() {
                return Some(held);
            }
        }
    }

    /// Hands each message to a handler, of which at most `concurrency` are at work. What succeeds is acknowledged;
    /// what fails or panics is delivered again. Ends when the client was closed. May be dropped, for example by a
    /// `select!` with a signal: handlers at work go on, and [`Consumer::close`] waits for them.
    pub async fn run<F, E>(&mut self, concurrency: usize, handler: impl Fn(Received) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let places = Arc::new(Semaphore::new(concurrency.max(1)));
        // A place first: a message that waited for one would come again when this is dropped meanwhile.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Some(delivery) = self.next().await else { break };
            let span = delivery.span();
            let handled = span.in_scope(|| handler(delivery.message().clone())).instrument(span.clone());
            let first = (delivery.queue.clone(), delivery.offset);
            self.work(place, handled, first, move |is_done| if is_done { delivery.ack() } else { delivery.retry() });
        }
        while self.handlers.join_next().await.is_some() {}
    }

    /// The same with up to `most` messages of one queue at a time, see [`Consumer::next_batch`]: they succeed or fail
    /// together.
    ///
    /// ```no_run
    /// # async fn insert(rows: Vec<apogee_client::Received>) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(mut consumer: apogee_client::Consumer) {
    /// consumer.run_batches(4, 100, |batch| async move { insert(batch).await }).await;
    /// # }
    /// ```
    pub async fn run_batches<F, E>(&mut self, concurrency: usize, most: usize, handler: impl Fn(Vec<Received>) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let places = Arc::new(Semaphore::new(concurrency.max(1)));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Some(batch) = self.next_batch(most).await else { break };
            let handled = handler(batch.iter().map(|delivery| delivery.message().clone()).collect());
            let first = (batch[0].queue.clone(), batch[0].offset);
            let settle = |is_done| if is_done { Delivery::ack } else { Delivery::retry };
            self.work(place, handled, first, move |is_done| batch.into_iter().for_each(settle(is_done)));
        }
        while self.handlers.join_next().await.is_some() {}
    }

    /// Has a handler work. One that panics drops what it worked on, which gives it back.
    fn work<F, E>(
        &mut self,
        place: OwnedSemaphorePermit,
        handled: F,
        (queue, offset): (Queue, i64),
        settle: impl FnOnce(bool) + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        while self.handlers.try_join_next().is_some() {}
        self.handlers.spawn(async move {
            let _place = place;
            let is_done = match handled.await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%queue, offset, %error, "a handler failed: what it was given will come again");
                    false
                }
            };
            settle(is_done);
        });
    }

    /// Leaves the group: takes no more messages, waits up to `patience` until those given out are settled, commits, and
    /// tells the brokers, so that others get its queues at once.
    ///
    /// # Errors
    /// When an offset could not be committed: what was settled since the last time is delivered again.
    pub async fn close(mut self, patience: Duration) -> Result<(), Error> {
        let left = self.group.leave(patience).await;
        self.tasks.shutdown().await;
        left
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.group.name
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // After `close` there is nothing left to do.
        self.group.forget();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("group", &self.group.name).finish_non_exhaustive()
    }
}
