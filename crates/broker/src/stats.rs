//! Counters of what the broker did, and rates over the last minute, hour and day
//! (upstream `BrokerStatsManager`). Counting costs no allocation and no lock that writers share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use apogee_base::hash::QuickMap;

use crate::message_type::MessageType;
use crate::metrics::traffic::{Received, Traffic};

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
    /// Pulls that found nothing, all together; the key is the cluster. Told in rates only.
    BrokerMisses,
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

/// Per second, over the last ten seconds, minute and ten minutes.
pub type Rates = [f64; 3];

/// Seconds between two samples.
pub const SAMPLE_SECONDS: u64 = 10;
/// Windows, counted in samples.
const MINUTE: u64 = 6;
const RECENT: [u64; 3] = [1, MINUTE, 10 * MINUTE];
const HOUR: u64 = 360;
const DAY: u64 = 8_640;
/// Of samples that are older than a minute one of so many is kept; of those older than an hour, one of an hour.
const COARSE: u64 = 60;

const DAY_MS: i64 = (SAMPLE_SECONDS * 1000 * DAY) as i64;

/// All counters.
#[derive(Default)]
pub struct Stats {
    counters: RwLock<QuickMap<Kind, Counters>>,
    /// Messages and bytes sent, by topic: together, as with many topics each look-up costs more than all
    /// else of counting.
    puts: RwLock<Counters>,
    /// Those that counted since the last sample. Of the others there is nothing to note: there may be
    /// a hundred thousand.
    moved: Mutex<Vec<Arc<Counter>>>,
    /// Samples taken.
    tick: AtomicU64,
    /// The day of the last sample, counted from 1970, UTC; 0 before the first.
    day: AtomicI64,
    mornings: Mutex<HashMap<(Kind, Box<str>), Mornings>>,
}

/// Counters of one kind, by key.
type Counters = QuickMap<Box<str>, Arc<Counter>>;

#[derive(Default)]
struct Counter {
    /// How often it counted.
    calls: AtomicU64,
    /// What it counted; of what is sent, messages and bytes.
    sums: [AtomicU64; 2],
    /// What came from producers, which counts beside the sums.
    traffic: Traffic,
    /// It is on the list of those that counted.
    moved: AtomicBool,
    /// Samples taken before it began.
    born: u64,
    samples: Mutex<Vec<Sample>>,
}

/// How far a counter was at some moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    tick: u64,
    calls: u64,
    sums: [u64; 2],
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
    fn now(&self, tick: u64) -> Sample {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (calls, [messages, bytes]) = self.traffic.totals();
        let sums = [load(&self.sums[0]) + messages, load(&self.sums[1]) + bytes];
        Sample { tick, calls: load(&self.calls) + calls, sums }
    }

    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far it is. Of times that are long ago it knows less and less, so that a few dozen samples
    /// are all there ever are.
    fn sample(&self, tick: u64) {
        self.moved.store(false, Ordering::Release);
        let mut samples = self.samples();
        // Dense: there may be a hundred thousand of these.
        samples.reserve_exact(1);
        samples.push(self.now(tick));
        let mut at = 1;
        while at < samples.len() {
            let grain = match tick - samples[at].tick {
                0..MINUTE => 1,
                MINUTE..HOUR => COARSE,
                HOUR..DAY => HOUR,
                _ => u64::MAX,
            };
            if samples[at - 1].tick / grain == samples[at].tick / grain {
                samples.remove(at - 1);
            } else {
                at += 1;
            }
        }
    }

    /// What came in the last `window` samples, of one of its sums.
    fn window(&self, which: usize, tick: u64, window: u64) -> Window {
        let (now, samples, age) = (self.now(tick), self.samples(), tick - self.born);
        let begins = (tick + 1).saturating_sub(window);
        let known = samples.iter().rfind(|sample| sample.tick <= begins);
        // A counter that is younger than the window began at nothing.
        let before = known.or(samples.first()).filter(|_| age >= window).copied().unwrap_or_default();
        let seconds = (age.min(window) * SAMPLE_SECONDS).max(1);
        let (sum, calls) = (now.sums[which] - before.sums[which], now.calls - before.calls);
        Window { sum, per_second: sum as f64 / seconds as f64, per_call: sum as f64 / calls.max(1) as f64 }
    }

    /// Calls, and what they counted, per second of a window that ended with the last sample.
    fn rate(&self, tick: u64, window: u64) -> [f64; 2] {
        let samples = self.samples();
        let Some(now) = samples.last().copied() else { return [0.0; 2] };
        let begins = tick.saturating_sub(window);
        let (before, ticks) = match samples.iter().rfind(|sample| sample.tick <= begins) {
            // Of what is over a minute ago one sample of many is left: the window begins there.
            Some(sample) if tick - sample.tick < window + COARSE && window > MINUTE => (*sample, tick - sample.tick),
            Some(sample) => (*sample, window),
            None => (Sample::default(), (tick - self.born).min(window)),
        };
        let seconds = (ticks.max(1) * SAMPLE_SECONDS) as f64;
        [now.calls - before.calls, now.sums[0] - before.sums[0]].map(|count| count as f64 / seconds)
    }
}

