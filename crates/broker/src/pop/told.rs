//! What [`Flight`] is asked and told, and what it tells.
//!
//! [`Flight`]: super::flight::Flight

use std::sync::Arc;

/// How a batch leaves memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Noted in the log.
    Noted,
    /// Written to the retry topic: its time is up.
    Revived,
}

/// Times that decide when a batch leaves memory, in milliseconds, and how many may be in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// After so long a batch is noted in the log.
    pub stay_ms: i64,
    /// Not if its time is up so soon.
    pub soon_ms: i64,
    /// Batches in memory.
    pub batches: usize,
}

/// One delivery of a message. `topic` is the one that it is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery<'n> {
    pub group: &'n str,
    pub topic: &'n str,
    pub queue: i32,
    pub offset: i64,
    /// When it was given out; with the offset that tells which delivery it is.
    pub pop_time: i64,
}

/// What is to be committed for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Floor {
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub queue: i32,
    pub offset: i64,
    /// What is committed for the group, unless somebody moved it.
    pub before: i64,
}

/// Whether a queue can be read for a pop.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// From this offset on, but for messages that are acknowledged already. Nobody else reads it until
    /// [`Flight::took`].
    From { lane: u64, offset: i64, but_for: Vec<i64> },
    /// There is nothing to read.
    Empty,
    /// Somebody else reads it.
    Busy,
}

/// How messages are given out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pop {
    pub now_ms: i64,
    pub pop_time: i64,
    pub invisible: i64,
    pub revive_queue: i32,
    /// Coming again does not count as a failed delivery.
    pub suspend: bool,
}

/// How a group is with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Where the next pop reads.
    pub cursor: i64,
    /// What the caller was told to commit.
    pub committed: i64,
    /// Messages that are out and not noted in the log, and the first of them.
    pub out: usize,
    pub first_out: Option<i64>,
    /// Somebody reads it at this moment.
    pub is_read: bool,
}

/// After messages were given out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub floor: Option<Floor>,
    /// Somebody else wanted to read meanwhile.
    pub is_wanted: bool,
}

/// What became of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// The message is settled. `is_noted`: there may be a note of it in the log, so this is to be noted, too.
    Done { floor: Option<Floor>, is_noted: bool },
    /// It was settled before.
    Before,
    /// It is not in memory. If it waits, then in the log.
    Elsewhere,
    /// Its time was up, and it is written to the retry topic.
    Revived,
    /// It was given out again since.
    Again,
    /// It was never given out.
    Never,
}

/// What became of a change of a message's invisible time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// From now on this names the delivery. `is_noted`: the old one is to be noted as settled.
    Done { pop_time: i64, revive_queue: i32, is_noted: bool },
    /// What else [`Acked`] tells.
    Not(Acked),
}

/// A batch that leaves memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub id: u32,
    pub way: Way,
    pub group: Arc<str>,
    pub topic: Arc<str>,
    pub queue: i32,
    pub start: i64,
    /// What is not acknowledged.
    pub offsets: Vec<i64>,
    pub pop_time: i64,
    pub invisible: i64,
    pub revive_queue: i32,
    pub suspend: bool,
}
