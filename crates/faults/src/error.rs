//! Why a run cannot go on; what the server lost is no error but a finding.

use std::path::{Path, PathBuf};

/// Why a run ends early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file or a folder.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A connection to the server under test broke when no fault was at work.
    #[error("the server stopped answering: {0}")]
    Peer(#[from] std::io::Error),
    /// A tool that the harness needs did not do its work.
    #[error("{0}")]
    Tool(String),
    /// The server did not come up.
    #[error("the server did not start: {0}")]
    Start(String),
    /// This machine cannot run the command.
    #[error("skipped: {0}")]
    Skipped(String),
}

impl Failure {
    /// For `map_err` at a path.
    pub fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }
}

/// Runs a tool; an error says what it was and what it said.
pub fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<(), Failure> {
    let shown = || arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| Failure::Tool(format!("cannot run {program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::Tool(format!("{program} {}: {}: {}", shown(), output.status, said.trim())))
}
