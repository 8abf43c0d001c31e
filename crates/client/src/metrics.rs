//! Figures of what is sent and consumed, by the `metrics` facade.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::{ConsumeContext, ConsumeOutcome, Error, Interceptor, Message, Received, Refusal, SendContext, SendOutcome};

/// Counts and times what is sent and consumed, for the recorder of the `metrics` crate that the program has installed.
///
/// All have the labels `topic` and `group`:
///
/// | name | kind | what |
/// |---|---|---|
/// | `apogee_client_sent_total` | counter | messages whose send ended, by `outcome`: `sent`, `one_way`, `failed`, `abandoned` |
/// | `apogee_client_send_seconds` | histogram | from `send` to its end, all attempts together |
/// | `apogee_client_sends_open` | gauge | messages on their way |
/// | `apogee_client_consumed_total` | counter | messages that were settled, by `outcome`: `acknowledged`, `retried`, `failed` (refused by an interceptor), `not_decoded`, `read` |
/// | `apogee_client_consume_seconds` | histogram | from giving a message out to its end |
/// | `apogee_client_consuming_open` | gauge | messages given out and not settled |
/// | `apogee_client_delivery_seconds` | histogram | from the broker's storing a message to giving it out; the clocks of both count |
/// | `apogee_client_lag_messages` | gauge | messages behind the last one given out of a `queue`, as the broker told when it was fetched; not for POP |
///
/// ```
/// use apogee_client::{Client, Metrics};
///
/// # async fn example() -> Result<(), apogee_client::Error> {
/// // After the recorder was installed, for example that of metrics-exporter-prometheus.
/// let client = Client::builder("127.0.0.1:9876").interceptor(Metrics::new()).build()?;
/// # let _ = client;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Metrics {
    /// By group and topic.
    sends: Mutex<Table<Sends>>,
    consumes: Mutex<Table<Consumes>>,
}

type Table<F> = HashMap<String, HashMap<String, F>>;

struct Sends {
    outcomes: [Counter; 4],
    seconds: Histogram,
    open: Gauge,
}

struct Consumes {
    outcomes: [Counter; 5],
    seconds: Histogram,
    open: Gauge,
    delivery: Histogram,
    lags: HashMap<crate::Queue, Gauge>,
}

impl Metrics {
    /// Figures for the recorder that is installed when a topic is used for the first time.
    pub fn new() -> Self {
        Self::default()
    }

    fn of_send(&self, group: &str, topic: &str, note: impl FnOnce(&mut Sends)) {
        note(of(&mut self.sends.lock().unwrap_or_else(PoisonError::into_inner), group, topic, Sends::new));
    }

    fn of_consume(&self, group: &str, topic: &str, note: impl FnOnce(&mut Consumes)) {
        note(of(&mut self.consumes.lock().unwrap_or_else(PoisonError::into_inner), group, topic, Consumes::new));
    }
}

/// The figures of a group and topic; nothing is allocated but for the first time.
fn of<'t, F>(
    table: &'t mut Table<F>,
    group: &str,
    topic: &str,
    new: impl FnOnce(&[(&'static str, String); 2]) -> F,
) -> &'t mut F {
    if !table.get(group).is_some_and(|topics| topics.contains_key(topic)) {
        let figures = new(&[("topic", topic.to_owned()), ("group", group.to_owned())]);
        table.entry(group.to_owned()).or_default().insert(topic.to_owned(), figures);
    }
    table.get_mut(group).and_then(|topics| topics.get_mut(topic)).unwrap_or_else(|| unreachable!("just inserted"))
}

/// A counter for each outcome.
fn outcomes<const N: usize>(
    name: &'static str,
    labels: &[(&'static str, String); 2],
    outcomes: [&'static str; N],
) -> [Counter; N] {
    outcomes.map(|outcome| {
        let [topic, group] = labels.clone();
        counter!(name, &[topic, group, ("outcome", outcome.to_owned())])
    })
}

impl Sends {
    fn new(labels: &[(&'static str, String); 2]) -> Self {
        Self {
            outcomes: outcomes("apogee_client_sent_total", labels, ["sent", "one_way", "failed", "abandoned"]),
            seconds: histogram!("apogee_client_send_seconds", labels),
            open: gauge!("apogee_client_sends_open", labels),
        }
    }
}

impl Consumes {
    fn new(labels: &[(&'static str, String); 2]) -> Self {
        const OUTCOMES: [&str; 5] = ["acknowledged", "retried", "failed", "not_decoded", "read"];
        Self {
            outcomes: outcomes("apogee_client_consumed_total", labels, OUTCOMES),
            seconds: histogram!("apogee_client_consume_seconds", labels),
            open: gauge!("apogee_client_consuming_open", labels),
            delivery: histogram!("apogee_client_delivery_seconds", labels),
            lags: HashMap::new(),
        }
    }
}

impl Interceptor for Metrics {
    fn before_send(&self, message: &mut Message, context: &mut SendContext<'_>) -> Result<(), Refusal> {
        self.of_send(context.group, message.topic(), |sends| sends.open.increment(1));
        Ok(())
    }

    fn after_send(&self, message: &Message, context: &mut SendContext<'_>, outcome: SendOutcome<'_>) {
        let nth = match outcome {
            SendOutcome::Sent(_) => 0,
            SendOutcome::OneWay => 1,
            SendOutcome::Failed(_) => 2,
            SendOutcome::Abandoned => 3,
        };
        self.of_send(context.group, message.topic(), |sends| {
            sends.open.decrement(1);
            sends.seconds.record(context.elapsed());
            sends.outcomes[nth].increment(1);
        });
    }

    fn before_consume(&self, message: &mut Received, context: &mut ConsumeContext<'_>) -> Result<(), Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        self.of_consume(context.group, message.topic(), |consumes| {
            consumes.open.increment(1);
            consumes.delivery.record(now.saturating_sub(message.store_timestamp).max(0) as f64 / 1000.0);
            if let Some(behind) = message.behind() {
                if let Some(lag) = consumes.lags.get(&message.queue) {
                    return lag.set(behind as f64);
                }
                let (topic, group) = (message.topic().to_owned(), context.group.to_owned());
                let queue = message.queue.to_string();
                let lag = gauge!("apogee_client_lag_messages", "topic" => topic, "group" => group, "queue" => queue);
                lag.set(behind as f64);
                consumes.lags.insert(message.queue.clone(), lag);
            }
        });
        Ok(())
    }

    fn not_decoded(&self, message: &Received, context: &ConsumeContext<'_>, _: &Error) {
        self.of_consume(context.group, message.topic(), |consumes| consumes.outcomes[3].increment(1));
    }

    fn after_consume(&self, message: &Received, context: &mut ConsumeContext<'_>, outcome: ConsumeOutcome<'_>) {
        let nth = match outcome {
            ConsumeOutcome::Acknowledged => 0,
            ConsumeOutcome::Retried => 1,
            ConsumeOutcome::Failed(_) => 2,
            ConsumeOutcome::Read => 4,
        };
        self.of_consume(context.group, message.topic(), |consumes| {
            consumes.open.decrement(1);
            consumes.seconds.record(context.elapsed());
            consumes.outcomes[nth].increment(1);
        });
    }
}
