//! The trace context of OpenTelemetry, carried in messages.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{ConsumeContext, Interceptor, Message, Received, Refusal, SendContext};

/// Property that names the trace and the span (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
/// Property of what vendors add.
const TRACESTATE: &str = "tracestate";

/// Carries the trace from who sends to who consumes: messages get the properties `traceparent` and `tracestate` of the
/// W3C's Trace Context, as other clients write and read them, too, and the span of a message's handling becomes a child of
/// the span of its send.
///
/// Spans are those of the `tracing` crate, target `apogee_client::message`, level `DEBUG`: `send` and `process`. Let them
/// through, with a layer of `tracing-opentelemetry`. Without them, what is sent carries the current context of
/// OpenTelemetry; whoever consumes asks [`OpenTelemetry::context_of`].
///
/// ```
/// use apogee_client::{Client, OpenTelemetry};
///
/// # async fn example() -> Result<(), apogee_client::Error> {
/// let client = Client::builder("127.0.0.1:9876").interceptor(OpenTelemetry).build()?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenTelemetry;

impl OpenTelemetry {
    /// The context that a message carries; an empty one when it carries none, or none that can be read.
    ///
    /// ```
    /// use opentelemetry::trace::TraceContextExt;
    ///
    /// fn print(message: &apogee_client::Received) {
    ///     let context = apogee_client::OpenTelemetry::context_of(message);
    ///     println!("it belongs to trace {}", context.span().span_context().trace_id());
    /// }
    /// ```
    pub fn context_of(message: &Received) -> opentelemetry::Context {
        let state = message.property(TRACESTATE).and_then(|text| TraceState::from_str(text).ok()).unwrap_or_default();
        match message.property(TRACEPARENT).and_then(|text| read(text, state)) {
            Some(span) => opentelemetry::Context::new().with_remote_span_context(span),
            None => opentelemetry::Context::new(),
        }
    }
}

/// `version-trace-span-flags`, in lower-case hexadecimal digits. Later versions may add something behind.
fn read(text: &str, state: TraceState) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        let is_hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        parts.next().filter(|part| part.len() == length && is_hexadecimal(part))
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, state);
    context.is_valid().then_some(context)
}

fn write(span: &SpanContext) -> String {
    let sampled = span.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), sampled.to_u8())
}

/// The context of a span, if it has one, else the one that is entered.
fn context_of_span(span: &Span) -> SpanContext {
    let of_span = |span: &Span| span.context().span().span_context().clone();
    let contexts = [of_span(span), of_span(&Span::current())];
    let current = || opentelemetry::Context::current().span().span_context().clone();
    contexts.into_iter().find(SpanContext::is_valid).unwrap_or_else(current)
}

impl Interceptor for OpenTelemetry {
    fn before_send(&self, message: &mut Message, context: &mut SendContext<'_>) -> Result<(), Refusal> {
        let span = context_of_span(context.span);
        // What the user gave stays.
        if !span.is_valid() || message.get(TRACEPARENT).is_some() {
            return Ok(());
        }
        message.set(TRACEPARENT, write(&span));
        let state = span.trace_state().header();
        if !state.is_empty() {
            message.set(TRACESTATE, state);
        }
        Ok(())
    }

    fn before_consume(&self, message: &mut Received, context: &mut ConsumeContext<'_>) -> Result<(), Refusal> {
        let parent = Self::context_of(message);
        if parent.span().span_context().is_valid() {
            // It fails where no layer of OpenTelemetry wants the span.
            let _ = context.span.set_parent(parent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_read_as_it_was_written() {
        let span = read(GIVEN, TraceState::default()).unwrap();
        assert_eq!(write(&span), GIVEN);
        assert!(span.is_remote() && span.is_sampled());
        // A later version, and flags that nobody knows yet.
        let later = format!("cc{}-what-ever", &GIVEN[2..]).replace("-01-", "-09-");
        assert_eq!(write(&read(&later, TraceState::default()).unwrap()), GIVEN);
    }

    #[test]
    fn what_is_no_context_is_none() {
        for text in [
            "",
            "00",
            &GIVEN[1..],
            &GIVEN.to_uppercase(),
            &format!("{GIVEN}-00"),
            &GIVEN.replace("00-", "ff-"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(read(text, TraceState::default()).is_none(), "{text}");
        }
    }
}
