//! The same for programs without asynchronous code: each call waits on the thread that makes it.
//!
//! A [`Client`] has a runtime of its own, with two threads for the connections of all that is made from it. Builders are
//! those of [`crate`]: [`Client::build`], [`Client::join`] and [`Client::open`] make of them what they describe.
//!
//! ```no_run
//! use std::time::Duration;
//! use apogee_client::{Message, blocking};
//!
//! # fn main() -> Result<(), apogee_client::Error> {
//! let client = blocking::Client::new("127.0.0.1:9876")?;
//! let producer = client.producer("orders")?;
//! let sent = producer.send(Message::new("Orders", "one book"))?;
//! println!("{} is in queue {}", sent.message_id, sent.queue);
//!
//! let mut consumer = client.join(client.consumer("billing").subscribe("Orders").from_first())?;
//! while let Some(delivery) = consumer.next() {
//!     println!("{:?} from {}", delivery.body, delivery.queue);
//!     delivery.ack();
//! }
//! consumer.close(Duration::from_secs(10))?;
//! client.close();
//! # Ok(())
//! # }
//! ```
//!
//! # Panics
//! Each call, on a thread that runs asynchronous tasks: it must not wait. There, use [`crate::Client`].

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{ClientBuilder, ConsumerBuilder, Error, ProducerBuilder, ReaderBuilder};

mod consumer;
mod producer;
mod reader;

pub use consumer::{Consumer, Stopper};
pub use producer::{Producer, Transaction};
pub use reader::Reader;

/// See [`crate::Client`].
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
    engine: Engine,
}

/// What runs everything; ends with the last that needs it.
#[derive(Clone)]
struct Engine {
    handle: Handle,
    _threads: Arc<Threads>,
}

struct Threads(Option<Runtime>);

impl Engine {
    fn start() -> Result<Self, Error> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).thread_name("apogee-client").enable_all().build();
        let runtime = runtime.map_err(Error::Threads)?;
        Ok(Self { handle: runtime.handle().clone(), _threads: Arc::new(Threads(Some(runtime))) })
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed everywhere.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// See [`crate::Client::new`].
    ///
    /// # Errors
    /// When there is no address in the text, or no thread can be started.
    pub fn new(name_servers: impl Into<String>) -> Result<Self, Error> {
        Self::of(crate::Client::builder(name_servers))
    }

    /// The client that a builder describes.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), apogee_client::Error> {
    /// use apogee_client::{Client, blocking};
    ///
    /// let client = blocking::Client::of(Client::builder("127.0.0.1:9876").namespace("test"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`ClientBuilder::build`]; also when no thread can be started.
    pub fn of(builder: ClientBuilder) -> Result<Self, Error> {
        let engine = Engine::start()?;
        let inner = engine.wait(async { builder.build() })?;
        Ok(Self { inner, engine })
    }

    /// A producer of a group with the usual settings.
    ///
    /// # Errors
    /// When the group's name is none.
    pub fn producer(&self, group: impl Into<String>) -> Result<Producer, Error> {
        self.build(self.producer_builder(group))
    }

    /// A producer's settings, for [`Client::build`].
    pub fn producer_builder(&self, group: impl Into<String>) -> ProducerBuilder {
        self.inner.producer_builder(group)
    }

    /// The producer that a builder describes.
    ///
    /// # Errors
    /// See [`ProducerBuilder::build`].
    pub fn build(&self, builder: ProducerBuilder) -> Result<Producer, Error> {
        Ok(Producer { inner: builder.build()?, engine: self.engine.clone() })
    }

    /// A consumer's settings, for [`Client::join`].
    pub fn consumer(&self, group: impl Into<String>) -> ConsumerBuilder {
        self.inner.consumer(group)
    }

    /// Joins a group as a builder describes.
    ///
    /// # Errors
    /// See [`ConsumerBuilder::join`].
    pub fn join(&self, builder: ConsumerBuilder) -> Result<Consumer, Error> {
        let inner = self.engine.wait(builder.join())?;
        Ok(Consumer::new(inner, self.engine.clone()))
    }

    /// A reader's settings, for [`Client::open`].
    pub fn reader(&self, topic: impl Into<String>) -> ReaderBuilder {
        self.inner.reader(topic)
    }

    /// Begins to read as a builder describes.
    ///
    /// # Errors
    /// See [`ReaderBuilder::open`].
    pub fn open(&self, builder: ReaderBuilder) -> Result<Reader, Error> {
        Ok(Reader { inner: self.engine.wait(builder.open())?, engine: self.engine.clone() })
    }

    /// See [`crate::Client::close`].
    pub fn close(&self) {
        self.engine.wait(self.inner.close());
    }
}
