//! Faults on the real thing: a server process under load, a ledger of what it acknowledged, and what breaks
//! it. See `docs/faults.md`.

mod body;
mod commands;
mod disk;
mod error;
mod ledger;
mod load;
mod peer;
mod rng;
mod session;
mod target;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Failure;
use session::{Common, Session, note};

/// Breaks a server under load and looks whether it lost anything
#[derive(Parser, Debug)]
#[command(name = "apogee-faults")]
struct Arguments {
    #[command(subcommand)]
    command: Fault,
}

#[derive(Subcommand, Debug)]
enum Fault {
    /// SIGKILL under load
    Kill(Common),
    /// The file system loses its power under load (needs root)
    Power {
        #[command(flatten)]
        common: Common,
        /// With ASYNC_FLUSH: what was acknowledged in the last 50 ms may be lost
        #[arg(long)]
        asynchronous: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Skipped(why)) => {
            note(&format!("skipped: {why}\n"));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            note(&format!("apogee-faults: {failure}\n"));
            ExitCode::from(2)
        }
    }
}

/// Whether nothing was found that must not be.
fn run(command: Fault) -> Result<bool, Failure> {
    let mut session;
    match command {
        Fault::Kill(common) => {
            session = Session::new("kill", &common)?;
            commands::kill::run(&mut session)?;
        }
        Fault::Power { common, asynchronous } => {
            session = Session::new("power", &common)?;
            commands::power::run(&mut session, asynchronous)?;
        }
    }
    std::io::stdout().write_all(session.summary().as_bytes())?;
    Ok(session.report.findings == 0)
}
