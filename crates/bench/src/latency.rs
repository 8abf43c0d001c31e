//! How long answers took.

use std::fmt;
use std::time::Duration;

/// Times of many answers.
pub struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    /// Of these times.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { sorted: times }
    }

    /// The time that a share of them, 0 to 1, did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let at = (self.sorted.len() as f64 * share).ceil() as usize;
        self.sorted.get(at.clamp(1, self.sorted.len().max(1)) - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |share| self.quantile(share).as_secs_f64() * 1e3;
        write!(
            out,
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.2} ms",
            milliseconds(0.5),
            milliseconds(0.99),
            milliseconds(0.999),
            milliseconds(1.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let times = (1..=1000).rev().map(Duration::from_millis).collect();
        let latencies = Latencies::new(times);
        assert_eq!(latencies.quantile(0.5), Duration::from_millis(500));
        assert_eq!(latencies.quantile(0.999), Duration::from_millis(999));
        assert_eq!(latencies.quantile(1.0), Duration::from_millis(1000));
        assert_eq!(Latencies::new(Vec::new()).quantile(0.5), Duration::ZERO);
    }
}
