//! What came of the requests.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use hdrhistogram::Histogram;

/// Different error texts that are kept apart.
const TEXTS: usize = 20;
/// Characters of an error's text.
const LENGTH: usize = 160;
/// The longest latency that is told from longer ones: ten minutes, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// For who watches a run.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Messages done in this phase.
    pub messages: AtomicU64,
    /// Requests failed in this phase.
    pub errors: AtomicU64,
}

/// Counts of one thread and one phase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Messages done.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long each took, in nanoseconds.
    pub latencies: Latencies,
    /// How late the generator itself was with paced requests, in nanoseconds.
    pub lateness: Latencies,
    /// What went wrong.
    pub errors: Errors,
}

impl Tally {
    /// Adds another thread's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.latencies.add(&other.latencies);
        self.lateness.add(&other.lateness);
        for (text, count) in &other.errors.0 {
            *self.errors.0.entry(text.clone()).or_default() += count;
        }
    }
}

/// A histogram of nanoseconds, exact to a thousandth.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // These bounds are valid ones; a histogram without bounds would grow while it measures.
        Self(Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|error| unreachable!("{error}")))
    }
}

impl Latencies {
    /// Adds one, in nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.max(1));
    }

    fn add(&mut self, other: &Self) {
        // All have the same bounds.
        self.0.add(&other.0).unwrap_or_default();
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The one that a share of them, 0 to 1, did not exceed; in microseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share).min(self.0.max()) as f64 / 1e3
    }

    /// Their mean, in microseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.mean() / 1e3
    }
}

/// Errors by their text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errors(BTreeMap<String, u64>);

impl Errors {
    /// Counts several.
    pub(crate) fn add_many(&mut self, text: &str, count: u64) {
        if count > 0 {
            *self.0.entry(text.to_owned()).or_default() += count;
        }
    }

    /// Counts one. Numbers in a text are no reason to list it twice.
    pub(crate) fn add(&mut self, text: &str) {
        let mut general = String::new();
        let mut words = text.split_inclusive(' ');
        // The code stays.
        general.extend(words.by_ref().take(2));
        for character in words.flat_map(str::chars).take(LENGTH) {
            match character {
                '0'..='9' if general.ends_with('#') => {}
                '0'..='9' => general.push('#'),
                other => general.push(other),
            }
        }
        let full = self.0.len() >= TEXTS && !self.0.contains_key(&general);
        *self.0.entry(if full { "others".to_owned() } else { general }).or_default() += 1;
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Texts and counts.
    pub(crate) fn texts(&self) -> &BTreeMap<String, u64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_a_thousandth() {
        let mut latencies = Latencies::default();
        (1..=1000).for_each(|millis| latencies.record(millis * 1_000_000));
        for (share, micros) in [(0.5, 500_000.0), (0.999, 999_000.0), (1.0, 1_000_000.0)] {
            let found = latencies.quantile(share);
            assert!((found / micros - 1.0).abs() < 0.001, "{share}: {found}");
        }
        assert_eq!(Latencies::default().quantile(0.5), 0.0);
    }

    #[test]
    fn errors_are_counted_by_what_they_say() {
        let mut errors = Errors::default();
        errors.add("code 2: busy for 200 ms");
        errors.add("code 2: busy for 31 ms");
        errors.add("code 1: no");
        (0..100).for_each(|number| errors.add(&format!("code {number}: x")));
        assert_eq!(errors.texts()["code 2: busy for # ms"], 2);
        assert_eq!((errors.count(), errors.texts().len()), (103, TEXTS + 1));
    }
}
