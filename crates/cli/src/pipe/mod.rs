//! Commands for pipes: lines become messages, messages become lines.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use apogee_client::{Client, ClientBuilder, Error, Tls};
use clap::Args;

mod consume;
mod produce;

pub use consume::ConsumeArgs;
pub use produce::ProduceArgs;

/// Where the cluster is.
#[derive(Args, Debug)]
pub struct Cluster {
    /// Name servers, separated by semicolons; the first that answers is asked.
    #[arg(short = 'n', long = "namesrvAddr", env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    #[command(flatten)]
    tls: TlsArgs,
}

/// How connections are secured.
#[derive(Args, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Secure all connections; servers are verified by the system's root certificates.
    #[arg(long)]
    tls: bool,
    /// Verify servers by the root certificates of this PEM file instead.
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "tls_unverified")]
    tls_roots: Option<PathBuf>,
    /// Do not verify servers.
    #[arg(long, requires = "tls")]
    tls_unverified: bool,
    /// The name that servers' certificates are for, where it is not the host's.
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_server_name: Option<String>,
    /// PEM file with a certificate that tells servers who this is.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl Cluster {
    pub fn client(&self) -> Result<Client, Error> {
        self.tls.client(Client::builder(&*self.namesrv)).build()
    }
}

impl TlsArgs {
    /// The client with secured connections, if they shall be.
    pub fn client(&self, client: ClientBuilder) -> ClientBuilder {
        match self.tls {
            true => client.tls(self.tls()),
            false => client,
        }
    }

    fn tls(&self) -> Tls {
        let mut tls = Tls::new();
        if let Some(file) = &self.tls_roots {
            tls = tls.roots(file);
        }
        if self.tls_unverified {
            tls = tls.unverified();
        }
        if let Some(name) = &self.tls_server_name {
            tls = tls.server_name(name);
        }
        if let (Some(certificates), Some(key)) = (&self.tls_cert, &self.tls_key) {
            tls = tls.identity(certificates, key);
        }
        tls
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
