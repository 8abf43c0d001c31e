//! Time of a run.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since a run began; the same for all of its threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    /// Wall clock time of the origin, in nanoseconds since 1970.
    epoch: u64,
}

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), epoch: since.as_nanos() as u64 }
    }

    /// Now.
    pub(crate) fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// The wall clock's nanoseconds since 1970 when it began.
    pub(crate) fn wall_nanos(&self) -> u64 {
        self.epoch
    }

    /// The wall clock's nanoseconds since 1970 at a moment.
    pub(crate) fn wall(&self, moment: u64) -> u64 {
        self.epoch + moment
    }

    /// The wall clock's milliseconds since 1970 at a moment.
    pub(crate) fn wall_millis(&self, moment: u64) -> u64 {
        self.wall(moment) / 1_000_000
    }
}
