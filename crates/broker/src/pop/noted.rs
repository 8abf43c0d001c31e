//! Which messages are out by what the log says: popped, noted there, and neither acknowledged nor given back. Pure.
//!
//! A message is known by the newest pop of it that was noted, and by whether that one is settled. What is told may come in any
//! order and repeatedly: at start, old notes are read ([`super::recount`]) while new ones are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use apogee_base::hash::QuickMap;

use super::told::Delivery;

/// See the module.
#[derive(Default)]
pub(crate) struct Noted {
    groups: QuickMap<Arc<str>, QuickMap<Arc<str>, Queues>>,
    /// All notes of before the start were told: what is settled from now on need not be remembered.
    is_whole: bool,
}

/// Queues of a topic, with what is out of them by offset.
type Queues = Vec<(i32, BTreeMap<i64, Newest>)>;

/// The newest pop of a message: twice its time while it is out, and one more when it is settled. Of two the greater counts.
type Newest = i64;

fn is_out(newest: Newest) -> bool {
    newest & 1 == 0
}

impl Noted {
    /// A note says that a message is out.
    pub fn popped(&mut self, of: Delivery<'_>) {
        self.put(of, of.pop_time << 1);
    }

    /// A message that was noted is acknowledged or given back.
    pub fn settled(&mut self, of: Delivery<'_>) {
        let settled = of.pop_time << 1 | 1;
        if !self.is_whole {
            return self.put(of, settled);
        }
        let queues = self.groups.get_mut(of.group).and_then(|topics| topics.get_mut(of.topic));
        let queue = queues.and_then(|queues| queues.iter_mut().find(|(id, _)| *id == of.queue));
        if let Some((_, messages)) = queue
            && messages.get(&of.offset).is_some_and(|newest| *newest <= settled)
        {
            messages.remove(&of.offset);
        }
    }

    fn put(&mut self, of: Delivery<'_>, newest: Newest) {
        let group = self.groups.get_key_value(of.group).map_or_else(|| of.group.into(), |(name, _)| Arc::clone(name));
        let topics = self.groups.entry(group).or_default();
        let topic = topics.get_key_value(of.topic).map_or_else(|| of.topic.into(), |(name, _)| Arc::clone(name));
        let queues = topics.entry(topic).or_default();
        let place = queues.iter().position(|(id, _)| *id == of.queue).unwrap_or_else(|| {
            queues.push((of.queue, BTreeMap::new()));
            queues.len() - 1
        });
        let known = queues[place].1.entry(of.offset).or_insert(newest);
        *known = (*known).max(newest);
    }

    /// All notes of before the start were told.
    pub fn told_all(&mut self) {
        self.is_whole = true;
        for (_, messages) in self.groups.values_mut().flat_map(QuickMap::values_mut).flatten() {
            messages.retain(|_, newest| is_out(*newest));
        }
    }

    /// Messages of a queue that are out.
    pub fn offsets(&self, group: &str, topic: &str, queue: i32) -> Vec<i64> {
        let queues = self.groups.get(group).and_then(|topics| topics.get(topic)).into_iter().flatten();
        let messages = queues.filter(|(id, _)| *id == queue).flat_map(|(_, messages)| messages);
        messages.filter(|(_, newest)| is_out(**newest)).map(|(offset, _)| *offset).collect()
    }

    /// How many messages of a queue are out, and the first of them.
    pub fn out(&self, group: &str, topic: &str, queue: i32) -> (usize, Option<i64>) {
        let queues = self.groups.get(group).and_then(|topics| topics.get(topic)).into_iter().flatten();
        let Some((_, messages)) = queues.into_iter().find(|(id, _)| *id == queue) else { return (0, None) };
        let mut out = messages.iter().filter(|(_, newest)| is_out(**newest)).map(|(offset, _)| *offset);
        let first = out.next();
        match (self.is_whole, first) {
            (_, None) => (0, None),
            (true, _) => (messages.len(), first),
            (false, _) => (1 + out.count(), first),
        }
    }

    /// The first message of each queue that is out for a group: topic, queue, offset. `None` while not all is known.
    pub fn first_out(&self) -> Option<Vec<(Arc<str>, i32, i64)>> {
        let topics = self.groups.values().flatten();
        let queues =
            topics.flat_map(|(topic, queues)| queues.iter().map(move |(queue, messages)| (topic, queue, messages)));
        let first = queues.filter_map(|(topic, queue, messages)| {
            let (offset, _) = messages.first_key_value()?;
            Some((Arc::clone(topic), *queue, *offset))
        });
        self.is_whole.then(|| first.collect())
    }

    /// Forgets a topic, or a group.
    pub fn forget(&mut self, of: impl Fn(&str, &str) -> bool) {
        for (group, topics) in &mut self.groups {
            topics.retain(|topic, _| !of(group, topic));
        }
        self.groups.retain(|_, topics| !topics.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use apogee_base::rng::Rng;

    use super::*;

    fn delivery(offset: i64, pop_time: i64) -> Delivery<'static> {
        Delivery { group: "G", topic: "T", queue: 0, offset, pop_time }
    }

    #[test]
    fn what_is_out_is_counted_in_whatever_order_it_is_told() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            // Each message popped some times, each pop settled but perhaps the last.
            let (mut told, mut out) = (Vec::new(), Vec::new());
            for offset in 0..20 {
                let pops = rng.below(4) as i64;
                let is_settled = rng.below(2) == 0;
                for pop_time in 0..pops {
                    told.push((delivery(offset, pop_time), false));
                    if pop_time < pops - 1 || is_settled {
                        told.push((delivery(offset, pop_time), true));
                    }
                }
                out.extend((pops > 0 && !is_settled).then_some(offset));
            }
            let before = told.len();
            for _ in 0..before / 2 {
                told.push(told[rng.below(before as u64) as usize]);
            }
            for place in (1..told.len()).rev() {
                told.swap(place, rng.below(place as u64 + 1) as usize);
            }
            let mut noted = Noted::default();
            for (of, is_settled) in told {
                if is_settled { noted.settled(of) } else { noted.popped(of) }
            }
            let expected = (out.len(), out.first().copied());
            assert_eq!(noted.out("G", "T", 0), expected, "seed {seed}");
            noted.told_all();
            assert_eq!(noted.out("G", "T", 0), expected, "seed {seed}");
            // From now on nothing is remembered of what is settled.
            for offset in 0..20 {
                noted.settled(delivery(offset, 10));
                noted.settled(delivery(offset, 10));
            }
            noted.popped(delivery(3, 11));
            noted.settled(delivery(3, 10));
            assert_eq!(noted.out("G", "T", 0), (1, Some(3)), "an older pop's acknowledgement");
            noted.forget(|group, topic| (group, topic) == ("G", "T"));
            assert_eq!(noted.out("G", "T", 0), (0, None));
        }
    }
}
