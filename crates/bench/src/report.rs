//! The result: for people, or as JSON for machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::engine::Latencies;
use crate::error::BenchError;
use crate::run::Measured;
use crate::usage::Usage;

/// The generator's share of one core from which on its figures say more about it than about the server.
const BUSY: f64 = 0.8;

/// What a workload came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: &'static str,
    options: Map<String, Value>,
    seconds: f64,
    messages: u64,
    rate: f64,
    bytes_per_second: f64,
    errors: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Quantiles>,
    generator: Generator,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified>,
    /// What only this workload has.
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
    mean: f64,
}

impl Quantiles {
    /// Of these, if there are any.
    pub(crate) fn of(latencies: &Latencies) -> Option<Self> {
        (latencies.count() > 0).then(|| Self {
            p50: latencies.quantile(0.5),
            p99: latencies.quantile(0.99),
            p999: latencies.quantile(0.999),
            max: latencies.quantile(1.0),
            mean: latencies.mean(),
        })
    }
}

/// Figures of a part of a workload.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    seconds: f64,
    messages: u64,
    rate: f64,
    errors: BTreeMap<String, u64>,
    latency_us: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
}

impl Figures {
    /// Of what was measured.
    pub(crate) fn of(measured: &Measured) -> Self {
        let Measured { tally, seconds, server, .. } = measured;
        Self {
            seconds: *seconds,
            messages: tally.messages,
            rate: tally.messages as f64 / seconds.max(1e-9),
            errors: tally.errors.texts().clone(),
            latency_us: Quantiles::of(&tally.latencies),
            server: server.map(|server| Server::of(server, tally.messages)),
        }
    }
}

#[derive(Debug, Serialize)]
struct Generator {
    cpu_seconds: f64,
    cores: f64,
    /// How late it was with paced requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness_us: Option<Quantiles>,
}

#[derive(Debug, Serialize)]
struct Server {
    cpu_seconds: f64,
    /// Nothing without messages.
    cpu_us_per_message: Option<f64>,
    resident_bytes: u64,
    anonymous_bytes: u64,
    open_files: u64,
    mappings: u64,
}

impl Server {
    fn of((cpu, usage): (f64, Usage), messages: u64) -> Self {
        Self {
            cpu_seconds: cpu,
            cpu_us_per_message: (messages > 0).then(|| cpu * 1e6 / messages as f64),
            resident_bytes: usage.resident,
            anonymous_bytes: usage.anonymous,
            open_files: usage.files,
            mappings: usage.mappings,
        }
    }
}

/// What came of reading back what was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Messages that the broker took.
    pub sent: u64,
    /// Of those, messages that were read.
    pub received: u64,
    /// Messages that the broker took and that were not read.
    pub missing: u64,
    /// Messages that were read again.
    pub duplicates: u64,
    /// Messages that are not what was sent.
    pub damaged: u64,
}

impl Report {
    /// Of a workload that ran with these options.
    pub(crate) fn new(
        workload: &'static str,
        options: &impl Serialize,
        measured: &Measured,
    ) -> Result<Self, BenchError> {
        let Measured { tally, seconds, own_cpu, server } = measured;
        let per = |count: u64| count as f64 / seconds.max(1e-9);
        Ok(Self {
            workload,
            options: object(options)?,
            seconds: *seconds,
            messages: tally.messages,
            rate: per(tally.messages),
            bytes_per_second: per(tally.bytes),
            errors: tally.errors.texts().clone(),
            latency_us: Quantiles::of(&tally.latencies),
            generator: Generator {
                cpu_seconds: *own_cpu,
                cores: own_cpu / seconds.max(1e-9),
                lateness_us: Quantiles::of(&tally.lateness),
            },
            server: server.map(|server| Server::of(server, tally.messages)),
            verified: None,
            extra: Map::new(),
        })
    }

    /// With what came of reading back.
    pub(crate) fn with_verified(mut self, verified: Option<Verified>) -> Self {
        self.verified = verified;
        self
    }

    /// With a figure that other workloads don't have.
    pub(crate) fn with(mut self, name: &str, value: &impl Serialize) -> Result<Self, BenchError> {
        let value = serde_json::to_value(value).map_err(|error| BenchError::system("the result", error))?;
        self.extra.insert(name.to_owned(), value);
        Ok(self)
    }

