//! Measurements of a broker from outside. It starts the server by a command of its own, so that Apogee
//! and Apache RocketMQ are measured alike.

// What a command prints is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cold;
mod latency;
mod load;
mod restart;
mod server;
mod topics;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "apogee-bench", about = "Measurements of a broker from outside.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Many topics with traffic on all of their queues, beside the same traffic on a few.
    Topics(topics::Options),
    /// Reading of cold messages beside sends: what it does to their latency. To see what a log larger than
    /// memory does with a smaller one, have the server expect little in memory
    /// (accessMessageInMemoryMaxRatio=1). Needs root, to empty the system's cache.
    Cold(cold::Options),
    /// Starts with a large log: after a kill, after a clean stop, after files are gone. Needs root, to
    /// empty the system's cache.
    Restart(restart::Options),
}

fn main() -> std::process::ExitCode {
    let run = async || match Cli::parse().command {
        Command::Topics(options) => topics::run(&options).await,
        Command::Cold(options) => cold::run(&options).await,
        Command::Restart(options) => restart::run(&options).await,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string());
    match runtime.and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apogee-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
