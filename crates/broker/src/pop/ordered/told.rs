//! What [`Ordered`] is asked and told, and what it tells.
//!
//! [`Ordered`]: super::Ordered
//! [`Ordered::took`]: super::Ordered::took

/// A queue of a topic, and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'n> {
    pub group: &'n str,
    pub topic: &'n str,
    pub queue: i32,
}

/// Whether a queue can be read for a pop.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// From this offset on, so many messages at most, but for those that are acknowledged. Nobody else reads it until
    /// [`Ordered::took`].
    From { offset: i64, most: usize, but_for: Vec<i64> },
    /// Somebody has messages of it.
    Blocked,
    /// There is nothing to read.
    Empty,
    /// Somebody else reads it.
    Busy,
}

/// How messages are given out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pop<'n> {
    pub now_ms: i64,
    /// Later than that of each earlier batch of the queue.
    pub pop_time: i64,
    pub invisible: i64,
    pub attempt: Option<&'n str>,
}

/// After messages were given out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What is to be committed.
    pub floor: Option<i64>,
    /// How often messages were given out before; those that never were are left out.
    pub times: Vec<(i64, i32)>,
    /// Somebody else wanted to read meanwhile.
    pub is_wanted: bool,
}

/// One delivery of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub offset: i64,
    /// The offset behind it; not the next one where it is a batch.
    pub end: i64,
    /// When it was given out.
    pub pop_time: i64,
    /// When its time is up.
    pub due: i64,
}

/// What a group has of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// The first message that is not acknowledged.
    pub floor: i64,
    /// The offset behind all of them.
    pub end: i64,
    /// Their time is up: they may be given out again.
    pub is_due: bool,
}

/// What became of an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// The message is settled. `is_free`: somebody may pop the queue now.
    Done { floor: i64, is_free: bool },
    /// It was settled before.
    Before,
    /// It was given out again since.
    Again,
    /// It was not given out.
    Never,
}

/// A queue that may be popped again, with its group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Freed {
    pub group: String,
    pub topic: String,
    pub queue: i32,
}
