//! Options that all workloads have.

use std::net::SocketAddr;

use apogee_message::names;
use clap::Args;
use serde::Serialize;

use crate::body::STAMP;
use crate::error::BenchError;
use crate::locate;

/// Bytes of a body when the user doesn't say.
const SIZE: u32 = 1024;
/// Requests in flight on each connection at a pace, when the user doesn't say.
const PACED: u32 = 64;
/// Topics of a run have at most so many.
const MAX_TOPICS: u64 = 1_000_000;

/// Options that all workloads have.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct Common {
    /// The broker to measure.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    pub broker: String,
    /// Instead: the name server that knows where the topic is. It must be on one broker.
    #[arg(short = 'n', long, value_name = "HOST:PORT", conflicts_with = "broker")]
    pub namesrv: Option<String>,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub connections: u32,
    /// Requests in flight on each connection; unless given, 1, or 64 where requests go at a --rate.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: Option<u32>,
    /// Bytes of a message's body, where messages are sent; 1024 unless given.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub size: Option<u32>,
    /// The topic. It is created, or changed to have these queues. Of several, its name is the beginning of theirs.
    #[arg(long, value_name = "NAME", default_value = "ApogeeBench")]
    pub topic: String,
    /// Queues of a topic.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub queues: u32,
    /// Measures for so long; 10 when no number of messages is given, 0 for no limit.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Whether the user said how long it takes.
    #[arg(skip)]
    #[serde(skip)]
    pub seconds_given: bool,
    /// Measures so many messages; 0 for no limit. Ends with the first of both limits.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub messages: u64,
    /// Messages before those that are measured, as fast as they go.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub warm_up: u64,
    /// Messages a second over all connections; without it, as many as go. Latency counts from the moment when a
    /// message should have been sent: one that was held up by those before it is not let off.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Threads of the load generator, which share the connections.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Process of the server, on this machine: its CPU time and memory are reported, with those of its children.
    /// May be given several times.
    #[arg(long, value_name = "PID")]
    pub server_pid: Vec<u32>,
    /// Reads back what was sent, and compares.
    #[arg(long)]
    pub verify: bool,
    /// Prints one JSON object at the end, for machines.
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
    /// Prints a line of progress each second even where standard error is no terminal.
    #[arg(long)]
    #[serde(skip)]
    pub progress: bool,
}

impl Common {
    /// Checks what single options don't tell, and fills in what follows from others.
    pub(crate) fn settle(&mut self) -> Result<(), BenchError> {
        names::check_topic(&self.topic).map_err(|error| BenchError::new(format!("--topic: {error}")))?;
        if let Some(namesrv) = &self.namesrv {
            self.broker = locate::broker(namesrv, &self.topic)?;
        }
        self.seconds_given = self.seconds.is_some();
        if self.seconds.is_none() {
            self.seconds = Some(if self.messages == 0 { 10.0 } else { 0.0 });
        }
        if self.threads > self.connections {
            return Err(BenchError::new(format!(
                "--threads {} is more than --connections {}: each thread needs a connection of its own",
                self.threads, self.connections
            )));
        }
        Ok(())
    }

    /// Bytes of bodies that are sent. Where messages must be known again, there are bounds.
    pub(crate) fn settle_size(&mut self, known_again: bool) -> Result<usize, BenchError> {
        let size = *self.size.get_or_insert(SIZE) as usize;
        if known_again && size < STAMP {
            return Err(BenchError::new(format!(
                "messages of {size} bytes (--size) have no room for the {STAMP} by which they are known again"
            )));
        }
        Ok(size)
    }

    /// Requests in flight on each connection. At a pace, a slot should be free when its time comes: else the queue is
    /// ours, not the server's.
    pub(crate) fn settle_in_flight(&mut self) -> u32 {
        *self.in_flight.get_or_insert(if self.rate.is_some() { PACED } else { 1 })
    }

    /// Refuses a run without an end.
    pub(crate) fn must_end(&self) -> Result<(), BenchError> {
        if self.messages == 0 && self.seconds == Some(0.0) {
            return Err(BenchError::new("nothing would end this run: give --seconds or --messages"));
        }
        Ok(())
    }

    /// Refuses options that a workload has no use for.
    pub(crate) fn refuse(&self, workload: &str, options: &[(&str, bool)]) -> Result<(), BenchError> {
        match options.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(BenchError::new(format!("{name} has no meaning for `apogee bench {workload}`"))),
            None => Ok(()),
        }
    }

    /// The broker's address.
    pub(crate) fn address(&self) -> Result<SocketAddr, BenchError> {
        locate::address(&self.broker)
    }

    /// The measured time's limit in nanoseconds.
    pub(crate) fn nanoseconds(&self) -> Option<u64> {
        self.seconds.filter(|seconds| *seconds > 0.0).map(|seconds| (seconds * 1e9) as u64)
    }

    /// The limit of messages.
    pub(crate) fn limit(&self) -> Option<u64> {
        (self.messages > 0).then_some(self.messages)
    }
}

/// The names of a run's topics.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    name: String,
    /// How many.
    pub count: u64,
}

impl Topics {
    /// One of this name, or several that begin with it.
    pub(crate) fn new(name: &str, count: u64) -> Result<Self, BenchError> {
        if !(1..=MAX_TOPICS).contains(&count) {
            return Err(BenchError::new(format!("--topics {count}: it is a number from 1 to {MAX_TOPICS}")));
        }
        let topics = Self { name: name.to_owned(), count };
        names::check_topic(&topics.name(0)).map_err(|error| BenchError::new(format!("--topic: {error}")))?;
        Ok(topics)
    }

    /// The name of one; all are of the same length.
    pub(crate) fn name(&self, number: u64) -> String {
        if self.count == 1 { self.name.clone() } else { format!("{}-{number:06}", self.name) }
    }

    /// Where the digits of the number begin in a name, when there are any.
    pub(crate) fn digits(&self) -> Option<usize> {
        (self.count > 1).then_some(self.name.len() + 1)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is a number of seconds, such as 10 or 0.5".to_owned())?;
    if (0.0..=1e6).contains(&seconds) { Ok(seconds) } else { Err("it is from 0 to 1000000".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is a number of messages a second".to_owned())?;
    if (0.001..=1e8).contains(&rate) { Ok(rate) } else { Err("it is from 0.001 to 100000000".to_owned()) }
}
