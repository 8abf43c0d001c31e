//! What others do before and after messages are sent and consumed.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Span;

mod hooks;

pub(crate) use hooks::{Consuming, Hooks, Sends};

use crate::{Codecs, Error, Message, Received, Sent};

/// Why an interceptor refuses a message.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// Looks at messages, and may change or refuse them, before and after they are sent and consumed (upstream
/// `SendMessageHook`, `ConsumeMessageHook`). Each hook does nothing unless it is written.
///
/// Those of a client ([`crate::ClientBuilder::interceptor`]) come first, then those of the producer, consumer or
/// reader. What happens after comes in the opposite order: the first interceptor sees the most. Each `before` that
/// succeeded has its `after`, also when the future is dropped. Hooks run on the task that sends or consumes, and must
/// not block it.
///
/// ```
/// use apogee_client::{Interceptor, Message, Refusal, SendContext, SendOutcome};
///
/// /// Says where messages come from, and tells what is slow.
/// struct Origin(String);
///
/// impl Interceptor for Origin {
///     fn before_send(&self, message: &mut Message, _: &mut SendContext<'_>) -> Result<(), Refusal> {
///         if message.body().is_empty() {
///             return Err("an empty body means nothing here".into());
///         }
///         message.set("origin", &self.0);
///         Ok(())
///     }
///
///     fn after_send(&self, message: &Message, context: &mut SendContext<'_>, outcome: SendOutcome<'_>) {
///         if context.elapsed().as_millis() > 100 {
///             println!("{} to {} is slow: {outcome:?}", context.message_id, message.topic());
///         }
///     }
/// }
/// ```
pub trait Interceptor: Send + Sync {
    /// A message is about to be sent. It may be changed, its body and topic included; codecs and compression follow.
    ///
    /// # Errors
    /// A refusal: the message is not sent, and its sender gets [`Error::Intercepted`].
    fn before_send(&self, message: &mut Message, context: &mut SendContext<'_>) -> Result<(), Refusal> {
        let _ = (message, context);
        Ok(())
    }

    /// A message was sent, or not; it is as it went, its body encoded. Of a batch, each message is told by itself.
    fn after_send(&self, message: &Message, context: &mut SendContext<'_>, outcome: SendOutcome<'_>) {
        let _ = (message, context, outcome);
    }

    /// A message is about to be given to whoever consumes it; its body is decoded. The body may be changed.
    ///
    /// # Errors
    /// A refusal: a consumer gives the message back, so that it comes again and in the end goes to the dead letters;
    /// a reader returns [`Error::Intercepted`] for it.
    fn before_consume(&self, message: &mut Received, context: &mut ConsumeContext<'_>) -> Result<(), Refusal> {
        let _ = (message, context);
        Ok(())
    }

    /// A message's body cannot be decoded: nothing else is called for it. A consumer gives it back, so that it comes
    /// again and in the end goes to the dead letters, as it was sent; a reader returns the error.
    fn not_decoded(&self, message: &Received, context: &ConsumeContext<'_>, error: &Error) {
        let _ = (message, context, error);
    }

    /// A message was consumed, or not.
    fn after_consume(&self, message: &Received, context: &mut ConsumeContext<'_>, outcome: ConsumeOutcome<'_>) {
        let _ = (message, context, outcome);
    }
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendKind {
    /// By itself, and answered.
    Single,
    /// With others.
    Batch,
    /// Without an answer.
    OneWay,
    /// Seen by nobody before its transaction is committed.
    Transaction,
}

/// What became of a message that was to be sent.
#[derive(Debug, Clone, Copy)]
pub enum SendOutcome<'o> {
    /// A broker has it. Of a batch, the ids of all are in it, and the offset of the first.
    Sent(&'o Sent),
    /// It went without an answer.
    OneWay,
    /// It failed, or another interceptor refused it.
    Failed(&'o Error),
    /// Whoever sent it did not wait for what became of it.
    Abandoned,
}

/// What became of a message that was to be consumed.
#[derive(Debug, Clone, Copy)]
pub enum ConsumeOutcome<'o> {
    /// It was acknowledged.
    Acknowledged,
    /// It comes again.
    Retried,
    /// Another interceptor refused it.
    Failed(&'o Error),
    /// It was read by somebody who acknowledges nothing.
    Read,
}

/// What an interceptor learns of a send, and may keep from before it to after it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SendContext<'c> {
    /// By which brokers know the client.
    pub client_id: &'c str,
    /// The producer's group.
    pub group: &'c str,
    /// The id that the message gets.
    pub message_id: &'c str,
    /// How it is sent.
    pub kind: SendKind,
    /// The span of the send; of a batch, of all.
    pub span: &'c Span,
    kept: &'c mut Kept,
}

/// What an interceptor learns of who consumes a message, and may keep from before it to after it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConsumeContext<'c> {
    /// By which brokers know the client.
    pub client_id: &'c str,
    /// The group in whose name it is consumed.
    pub group: &'c str,
    /// The span of the message's handling; none for readers.
    pub span: &'c Span,
    kept: &'c mut Kept,
}

/// What is kept from before to after.
pub(crate) struct Kept {
    began: Instant,
    /// One of a type.
    values: Vec<Box<dyn Any + Send + Sync>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { began: Instant::now(), values: Vec::new() }
    }
}

impl Kept {
    fn keep<T: Any + Send + Sync>(&mut self, value: T) {
        match self.get_mut() {
            Some(kept) => *kept = value,
            None => self.values.push(Box::new(value)),
        }
    }

    fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.values.iter_mut().find_map(|value| value.downcast_mut())
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("began", &self.began).field("values", &self.values.len()).finish()
    }
}

macro_rules! kept {
    ($context:ident) => {
        impl $context<'_> {
            /// Keeps a value for this message; one of the same type is replaced. Use a type of your own.
            pub fn keep<T: Any + Send + Sync>(&mut self, value: T) {
                self.kept.keep(value);
            }

            /// The value of a type that was kept for this message.
            pub fn kept<T: Any>(&mut self) -> Option<&mut T> {
                self.kept.get_mut()
            }

            /// How long ago the first hook was called for this message.
            pub fn elapsed(&self) -> Duration {
                self.kept.began.elapsed()
            }
        }
    };
}
kept!(SendContext);
kept!(ConsumeContext);

/// Interceptors in their order, and the codecs, which are nearest to the network.
#[derive(Clone, Default)]
pub(crate) struct Interceptors {
    list: Vec<Arc<dyn Interceptor>>,
    pub codecs: Codecs,
}

impl Interceptors {
    pub fn push(&mut self, interceptor: impl Interceptor + 'static) {
        self.list.push(Arc::new(interceptor));
    }

    /// Calls each `before`, until one refuses; how many did not.
    fn before(&self, mut call: impl FnMut(&dyn Interceptor) -> Result<(), Refusal>) -> (usize, Result<(), Refusal>) {
        for (passed, interceptor) in self.list.iter().enumerate() {
            if let Err(refusal) = call(&**interceptor) {
                return (passed, Err(refusal));
            }
        }
        (self.list.len(), Ok(()))
    }

    /// Calls the `after` of each whose `before` succeeded. It may run while a panic is on its way already.
    fn after(&self, passed: usize, mut call: impl FnMut(&dyn Interceptor)) {
        for interceptor in self.list[..passed].iter().rev() {
            if catch_unwind(AssertUnwindSafe(|| call(&**interceptor))).is_err() {
                tracing::error!("an interceptor panicked after a message was sent or consumed");
            }
        }
    }
}

impl fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors, codecs {:?}", self.list.len(), self.codecs)
    }
}
