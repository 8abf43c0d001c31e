//! What the doctor found: see `docs/doctor.md`.

use apogee_telemetry::Family;
use apogee_wire::bodies::Severity;

use crate::broker::Broker;

/// Findings that are told one by one; the rest only as numbers.
const MOST: usize = 200;

pub(super) fn families(broker: &Broker) -> [Family; 2] {
    let findings = broker.findings.load();
    // What matters most comes first.
    let each = findings.iter().take(MOST).map(|finding| {
        let labels = vec![
            ("severity", finding.severity.name().into()),
            ("check", finding.check.clone().into()),
            ("subject", finding.subject.clone().into()),
        ];
        (labels, 1.0)
    });
    let count = |severity: &Severity| findings.iter().filter(|finding| finding.severity == *severity).count() as f64;
    let counts = Severity::ALL.iter().map(|severity| (vec![("severity", severity.name().into())], count(severity)));
    [
        Family::gauge("apogee_finding", "", "1: the doctor found this; the log says what to do").of_all(each),
        Family::gauge("apogee_findings", "", "What the doctor found, by how much it matters").of_all(counts),
    ]
}
