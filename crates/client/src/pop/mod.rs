//! Consumers to whom the broker hands out messages one by one, instead of queues.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument;

use crate::Received;
use crate::interceptor::Hooks;

mod builder;
mod delivery;
mod keeper;
mod members;
mod poller;
mod receipt;
mod room;

pub use builder::PopConsumerBuilder;
pub use delivery::PopDelivery;
pub(crate) use members::Poppers;
use poller::Popping;

#[derive(Debug, Clone, Copy)]
struct Settings {
    begin: Begin,
    invisible_time: Duration,
    batch: u32,
    max_open: u32,
    max_open_bytes: usize,
    max_reconsume_times: i32,
    in_order: bool,
}

/// Where a group begins that was never in a queue (upstream `ConsumeInitMode`).
#[derive(Debug, Clone, Copy)]
enum Begin {
    First = 0,
    Last = 1,
}

/// Consumes by POP (upstream `DefaultMQPushConsumer` in the mode `POP`): the broker hands out messages, not queues, so
/// that more members than queues share the work, and one that hangs holds up nobody.
///
/// A message that was handed out is invisible to others for a time, which is renewed as long as its [`PopDelivery`] is
/// held. Brokers must offer it: Apache RocketMQ does since 5.0.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(client: apogee_client::Client) -> Result<(), apogee_client::Error> {
/// let mut consumer = client.pop_consumer("billing").subscribe("Orders").open().await?;
/// while let Some(delivery) = consumer.next().await {
///     println!("{:?}", delivery.body);
///     delivery.ack();
/// }
/// consumer.close(Duration::from_secs(10)).await;
/// # Ok(())
/// # }
/// ```
pub struct PopConsumer {
    popping: Arc<Popping>,
    /// They end with the consumer.
    pollers: JoinSet<()>,
    deliveries: mpsc::UnboundedReceiver<PopDelivery>,
    /// Ends by itself when everything is settled.
    keeper: JoinHandle<()>,
    /// Handlers at work, which go on when nobody waits for [`PopConsumer::run`] any more.
    handlers: JoinSet<()>,
    hooks: Arc<Hooks>,
}

impl PopConsumer {
    /// The next message; waits for it. `None` when the client was closed. May be dropped: nothing is lost.
    pub async fn next(&mut self) -> Option<PopDelivery> {
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.popping.shared.closed() => return None,
                delivery = self.deliveries.recv() => delivery?,
            };
            if let Some(delivery) = delivery.begin(&self.hooks) {
                return Some(delivery);
            }
        }
    }

    /// Hands each message to a handler, of which at most `concurrency` are at work. What succeeds is acknowledged;
    /// what fails or panics is delivered again. Ends when the client was closed. May be dropped, for example by a
    /// `select!` with a signal: handlers at work go on, and [`PopConsumer::close`] waits for them.
    pub async fn run<F, E>(&mut self, concurrency: usize, handler: impl Fn(Received) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let places = Arc::new(Semaphore::new(concurrency.max(1)));
        // A place first: a message that waited for one would come again when this is dropped meanwhile.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Some(delivery) = self.next().await else { break };
            while self.handlers.try_join_next().is_some() {}
            let span = delivery.span();
            let handled = span.in_scope(|| handler(delivery.message.clone())).instrument(span.clone());
            self.handlers.spawn(async move {
                let _place = place;
                match handled.await {
                    Ok(()) => delivery.ack(),
                    Err(error) => {
                        let (queue, offset) = (&delivery.queue, delivery.offset);
                        tracing::warn!(%queue, offset, %error, "a message's handler failed: it will come again");
                        delivery.retry();
                    }
                }
            });
        }
        while self.handlers.join_next().await.is_some() {}
    }

    /// Asks for no more messages, gives those back that nobody took, and waits up to `patience` until those that were
    /// handed out are settled and the brokers know it. What is not settled by then comes again.
    pub async fn close(mut self, patience: Duration) {
        self.pollers.shutdown().await;
        self.deliveries.close();
        while let Ok(delivery) = self.deliveries.try_recv() {
            delivery.leave();
        }
        let Self { popping, mut keeper, mut handlers, .. } = self;
        let (shared, group) = (Arc::clone(&popping.shared), Arc::clone(&popping.group));
        drop(popping);
        let settled = async {
            while handlers.join_next().await.is_some() {}
            // It ends when nobody holds a delivery any more.
            (&mut keeper).await
        };
        if tokio::time::timeout(patience, settled).await.is_err() {
            tracing::warn!("messages were handed out and not settled: they come again");
            keeper.abort();
        }
        shared.pop_member_left(&group).await;
    }

    /// The group.
    pub fn group(&self) -> &str {
        &self.popping.group
    }
}

impl fmt::Debug for PopConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PopConsumer").field("group", &self.popping.group).finish_non_exhaustive()
    }
}
