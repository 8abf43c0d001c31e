//! Running a command of the catalogue, once or again and again.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use apogee_client::Client;

use crate::AdminArgs;
use crate::catalogue::Kind;
use crate::context::{Consent, Context};
use crate::error::CliError;
use crate::report::Report;

/// Clears a terminal and goes to its beginning.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub fn run(args: AdminArgs, scripts: bool) -> ExitCode {
    block_on("mqadmin", execute(args, scripts))
}

/// Runs a command to its end and tells why it failed, under its name.
pub fn block_on(name: &str, command: impl Future<Output = Result<(), CliError>>) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::file("cannot start", source))
        .and_then(|runtime| runtime.block_on(command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever closed the other end has read enough.
        Err(CliError::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CliError::Told) => ExitCode::FAILURE,
        Err(error) => {
            let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            let _ = writeln!(io::stderr(), "{name}: {error}{advice}");
            error.exit_code()
        }
    }
}

async fn execute(args: AdminArgs, scripts: bool) -> Result<(), CliError> {
    let AdminArgs { namesrv, json, watch, yes, tls, command } = args;
    if watch.is_some() && command.kind() == Kind::Change {
        return Err(CliError::usage("--watch is for commands that change nothing"));
    }
    let consent = match (yes, scripts) {
        (true, _) => Consent::Given,
        (false, true) => Consent::Scripts,
        (false, false) => Consent::Asked,
    };
    let builder = tls.client(Client::builder(&*namesrv));
    let context = Context::new(builder, consent, json)?;
    let Some(seconds) = watch.or(command.interval()) else {
        let report = command.run(&context).await?;
        print(&report, json)?;
        return if report.has_failed() { Err(CliError::Told) } else { Ok(()) };
    };
    loop {
        let report = command.run(&context).await?;
        if io::stdout().is_terminal() && !json {
            write(CLEAR)?;
        }
        print_round(&report, json)?;
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    }
}

/// A part of what a command finds; lines alone are for people.
pub fn tell(report: &Report, json: bool) -> Result<(), CliError> {
    match json {
        true if !report.has_data() => Ok(()),
        true => write(&format!("{}\n", report.to_json())),
        false => write(&report.to_text(width())),
    }
}

/// One report, easy to read; nothing where all was told already.
pub fn print(report: &Report, json: bool) -> Result<(), CliError> {
    match json {
        _ if report.is_empty() => Ok(()),
        true => write(&format!("{:#}\n", report.to_json())),
        false => write(&report.to_text(width())),
    }
}

/// One of several: JSON takes one line each, text is followed by an empty one.
fn print_round(report: &Report, json: bool) -> Result<(), CliError> {
    match json {
        true => write(&format!("{}\n", report.to_json())),
        false => write(&format!("{}\n", report.to_text(width()))),
    }
}

/// Columns of the terminal that is written to; none for files and pipes, which take all.
fn width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(width.0.into())
}

fn write(text: &str) -> Result<(), CliError> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(|source| CliError::file("cannot write to the output", source))
}