    /// Whether the run shows that something is wrong: nothing got through, or messages were lost or damaged.
    pub(crate) fn failure(&self) -> Option<String> {
        if self.messages == 0 && !self.errors.is_empty() {
            let (text, count) = self.errors.iter().max_by_key(|(_, count)| **count)?;
            return Some(format!("no request succeeded; {count} times: {text}"));
        }
        let verified = self.verified.filter(|found| found.missing + found.damaged > 0)?;
        Some(format!("{} messages are missing, {} are damaged", verified.missing, verified.damaged))
    }

    /// As one line of JSON.
    pub(crate) fn json(&self) -> Result<String, BenchError> {
        serde_json::to_string(self).map_err(|error| BenchError::system("the result", error))
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let megabytes = self.bytes_per_second / 1e6;
        writeln!(out, "{:<10} {} messages in {:.2} s", self.workload, self.messages, self.seconds)?;
        writeln!(out, "{:<10} {:.0} messages/s, {megabytes:.1} MB/s", "rate", self.rate)?;
        if let Some(Quantiles { p50, p99, p999, max, mean }) = self.latency_us {
            let [p50, p99, p999, max, mean] = [p50, p99, p999, max, mean].map(time);
            writeln!(out, "{:<10} p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}, mean {mean}", "latency")?;
        }
        for (text, count) in &self.errors {
            writeln!(out, "{:<10} {count} times: {text}", "error")?;
        }
        if let Some(server) = &self.server {
            let memory = server.resident_bytes as f64 / 1e6;
            let own = server.anonymous_bytes as f64 / 1e6;
            let each = server.cpu_us_per_message.map(|each| format!("{each:.2} us CPU per message, "));
            let (cpu, each) = (server.cpu_seconds, each.unwrap_or_default());
            writeln!(out, "{:<10} {each}{cpu:.2} s CPU in all", "server")?;
            writeln!(
                out,
                "{:<10} {memory:.0} MB resident, {own:.0} MB of its own, {} open files, {} mappings",
                "", server.open_files, server.mappings
            )?;
        }
        for (name, value) in &self.extra {
            writeln!(out, "{:<10} {}", name.replace('_', " "), plain(value))?;
        }
        if let Some(Verified { sent, received, missing, duplicates, damaged }) = self.verified {
            writeln!(
                out,
                "{:<10} {received} of {sent} received, {missing} missing, {duplicates} twice, {damaged} damaged",
                "verified"
            )?;
        }
        write!(out, "{:<10} {:.2} cores", "generator", self.generator.cores)?;
        if let Some(late) = self.generator.lateness_us {
            write!(out, "; late itself by p50 {}, p99 {}", time(late.p50), time(late.p99))?;
        }
        writeln!(out)
    }

    /// What to tell whoever trusts the figures.
    pub(crate) fn warning(&self, threads: u32) -> Option<String> {
        let each = self.generator.cores / f64::from(threads.max(1));
        (each > BUSY && self.seconds >= 0.1).then(|| {
            format!(
                "the load generator used {:.0} % of a core on each of its threads: the rate may be its own limit, \
                 not the server's; give more --threads if there are cores to spare",
                each * 100.0
            )
        })
    }
}

/// Options as a JSON object.
fn object(options: &impl Serialize) -> Result<Map<String, Value>, BenchError> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(BenchError::new(format!("options are no object but {other}"))),
        Err(error) => Err(BenchError::system("options", error)),
    }
}

/// A figure for people; an object's figures one after the other.
fn plain(value: &Value) -> String {
    let pair = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => format!("{} ({})", name.replace('_', " "), plain(value)),
        _ => format!("{} {}", name.replace('_', " "), plain(value)),
    };
    match value {
        Value::Object(map) => map.iter().filter(|(_, value)| !is_empty(value)).map(pair).collect::<Vec<_>>().join(", "),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, |it| format!("{it:.2}")),
        other => other.to_string(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

/// Microseconds for people.
fn time(micros: f64) -> String {
    match micros {
        micros if micros < 1_000.0 => format!("{micros:.0} us"),
        micros if micros < 1_000_000.0 => format!("{:.2} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}
