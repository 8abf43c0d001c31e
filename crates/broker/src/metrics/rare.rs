//! Counters of what happens rarely, by name.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use apogee_telemetry::{Family, Label, Ranked, Shown, Snapshot};

use super::collect::OTHER;

/// Counters by name. There are as many as topics or groups, which are limited elsewhere.
pub(crate) struct Rare<const K: usize>(Mutex<HashMap<Box<str>, Ranked<K>>>);

impl<const K: usize> Default for Rare<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<const K: usize> Rare<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Ranked<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Ranked<K>)) {
        let mut all = self.lock();
        match all.get_mut(name) {
            Some(counts) => change(counts),
            None => change(all.entry(name.into()).or_insert([0; K])),
        }
    }

    /// Forgets names.
    pub fn forget(&self, gone: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| !name.split('@').any(&gone));
    }

    /// Those to be told by name, and what stands for all others under the name [`OTHER`].
    fn told(&self, most: usize, shown: &mut Shown<K>) -> Vec<(String, Ranked<K>)> {
        let all = self.lock().clone();
        let all: Vec<(&str, Ranked<K>)> = all.iter().map(|(name, counts)| (&**name, *counts)).collect();
        let (named, rest) = shown.choose(&all, most);
        let rest = rest.map(|rest| (OTHER.to_owned(), rest));
        named.into_iter().map(|(name, counts)| (name.to_owned(), counts)).chain(rest).collect()
    }
}

impl Rare<1> {
    /// Counts one.
    pub fn add(&self, name: &str) {
        self.change(name, |counts| counts[0] += 1);
    }

    /// How much each name has counted.
    pub fn counts(&self) -> HashMap<Box<str>, u64> {
        self.lock().iter().map(|(name, counts)| (name.clone(), counts[0])).collect()
    }

    /// Adds a series for each name.
    pub fn tell(&self, family: &mut Family, most: usize, shown: &mut Shown<1>, labels: impl Fn(&str) -> Vec<Label>) {
        for (name, counts) in self.told(most, shown) {
            family.add(labels(&name), counts[0] as f64);
        }
    }
}

/// Counters of a histogram: how many, their sum, and those in each bucket.
pub(crate) const fn cells(bounds: usize) -> usize {
    bounds + 3
}

impl<const K: usize> Rare<K> {
    /// Counts a value; there are `K` - 3 bounds.
    pub fn record(&self, name: &str, value: u64, bounds: &[u64]) {
        self.change(name, |counts| {
            counts[0] += 1;
            counts[1] = counts[1].saturating_add(value);
            if let Some(bucket) = counts.get_mut(2 + bounds.partition_point(|bound| *bound < value)) {
                *bucket += 1;
            }
        });
    }

    /// Adds a histogram for each name.
    pub fn tell_histograms(
        &self,
        family: &mut Family,
        bounds: &[u64],
        (most, shown): (usize, &mut Shown<K>),
        labels: impl Fn(&str) -> Vec<Label>,
    ) {
        for (name, counts) in self.told(most, shown) {
            let snapshot = Snapshot {
                bounds: bounds.iter().map(|bound| *bound as f64).collect(),
                counts: counts[2..].to_vec(),
                sum: counts[1] as f64,
            };
            family.add_histogram(labels(&name), snapshot);
        }
    }
}

#[cfg(test)]
mod tests {
    use apogee_telemetry::Value;

    use super::*;

    #[test]
    fn names_have_their_own_counts_and_those_that_are_gone_have_none() {
        let (rare, mut shown) = (Rare::<{ cells(2) }>::default(), Shown::default());
        rare.record("T@G", 5, &[5, 10]);
        rare.record("T@G", 11, &[5, 10]);
        rare.record("U@G", 6, &[5, 10]);
        rare.forget(|name| name == "U");
        let mut family = Family::histogram("h", "", "");
        rare.tell_histograms(&mut family, &[5, 10], (10, &mut shown), |name| vec![("n", name.to_owned().into())]);
        let expected = Snapshot { bounds: vec![5.0, 10.0], counts: vec![1, 0, 1], sum: 16.0 };
        assert_eq!(family.points[0].value, Value::Histogram(expected));
        assert_eq!(family.points.len(), 1);
    }
}
