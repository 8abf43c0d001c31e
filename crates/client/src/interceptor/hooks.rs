//! Where interceptors are called, and the spans of what they see.

use std::sync::Arc;

use apogee_message::codecs;
use tracing::{Span, field};

use super::{ConsumeContext, ConsumeOutcome, Interceptors, Kept, SendContext, SendKind, SendOutcome};
use crate::{Error, Message, Received};

/// The hooks of one producer, consumer or reader.
#[derive(Debug)]
pub(crate) struct Hooks {
    client_id: String,
    group: String,
    interceptors: Interceptors,
}

impl Hooks {
    pub fn new(client_id: &str, group: &str, interceptors: Interceptors) -> Arc<Self> {
        Arc::new(Self { client_id: client_id.to_owned(), group: group.to_owned(), interceptors })
    }

    /// Whether a message that is consumed may become another.
    pub fn may_change(&self, message: &Received) -> bool {
        !self.interceptors.list.is_empty() || message.property(codecs::PROPERTY).is_some()
    }

    /// Whether bodies go through codecs.
    pub fn has_codecs(&self) -> bool {
        !self.interceptors.codecs.is_empty()
    }

    /// Undoes what a message's body went through.
    pub fn decode(&self, message: &mut Received) -> Result<(), Error> {
        self.interceptors.codecs.decode(message)
    }

    fn of_consume<'c>(&'c self, span: &'c Span, kept: &'c mut Kept) -> ConsumeContext<'c> {
        ConsumeContext { client_id: &self.client_id, group: &self.group, span, kept }
    }
}

/// Messages that are sent together, and whose end is told to the interceptors.
pub(crate) struct Sends {
    hooks: Arc<Hooks>,
    kind: SendKind,
    /// Of the first message.
    span: Span,
    /// Empty when nobody wants to know.
    messages: Vec<(Message, String, Kept)>,
}

impl Sends {
    pub fn new(hooks: &Arc<Hooks>, kind: SendKind) -> Self {
        Self { hooks: Arc::clone(hooks), kind, span: Span::none(), messages: Vec::new() }
    }

    /// Calls `before_send`, and sends the body through the codecs.
    pub fn before(&mut self, message: &mut Message, message_id: &str) -> Result<Option<Kept>, Error> {
        if self.span.is_none() {
            self.span = send_span(&self.hooks.group, message.topic(), message_id);
        }
        let interceptors = &self.hooks.interceptors;
        if interceptors.list.is_empty() {
            interceptors.codecs.encode(message)?;
            return Ok(None);
        }
        let mut kept = Kept::default();
        let mut context = context(&self.hooks, self.kind, &self.span, message_id, &mut kept);
        let (passed, done) = interceptors.before(|interceptor| interceptor.before_send(message, &mut context));
        let refused = |source| Error::Intercepted { topic: message.topic().to_owned(), source };
        if let Err(error) = done.map_err(refused).and_then(|()| interceptors.codecs.encode(message)) {
            let outcome = SendOutcome::Failed(&error);
            interceptors.after(passed, |each| each.after_send(message, &mut context, outcome));
            return Err(error);
        }
        Ok(Some(kept))
    }

    /// Waits for the end of a message whose `before_send` was called.
    pub fn watch(&mut self, message: Message, message_id: &str, kept: Option<Kept>) {
        self.messages.extend(kept.map(|kept| (message, message_id.to_owned(), kept)));
    }

    /// What happens to it belongs to this.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Calls `after_send` for each.
    pub fn after(&mut self, outcome: SendOutcome<'_>) {
        match outcome {
            SendOutcome::Sent(sent) => {
                self.span.record("queue", field::display(&sent.queue));
                self.span.record("offset", sent.offset);
            }
            SendOutcome::Failed(error) => failed(&self.span, error),
            SendOutcome::OneWay | SendOutcome::Abandoned => {}
        }
        let span = std::mem::replace(&mut self.span, Span::none());
        let interceptors = &self.hooks.interceptors;
        for (message, id, mut kept) in self.messages.drain(..).rev() {
            let mut context = context(&self.hooks, self.kind, &span, &id, &mut kept);
            interceptors.after(interceptors.list.len(), |each| each.after_send(&message, &mut context, outcome));
        }
    }
}

