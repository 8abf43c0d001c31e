//! Measurements of a broker from outside. It starts the server by a command of its own, so that Apogee
//! and Apache RocketMQ are measured alike.

// What a command prints is its purpose.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod load;
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
}

fn main() -> std::process::ExitCode {
    let Cli { command: Command::Topics(options) } = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string());
    match runtime.and_then(|runtime| runtime.block_on(topics::run(&options))) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apogee-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
