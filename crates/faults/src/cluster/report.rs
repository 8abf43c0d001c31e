//! What came of all runs, for people.

use std::time::Duration;

use super::run::{Recovery, Run};
use super::scenarios::Scenario;
use super::verdict::Summary;

/// Findings of a run that are printed.
const SHOWN: usize = 12;

/// What came of all runs.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    recoveries: Vec<Recovery>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    seed: u64,
    is_good: bool,
    summary: Summary,
    seconds: f64,
    findings: Vec<String>,
    figures: Vec<(String, String)>,
}

/// The scenarios, a line each.
pub fn list(scenarios: &[Scenario]) -> String {
    scenarios.iter().map(|scenario| format!("{:20} {}\n", scenario.name, scenario.about)).collect()
}

impl Report {
    /// A run that came to its end.
    pub fn add(&mut self, scenario: &Scenario, run: &Run, summary: Summary, is_good: bool) {
        self.recoveries.extend(run.recoveries.iter().cloned());
        self.rows.push(Row {
            name: scenario.name,
            seed: run.setup.seed,
            is_good,
            summary,
            seconds: run.history.now().as_secs_f64(),
            findings: run.findings.clone(),
            figures: run.figures.clone(),
        });
    }

    /// A run whose cluster did not come up.
    pub fn add_failed_start(&mut self, scenario: &Scenario, seed: u64, why: &str) {
        let findings = vec![why.to_owned()];
        let (summary, figures) = (Summary::default(), Vec::new());
        self.rows.push(Row { name: scenario.name, seed, is_good: false, summary, seconds: 0.0, findings, figures });
    }

    /// Whether all went as they must.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.is_good)
    }

    /// The last run, and what was found.
    pub fn last_line(&self) -> String {
        let Some(row) = self.rows.last() else { return String::new() };
        let word = if row.is_good { "ok" } else { "FAILED" };
        let Summary { sent, acknowledged, unpromised, duplicates } = row.summary;
        let mut text = format!(
            "{word:7} {:20} seed {:<5} {sent} sent, {acknowledged} acknowledged, {unpromised} there without, {duplicates} \
             twice, {:.0} s\n",
            row.name, row.seed, row.seconds
        );
        for (name, value) in &row.figures {
            text.push_str(&format!("        {name}: {value}\n"));
        }
        for finding in row.findings.iter().take(SHOWN).filter(|_| !row.is_good) {
            text.push_str(&format!("        {finding}\n"));
        }
        text
    }

    /// The whole.
    pub fn tables(&self) -> String {
        let failed = self.rows.iter().filter(|row| !row.is_good).count();
        let acknowledged: usize = self.rows.iter().map(|row| row.summary.acknowledged).sum();
        let mut text = format!("{} runs, {failed} failed, {acknowledged} messages acknowledged\n", self.rows.len());
        let mut faults: Vec<&str> = self.recoveries.iter().map(|recovery| &*recovery.fault).collect();
        faults.sort_unstable();
        faults.dedup();
        if faults.is_empty() {
            return text;
        }
        let head =
            ["until a write is acknowledged (ms)", "times", "median", "longest", "median, default client", "longest"];
        text.push_str(&format!("\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len())));
        for fault in faults {
            let of_fault = || self.recoveries.iter().filter(|recovery| recovery.fault == fault);
            let (any, usual) = (of_fault().map(|recovery| recovery.any), of_fault().map(|recovery| recovery.usual));
            let (times, any, usual) = (of_fault().count(), spread(any.collect()), spread(usual.collect()));
            text.push_str(&format!("| {fault} | {times} | {} | {} | {} | {} |\n", any.0, any.1, usual.0, usual.1));
        }
        text
    }
}

/// Median and longest, in milliseconds.
fn spread(mut times: Vec<Duration>) -> (u128, u128) {
    times.sort_unstable();
    let at = |nth: usize| times.get(nth).map_or(0, Duration::as_millis);
    (at(times.len() / 2), at(times.len().saturating_sub(1)))
}
