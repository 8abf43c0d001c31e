//! Commands for pipes: lines become messages, messages become lines.

use std::future::Future;
use std::io;
use std::process::ExitCode;

use apogee_client::{Client, Error};
use clap::Args;

mod consume;
mod produce;

pub use consume::ConsumeArgs;
pub use produce::ProduceArgs;

/// Where the cluster is.
#[derive(Args, Debug)]
struct Cluster {
    /// Name servers, separated by semicolons; the first that answers is asked.
    #[arg(short = 'n', long = "namesrvAddr", env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
}

impl Cluster {
    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&*self.namesrv)?)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("{what}: {source}")]
    File { what: String, source: io::Error },
    #[error("{0}")]
    Usage(String),
    /// Whoever reads the output has enough: no failure.
    #[error("the output was closed")]
    Closed,
}

impl Failure {
    /// Standard output could not be written.
    fn output(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::File { what: "cannot write to the output".to_owned(), source },
        }
    }
}

/// Sends what the arguments say.
pub fn produce(args: ProduceArgs) -> ExitCode {
    run(produce::run(args))
}

/// Prints what the arguments say.
pub fn consume(args: ConsumeArgs) -> ExitCode {
    run(consume::run(args))
}

#[allow(clippy::print_stderr)] // Where people look for errors of a command.
fn run(command: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(source) => Err(Failure::File { what: "cannot start".to_owned(), source }),
    };
    match done {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("apogee: {failure}");
            ExitCode::FAILURE
        }
    }
}
