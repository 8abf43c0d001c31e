//! Why a command failed, and what scripts are told about it.

use std::io;
use std::process::ExitCode;

use apogee_client::Error;
use apogee_wire::codes::response;

/// Exit codes, in words of `--help`.
pub const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 refused or failed; 2 the command line is wrong; 3 there is no such topic, group, \
message, user or broker; 4 a server cannot be reached or does not answer; 5 not confirmed.";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A server refused, or could not be asked.
    #[error(transparent)]
    Client(#[from] Error),
    /// The command line says too little, or what cannot be.
    #[error("{0}")]
    Usage(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for failed, in words.
    #[error("{0}")]
    Failed(String),
    /// It failed in part, and the report says how.
    #[error("failed in part")]
    Told,
    /// Something cannot be undone, and nobody said yes.
    #[error("not done: {0}; say yes, or give --yes")]
    Unconfirmed(String),
    /// A file, or standard output, cannot be used.
    #[error("{what}: {source}")]
    File {
        /// What was to be done with which file.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl CliError {
    /// The command line says too little, or what cannot be.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// There is no such thing.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::NotFound(text.into())
    }

    /// It failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// A file cannot be used: `what` says what was to be done with which.
    pub fn file(what: impl Into<String>, source: io::Error) -> Self {
        Self::File { what: what.into(), source }
    }

    /// What scripts are told, see [`EXIT_CODES`].
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Client(error) => of_client(error),
            Self::Failed(_) | Self::Told | Self::File { .. } => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Unconfirmed(_) => 5,
        })
    }

    /// What to do about it, where the error itself does not say.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Client(error) if of_client(error) == 4 => {
                Some("is it running, and is the address right (-n, or NAMESRV_ADDR)?")
            }
            _ => None,
        }
    }
}

fn of_client(error: &Error) -> u8 {
    match error {
        Error::NoTopic(_) | Error::NoCluster { .. } | Error::NoMaster(_) => 3,
        Error::Refused {
            code:
                response::TOPIC_NOT_EXIST
                | response::QUERY_NOT_FOUND
                | response::SUBSCRIPTION_NOT_EXIST
                | response::SUBSCRIPTION_GROUP_NOT_EXIST
                | response::CONSUMER_NOT_ONLINE
                | response::BROKER_NOT_EXIST
                | response::USER_NOT_EXIST
                | response::POLICY_NOT_EXIST,
            ..
        } => 3,
        Error::NameServers(_) | Error::Connect(_) | Error::Call(_) | Error::Timeout(..) => 4,
        Error::NoNameServer | Error::Argument(_) | Error::Name(_) => 2,
        _ => 1,
    }
}
