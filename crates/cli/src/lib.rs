//! Commands for administrators, with upstream's names, flags and columns (upstream `mqadmin`), and commands for
//! pipes.
//!
//! A command is a struct in `commands/` with its flags, and a function that asks name servers and brokers through
//! the client's administration and returns a `Report`: text for people and JSON for machines.
//! `catalogue.rs` lists them.

use std::process::ExitCode;

use clap::Args;

mod arguments;
mod catalogue;
mod cell;
mod commands;
mod context;
mod error;
mod pipe;
mod report;
mod run;
mod table;
mod top;

pub use arguments::plain;
pub use pipe::{ConsumeArgs, ProduceArgs, consume, produce};
pub use top::{TopArgs, top};

use catalogue::Command;
use pipe::TlsArgs;

/// Options of `apogee admin` and `mqadmin`.
#[derive(Args, Debug)]
#[command(
    help_template = "{about-with-newline}\n{usage-heading} {usage}\n\nOptions:\n{options}{after-help}",
    after_help = after_help()
)]
pub struct AdminArgs {
    /// Name servers, separated by semicolons; the first that answers is asked.
    #[arg(short = 'n', long = "namesrvAddr", global = true, env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Print JSON: one object with what the command found.
    #[arg(long, global = true)]
    json: bool,
    /// Do it again every so many seconds, until it is interrupted. Only for commands that change nothing.
    #[arg(long, global = true, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "2", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    watch: Option<u32>,
    /// Do what cannot be undone without asking.
    #[arg(short = 'y', long, global = true)]
    yes: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(subcommand)]
    command: Command,
}

fn after_help() -> String {
    format!("\n{}{}", catalogue::help(), error::EXIT_CODES)
}

/// Runs a command; what it found goes to standard output, why it failed to standard error. `scripts` says that it
/// was called by upstream's name, as upstream's scripts do: they cannot be asked.
pub fn run(args: AdminArgs, scripts: bool) -> ExitCode {
    run::run(args, scripts)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: super::AdminArgs,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let args = Cli::try_parse_from(["mqadmin", "topicClusterList", "-t", "T", "-n", "a:1;b:2"]).map(|cli| cli.args);
        assert_eq!(args.unwrap().namesrv, "a:1;b:2");
    }

    #[test]
    fn what_is_read_can_be_watched() {
        let watch = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.args.watch).ok();
        assert_eq!(watch(&["mqadmin", "topicList", "--watch"]), Some(Some(2)));
        assert_eq!(watch(&["mqadmin", "--watch=5", "topicList"]), Some(Some(5)));
        assert_eq!(watch(&["mqadmin", "--watch=0", "topicList"]), None);
    }

    #[test]
    fn a_mistyped_command_is_answered_with_the_right_one() {
        let error = Cli::try_parse_from(["mqadmin", "topicLst"]).err().map(|error| error.to_string());
        let error = error.unwrap_or_default();
        assert!(error.contains("topicList"), "{error}");
    }
}
