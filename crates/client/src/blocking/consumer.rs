//! Consuming, and waiting for it.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinError;

use super::Engine;
use crate::{Delivery, Error, Received};

/// See [`crate::Consumer`]. A [`Stopper`] ends from another thread what it waits for.
pub struct Consumer {
    inner: crate::Consumer,
    engine: Engine,
    stop: watch::Sender<bool>,
}

/// Ends what a consumer waits for: from then on, it gives out nothing more. Cheap to clone.
///
/// ```no_run
/// # fn example(client: apogee_client::blocking::Client) -> Result<(), apogee_client::Error> {
/// use std::time::Duration;
///
/// let mut consumer = client.join(client.consumer("billing").subscribe("Orders"))?;
/// let stopper = consumer.stopper();
/// std::thread::spawn(move || {
///     std::thread::sleep(Duration::from_secs(60));
///     stopper.stop();
/// });
/// consumer.run(4, |message| {
///     println!("{:?}", message.body);
///     Ok::<_, std::io::Error>(())
/// });
/// consumer.close(Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Ends it: now if it waits, or at once when it is about to.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Consumer {
    pub(super) fn new(inner: crate::Consumer, engine: Engine) -> Self {
        Self { inner, engine, stop: watch::Sender::default() }
    }

    /// What ends it from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// The next message; waits for it. `None` when it was stopped or the client was closed.
    #[allow(clippy::should_implement_trait)] // It has a time-out beside it, and what it returns is to be settled.
    pub fn next(&mut self) -> Option<Delivery> {
        let mut stopped = self.stop.subscribe();
        self.engine.wait(async {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => None,
                delivery = self.inner.next() => delivery,
            }
        })
    }

    /// The next message, if one comes within a time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Delivery> {
        let mut stopped = self.stop.subscribe();
        self.engine.wait(async {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => None,
                delivery = tokio::time::timeout(patience, self.inner.next()) => delivery.ok().flatten(),
            }
        })
    }

    /// See [`crate::Consumer::next_batch`]. `None` when it was stopped or the client was closed.
    pub fn next_batch(&mut self, most: usize) -> Option<Vec<Delivery>> {
        let mut stopped = self.stop.subscribe();
        self.engine.wait(async {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => None,
                batch = self.inner.next_batch(most) => batch,
            }
        })
    }

    /// Hands each message to a handler, which may block, on at most `concurrency` threads of its own. What succeeds is
    /// acknowledged; what fails or panics is delivered again. Ends when it was stopped or the client was closed; handlers
    /// at work go on, and [`Consumer::close`] waits for them.
    pub fn run<E>(&mut self, concurrency: usize, handler: impl Fn(Received) -> Result<(), E> + Send + Sync + 'static)
    where
        E: fmt::Display + Send + 'static,
    {
        let (handler, mut stopped) = (Arc::new(handler), self.stop.subscribe());
        self.engine.wait(async {
            let run = self.inner.run(concurrency, |message| {
                let handler = Arc::clone(&handler);
                async move {
                    let handled = tokio::task::spawn_blocking(move || handler(message)).await;
                    match handled.map_err(JoinError::try_into_panic) {
                        Ok(done) => done,
                        Err(Ok(panic)) => resume_unwind(panic),
                        // It was never begun: everything ends.
                        Err(Err(_)) => std::future::pending().await,
                    }
                }
            });
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => {}
                () = run => {}
            }
        });
    }

    /// See [`crate::Consumer::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(self, patience: Duration) -> Result<(), Error> {
        self.engine.wait(self.inner.close(patience))
    }

    /// The group.
    pub fn group(&self) -> &str {
        self.inner.group()
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
