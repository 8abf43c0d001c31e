//! The load generator `apogee bench`: measures a broker from outside, this one or Apache RocketMQ alike.
//!
//! A workload is a struct in `workloads/` with its options, and a function that runs it on `engine/`, which
//! drives the connections; `report.rs` says what came of it.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

mod body;
mod caller;
mod consumer;
mod create;
mod engine;
mod error;
mod floor;
mod live;
mod locate;
mod message;
mod options;
mod popper;
mod pull;
mod report;
mod run;
mod usage;
mod verify;
mod workloads;

use error::BenchError;
use report::Report;
use workloads::{connections, consume, e2e, pop, send, timer, topics, transaction};

const AFTER: &str = "\
Examples:
  apogee bench send --connections 16 --in-flight 64 --seconds 10
  apogee bench send --rate 1000 --size 200 --server-pid $(pidof apogee)

A workload that sends creates its topic (--topic). Latency is that of one request; with --rate it counts from when
the request should have been sent. See docs/bench.md.";

/// Options of `apogee bench`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct BenchArgs {
    #[command(subcommand)]
    workload: Workload,
}

/// What to measure.
#[derive(Subcommand, Debug)]
enum Workload {
    /// Sends messages: throughput, and how long each takes to be answered
    Send(send::SendArgs),
    /// Reads messages: catching up by pulls, or live by long polls
    Consume(consume::ConsumeArgs),
    /// Pops messages and acknowledges them
    Pop(pop::PopArgs),
    /// Sends at a pace and receives: latency from end to end
    E2e(e2e::EndToEndArgs),
    /// Sends in transactions
    Transaction(transaction::TransactionArgs),
    /// Sends messages for later: how late they come
    Timer(timer::TimerArgs),
    /// Opens connections and holds them, each with heartbeats: memory of idle clients
    Connections(connections::ConnectionsArgs),
    /// Creates topics and sends to all of their queues
    Topics(topics::TopicsArgs),
    /// Serves: answers every request from a constant and stores nothing. Or measures a disk
    Floor(floor::FloorArgs),
}

/// Runs a workload. Its result goes to standard output, progress and errors to standard error.
pub fn run(args: BenchArgs) -> ExitCode {
    let outcome = match args.workload {
        Workload::Send(options) => show(options.common.json, options.common.threads, send::run(options)),
        Workload::Consume(options) => show(options.common.json, options.common.threads, consume::run(options)),
        Workload::Pop(options) => show(options.common.json, options.common.threads, pop::run(options)),
        // Those who send and those who receive.
        Workload::E2e(options) => show(options.common.json, 2 * options.common.threads, e2e::run(options)),
        Workload::Timer(options) => show(options.common.json, 2 * options.common.threads, timer::run(options)),
        Workload::Transaction(options) => show(options.common.json, options.common.threads, transaction::run(options)),
        Workload::Connections(options) => show(options.common.json, options.common.threads, connections::run(options)),
        Workload::Topics(options) => show(options.common.json, options.common.threads, topics::run(options)),
        Workload::Floor(options) => show(options.json, 1, floor::run(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "apogee bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(json: bool, threads: u32, report: Result<Report, BenchError>) -> Result<(), BenchError> {
    let report = report?;
    let text = if json { format!("{}\n", report.json()?) } else { report.text() };
    // Whoever closed the other end has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if let Some(warning) = report.warning(threads) {
        let _ = writeln!(std::io::stderr(), "apogee bench: {warning}");
    }
    report.failure().map_or(Ok(()), |text| Err(BenchError::new(text)))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        _args: super::BenchArgs,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
