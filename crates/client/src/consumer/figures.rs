//! What a member did in the last minute, topic by topic.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use apogee_wire::bodies::ConsumeStatus;
use tokio::time::Instant;

/// Over how long rates are told, and how often counts are noted for it.
const WINDOW: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(5);

/// What a member did since it joined, by topic.
pub(super) struct Figures(BTreeMap<String, Topic>);

#[derive(Default)]
struct Topic {
    pulls: AtomicU64,
    /// Microseconds that pulls with messages took.
    pull_time: AtomicU64,
    pulled: AtomicU64,
    consumed: AtomicU64,
    /// Microseconds between giving messages out and their settlement.
    work: AtomicU64,
    failed: AtomicU64,
    /// The oldest is at most a window old, or the last one that is older.
    samples: Mutex<VecDeque<(Instant, Counts)>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    pulls: u64,
    pull_time: u64,
    pulled: u64,
    consumed: u64,
    work: u64,
    failed: u64,
}

impl Figures {
    pub fn new<'t>(topics: impl Iterator<Item = &'t str>) -> Self {
        let figures = Self(topics.map(|topic| (topic.to_owned(), Topic::default())).collect());
        figures.sample();
        figures
    }

    /// A pull brought messages.
    pub fn pulled(&self, topic: &str, messages: usize, took: Duration) {
        if let Some(topic) = self.0.get(topic) {
            topic.pulls.fetch_add(1, Ordering::Relaxed);
            topic.pull_time.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
            topic.pulled.fetch_add(messages as u64, Ordering::Relaxed);
        }
    }

    /// A message was consumed.
    pub fn consumed(&self, topic: &str, worked: Duration) {
        if let Some(topic) = self.0.get(topic) {
            topic.consumed.fetch_add(1, Ordering::Relaxed);
            topic.work.fetch_add(worked.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// A message was not consumed.
    pub fn failed(&self, topic: &str) {
        if let Some(topic) = self.0.get(topic) {
            topic.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes where the counts are: to be called now and then.
    pub fn sample(&self) {
        let now = Instant::now();
        for topic in self.0.values() {
            let mut samples = topic.samples.lock().unwrap_or_else(PoisonError::into_inner);
            while samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
                samples.pop_front();
            }
            if samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= STEP) {
                samples.push_back((now, topic.counts()));
            }
        }
    }

    /// Rates of the last minute, a second; means in milliseconds; how many failed since it joined. By topic.
    pub fn rates(&self) -> BTreeMap<String, ConsumeStatus> {
        self.0.iter().map(|(name, topic)| (name.clone(), topic.rates())).collect()
    }
}

impl Topic {
    fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            pulls: read(&self.pulls),
            pull_time: read(&self.pull_time),
            pulled: read(&self.pulled),
            consumed: read(&self.consumed),
            work: read(&self.work),
            failed: read(&self.failed),
        }
    }

    fn rates(&self) -> ConsumeStatus {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, (since, then)) =
            (self.counts(), samples.front().copied().unwrap_or((Instant::now(), Counts::default())));
        let seconds = since.elapsed().as_secs_f64().max(1.0);
        let mean = |micros: u64, count: u64| if count == 0 { 0.0 } else { micros as f64 / 1e3 / count as f64 };
        ConsumeStatus {
            pull_rt: mean(now.pull_time - then.pull_time, now.pulls - then.pulls),
            pull_tps: (now.pulled - then.pulled) as f64 / seconds,
            consume_rt: mean(now.work - then.work, now.consumed - then.consumed),
            consume_ok_tps: (now.consumed - then.consumed) as f64 / seconds,
            consume_failed_tps: (now.failed - then.failed) as f64 / seconds,
            consume_failed_msgs: now.failed as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_are_those_of_the_last_minute() {
        let figures = Figures::new(["T"].into_iter());
        for _ in 0..30 {
            figures.consumed("T", Duration::from_millis(4));
            figures.failed("T");
            tokio::time::advance(Duration::from_secs(5)).await;
            figures.sample();
        }
        let rates = &figures.rates()["T"];
        assert_eq!((rates.consume_rt, rates.consume_failed_msgs), (4.0, 30));
        assert!((rates.consume_ok_tps - 0.2).abs() < 1e-9, "{}", rates.consume_ok_tps);
    }
}