fn context<'c>(
    hooks: &'c Hooks,
    kind: SendKind,
    span: &'c Span,
    message_id: &'c str,
    kept: &'c mut Kept,
) -> SendContext<'c> {
    SendContext { client_id: &hooks.client_id, group: &hooks.group, message_id, kind, span, kept }
}

impl Drop for Sends {
    fn drop(&mut self) {
        self.after(SendOutcome::Abandoned);
    }
}

/// A message that is consumed, and whose end is told to the interceptors.
#[derive(Debug)]
pub(crate) struct Consuming {
    hooks: Arc<Hooks>,
    span: Span,
    kept: Kept,
}

impl Hooks {
    /// Decodes the body and calls `before_consume`. What it returns is told what became of the message; `None`: nobody
    /// wants to know.
    pub fn before_consume(self: &Arc<Self>, message: &mut Received) -> Result<Option<Box<Consuming>>, Error> {
        let span = process_span(&self.group, message);
        self.begin(message, span.clone()).inspect_err(|error| failed(&span, error))
    }

    fn begin(self: &Arc<Self>, message: &mut Received, span: Span) -> Result<Option<Box<Consuming>>, Error> {
        if let Err(error) = self.decode(message) {
            let mut kept = Kept::default();
            let context = self.of_consume(&span, &mut kept);
            self.interceptors.list.iter().for_each(|each| each.not_decoded(message, &context, &error));
            return Err(error);
        }
        if self.interceptors.list.is_empty() && span.is_disabled() {
            return Ok(None);
        }
        let mut kept = Kept::default();
        let mut context = self.of_consume(&span, &mut kept);
        let (passed, done) = self.interceptors.before(|interceptor| interceptor.before_consume(message, &mut context));
        if let Err(refusal) = done {
            let error = Error::Intercepted { topic: message.topic().to_owned(), source: refusal };
            let outcome = ConsumeOutcome::Failed(&error);
            self.interceptors.after(passed, |each| each.after_consume(message, &mut context, outcome));
            return Err(error);
        }
        Ok(Some(Box::new(Consuming { hooks: Arc::clone(self), span, kept })))
    }

    /// The same for a message that nobody settles.
    pub fn read(self: &Arc<Self>, message: &mut Received) -> Result<(), Error> {
        if let Some(consuming) = self.begin(message, Span::none())? {
            consuming.after(message, ConsumeOutcome::Read);
        }
        Ok(())
    }
}

impl Consuming {
    /// What happens to the message belongs to this.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Calls `after_consume`.
    pub fn after(mut self, message: &Received, outcome: ConsumeOutcome<'_>) {
        match outcome {
            ConsumeOutcome::Failed(error) => failed(&self.span, error),
            ConsumeOutcome::Retried => drop(self.span.record("otel.status_code", "ERROR")),
            ConsumeOutcome::Acknowledged | ConsumeOutcome::Read => {}
        }
        let mut context = self.hooks.of_consume(&self.span, &mut self.kept);
        let interceptors = &self.hooks.interceptors;
        interceptors.after(interceptors.list.len(), |each| each.after_consume(message, &mut context, outcome));
    }
}

/// Target of the spans, by which they can be chosen.
const TARGET: &str = "apogee_client::message";

/// The span of a send, with the names of OpenTelemetry's conventions for messaging.
fn send_span(group: &str, topic: &str, message_id: &str) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "send",
        otel.kind = "producer",
        otel.status_code = field::Empty,
        messaging.system = "rocketmq",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
        messaging.message.id = message_id,
        messaging.producer.group = group,
        queue = field::Empty,
        offset = field::Empty,
        error = field::Empty,
    )
}

/// The span of a message's handling.
fn process_span(group: &str, message: &Received) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "process",
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "rocketmq",
        messaging.operation.type = "process",
        messaging.destination.name = message.topic(),
        messaging.message.id = &*message.message_id(),
        messaging.consumer.group.name = group,
        queue = %message.queue,
        offset = message.offset,
        reconsume_times = message.reconsume_times,
        error = field::Empty,
    )
}

fn failed(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error", field::display(error));
}
