//! How long and how fast requests are sent.

use super::clock::SECOND;

/// A part of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase {
    /// When it begins, in nanoseconds of the clock; whoever runs it sets that.
    pub start: u64,
    /// For how long requests are sent, in nanoseconds.
    pub length: Option<u64>,
    /// Requests at most.
    pub operations: Option<u64>,
    /// When each is to be sent; without it, as soon as there is a slot.
    pub pace: Option<Pace>,
}

impl Phase {
    /// When the last request may be sent.
    pub(crate) fn end(&self) -> Option<u64> {
        self.length.map(|length| self.start + length)
    }
}

/// A steady pace, shared by several threads: each has every `threads`-th request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Nanoseconds from one request to the next.
    interval: f64,
    thread: u64,
    threads: u64,
}

impl Pace {
    /// So many requests a second over all threads.
    pub(crate) fn new(rate: f64, thread: u64, threads: u64) -> Self {
        Self { interval: SECOND as f64 / rate, thread, threads }
    }

    /// When this thread's request of this number is to be sent.
    pub(crate) fn intended(&self, start: u64, number: u64) -> u64 {
        start + ((number * self.threads + self.thread) as f64 * self.interval) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_turns() {
        let paces = [Pace::new(1000.0, 0, 2), Pace::new(1000.0, 1, 2)];
        let times: Vec<u64> = (0..4).map(|number| paces[number % 2].intended(7, number as u64 / 2)).collect();
        assert_eq!(times, [7, 1_000_007, 2_000_007, 3_000_007]);
    }
}
