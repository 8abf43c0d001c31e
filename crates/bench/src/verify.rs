//! Reading back what was sent.

use std::time::{Duration, Instant};

use apogee_message::record::Record;

use crate::body::{Bodies, Found};
use crate::caller::Caller;
use crate::consumer::each;
use crate::error::BenchError;
use crate::message::Shape;
use crate::options::{Common, Topics};
use crate::pull::{Filter, Pull};
use crate::report::Verified;

/// The group that reads back.
const GROUP: &str = "ApogeeBenchVerifier";
/// How long what is missing may stay away.
const PATIENCE: Duration = Duration::from_secs(3);

/// Numbers of messages, a bit each.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Vec<u64>);

impl Numbers {
    /// Adds one.
    pub(crate) fn insert(&mut self, number: u64) {
        let word = (number / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    /// Whether it is there.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.0.get((number / 64) as usize).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(other.0).for_each(|(mine, others)| *mine |= others);
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many of them are in the others too.
    pub(crate) fn count_in(&self, others: &Self) -> u64 {
        self.0.iter().zip(&others.0).map(|(mine, others)| u64::from((mine & others).count_ones())).sum()
    }
}

/// Where the queues of topics end at the moment, queue by queue.
pub(crate) fn ends(options: &Common, topics: &Topics) -> Result<Vec<i64>, BenchError> {
    let mut caller = Caller::connect(options)?;
    let mut ends = Vec::new();
    for topic in 0..topics.count {
        for queue in 0..options.queues {
            ends.push(caller.offsets(&topics.name(topic), queue)?.1);
        }
    }
    Ok(ends)
}

/// Reads all queues from where they ended before, and compares with what was taken.
pub(crate) fn verify(options: &Common, shape: &Shape, starts: &[i64], sent: &Numbers) -> Result<Check, BenchError> {
    let mut caller = Caller::connect(options)?;
    let mut positions = starts.to_vec();
    let mut check = Check::default();
    let mut progress = Instant::now();
    loop {
        let before = check.read;
        for (place, position) in positions.iter_mut().enumerate() {
            let (topic, queue) = (place as u64 / u64::from(shape.queues), place as u32 % shape.queues);
            let topic = shape.topics.name(topic);
            let pull = Pull {
                group: GROUP,
                topic: &topic,
                queue,
                filter: &Filter::All,
                subscribed: false,
                count: 32,
                wait_millis: 0,
                commit: None,
            };
            loop {
                let (records, next) = caller.pull(&pull, *position)?;
                check.take(&records, &shape.bodies)?;
                if next <= *position {
                    break;
                }
                *position = next;
            }
        }
        if check.read > before {
            progress = Instant::now();
        }
        if check.result(sent).missing == 0 || progress.elapsed() > PATIENCE {
            return Ok(check);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Check {
    received: Numbers,
    duplicates: u64,
    damaged: u64,
    /// Messages of all kinds.
    read: u64,
}

impl Check {
    /// Looks at records that were pulled.
    pub(crate) fn take(&mut self, records: &[u8], bodies: &Bodies) -> Result<(), BenchError> {
        self.read += each(records, |record, _| {
            self.find(record, bodies);
        })?;
        Ok(())
    }

    /// Looks at one record; returns the number of its message when it is one of this run and comes for the
    /// first time.
    pub(crate) fn find(&mut self, record: &Record<'_>, bodies: &Bodies) -> Option<u64> {
        match bodies.find(record.body) {
            Found::Ours(number) if self.received.contains(number) => self.duplicates += 1,
            Found::Ours(number) => {
                self.received.insert(number);
                return Some(number);
            }
            Found::Damaged => self.damaged += 1,
            Found::Foreign => {}
        }
        None
    }

    /// Adds what another thread read of other queues.
    pub(crate) fn add(&mut self, other: Self) {
        self.received.add(other.received);
        self.duplicates += other.duplicates;
        self.damaged += other.damaged;
        self.read += other.read;
    }

    /// How many of these were received.
    pub(crate) fn received_of(&self, numbers: &Numbers) -> u64 {
        numbers.count_in(&self.received)
    }

    /// Compared with what the broker took.
    pub(crate) fn result(&self, sent: &Numbers) -> Verified {
        let (sent, received) = (sent.count(), sent.count_in(&self.received));
        Verified { sent, received, missing: sent - received, duplicates: self.duplicates, damaged: self.damaged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sets() {
        let (mut sent, mut received) = (Numbers::default(), Numbers::default());
        [1, 64, 65, 1000].into_iter().for_each(|number| sent.insert(number));
        [1, 65, 66].into_iter().for_each(|number| received.insert(number));
        assert_eq!((sent.count(), sent.count_in(&received)), (4, 2));
        assert!(sent.contains(64) && !sent.contains(63) && !received.contains(5000));
        received.add(sent);
        assert_eq!(received.count(), 5);
    }
}
