//! Which brokers have a topic, in little memory.

use std::collections::HashMap;
use std::mem::size_of;

/// A broker's place in the table of brokers.
pub(super) type Slot = u32;

/// The queues that one broker has of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queues {
    pub broker: Slot,
    pub read: i32,
    pub write: i32,
    /// Permission bits, as the broker registered them.
    pub perm: i32,
    pub sys_flag: i32,
}

/// All brokers of a topic. Nearly every topic of a large table is on one broker, or on few.
#[derive(Debug)]
enum Brokers {
    One(Queues),
    /// In order of their slots.
    Many(Box<[Queues]>),
}

impl Brokers {
    fn as_slice(&self) -> &[Queues] {
        match self {
            Self::One(queues) => std::slice::from_ref(queues),
            Self::Many(all) => all,
        }
    }

    fn heap(&self) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(all) => size_of_val(&**all) + ALLOCATION,
        }
    }

    /// `None` when none is kept.
    fn keep(&self, mut keep: impl FnMut(Slot) -> bool) -> Option<Self> {
        let kept: Vec<_> = self.as_slice().iter().copied().filter(|queues| keep(queues.broker)).collect();
        match kept[..] {
            [] => None,
            [one] => Some(Self::One(one)),
            _ => Some(Self::Many(kept.into())),
        }
    }
}

/// What an allocator adds to an allocation, at most, for small ones.
const ALLOCATION: usize = 16;

/// Topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    table: HashMap<Box<str>, Brokers>,
}

impl Topics {
    /// The queues of a topic, broker by broker; empty when no broker has it.
    pub fn get(&self, topic: &str) -> &[Queues] {
        self.table.get(topic).map_or(&[], Brokers::as_slice)
    }

    pub fn contains(&self, topic: &str) -> bool {
        self.table.contains_key(topic)
    }

    pub fn has(&self, topic: &str, broker: Slot) -> bool {
        self.get(topic).iter().any(|queues| queues.broker == broker)
    }

    /// Adds or replaces what a broker has of a topic. Says whether that changed anything.
    pub fn put(&mut self, topic: &str, queues: Queues) -> bool {
        let Some(brokers) = self.table.get_mut(topic) else {
            self.table.insert(topic.into(), Brokers::One(queues));
            return true;
        };
        let all = brokers.as_slice();
        let place = all.binary_search_by_key(&queues.broker, |queues| queues.broker);
        match place {
            Ok(at) if all[at] == queues => return false,
            Ok(at) => match brokers {
                Brokers::One(one) => *one = queues,
                Brokers::Many(all) => all[at] = queues,
            },
            Err(at) => {
                let mut longer = Vec::with_capacity(all.len() + 1);
                longer.extend_from_slice(all);
                longer.insert(at, queues);
                *brokers = Brokers::Many(longer.into());
            }
        }
        true
    }

    /// Takes a topic from the brokers that `gone` names; forgets it when none is left. Says whether
    /// that changed anything.
    pub fn remove(&mut self, topic: &str, mut gone: impl FnMut(Slot) -> bool) -> bool {
        let Some(brokers) = self.table.get_mut(topic) else { return false };
        let before = brokers.as_slice().len();
        let kept = brokers.keep(|slot| !gone(slot));
        let after = kept.as_ref().map_or(0, |kept| kept.as_slice().len());
        match kept {
            Some(kept) if after < before => *brokers = kept,
            Some(_) => {}
            None => {
                self.table.remove(topic);
            }
        }
        after < before
    }

    /// Takes all topics for which `gone` holds from the brokers it names. Returns how many routes
    /// changed, and the names of the topics that no broker has any more.
    pub fn remove_where(&mut self, gone: impl Fn(&str, Slot) -> bool) -> (usize, Vec<Box<str>>) {
        let (mut changed, mut forgotten) = (0, Vec::new());
        self.table.retain(|topic, brokers| {
            if !brokers.as_slice().iter().any(|queues| gone(topic, queues.broker)) {
                return true;
            }
            changed += 1;
            match brokers.keep(|slot| !gone(topic, slot)) {
                Some(kept) => *brokers = kept,
                None => {
                    forgotten.push(topic.clone());
                    return false;
                }
            }
            true
        });
        if self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to_fit();
        }
        (changed, forgotten)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Queues])> {
        self.table.iter().map(|(topic, brokers)| (&**topic, brokers.as_slice()))
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of memory in use, names included; an upper estimate.
    pub fn memory(&self) -> usize {
        // The table keeps an eighth of its places free, and one byte of marks for each.
        let places = self.table.capacity() * 8 / 7;
        let table = places * (size_of::<(Box<str>, Brokers)>() + 1);
        let heap = self.table.iter().map(|(topic, brokers)| topic.len() + ALLOCATION + brokers.heap());
        table + heap.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(broker: Slot, read: i32) -> Queues {
        Queues { broker, read, write: read, perm: 6, sys_flag: 0 }
    }

    #[test]
    fn a_topic_lives_while_a_broker_has_it() {
        let mut topics = Topics::default();
        assert!(topics.put("t", queues(2, 4)));
        assert!(!topics.put("t", queues(2, 4)), "nothing new");
        assert!(topics.put("t", queues(1, 8)));
        assert!(topics.put("t", queues(3, 1)));
        assert_eq!(topics.get("t"), [queues(1, 8), queues(2, 4), queues(3, 1)]);
        assert!(topics.put("t", queues(1, 2)));
        assert_eq!(topics.get("t")[0], queues(1, 2));

        assert!(topics.remove("t", |slot| slot == 2));
        assert!(!topics.remove("t", |slot| slot == 2));
        assert_eq!(topics.remove_where(|_, slot| slot == 1), (1, vec![]));
        assert_eq!(topics.get("t"), [queues(3, 1)]);
        assert_eq!(topics.remove_where(|_, slot| slot == 3), (1, vec!["t".into()]));
        assert!(!topics.contains("t"));
    }

    #[test]
    fn a_table_that_emptied_gives_its_memory_back() {
        let mut topics = Topics::default();
        for i in 0..10_000 {
            topics.put(&format!("topic-{i}"), queues(u32::from(i % 100 != 0), 8));
        }
        let full = topics.memory();
        topics.remove_where(|_, slot| slot == 1);
        assert_eq!(topics.len(), 100);
        assert!(topics.memory() < full / 20);
    }
}
