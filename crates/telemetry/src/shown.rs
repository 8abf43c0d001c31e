//! Which of many series are shown by name, so that there are never too many.

use std::collections::HashMap;

/// Counters of one key.
pub type Ranked<const K: usize> = [u64; K];

/// Chooses the busiest keys and adds up the rest. What the rest has counted never falls, whoever comes and goes: a
/// key that is shown from some moment on stays in the rest with what it had counted before.
#[derive(Debug)]
pub struct Shown<const K: usize> {
    /// By key, what of it belongs to the rest.
    shown: HashMap<Box<str>, Ranked<K>>,
    /// What was counted under their names by keys that are not shown any more.
    left: Ranked<K>,
    /// The rest was shown.
    has_rest: bool,
}

impl<const K: usize> Default for Shown<K> {
    fn default() -> Self {
        Self { shown: HashMap::new(), left: [0; K], has_rest: false }
    }
}

impl<const K: usize> Shown<K> {
    /// The keys to show, with their counters, and what all others counted; `None` as long as there never were more
    /// than `most`. Keys are ranked by their first counter; one that is shown gives way to one that is half as busy
    /// again.
    pub fn choose<'k>(
        &mut self,
        all: &[(&'k str, Ranked<K>)],
        most: usize,
    ) -> (Vec<(&'k str, Ranked<K>)>, Option<Ranked<K>>) {
        let known: HashMap<&str, &Ranked<K>> = all.iter().map(|(key, counts)| (*key, counts)).collect();
        // Keys that are gone took what they counted with them.
        self.shown.retain(|key, _| known.contains_key(&**key));
        let count_of = |key: &str| known.get(key).map_or([0; K], |counts| **counts);
        let mut waiting: Vec<&(&str, Ranked<K>)> =
            all.iter().filter(|(key, _)| !self.shown.contains_key(*key)).collect();
        waiting.sort_unstable_by(|(one, counts), (other, others)| others[0].cmp(&counts[0]).then(one.cmp(other)));
        let mut ranking: Vec<(u64, Box<str>)> = self.shown.keys().map(|key| (count_of(key)[0], key.clone())).collect();
        ranking.sort_unstable();
        // With a smaller limit than before the least go.
        let surplus = ranking.len().saturating_sub(most);
        for (_, key) in ranking.drain(..surplus) {
            self.hide(&key, count_of(&key));
        }
        let overflows = self.has_rest || waiting.len() + self.shown.len() > most;
        let mut least = ranking.into_iter();
        for (key, counts) in waiting {
            if self.shown.len() >= most {
                let Some((busy, weakest)) = least.next() else { break };
                if counts[0] <= busy.saturating_add(busy / 2) {
                    break;
                }
                self.hide(&weakest, count_of(&weakest));
            }
            let before = if self.has_rest { *counts } else { [0; K] };
            self.shown.insert((*key).into(), before);
        }
        self.has_rest = overflows;
        let shown = all.iter().filter(|(key, _)| self.shown.contains_key(*key));
        let shown: Vec<_> = shown.map(|(key, counts)| (*key, *counts)).collect();
        let rest = overflows.then(|| self.rest(all, &shown));
        (shown, rest)
    }

    fn hide(&mut self, key: &str, counts: Ranked<K>) {
        if let Some(before) = self.shown.remove(key) {
            for ((left, now), before) in self.left.iter_mut().zip(counts).zip(before) {
                *left += now.saturating_sub(before);
            }
        }
    }

    fn rest(&self, all: &[(&str, Ranked<K>)], shown: &[(&str, Ranked<K>)]) -> Ranked<K> {
        let mut rest = [0u64; K];
        for (_, counts) in all {
            rest.iter_mut().zip(counts).for_each(|(rest, count)| *rest = rest.saturating_add(*count));
        }
        for (key, counts) in shown {
            let before = self.shown.get(*key).copied().unwrap_or([0; K]);
            for ((rest, now), before) in rest.iter_mut().zip(counts).zip(before) {
                *rest = rest.saturating_sub(now.saturating_sub(before));
            }
        }
        rest.iter_mut().zip(self.left).for_each(|(rest, left)| *rest = rest.saturating_sub(left));
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_all_shown() {
        let mut shown = Shown::default();
        let all = [("a", [1]), ("b", [2])];
        assert_eq!(shown.choose(&all, 2), (all.to_vec(), None));
    }

    #[test]
    fn the_busiest_are_shown_and_nothing_ever_falls() {
        let mut shown = Shown::<1>::default();
        let (_, rest) = shown.choose(&[("a", [10]), ("b", [5]), ("c", [1])], 2);
        assert_eq!(rest, Some([1]));
        // c becomes the busiest by far: b gives way, and what c had counted stays in the rest.
        let (names, rest) = shown.choose(&[("a", [10]), ("b", [6]), ("c", [100])], 2);
        assert_eq!((names, rest), (vec![("a", [10]), ("c", [100])], Some([100])));
        let (names, rest) = shown.choose(&[("a", [10]), ("b", [9]), ("c", [101])], 2);
        assert_eq!((names, rest), (vec![("a", [10]), ("c", [101])], Some([103])), "b's three more");
        let (_, rest) = shown.choose(&[("a", [14]), ("b", [15]), ("c", [101])], 2);
        assert_eq!(rest, Some([109]), "b is not so much busier than a");
    }

    #[test]
    fn a_deleted_key_makes_room() {
        let mut shown = Shown::<1>::default();
        shown.choose(&[("a", [10]), ("b", [5]), ("c", [1])], 2);
        let (names, _) = shown.choose(&[("b", [5]), ("c", [1])], 2);
        assert_eq!(names.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(Shown::<1>::default().choose(&[], 2), (vec![], None));
    }
}
