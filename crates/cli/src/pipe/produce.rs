//! `apogee produce`: one message for each line, or for each file.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use apogee_client::{Client, Message, Producer, Sent};
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Cluster, Failure};

/// Longest line or file, in bytes: a broker takes no longer message by default.
const MAX_LENGTH: u64 = 4 << 20;

/// Options of `apogee produce`.
#[derive(Args, Debug)]
pub struct ProduceArgs {
    /// The topic.
    topic: String,
    /// Files to send, each as one message; without any, each line of standard input is one, empty ones aside.
    files: Vec<PathBuf>,
    #[command(flatten)]
    cluster: Cluster,
    /// Group of the producer.
    #[arg(short, long, default_value = "apogee-produce")]
    group: String,
    /// A tag for all messages.
    #[arg(short, long)]
    tag: Option<String>,
    /// A key for all messages; may be given several times.
    #[arg(short, long)]
    key: Vec<String>,
    /// A property for all messages; may be given several times.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// All of them to the queue of this key, in their order.
    #[arg(long, value_name = "KEY", conflicts_with = "batch")]
    sharding_key: Option<String>,
    /// Deliver them after a time: 500ms, 10s, 2h.
    #[arg(short, long, value_parser = humantime::parse_duration, conflicts_with = "batch")]
    delay: Option<Duration>,
    /// Send so many messages together: they travel, and are stored, at once.
    #[arg(short, long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Requests that may wait for their answers; with 1, messages are stored in the order of their lines.
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Print where each request's messages are, one JSON object a line.
    #[arg(long)]
    json: bool,
}

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "NAME=VALUE is expected".to_owned())
}

impl ProduceArgs {
    fn message(&self, body: Vec<u8>) -> Message {
        let mut message = Message::new(&*self.topic, body);
        if let Some(tag) = &self.tag {
            message = message.tag(tag);
        }
        for key in &self.key {
            message = message.key(key);
        }
        for (name, value) in &self.property {
            message = message.property(name, value);
        }
        if let Some(key) = &self.sharding_key {
            message = message.sharding_key(key);
        }
        if let Some(delay) = self.delay {
            message = message.delay(delay);
        }
        message
    }
}

pub(super) async fn run(args: ProduceArgs) -> Result<(), Failure> {
    let client = args.cluster.client()?;
    let producer = client.producer(&*args.group)?;
    // A sharding key promises an order, which only one request at a time keeps.
    let in_flight = if args.sharding_key.is_some() { 1 } else { args.in_flight as usize };
    let mut sending = Sending { client, producer, tasks: JoinSet::new(), in_flight, json: args.json, sent: 0 };
    let done = send_all(&args, &mut sending).await;
    // What is under way is waited for, whatever failed.
    let rest = sending.finish().await;
    sending.client.close().await;
    match done.and(rest) {
        Err(failure) if sending.sent > 0 && !matches!(failure, Failure::Closed) => {
            Err(Failure::Usage(format!("{failure} ({} messages were sent)", sending.sent)))
        }
        other => other,
    }
}

async fn send_all(args: &ProduceArgs, sending: &mut Sending) -> Result<(), Failure> {
    if !args.files.is_empty() {
        for file in &args.files {
            sending.send(vec![args.message(read(file)?)]).await?;
        }
        return Ok(());
    }
    let mut lines = lines();
    let mut batch = Vec::new();
    while let Some(line) = lines.recv().await {
        batch.push(args.message(line?));
        // What is there goes: nobody waits for a batch to fill.
        if batch.len() == args.batch as usize || lines.is_empty() {
            sending.send(std::mem::take(&mut batch)).await?;
        }
    }
    if batch.is_empty() { Ok(()) } else { sending.send(batch).await }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::File { what: format!("cannot read {}", file.display()), source };
    let length = file.metadata().map_err(failed)?.len();
    if length > MAX_LENGTH {
        let reason = format!("{} is {length} bytes long; a message has at most {MAX_LENGTH}", file.display());
        return Err(Failure::Usage(reason));
    }
    std::fs::read(file).map_err(failed)
}

/// The lines of standard input that are not empty, without their ends. Read by a thread: it cannot be waited for otherwise.
fn lines() -> mpsc::Receiver<Result<Vec<u8>, Failure>> {
    let (sender, lines) = mpsc::channel(1024);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut input, MAX_LENGTH + 2).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(_) => {
                    line.pop_if(|byte| *byte == b'\n');
                    line.pop_if(|byte| *byte == b'\r');
                    if line.is_empty() {
                        continue;
                    }
                    if line.len() as u64 > MAX_LENGTH {
                        Err(Failure::Usage(format!("a line is over {MAX_LENGTH} bytes long")))
                    } else {
                        Ok(line)
                    }
                }
                Err(source) => Err(Failure::File { what: "cannot read standard input".to_owned(), source }),
            };
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    lines
}

/// Requests under way.
struct Sending {
    client: Client,
    producer: Producer,
    tasks: JoinSet<Result<(Sent, usize), apogee_client::Error>>,
    in_flight: usize,
    json: bool,
    sent: usize,
}

impl Sending {
    async fn send(&mut self, mut messages: Vec<Message>) -> Result<(), Failure> {
        while self.tasks.len() >= self.in_flight {
            self.answered().await?;
        }
        let producer = self.producer.clone();
        self.tasks.spawn(async move {
            let count = messages.len();
            let sent = match messages.pop() {
                Some(message) if messages.is_empty() => producer.send(message).await,
                last => {
                    messages.extend(last);
                    producer.send_batch(messages).await
                }
            };
            Ok((sent?, count))
        });
        Ok(())
    }

    /// Waits for one answer.
    async fn answered(&mut self) -> Result<(), Failure> {
        let Some(Ok(answer)) = self.tasks.join_next().await else { return Ok(()) };
        let (sent, count) = answer?;
        self.sent += count;
        if self.json {
            let line = serde_json::json!({
                "messageId": sent.message_id, "offsetId": sent.offset_id, "broker": &*sent.queue.broker,
                "queue": sent.queue.id, "offset": sent.offset, "messages": count,
            });
            writeln!(io::stdout().lock(), "{line}").map_err(Failure::output)?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Failure> {
        let mut done = Ok(());
        while !self.tasks.is_empty() {
            done = done.and(self.answered().await);
        }
        done
    }
}
