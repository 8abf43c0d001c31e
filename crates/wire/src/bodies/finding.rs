//! What a broker found wrong with itself and its clients. Not a body of upstream's: brokers give it to those who
//! ask for it by name.

use super::{Severity, bodies};

bodies! {
    /// What a broker last found, in the value [`FINDINGS`] of `GET_BROKER_RUNTIME_INFO`.
    #[derive(Eq)]
    FindingList {
        findings: Vec<Finding>,
    }

    /// Something that somebody should see to.
    #[derive(Eq, Hash, PartialOrd, Ord)]
    Finding {
        severity: Severity,
        /// Which check found it, such as `stuck-queue`.
        check: String,
        /// What it is about: a broker, a group, a topic, a queue.
        subject: String,
        /// What was seen.
        what: String,
        /// Why it matters.
        why: String,
        /// What to do.
        advice: String,
    }
}

/// The field of `GET_BROKER_RUNTIME_INFO` by which findings are asked for, and the name of the value that they come as.
pub const FINDINGS: &str = "findings";
