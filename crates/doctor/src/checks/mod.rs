//! The checks.

mod brokers;
mod groups;
mod machine;
mod name_servers;
mod replicas;
mod topics;

use std::collections::BTreeSet;
use std::time::Duration;

use apogee_wire::bodies::{Finding, Severity};

use crate::Facts;

/// A check: what it is called in findings, and what it does.
type Check = fn(&Facts, &mut Found);

const CHECKS: &[(&str, Check)] = &[
    ("name-server", name_servers::answer),
    ("name-servers-differ", name_servers::agree),
    ("advertised-address", brokers::reachable),
    ("broker", brokers::active),
    ("same-id", replicas::same_id),
    ("no-master", replicas::no_master),
    ("in-sync-too-few", replicas::too_few),
    ("no-slave-in-step", replicas::none_in_step),
    ("slave-behind", replicas::behind),
    ("controller", replicas::controller),
    ("disk", brokers::disk),
    ("clock", brokers::clock),
    ("kernel-limits", machine::limits),
    ("memory", machine::memory),
    ("subscriptions", groups::subscriptions),
    ("stuck-queue", groups::stuck),
    ("absent-group", groups::absent),
    ("lost-unread", groups::lost),
    ("old-clients", groups::old_clients),
    ("missing-topic", topics::missing),
    ("unread-topic", topics::unread),
    ("dead-letters", topics::dead_letters),
    ("half-messages", topics::undecided),
];

/// Gathers findings of one check.
struct Found<'f> {
    check: &'static str,
    findings: &'f mut Vec<Finding>,
}

impl Found<'_> {
    /// `what` was seen of the subject; why it matters; what to do.
    fn add(&mut self, severity: Severity, subject: impl Into<String>, what: String, why: &str, advice: String) {
        self.findings.push(Finding {
            severity,
            check: self.check.to_owned(),
            subject: subject.into(),
            what,
            why: why.to_owned(),
            advice,
        });
    }
}

/// A time as people say it.
fn about(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// The first of many names.
fn list(names: &[&str]) -> String {
    const MOST: usize = 5;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A size as people say it.
fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// All that is wrong, what matters most first.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (check, run) in CHECKS {
        run(facts, &mut Found { check, findings: &mut findings });
    }
    findings.extend(facts.told.iter().cloned());
    sort(&mut findings);
    let mut known = BTreeSet::new();
    findings.retain(|finding| known.insert((finding.check.clone(), finding.subject.clone())));
    findings
}

/// What matters most first.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.cmp(other)));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a check finds, as `severity check subject`.
    pub(crate) fn found(facts: &Facts) -> Vec<String> {
        let line = |finding: &Finding| {
            for text in [&finding.what, &finding.why, &finding.advice] {
                assert!(!text.is_empty(), "{finding:?}");
            }
            format!("{} {} {}", finding.severity.name(), finding.check, finding.subject)
        };
        examine(facts).iter().map(line).collect()
    }

    #[test]
    fn nothing_is_found_where_nothing_is_known() {
        assert!(found(&Facts::default()).is_empty());
    }

    #[test]
    fn what_matters_most_comes_first() {
        let mut findings = Vec::new();
        let mut found = Found { check: "c", findings: &mut findings };
        for severity in [Severity::Note, Severity::Critical, Severity::Warning] {
            found.add(severity, "s", String::new(), "", String::new());
        }
        sort(&mut findings);
        assert_eq!(findings[0].severity, Severity::Critical);
    }
}
