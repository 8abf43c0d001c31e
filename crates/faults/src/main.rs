//! Faults on the real thing: a server process under load, a ledger of what it acknowledged, and what breaks
//! it. See `docs/faults.md`.

mod body;
mod cluster;
mod commands;
mod disk;
mod error;
mod ledger;
mod load;
mod peer;
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
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    #[command(flatten)]
    Fault(Fault),
    /// Several hosts on this machine, and what breaks them; called by tests/cluster/run, which prepares it (needs root)
    Cluster(cluster::Cluster),
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
    /// One sync fails, then the power goes (needs root)
    SyncError(Common),
    /// A small disk fills up under load and gets room again (needs root)
    Full(Common),
    /// A bit of a file changes between two runs
    Flip {
        #[command(flatten)]
        common: Common,
        /// In files of this folder of the store only: commitlog, consumequeue, index, config
        #[arg(long)]
        only: Option<String>,
    },
    /// Files and folders that can be made again go between two runs
    Delete(Common),
}

fn main() -> ExitCode {
    let found = match Arguments::parse().command {
        Command::Fault(fault) => run(fault),
        Command::Cluster(flags) => cluster::run(&flags),
    };
    match found {
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
    let (name, common) = match &command {
        Fault::Kill(common) => ("kill", common),
        Fault::Power { common, .. } => ("power", common),
        Fault::SyncError(common) => ("sync-error", common),
        Fault::Full(common) => ("full", common),
        Fault::Flip { common, .. } => ("flip", common),
        Fault::Delete(common) => ("delete", common),
    };
    let mut session = Session::new(name, common)?;
    match command {
        Fault::Kill(_) => commands::kill::run(&mut session)?,
        Fault::Power { asynchronous, .. } => commands::power::run(&mut session, asynchronous)?,
        Fault::SyncError(_) => commands::sync_error::run(&mut session)?,
        Fault::Full(_) => commands::full::run(&mut session)?,
        Fault::Flip { only, .. } => commands::flip::run(&mut session, only.as_deref())?,
        Fault::Delete(_) => commands::delete::run(&mut session)?,
    }
    std::io::stdout().write_all(session.summary().as_bytes())?;
    Ok(session.report.findings == 0)
}
