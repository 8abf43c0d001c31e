//! Spans, the trace context and figures of the Rust client.

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apogee_client::{Client, Codecs, Message, Metrics, OpenTelemetry};
use common::Server;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is recorded of spans: name and field to value.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

struct Place(usize);

struct Fields<'f>(&'f mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != "apogee_client::message" {
            return;
        }
        let mut spans = self.0.lock().expect("no panic");
        let mut fields = BTreeMap::from([("span".to_owned(), attributes.metadata().name().to_owned())]);
        attributes.record(&mut Fields(&mut fields));
        spans.push(fields);
        context.span(id).expect("there").extensions_mut().insert(Place(spans.len() - 1));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(Place(place)) = context.span(id).expect("there").extensions().get() {
            values.record(&mut Fields(&mut self.0.lock().expect("no panic")[*place]));
        }
    }
}

#[tokio::test]
async fn sends_and_handlers_have_spans() {
    let spans = Spans::default();
    // Of this topic alone: others are tested at the same time.
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    tracing::subscriber::set_global_default(subscriber).expect("the first one");
    let server = Server::start(&[]);
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    let producer = client.producer("P").expect("a producer");
    let sent = producer.send(Message::new("Spanned", "good")).await.expect("sent");
    producer.send(Message::new("Spanned", "late").delay_level(1).property("", "bad")).await.expect_err("refused");
    let mut consumer = client.consumer("G").subscribe("Spanned").from_first().join().await.expect("joined");
    let within = Arc::new(Mutex::new(None));
    let handler = |_| {
        let within = Arc::clone(&within);
        async move {
            tokio::task::yield_now().await;
            *within.lock().expect("no panic") = tracing::Span::current().metadata().map(|metadata| metadata.name());
            Ok::<(), &str>(())
        }
    };
    let handled = async {
        while within.lock().expect("no panic").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = consumer.run(1, handler) => panic!("the client is not closed"),
        handled = tokio::time::timeout(PATIENCE, handled) => handled.expect("in time"),
    }
    assert_eq!(*within.lock().expect("no panic"), Some("process"));
    consumer.close(PATIENCE).await.expect("left");

    let mut spans = spans.0.lock().expect("no panic").clone();
    spans.retain(|fields| fields.get("messaging.destination.name").is_some_and(|topic| topic == "Spanned"));
    let told = |nth: usize, name: &str| spans[nth].get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(spans.len(), 3, "{spans:?}");
    for (nth, span) in ["send", "send", "process"].into_iter().enumerate() {
        assert_eq!((told(nth, "span"), told(nth, "messaging.destination.name")), (span, "Spanned"));
    }
    for nth in [0, 2] {
        assert_eq!(told(nth, "messaging.message.id"), sent.message_id);
        assert_eq!(told(nth, "queue"), sent.queue.to_string());
        assert_eq!((told(nth, "offset"), told(nth, "otel.status_code")), (&*sent.offset.to_string(), ""));
    }
    assert_eq!(told(1, "otel.status_code"), "ERROR");
    assert!(told(1, "error").contains("has no name"), "{spans:?}");
}

#[tokio::test]
async fn a_message_carries_the_trace() {
    let server = Server::start(&[]);
    let client = Client::builder(server.namesrv.to_string()).interceptor(OpenTelemetry).build().expect("an address");
    let producer = client.producer("P").expect("a producer");
    producer.send(Message::new("T", "outside")).await.expect("sent");
    let state: TraceState = "vendor=what".parse().expect("a state");
    let (trace, span) = (TraceId::from(7_u128 << 100), SpanId::from(9_u64));
    let given = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, state);
    let attached = opentelemetry::Context::new().with_remote_span_context(given).attach();
    producer.send(Message::new("T", "inside")).await.expect("sent");
    drop(attached);
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    for _ in 0..2 {
        let message =
            tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("one").expect("read");
        let context = OpenTelemetry::context_of(&message);
        let (span, found) = (context.span(), context.span().span_context().clone());
        if message.body == "outside" {
            assert!(!found.is_valid() && message.property("traceparent").is_none());
            continue;
        }
        assert_eq!(message.property("traceparent"), Some("00-00000070000000000000000000000000-0000000000000009-01"));
        assert_eq!((found.trace_id(), found.trace_state().get("vendor")), (trace, Some("what")));
        assert!(span.span_context().is_remote());
    }
}

