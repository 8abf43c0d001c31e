//! Traces: what became of each message, told to a topic of the system where tools find it (upstream `enableTrace`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_message::names::property;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

mod record;

use record::{Consumed, DEFAULT_REGION, Kind, Published, Record};

use crate::id::{MessageIds, local_ip};
use crate::interceptor::{ConsumeContext, ConsumeOutcome, Interceptor, Refusal, SendContext, SendKind, SendOutcome};
use crate::producer::ProducerBuilder;
use crate::reader::TOOLS;
use crate::shared::Shared;
use crate::{Error, Message, Received, SendStatus};

/// Records that wait to be collected, at most; what comes then is lost.
const WAITING: usize = 2_048;
/// Bounds of one message of the trace topic: records, bytes of them, bytes of their keys, and how long it waits.
const MOST_RECORDS: usize = 100;
const MOST_BYTES: usize = 128_000;
const MOST_KEYS: usize = 16 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// What a broker says of a message that is to be traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Traced {
    /// Where it was sent to.
    pub broker: String,
    pub region: String,
}

impl Traced {
    /// Of an answer's fields; `None` when the broker wants no traces.
    pub fn of(broker: &str, region: Option<&str>, trace_on: Option<&str>) -> Option<Box<Self>> {
        let region = region.unwrap_or(DEFAULT_REGION).to_owned();
        (trace_on != Some("false")).then(|| Box::new(Self { broker: broker.to_owned(), region }))
    }
}

/// Tells what becomes of messages.
#[derive(Clone)]
pub(crate) struct Tracer(Arc<Inner>);

struct Inner {
    words: mpsc::Sender<Word>,
    clock: Arc<dyn Clock>,
    ids: MessageIds,
    /// Is left out of names.
    namespace: String,
    /// Where traces go: nothing is told of those.
    topic: String,
    lost: AtomicU64,
}

/// What the collector is told.
pub(crate) enum Word {
    Record(Record),
    /// Send what there is, and say so.
    Flush(oneshot::Sender<()>),
}

/// A message that is being consumed.
struct Began {
    request_id: String,
}

impl Tracer {
    /// What the other half of it, see [`collect`], is told comes out of the receiver.
    pub fn new(topic: &str, namespace: &str, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Word>) {
        let (words, told) = mpsc::channel(WAITING);
        let inner = Inner {
            words,
            clock,
            ids: MessageIds::new(local_ip()),
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            lost: AtomicU64::default(),
        };
        (Self(Arc::new(inner)), told)
    }

    /// Sends what was collected, within a time.
    pub async fn flush(&self, patience: Duration) {
        let flushed = async {
            let (tell, told) = oneshot::channel();
            if self.0.words.send(Word::Flush(tell)).await.is_ok() {
                let _ = told.await;
            }
        };
        if tokio::time::timeout(patience, flushed).await.is_err() {
            tracing::warn!("the last traces were not sent in time");
        }
    }

    fn tell(&self, record: Record) {
        if self.0.words.try_send(Word::Record(record)).is_err() {
            let lost = self.0.lost.fetch_add(1, Ordering::Relaxed) + 1;
            // Once in a while: there may be many.
            if lost.is_power_of_two() {
                tracing::warn!(lost, "traces are lost: they come faster than they can be sent");
            }
        }
    }

    /// A name without the client's namespace.
    fn short<'n>(&self, name: &'n str) -> &'n str {
        let own = name.strip_prefix(&*self.0.namespace).and_then(|rest| rest.strip_prefix('%'));
        own.filter(|_| !self.0.namespace.is_empty()).unwrap_or(name)
    }
}

impl Interceptor for Tracer {
    fn after_send(&self, message: &Message, context: &mut SendContext<'_>, outcome: SendOutcome<'_>) {
        let SendOutcome::Sent(sent) = outcome else { return };
        let Some(traced) = sent.traced.as_deref().filter(|_| message.topic() != self.0.topic) else { return };
        // Of a batch that was made by hand, the places of all are told together.
        let mut of_batch = sent.message_id.split(',').zip(sent.offset_id.split(','));
        let place = of_batch.find(|(id, _)| *id == context.message_id);
        let took = context.elapsed();
        let published = Published {
            began: self.0.clock.now_ms() - took.as_millis() as i64,
            region: &traced.region,
            group: self.short(context.group),
            topic: self.short(message.topic()),
            id: context.message_id,
            tags: message.get(property::TAGS),
            keys: message.get(property::KEYS),
            broker: &traced.broker,
            body: message.body().len(),
            took,
            kind: match context.kind {
                SendKind::Transaction => Kind::Half,
                _ if message.is_delayed() => Kind::Delayed,
                _ => Kind::Normal,
            },
            offset_id: place.map_or(&sent.offset_id, |(_, offset_id)| offset_id),
            is_safe: sent.status == SendStatus::Ok,
        };
        self.tell(published.record());
    }