impl Stats {
    /// Counts what is not sent to a topic: that is [`Stats::add_put`].
    pub fn add(&self, kind: Kind, key: &str, count: u64) {
        {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = counters.get(&kind).and_then(|keys| keys.get(key)) {
                return self.count(counter, [count, 0]);
            }
        }
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        self.count(self.counter(counters.entry(kind).or_default(), key), [count, 0]);
    }

    /// Counts messages of one request sent to a topic, and their bytes. `kind` is `None` for what no producer has
    /// sent: it is put there, but did not come in.
    pub fn add_put(&self, topic: &str, kind: Option<MessageType>, messages: u64, bytes: u64) {
        let count = |counter: &Arc<Counter>| match kind {
            Some(kind) => {
                counter.traffic.count(kind, messages, bytes);
                self.note(counter);
            }
            None => self.count(counter, [messages, bytes]),
        };
        {
            let puts = self.puts.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = puts.get(topic) {
                return count(counter);
            }
        }
        let mut puts = self.puts.write().unwrap_or_else(PoisonError::into_inner);
        count(self.counter(&mut puts, topic));
    }

    /// What came in for all topics, by name and type.
    pub fn received<R>(&self, ask: impl FnOnce(&mut dyn Iterator<Item = (&str, MessageType, Received)>) -> R) -> R {
        let puts = self.puts.read().unwrap_or_else(PoisonError::into_inner);
        ask(&mut puts
            .iter()
            .flat_map(|(topic, counter)| counter.traffic.all().map(|(kind, received)| (&**topic, kind, received))))
    }

    /// The sums of all counters of a kind, by key; not of what is put to topics.
    pub fn sums(&self, kind: Kind) -> Vec<(Box<str>, u64)> {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        let all = counters.get(&kind).into_iter().flatten();
        all.map(|(key, counter)| (key.clone(), counter.sums[0].load(Ordering::Relaxed))).collect()
    }

