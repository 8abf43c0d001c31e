//! Counters of what the broker did, and rates over the last minute, hour and day
//! (upstream `BrokerStatsManager`). Counting costs no allocation and no lock that writers share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// What is counted; the names are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Messages sent, by topic.
    TopicPutNums,
    /// Bytes sent, by topic.
    TopicPutSize,
    /// Messages pulled, by `topic@group`.
    GroupGetNums,
    /// Bytes pulled, by `topic@group`.
    GroupGetSize,
    /// Messages sent back, by `topic@group`.
    SendBackNums,
    /// Messages sent, all together; the key is the cluster.
    BrokerPutNums,
    /// Messages pulled, all together; the key is the cluster.
    BrokerGetNums,
}

impl Kind {
    /// By upstream's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "TOPIC_PUT_NUMS" => Self::TopicPutNums,
            "TOPIC_PUT_SIZE" => Self::TopicPutSize,
            "GROUP_GET_NUMS" => Self::GroupGetNums,
            "GROUP_GET_SIZE" => Self::GroupGetSize,
            "SNDBCK_PUT_NUMS" => Self::SendBackNums,
            "BROKER_PUT_NUMS" => Self::BrokerPutNums,
            "BROKER_GET_NUMS" => Self::BrokerGetNums,
            _ => return None,
        })
    }
}

/// A rate over a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Window {
    /// Counted in the window.
    pub sum: u64,
    /// Per second.
    pub per_second: f64,
    /// By each call that counted.
    pub per_call: f64,
}

/// Seconds between two samples.
pub const SAMPLE_SECONDS: u64 = 10;
const MINUTE: usize = 6;
const HOUR: usize = 360;
const DAY: usize = 8_640;
/// Samples kept in full; of older ones every sixtieth.
const FINE: usize = MINUTE * 10;
/// Coarse samples: one for ten minutes.
const COARSE_EVERY: usize = 60;

const DAY_MS: i64 = SAMPLE_SECONDS as i64 * 1000 * DAY as i64;

/// All counters.
#[derive(Default)]
pub struct Stats {
    counters: RwLock<HashMap<Kind, Counters>>,
    /// Messages and bytes sent, by topic: together, as with many topics each look-up costs more than all
    /// else of counting.
    puts: RwLock<HashMap<Box<str>, Box<[Counter; 2]>>>,
    /// The day of the last sample, counted from 1970, UTC; 0 before the first.
    day: AtomicI64,
}

/// Counters of one kind, by key.
type Counters = HashMap<Box<str>, Counter>;

#[derive(Default)]
struct Counter {
    total: AtomicU64,
    calls: AtomicU64,
    samples: Mutex<Samples>,
}

/// How far a counter was at some moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    total: u64,
    calls: u64,
}

#[derive(Default)]
struct Samples {
    /// Every ten seconds, newest last.
    fine: VecDeque<Sample>,
    /// Every ten minutes, newest last.
    coarse: VecDeque<Sample>,
    taken: usize,
    mornings: Mornings,
}

/// Totals at the last two midnights, UTC; nothing before the start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mornings {
    /// At the beginning of this day.
    pub today: u64,
    /// At the beginning of the day before.
    pub yesterday: u64,
}