    fn before_consume(&self, message: &mut Received, context: &mut ConsumeContext<'_>) -> Result<(), Refusal> {
        let is_wanted = message.property(property::TRACE_ON) != Some("false");
        // Tools consume nothing, and the traces of traces would never end.
        if is_wanted && context.group != TOOLS && message.topic() != self.0.topic {
            let now = self.0.clock.now_ms();
            let request_id = self.0.ids.next(now);
            let region = message.property(property::MSG_REGION).unwrap_or(DEFAULT_REGION);
            let consumed = self.consumed(message, context.group, &request_id);
            self.tell(consumed.begins(now, region, message.reconsume_times));
            context.keep(Began { request_id });
        }
        Ok(())
    }

    fn after_consume(&self, message: &Received, context: &mut ConsumeContext<'_>, outcome: ConsumeOutcome<'_>) {
        let (took, group) = (context.elapsed(), context.group);
        let Some(began) = context.kept::<Began>() else { return };
        let is_done = matches!(outcome, ConsumeOutcome::Acknowledged | ConsumeOutcome::Read);
        let consumed = self.consumed(message, group, &began.request_id);
        self.tell(consumed.ended(self.0.clock.now_ms(), took, is_done));
    }
}

impl Tracer {
    fn consumed<'c>(&self, message: &'c Received, group: &'c str, request_id: &'c str) -> Consumed<'c> {
        Consumed {
            request_id,
            group: self.short(group),
            id: message.property(property::UNIQ_KEY).unwrap_or_default(),
            keys: message.property(property::KEYS),
        }
    }
}

/// Records that are sent together.
struct Batch {
    text: String,
    keys: BTreeSet<String>,
    key_bytes: usize,
    records: usize,
    due: Instant,
}

impl Batch {
    fn new() -> Self {
        Self { text: String::new(), keys: BTreeSet::new(), key_bytes: 0, records: 0, due: Instant::now() + LINGER }
    }

    fn push(&mut self, record: Record) {
        self.text.push_str(&record.text);
        self.records += 1;
        for key in record.keys.iter().flat_map(|keys| keys.split(' ')).chain([&*record.id]) {
            // One that has very long keys is found by its id.
            let is_short = key == record.id || self.key_bytes + key.len() < MOST_KEYS;
            if is_short && !key.is_empty() && self.keys.insert(key.to_owned()) {
                self.key_bytes += key.len() + 1;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.records >= MOST_RECORDS || self.text.len() >= MOST_BYTES || self.key_bytes >= MOST_KEYS
    }
}

/// Sends what a tracer tells, as long as there is a client.
pub(crate) async fn collect(shared: Weak<Shared>, mut words: mpsc::Receiver<Word>, topic: String) {
    let (mut batch, mut turn) = (Batch::new(), 0);
    loop {
        let word = match batch.records {
            0 => Ok(words.recv().await),
            _ => tokio::time::timeout_at(batch.due, words.recv()).await,
        };
        let flushed = match word {
            Ok(Some(Word::Record(record))) => {
                if batch.records == 0 {
                    batch.due = Instant::now() + LINGER;
                }
                batch.push(record);
                if !batch.is_full() {
                    continue;
                }
                None
            }
            Ok(Some(Word::Flush(tell))) => Some(tell),
            Ok(None) => return,
            Err(_) => None,
        };
        if batch.records > 0 {
            let batch = std::mem::replace(&mut batch, Batch::new());
            let records = batch.records;
            let Some(shared) = shared.upgrade() else { return };
            if let Err(error) = send(shared, &topic, batch, turn).await {
                tracing::warn!(topic, records, %error, "traces are lost");
            }
            turn += 1;
        }
        // Who asked may not wait any more.
        flushed.map(|tell| tell.send(()));
    }
}

async fn send(shared: Arc<Shared>, topic: &str, batch: Batch, turn: usize) -> Result<(), Error> {
    let keys: Vec<_> = batch.keys.iter().map(|key| &**key).collect();
    let message = Message::new(topic, batch.text).property(property::KEYS, keys.join(" "));
    ProducerBuilder::of_traces(shared, turn).build()?.send(message).await.map(drop)
}
