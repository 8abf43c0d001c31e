//! Sending, and waiting for it.

use std::fmt;
use std::time::Duration;

use super::Engine;
use crate::{Error, Message, Queue, Received, Sent};

/// See [`crate::Producer`]; cheap to clone, and used from as many threads as there are.
///
/// ```no_run
/// # fn example(client: apogee_client::blocking::Client) -> Result<(), apogee_client::Error> {
/// use apogee_client::Message;
///
/// let producer = client.build(client.producer_builder("orders").retries(5))?;
/// producer.send(Message::new("Orders", "one book").key("order-1"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Producer {
    pub(super) inner: crate::Producer,
    pub(super) engine: Engine,
}

/// See [`crate::Transaction`].
///
/// ```no_run
/// # fn example(producer: apogee_client::blocking::Producer) -> Result<(), apogee_client::Error> {
/// use apogee_client::Message;
///
/// let paid = producer.begin(Message::new("Orders", "paid"))?;
/// paid.commit()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the message is not delivered before it is committed"]
pub struct Transaction {
    inner: crate::Transaction,
    engine: Engine,
}

impl Producer {
    /// See [`crate::Producer::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, message: Message) -> Result<Sent, Error> {
        self.engine.wait(self.inner.send(message))
    }

    /// See [`crate::Producer::send_to`].
    ///
    /// # Errors
    /// As there.
    pub fn send_to(&self, queue: &Queue, message: Message) -> Result<Sent, Error> {
        self.engine.wait(self.inner.send_to(queue, message))
    }

    /// See [`crate::Producer::send_by`].
    ///
    /// # Errors
    /// As there.
    pub fn send_by(&self, message: Message, choose: impl FnOnce(&[Queue]) -> usize) -> Result<Sent, Error> {
        self.engine.wait(self.inner.send_by(message, choose))
    }

    /// See [`crate::Producer::send_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn send_batch(&self, messages: Vec<Message>) -> Result<Sent, Error> {
        self.engine.wait(self.inner.send_batch(messages))
    }

    /// See [`crate::Producer::send_one_way`].
    ///
    /// # Errors
    /// As there.
    pub fn send_one_way(&self, message: Message) -> Result<(), Error> {
        self.engine.wait(self.inner.send_one_way(message))
    }

    /// See [`crate::Producer::begin`].
    ///
    /// # Errors
    /// As there.
    pub fn begin(&self, message: Message) -> Result<Transaction, Error> {
        let inner = self.engine.wait(self.inner.begin(message))?;
        Ok(Transaction { inner, engine: self.engine.clone() })
    }

    /// See [`crate::Producer::request`].
    ///
    /// # Errors
    /// As there.
    pub fn request(&self, message: Message, timeout: Duration) -> Result<Received, Error> {
        self.engine.wait(self.inner.request(message, timeout))
    }

    /// See [`crate::Producer::recall`].
    ///
    /// # Errors
    /// As there.
    pub fn recall(&self, handle: &str) -> Result<String, Error> {
        self.engine.wait(self.inner.recall(handle))
    }

    /// See [`crate::Producer::queues`].
    ///
    /// # Errors
    /// As there.
    pub fn queues(&self, topic: &str) -> Result<Vec<Queue>, Error> {
        self.engine.wait(self.inner.queues(topic))
    }

    /// The group.
    pub fn group(&self) -> &str {
        self.inner.group()
    }
}

impl Transaction {
    /// See [`crate::Transaction::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(self) -> Result<Sent, Error> {
        self.engine.wait(self.inner.commit())
    }

    /// See [`crate::Transaction::rollback`].
    ///
    /// # Errors
    /// As there.
    pub fn rollback(self) -> Result<(), Error> {
        self.engine.wait(self.inner.rollback())
    }

    /// The id of the message, and of the transaction.
    pub fn id(&self) -> &str {
        self.inner.id()
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
