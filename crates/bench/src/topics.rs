//! `apogee-bench topics`.

use std::time::Duration;

use clap::Args;

use crate::load::Load;
use crate::server::{Server, Usage, Which};

/// Topics of the comparison.
const FEW: u64 = 10;

/// What to measure.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// Topics.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    topics: u64,
    /// Queues of each.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=1024))]
    queues: i32,
    /// Messages of each measurement.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Connections.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Messages that wait for their answer on each connection.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<(), String> {
    let &Options { topics, queues, messages, size, .. } = options;
    let server = options.which.start()?;
    println!("{:<44} {:>10.2} s", "first start", server.start.as_secs_f64());
    let load = options.which.connect(options.connections, options.in_flight).await?;

    load.create("Few-", FEW, queues).await?;
    let few = format!("{FEW} topics");
    send(&server, &load, &format!("{few}, warming up"), ("Few-", FEW, queues), messages / 4, size).await?;
    let before = send(&server, &load, &few, ("Few-", FEW, queues), messages, size).await?;

    let usage = server.usage();
    let took = load.create("Many-", topics, queues).await?;
    report(&format!("{topics} topics created"), topics, took, &usage, &server.usage());
    let many = format!("{topics} topics x {queues}");
    let first = topics * queues as u64;
    send(&server, &load, &format!("{many}, first of each queue"), ("Many-", topics, queues), first, size).await?;
    let with_many = send(&server, &load, &many, ("Many-", topics, queues), messages, size).await?;
    let after = send(&server, &load, &format!("{few} beside them"), ("Few-", FEW, queues), messages, size).await?;
    let rate = |took: Duration| messages as f64 / took.as_secs_f64();
    println!("{:<44} {:>9.1} %", "throughput, many against few", 100.0 * rate(with_many) / rate((before + after) / 2));

    drop(load);
    println!("{:<44} {:>10.2} s", "clean stop", server.stop()?.as_secs_f64());
    let server = options.which.start()?;
    println!("{:<44} {:>10.2} s", "start after it", server.start.as_secs_f64());
    memory("memory after a start", &server.usage());
    let load = options.which.connect(options.connections, options.in_flight).await?;
    send(&server, &load, &format!("{many}, after a start"), ("Many-", topics, queues), messages, size).await?;
    drop(load);
    server.kill()?;
    let server = options.which.start()?;
    println!("{:<44} {:>10.2} s", "start after kill -9 right after that", server.start.as_secs_f64());
    server.stop().map(drop)
}

async fn send(
    server: &Server,
    load: &Load,
    what: &str,
    (prefix, topics, queues): (&str, u64, i32),
    messages: u64,
    size: usize,
) -> Result<Duration, String> {
    let before = server.usage();
    let took = load.send(prefix, topics, queues, messages, size).await?;
    report(what, messages, took, &before, &server.usage());
    Ok(took)
}

fn report(what: &str, count: u64, took: Duration, before: &Usage, after: &Usage) {
    let each = (after.processor - before.processor).as_secs_f64() / count as f64;
    println!(
        "{what:<44} {:>10.0} /s {:>8.1} s {:>7.1} us processor time each",
        count as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        each * 1e6
    );
    memory("", after);
}

fn memory(what: &str, usage: &Usage) {
    const MEGABYTE: u64 = 1_000_000;
    println!(
        "{what:<44} {:>10} MB resident, {} MB of its own, {} open files, {} mappings",
        usage.resident / MEGABYTE,
        usage.anonymous / MEGABYTE,
        usage.files,
        usage.mappings
    );
}
