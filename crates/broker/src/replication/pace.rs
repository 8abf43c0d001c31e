//! How fast the log is sent to one slave at most, where there is a limit (upstream `FlowMonitor`).

use std::time::Duration;

use tokio::time::Instant;

/// So much may be sent ahead of the limit: pauses are not shorter, so that what is sent now and then does not wait.
const AHEAD: Duration = Duration::from_millis(10);

/// What was sent, as the time that it should have taken.
#[derive(Debug)]
pub(super) struct Pace {
    taken: Instant,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { taken: now }
    }

    /// Takes note of what was sent; says until when nothing more is to be, with a limit of `per_second` bytes.
    pub fn sent(&mut self, bytes: usize, per_second: u64, now: Instant) -> Option<Instant> {
        let takes = Duration::from_secs_f64(bytes as f64 / per_second.max(1) as f64);
        self.taken = self.taken.max(now) + takes;
        (self.taken > now + AHEAD).then_some(self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 10 << 20;

    #[test]
    fn a_stream_takes_the_time_of_its_bytes() {
        let begun = Instant::now();
        let (mut pace, mut now) = (Pace::new(begun), begun);
        for _ in 0..50 {
            now = pace.sent(1 << 20, LIMIT, now).unwrap_or(now);
        }
        let took = (now - begun).as_secs_f64();
        assert!((4.9..=5.0).contains(&took), "{took}");
    }

    #[test]
    fn what_is_sent_now_and_then_does_not_wait_and_saves_nothing_up() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        for second in 0..10 {
            let now = begun + Duration::from_secs(second);
            assert_eq!(pace.sent(100 << 10, LIMIT, now), None);
        }
        let now = begun + Duration::from_secs(3_600);
        assert_eq!(pace.sent(5 << 20, LIMIT, now), Some(now + Duration::from_millis(500)));
    }
}
