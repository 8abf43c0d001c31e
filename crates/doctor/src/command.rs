//! `apogee doctor`.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{Bounds, Facts, Finding, Severity, ask, examine};

/// Options of `apogee doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Ends with 0 when nothing is wrong, with 1 when there are warnings, with 2 when something is critical. Notes change
nothing.")]
pub struct DoctorArgs {
    /// Name servers, separated by semicolons; each of them is looked at.
    #[arg(short = 'n', long = "namesrvAddr", env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// How long one answer may take.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// After how long without progress a queue is stuck.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    stuck_after: Duration,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Looks at a cluster and prints what is wrong with it.
pub fn run(args: DoctorArgs) -> ExitCode {
    let bounds = Bounds { timeout: args.timeout, stuck_after: args.stuck_after, ..Bounds::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let facts = match runtime.map(|runtime| runtime.block_on(ask(&args.namesrv, bounds))) {
        Ok(Ok(facts)) => facts,
        Ok(Err(error)) => return failure(&error),
        Err(error) => return failure(&error),
    };
    let findings = examine(&facts);
    let text = match args.json {
        true => machine(&facts, &findings),
        false => people(&facts, &findings, std::io::stdout().is_terminal()),
    };
    // Whoever closed the other end has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    match findings.first().map(|finding| finding.severity) {
        Some(Severity::Critical) => ExitCode::from(2),
        Some(Severity::Warning) => ExitCode::from(1),
        Some(Severity::Note) | None => ExitCode::SUCCESS,
    }
}

fn failure(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "apogee doctor: {error}");
    ExitCode::from(2)
}

fn machine(facts: &Facts, findings: &[Finding]) -> String {
    let unknown = facts.unknown.iter().map(|unknown| json!({ "check": unknown.check, "why": unknown.why }));
    let report = json!({
        "findings": findings,
        "unknown": unknown.collect::<Vec<_>>(),
        "lookedAt": {
            "nameServers": facts.name_servers.len(),
            "brokers": facts.brokers.len(),
            "groups": facts.groups.len(),
        },
    });
    format!("{report:#}\n")
}

fn people(facts: &Facts, findings: &[Finding], colours: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (on, off) = match (colours, finding.severity) {
            (false, _) => ("", ""),
            (true, Severity::Critical) => ("\x1b[1;31m", "\x1b[0m"),
            (true, Severity::Warning) => ("\x1b[1;33m", "\x1b[0m"),
            (true, Severity::Note) => ("\x1b[1m", "\x1b[0m"),
        };
        let Finding { severity, check, subject, what, why, advice } = finding;
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{on}{} {check}{off}: {subject}", severity.name().to_uppercase());
        for (title, words) in [("Seen", what), ("Why", why), ("Do", advice)] {
            let _ = writeln!(text, "  {title:<5}{words}");
        }
        text.push('\n');
    }
    if !facts.unknown.is_empty() {
        text.push_str("Not known:\n");
        for unknown in &facts.unknown {
            let _ = writeln!(text, "  {}: {}", unknown.check, unknown.why);
        }
        text.push('\n');
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let _ = writeln!(
        text,
        "{} critical, {} warnings, {} notes. Looked at: {} name servers, {} brokers, {} groups.",
        count(Severity::Critical),
        count(Severity::Warning),
        count(Severity::Note),
        facts.name_servers.len(),
        facts.brokers.len(),
        facts.groups.len(),
    );
    text
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: DoctorArgs,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let args = Cli::try_parse_from(["doctor", "--timeout", "500ms"]).map(|cli| cli.args);
        assert_eq!(args.expect("parsed").timeout, Duration::from_millis(500));
    }

    #[test]
    fn a_finding_is_told_with_what_to_do() {
        let finding = Finding { check: "c".into(), subject: "s".into(), advice: "this".into(), ..Finding::default() };
        let mut facts = Facts::default();
        facts.lacks("kernel-limits", "nobody tells");
        let text = people(&facts, &[finding], false);
        assert!(text.starts_with("NOTE c: s\n") && text.contains("  Do   this\n"), "{text}");
        assert!(text.contains("Not known:\n  kernel-limits: nobody tells\n"), "{text}");
        assert!(text.contains("0 critical, 0 warnings, 1 notes"), "{text}");
    }
}
