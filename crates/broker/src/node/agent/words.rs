//! What goes in and out of an agent.

use std::collections::BTreeSet;

use crate::replication::{InSync, Role, Standing};

/// What does not change while the process runs.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// `host:port` that clients are told.
    pub address: String,
    /// Controllers, `host:port` each.
    pub controllers: Vec<String>,
    /// Milliseconds between two looks at the group.
    pub look_ms: i64,
    /// Milliseconds between two heartbeats.
    pub beat_ms: i64,
    /// Milliseconds without a heartbeat after which a controller gives a broker up.
    pub silence_ms: i64,
    /// A message may be acknowledged that not all replicas in sync have.
    pub acknowledges_early: bool,
    /// Tells an application of this broker for a number from those of others.
    pub check_code: String,
}

/// The number of this broker in its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// It has none.
    Unknown,
    /// It applies for this one; the code tells its application from others'.
    Applied { id: i64, code: String },
    /// Its own for good.
    Known(i64),
}

/// What a controller is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Which controller leads.
    Leader,
    /// Which number the next new broker of the group gets.
    NextId,
    /// To have this number.
    ApplyId { id: i64, code: String },
    /// To be counted as alive, at this address.
    Register { id: i64 },
    /// To elect a master.
    Elect { id: i64 },
    /// Who the master is.
    Group,
    /// To agree to another set of replicas in sync.
    AlterInSync { id: i64, epoch: i32, members: BTreeSet<i64>, replaces: i32 },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Where the controller that leads is, as far as the one asked knows, and whether that is itself.
    Leader { address: Option<String>, is_itself: bool },
    /// A number.
    Id(i64),
    /// The number is the broker's.
    Applied,
    /// How the group stands.
    Standing(Standing),
    /// The set that it agreed to.
    InSync(InSync),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The controller said no: see [`apogee_wire::codes::response`].
    Refused { code: i32, remark: String },
    /// It cannot be reached, or gave no answer that makes sense.
    Unreachable(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask a controller; the outcome is told by [`Agent::answered`] in any case.
    Ask { to: String, question: Question },
    /// Tell all controllers that this broker is alive.
    Beat,
    /// Make it durable before what comes after it.
    Keep(Identity),
    /// Be this, or nothing; why, for people.
    Become { role: Option<Role>, why: String },
    /// Tell the broker, a master, about the replicas in sync.
    InSync(InSync),
    /// Tell the operator.
    Complain(String),
}