impl Counter {
    fn add(&self, count: u64) {
        self.total.fetch_add(count, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Sample {
        Sample { total: self.total.load(Ordering::Relaxed), calls: self.calls.load(Ordering::Relaxed) }
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stats {
    /// Counts what is not sent to a topic: that is [`Stats::add_put`].
    pub fn add(&self, kind: Kind, key: &str, count: u64) {
        {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = counters.get(&kind).and_then(|keys| keys.get(key)) {
                counter.add(count);
                return;
            }
        }
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        counters.entry(kind).or_default().entry(key.into()).or_default().add(count);
    }

    /// Counts messages sent to a topic, and their bytes.
    pub fn add_put(&self, topic: &str, messages: u64, bytes: u64) {
        let add = |[nums, size]: &[Counter; 2]| {
            nums.add(messages);
            size.add(bytes);
        };
        {
            let puts = self.puts.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counters) = puts.get(topic) {
                return add(counters);
            }
        }
        let mut puts = self.puts.write().unwrap_or_else(PoisonError::into_inner);
        add(puts.entry(topic.into()).or_default());
    }

    /// Everything counted since the start.
    pub fn total(&self, kind: Kind, key: &str) -> u64 {
        self.with_counter(kind, key, |counter| counter.total.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Rates over the last minute, hour and day.
    pub fn windows(&self, kind: Kind, key: &str) -> [Window; 3] {
        let windows = |counter: &Counter| {
            let (now, samples) = (counter.now(), counter.samples());
            [MINUTE, HOUR, DAY].map(|window| samples.window(now, window))
        };
        self.with_counter(kind, key, windows).unwrap_or_default()
    }

    /// How far a counter was when the last two days began.
    pub fn mornings(&self, kind: Kind, key: &str) -> Mornings {
        self.with_counter(kind, key, |counter| counter.samples().mornings).unwrap_or_default()
    }

    /// Notes how far all counters are. Call every [`SAMPLE_SECONDS`].
    pub fn sample(&self, now_ms: i64) {
        let today = now_ms.div_euclid(DAY_MS);
        let before = self.day.swap(today, Ordering::Relaxed);
        let midnight = before != 0 && before != today;
        let sample = |counter: &Counter| {
            let now = counter.now();
            let mut samples = counter.samples();
            samples.push(now);
            if midnight {
                samples.mornings = Mornings { today: now.total, yesterday: samples.mornings.today };
            }
        };
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        counters.values().flat_map(HashMap::values).for_each(sample);
        let puts = self.puts.read().unwrap_or_else(PoisonError::into_inner);
        puts.values().flat_map(|counters| counters.iter()).for_each(sample);
    }

    /// Forgets what belongs to a topic or group that is gone.
    pub fn forget(&self, gone: impl Fn(&str) -> bool) {
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        for keys in counters.values_mut() {
            keys.retain(|key, _| !key.split('@').any(&gone));
        }
        self.puts.write().unwrap_or_else(PoisonError::into_inner).retain(|topic, _| !gone(topic));
    }

    fn with_counter<T>(&self, kind: Kind, key: &str, ask: impl FnOnce(&Counter) -> T) -> Option<T> {
        let put = match kind {
            Kind::TopicPutNums => Some(0),
            Kind::TopicPutSize => Some(1),
            _ => None,
        };
        if let Some(put) = put {
            let puts = self.puts.read().unwrap_or_else(PoisonError::into_inner);
            return puts.get(key).map(|counters| ask(&counters[put]));
        }
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        counters.get(&kind)?.get(key).map(ask)
    }
}

impl Samples {
    fn push(&mut self, sample: Sample) {
        self.fine.push_back(sample);
        if self.fine.len() > FINE {
            self.fine.pop_front();
        }
        self.taken += 1;
        if self.taken.is_multiple_of(COARSE_EVERY) {
            self.coarse.push_back(sample);
            if self.coarse.len() > DAY / COARSE_EVERY {
                self.coarse.pop_front();
            }
        }
    }

    /// What came in the last `window` samples.
    fn window(&self, now: Sample, window: usize) -> Window {
        let (samples, step) = if window <= FINE { (&self.fine, 1) } else { (&self.coarse, COARSE_EVERY) };
        let back = (window / step).min(samples.len());
        // A counter that is younger than the window began at nothing.
        let is_younger = back == 0 || back < window / step;
        let before = if is_younger { Sample::default() } else { samples[samples.len() - back] };
        let seconds = (self.taken.min(window) as u64 * SAMPLE_SECONDS).max(1);
        let (sum, calls) = (now.total - before.total, now.calls - before.calls);
        Window { sum, per_second: sum as f64 / seconds as f64, per_call: sum as f64 / calls.max(1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_their_windows() {
        let stats = Stats::default();
        for _ in 0..12 {
            stats.add_put("T", 60, 6);
            stats.add_put("T", 40, 4);
            stats.sample(1);
        }
        let [minute, hour, day] = stats.windows(Kind::TopicPutNums, "T");
        assert_eq!((minute.sum, minute.per_second, minute.per_call), (500, 500.0 / 60.0, 50.0));
        assert_eq!((hour.sum, hour.per_second), (1200, 10.0));
        assert_eq!(day, hour);
        assert_eq!(stats.total(Kind::TopicPutNums, "T"), 1200);
        assert_eq!((stats.total(Kind::TopicPutSize, "T"), stats.total(Kind::TopicPutSize, "U")), (120, 0));
        assert_eq!(stats.windows(Kind::GroupGetSize, "T"), [Window::default(); 3]);
        stats.add(Kind::GroupGetNums, "T@G", 1);
        stats.forget(|name| name == "G");
        assert_eq!(stats.total(Kind::GroupGetNums, "T@G"), 0);
    }
    #[test]
    fn a_day_begins_at_midnight() {
        let stats = Stats::default();
        let noon = 20_000 * DAY_MS + DAY_MS / 2;
        stats.add(Kind::BrokerPutNums, "C", 5);
        stats.sample(noon);
        assert_eq!(stats.mornings(Kind::BrokerPutNums, "C"), Mornings::default());
        stats.sample(noon + DAY_MS / 2 - 1);
        stats.add(Kind::BrokerPutNums, "C", 2);
        stats.sample(noon + DAY_MS / 2);
        stats.add(Kind::BrokerPutNums, "C", 3);
        stats.sample(noon + DAY_MS);
        assert_eq!(stats.mornings(Kind::BrokerPutNums, "C"), Mornings { today: 7, yesterday: 0 });
        stats.sample(noon + 2 * DAY_MS);
        assert_eq!(stats.mornings(Kind::BrokerPutNums, "C"), Mornings { today: 10, yesterday: 7 });
    }
}