/// Figures by name and labels.
#[derive(Clone, Default)]
struct Figures(Arc<Mutex<BTreeMap<String, Arc<Figure>>>>);

/// A counter, a gauge, or how often something was recorded.
#[derive(Default)]
struct Figure(AtomicU64);

impl CounterFn for Figure {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Figure {
    fn increment(&self, value: f64) {
        self.0.fetch_add(value as u64, Ordering::Relaxed);
    }

    fn decrement(&self, value: f64) {
        self.0.fetch_sub(value as u64, Ordering::Relaxed);
    }

    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::Relaxed);
    }
}

impl HistogramFn for Figure {
    fn record(&self, value: f64) {
        assert!((0.0..20.0).contains(&value), "{value} seconds");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Figures {
    fn of(&self, key: &Key) -> Arc<Figure> {
        let labels: BTreeMap<_, _> = key.labels().map(|label| (label.key(), label.value())).collect();
        let labels: String = labels.into_iter().map(|(name, value)| format!(" {name}={value}")).collect();
        Arc::clone(self.0.lock().expect("no panic").entry(format!("{}{labels}", key.name())).or_default())
    }

    /// Those that are not zero.
    fn now(&self) -> BTreeMap<String, u64> {
        let figures = self.0.lock().expect("no panic");
        let now = figures.iter().map(|(name, figure)| (name.clone(), figure.0.load(Ordering::Relaxed)));
        now.filter(|(_, value)| *value > 0).collect()
    }
}

impl metrics::Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}

#[tokio::test]
async fn what_is_sent_and_consumed_is_counted() {
    let figures = Figures::default();
    let _here = metrics::set_default_local_recorder(&figures);
    let server = Server::start(&[]);
    let client = Client::builder(server.namesrv.to_string()).interceptor(Metrics::new()).build().expect("an address");
    let producer = client.producer("P").expect("a producer");
    let queue = producer.send(Message::new("T", "0")).await.expect("sent").queue;
    for body in ["1", "2", "3"] {
        producer.send_to(&queue, Message::new("T", body)).await.expect("sent");
    }
    producer.send(Message::new("T", "bad").property("", "")).await.expect_err("refused");
    let unknown = Message::new("Unknown", "x").property("CODECS", "rot13");
    producer.send_one_way(unknown).await.expect("on its way");
    let mut expected = BTreeMap::from([
        ("apogee_client_sent_total group=P outcome=sent topic=T".to_owned(), 4),
        ("apogee_client_sent_total group=P outcome=failed topic=T".to_owned(), 1),
        ("apogee_client_sent_total group=P outcome=one_way topic=Unknown".to_owned(), 1),
        ("apogee_client_send_seconds group=P topic=T".to_owned(), 5),
        ("apogee_client_send_seconds group=P topic=Unknown".to_owned(), 1),
    ]);
    assert_eq!(figures.now(), expected);

    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let mut next =
        async || tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
    let (first, second, third) = (next().await, next().await, next().await);
    first.ack();
    second.retry();
    let lag = format!("apogee_client_lag_messages group=G queue={queue} topic=T");
    for (name, value) in [
        ("apogee_client_consumed_total group=G outcome=acknowledged topic=T", 1),
        ("apogee_client_consumed_total group=G outcome=retried topic=T", 1),
        ("apogee_client_consume_seconds group=G topic=T", 2),
        ("apogee_client_consuming_open group=G topic=T", 1),
        ("apogee_client_delivery_seconds group=G topic=T", 3),
        (&lag, 1),
    ] {
        expected.insert(name.to_owned(), value);
    }
    assert_eq!(figures.now(), expected);
    third.ack();
    consumer.close(PATIENCE).await.expect("left");

    let mut reader = client.reader("Unknown").codecs(Codecs::new()).from_first().open().await.expect("open");
    tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("one").expect_err("unknown");
    let not_decoded = "apogee_client_consumed_total group=TOOLS_CONSUMER outcome=not_decoded topic=Unknown";
    assert_eq!(figures.now().get(not_decoded), Some(&1), "{:?}", figures.now());
    client.close().await;
}
