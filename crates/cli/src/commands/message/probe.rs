//! How long sending takes, by messages for a test.

use std::time::{Duration, Instant, SystemTime};

use apogee_client::{Error, Message, Producer};
use clap::Args;
use serde_json::json;

use super::send::{self, written};
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Group of those who send for a test.
const PROBES: &str = "PID_SMSC";
/// What brokers take for a body with their usual settings.
const MOST_BYTES: u64 = 4 << 20;

fn body(size: u64) -> Vec<u8> {
    vec![b'a'; usize::try_from(size.min(MOST_BYTES)).unwrap_or_default()]
}

/// A producer that tries each message once: another attempt would hide a broker that fails.
fn producer(context: &Context) -> Result<Producer, CliError> {
    Ok(context.client().producer_builder(PROBES).retries(0).compress_from(usize::MAX).build()?)
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

/// Flags of `sendMsgStatus`.
#[derive(Args, Debug)]
pub struct Status {
    /// Name of the broker, which has a topic of that name
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
    /// Bytes of each body
    #[arg(short = 's', long = "messageSize", default_value_t = 128, value_parser = clap::value_parser!(u64).range(..=MOST_BYTES))]
    size: u64,
    /// How many messages
    #[arg(short = 'c', long = "count", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Sends messages to a broker and tells of each how long it took.
pub async fn status(context: &Context, flags: &Status) -> Result<Report, CliError> {
    let (producer, topic) = (producer(context)?, flags.broker.trim());
    // A name that is mistyped is not to become a topic.
    context.admin.route(topic).await?;
    // The first one finds the route and connects.
    producer.send(Message::new(topic, body(16))).await?;
    for _ in 0..flags.count {
        let begun = Instant::now();
        let sent = producer.send(Message::new(topic, body(flags.size))).await?;
        let took = milliseconds(begun.elapsed());
        let mut json = send::json(&sent);
        json["tookMs"] = took.into();
        let line = format!("rt={took:.0}ms, SendResult={}", written(&sent));
        context.tell(&Report::new().line(line).data_item("sent", json))?;
    }
    Ok(Report::new())
}

/// Flags of `checkMsgSendRT`.
#[derive(Args, Debug)]
pub struct Check {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// How many messages
    #[arg(short = 'a', long = "amount", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    amount: u64,
    /// Bytes of each body
    #[arg(short = 's', long = "size", default_value_t = 128, value_parser = clap::value_parser!(u64).range(..=MOST_BYTES))]
    size: u64,
}

/// Sends messages to the queues of a topic in turn, and tells of each how long it took.
pub async fn check(context: &Context, flags: &Check) -> Result<Report, CliError> {
    let (producer, topic) = (producer(context)?, flags.topic.trim());
    let queues = producer.queues(topic).await?;
    if queues.is_empty() {
        return Err(Error::NoQueue { topic: topic.to_owned(), action: "write to" }.into());
    }
    let mut table =
        Table::new(&[("#Broker Name", "broker"), ("#QID", "queue"), ("#Send Result", "sent"), ("#RT", "tookMs")]);
    let (mut times, mut failure) = (Times::default(), None);
    let bar = context.progress(flags.amount, "messages");
    for queue in queues.iter().cycle().take(usize::try_from(flags.amount).unwrap_or(usize::MAX)) {
        let begun = Instant::now();
        let outcome = producer.send_to(queue, Message::new(topic, body(flags.size))).await;
        let took = begun.elapsed();
        times.add(took);
        let is_sent = outcome.is_ok();
        failure = outcome.err().or(failure);
        let took = milliseconds(took);
        table.row([(&*queue.broker).into(), queue.id.into(), is_sent.into(), Cell::both(format!("{took:.0}"), took)]);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mean = times.mean();
    let report = Report::new().table("sent", table).line(format!("Avg RT: {mean:.2}")).data("meanMs", mean);
    Ok(match failure {
        Some(error) => report.line(format!("The last failure: {error}")).data("lastFailure", error.to_string()),
        None => report,
    })
}

/// How long messages took. The first one finds the route and connects: it counts when it is the only one.
#[derive(Default)]
struct Times {
    first: Option<Duration>,
    others: Duration,
    count: u32,
}

impl Times {
    fn add(&mut self, took: Duration) {
        match self.first {
            None => self.first = Some(took),
            Some(_) => {
                self.others += took;
                self.count += 1;
            }
        }
    }

    /// In milliseconds.
    fn mean(&self) -> f64 {
        match self.count {
            0 => milliseconds(self.first.unwrap_or_default()),
            count => milliseconds(self.others) / f64::from(count),
        }
    }
}

/// Flags of `clusterRT`.
#[derive(Args, Debug)]
pub struct Cluster {
    /// How many messages to each broker
    #[arg(short = 'a', long = "amount", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    amount: u64,
    /// Bytes of each body
    #[arg(short = 's', long = "size", default_value_t = 128, value_parser = clap::value_parser!(u64).range(..=MOST_BYTES))]
    size: u64,
    /// Only this cluster
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// One line for each broker: time|room|cluster|broker|milliseconds
    #[arg(short = 'p', long = "printLog", default_value_t = false, action = clap::ArgAction::Set)]
    as_log: bool,
    /// Name of the room where the machines are, for those lines
    #[arg(short = 'm', long = "machineRoom", default_value = "noname")]
    room: String,
    /// Seconds between two rounds
    #[arg(short = 'i', long = "interval", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
}

/// Sends messages to each broker, round by round until it is interrupted, and tells how long they took.
pub async fn cluster(context: &Context, flags: &Cluster) -> Result<Report, CliError> {
    let admin = match &flags.cluster {
        Some(cluster) => context.admin.cluster(cluster.trim()),
        None => context.admin.clone(),
    };
    let producer = producer(context)?;
    loop {
        let mut table = Table::new(&[
            ("#Cluster Name", "cluster"),
            ("#Broker Name", "broker"),
            ("#RT", "meanMs"),
            ("#successCount", "sent"),
            ("#failCount", "failed"),
        ]);
        let mut report = Report::new();
        for broker in admin.brokers().await?.into_iter().filter(|broker| broker.is_master()) {
            let (mean, sent, failure) = round(&producer, &broker.name, flags).await;
            let failed = flags.amount - sent;
            if flags.as_log {
                report = report.line(log_line(&flags.room, &broker.cluster, &broker.name, mean));
                let (cluster, name) = (&broker.cluster, &broker.name);
                report = report.data_item(
                    "brokers",
                    json!({ "room": flags.room, "cluster": cluster, "broker": name, "meanMs": mean, "sent": sent, "failed": failed }),
                );
            } else {
                table.row([
                    broker.cluster.into(),
                    (&broker.name).into(),
                    Cell::decimal(mean, 2),
                    sent.into(),
                    failed.into(),
                ]);
            }
            if let Some(error) = failure {
                report = report.line(format!("{}: {error}", broker.name));
                report = report.data_item("failures", json!({ "broker": broker.name, "error": error.to_string() }));
            }
        }
        let told = match flags.as_log {
            true => report,
            false => Report::new().table("brokers", table).then(report),
        };
        context.tell(&told)?;
        tokio::time::sleep(Duration::from_secs(flags.interval)).await;
    }
}

/// Milliseconds that a message took, how many were sent, and why the last one was not that was not.
async fn round(producer: &Producer, broker: &str, flags: &Cluster) -> (f64, u64, Option<Error>) {
    let (mut times, mut sent, mut failure) = (Times::default(), 0, None);
    for _ in 0..flags.amount {
        let begun = Instant::now();
        match producer.send(Message::new(broker, body(flags.size))).await {
            Ok(_) => sent += 1,
            Err(error) => failure = Some(error),
        }
        times.add(begun.elapsed());
    }
    (times.mean(), sent, failure)
}

fn log_line(room: &str, cluster: &str, broker: &str, mean: f64) -> String {
    let now = Cell::time(Some(SystemTime::now())).to_string();
    let now = now.split(',').next().unwrap_or_default();
    format!("{now}|{room}|{cluster}|{broker}|{mean:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_counts_only_when_it_is_alone() {
        let mut times = Times::default();
        times.add(Duration::from_millis(100));
        assert_eq!(times.mean(), 100.0);
        times.add(Duration::from_millis(4));
        times.add(Duration::from_millis(6));
        assert_eq!(times.mean(), 5.0);
    }
}
