//! Histograms by a small key, found without a lock.

use std::sync::OnceLock;

use crate::Histogram;

/// Keys that there is room for; what comes later is counted together under [`KeyedHistograms::OTHER`].
const MOST: usize = 1_024;
/// Places looked at for one key.
const STEPS: usize = 16;

/// Histograms by key. A key stays for good: keys must be few, as kinds of requests are.
pub struct KeyedHistograms {
    bounds: &'static [u64],
    places: Box<[OnceLock<(u64, Histogram)>]>,
}

impl KeyedHistograms {
    /// The key of what found no place.
    pub const OTHER: u64 = u64::MAX;

    /// All with the same bounds.
    pub fn new(bounds: &'static [u64]) -> Self {
        // The last place is that of the others.
        Self { bounds, places: (0..=MOST).map(|_| OnceLock::new()).collect() }
    }

    /// The histogram of a key, new when there was none.
    pub fn of(&self, key: u64) -> &Histogram {
        let first = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize;
        for step in 0..STEPS {
            let (known, histogram) = self.place((first + step) % MOST, key);
            if *known == key {
                return histogram;
            }
        }
        &self.place(MOST, Self::OTHER).1
    }

    fn place(&self, place: usize, key: u64) -> &(u64, Histogram) {
        self.places[place].get_or_init(|| (key, Histogram::new(self.bounds)))
    }

    /// All keys that were counted, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Histogram)> {
        self.places.iter().filter_map(|place| place.get()).map(|(key, histogram)| (*key, histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_until_there_is_no_room() {
        let histograms = KeyedHistograms::new(&[1]);
        for key in 0..10 * MOST as u64 {
            histograms.of(key).record(1);
            histograms.of(key).record(1);
        }
        let counts: Vec<_> = histograms.iter().map(|(key, histogram)| (key, histogram.snapshot(1.0).count())).collect();
        assert!(counts.len() <= MOST + 1 && counts.len() > MOST * 9 / 10);
        assert!(counts.iter().all(|(key, count)| *key == KeyedHistograms::OTHER || *count == 2));
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 20 * MOST as u64);
    }
}