    /// The counter of a key, new when there was none.
    fn counter<'c>(&self, counters: &'c mut Counters, key: &str) -> &'c Arc<Counter> {
        counters
            .entry(key.into())
            .or_insert_with(|| Arc::new(Counter { born: self.tick.load(Ordering::Relaxed), ..Counter::default() }))
    }

    fn count(&self, counter: &Arc<Counter>, counts: [u64; 2]) {
        counter.calls.fetch_add(1, Ordering::Relaxed);
        counter.sums.iter().zip(counts).filter(|(_, count)| *count > 0).for_each(|(sum, count)| {
            sum.fetch_add(count, Ordering::Relaxed);
        });
        self.note(counter);
    }

    /// Puts a counter on the list of those that counted.
    fn note(&self, counter: &Arc<Counter>) {
        if !counter.moved.load(Ordering::Relaxed) && !counter.moved.swap(true, Ordering::AcqRel) {
            self.moved.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(counter));
        }
    }

    /// Everything counted since the start.
    pub fn total(&self, kind: Kind, key: &str) -> u64 {
        self.with_counter(kind, key, |counter, which| counter.now(0).sums[which]).unwrap_or_default()
    }

    /// Rates over the last minute, hour and day.
    pub fn windows(&self, kind: Kind, key: &str) -> [Window; 3] {
        let tick = self.tick.load(Ordering::Relaxed);
        let windows = |counter: &Counter, which| [MINUTE, HOUR, DAY].map(|window| counter.window(which, tick, window));
        self.with_counter(kind, key, windows).unwrap_or_default()
    }

    /// How often a counter was called, and how much it counted, as rates of the last time.
    pub fn recent(&self, kind: Kind, key: &str) -> [Rates; 2] {
        let tick = self.tick.load(Ordering::Relaxed);
        let rates = self.with_counter(kind, key, |counter, _| RECENT.map(|window| counter.rate(tick, window)));
        let rates = rates.unwrap_or_default();
        [rates.map(|[calls, _]| calls), rates.map(|[_, sum]| sum)]
    }

    /// How far a counter of all messages was when the last two days began.
    pub fn mornings(&self, kind: Kind, key: &str) -> Mornings {
        let mornings = self.mornings.lock().unwrap_or_else(PoisonError::into_inner);
        mornings.get(&(kind, key.into())).copied().unwrap_or_default()
    }

    /// Notes how far all counters are. Call every [`SAMPLE_SECONDS`]. Costs what has counted since the
    /// last time.
    pub fn sample(&self, now_ms: i64) {
        let today = now_ms.div_euclid(DAY_MS);
        let before = self.day.swap(today, Ordering::Relaxed);
        if before != 0 && before != today {
            self.note_mornings();
        }
        let tick = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let moved = std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner));
        moved.iter().for_each(|counter| counter.sample(tick));
    }

    fn note_mornings(&self) {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        let mut mornings = self.mornings.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in [Kind::BrokerPutNums, Kind::BrokerGetNums] {
            for (key, counter) in counters.get(&kind).into_iter().flatten() {
                let morning = mornings.entry((kind, key.clone())).or_default();
                let total = counter.sums[0].load(Ordering::Relaxed);
                *morning = Mornings { today: total, yesterday: morning.today };
            }
        }
    }

    /// Forgets what belongs to a topic or group that is gone.
    pub fn forget(&self, gone: impl Fn(&str) -> bool) {
        let mut counters = self.counters.write().unwrap_or_else(PoisonError::into_inner);
        for keys in counters.values_mut() {
            keys.retain(|key, _| !key.split('@').any(&gone));
        }
        self.puts.write().unwrap_or_else(PoisonError::into_inner).retain(|topic, _| !gone(topic));
    }

    fn with_counter<T>(&self, kind: Kind, key: &str, ask: impl FnOnce(&Counter, usize) -> T) -> Option<T> {
        let put = match kind {
            Kind::TopicPutNums => Some(0),
            Kind::TopicPutSize => Some(1),
            _ => None,
        };
        if let Some(which) = put {
            let puts = self.puts.read().unwrap_or_else(PoisonError::into_inner);
            return puts.get(key).map(|counter| ask(counter, which));
        }
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        counters.get(&kind)?.get(key).map(|counter| ask(counter, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_their_windows() {
        let stats = Stats::default();
        for _ in 0..12 {
            stats.add_put("T", Some(MessageType::Normal), 60, 6);
            stats.add_put("T", None, 40, 4);
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
    fn what_is_long_ago_takes_little_memory_and_is_still_counted() {
        let stats = Stats::default();
        stats.add_put("Quiet", None, 7, 7);
        for sample in 0..3 * DAY {
            stats.add_put("Busy", Some(MessageType::Delay), 1, 10);
            if sample == 2 * DAY + HOUR {
                stats.add_put("Late", None, 1, 1);
            }
            stats.sample(1);
        }
        let sums = |kind, topic| stats.windows(kind, topic).map(|window| window.sum);
        let [minute, hour, day] = sums(Kind::TopicPutNums, "Busy");
        assert_eq!(minute, MINUTE - 1);
        assert!((HOUR - 1..=HOUR + COARSE).contains(&hour), "{hour}");
        assert!((DAY - 1..=DAY + HOUR).contains(&day), "{day}");
        assert_eq!(sums(Kind::TopicPutSize, "Busy").map(|size| size / 10), [minute, hour, day]);
        assert_eq!((sums(Kind::TopicPutNums, "Quiet"), stats.total(Kind::TopicPutNums, "Quiet")), ([0; 3], 7));
        assert_eq!(sums(Kind::TopicPutNums, "Late"), [0, 0, 1]);
        let most = stats.puts.read().unwrap().values().map(|counter| counter.samples().len()).max();
        assert!(most <= Some(40), "{most:?}");
    }

    #[test]
    fn what_just_happened_is_told_by_the_second() {
        let stats = Stats::default();
        let sample = |calls: u64, each: u64| {
            (0..calls).for_each(|_| stats.add(Kind::BrokerGetNums, "C", each));
            stats.sample(1);
        };
        sample(10, 4);
        assert_eq!(stats.recent(Kind::BrokerGetNums, "C"), [[1.0; 3], [4.0; 3]]);
        (0..200).for_each(|_| sample(0, 0));
        sample(20, 3);
        // The last of the ten minutes before is exactly known: nothing came.
        assert_eq!(stats.recent(Kind::BrokerGetNums, "C"), [[2.0, 20.0 / 60.0, 20.0 / 600.0], [6.0, 1.0, 0.1]]);
        (0..300).for_each(|_| sample(10, 1));
        let [calls, _] = stats.recent(Kind::BrokerGetNums, "C");
        assert_eq!(calls, [1.0; 3]);
        assert_eq!(stats.recent(Kind::BrokerMisses, "C"), [[0.0; 3]; 2]);
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
