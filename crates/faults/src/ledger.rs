//! What the load side knows: what it sent, what was promised to it, and what was seen in the store.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::load::{Place, Read, Told};

/// A message that the server said it has.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// The message.
    pub id: u64,
    /// When the answer was read.
    pub at: Instant,
}

/// One queue.
#[derive(Debug, Default)]
pub struct QueueLedger {
    /// Ids of the messages seen there after a start, by offset: they stay.
    pub seen: Vec<u64>,
    /// Acknowledged since: by the offset that was told.
    pub promised: BTreeMap<i64, Promise>,
    /// Read by the consumer since, by offset.
    pub read: BTreeMap<i64, u64>,
}

/// Where the consumer group is in a queue.
#[derive(Debug, Default)]
pub struct Committed {
    /// Found after the last start: it stays.
    pub floor: i64,
    /// Acknowledged since.
    pub acknowledged: Vec<(Instant, i64)>,
    /// The last that was asked for.
    pub asked: i64,
}

/// The whole store.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By topic and number.
    pub queues: BTreeMap<Place, QueueLedger>,
    /// Sent and not seen in the store yet.
    pub sent: HashMap<u64, Place>,
    /// Offsets of the consumer group.
    pub commits: BTreeMap<Place, Committed>,
    /// Messages acknowledged in all.
    pub acknowledged: u64,
}

impl Ledger {
    /// Takes what a load was told. Returns what contradicts itself already.
    pub fn take(&mut self, told: &Told) -> Vec<String> {
        let mut wrong = Vec::new();
        self.sent.extend(told.sent.iter().cloned());
        for answer in &told.acknowledged {
            self.acknowledged += answer.count;
            let queue = self.queues.entry(answer.place.clone()).or_default();
            for nth in 0..answer.count {
                let (offset, id) = (answer.offset + nth as i64, answer.first_id + nth);
                if let Some(other) = queue.promised.insert(offset, Promise { id, at: answer.at }) {
                    wrong.push(format!(
                        "{}: offset {offset} was told for message {:x} and for {id:x}",
                        show(&answer.place),
                        other.id
                    ));
                }
                if (offset as usize) < queue.seen.len() {
                    wrong.push(format!(
                        "{}: offset {offset} was told again, for message {id:x}; {} are taken",
                        show(&answer.place),
                        queue.seen.len()
                    ));
                }
            }
        }
        for Read { place, offset, id, .. } in &told.read {
            match id {
                Some(id) => _ = self.queues.entry(place.clone()).or_default().read.insert(*offset, *id),
                None => wrong.push(format!("{}: the consumer read wrong bytes at offset {offset}", show(place))),
            }
        }
        for (place, offset, acknowledged) in &told.commits {
            let commit = self.commits.entry(place.clone()).or_default();
            commit.asked = commit.asked.max(*offset);
            commit.acknowledged.extend(acknowledged.map(|at| (at, *offset)));
        }
        wrong
    }

    /// Where the consumer goes on in a queue.
    pub fn position(&self, place: &Place) -> i64 {
        self.queues.get(place).map_or(0, |queue| queue.seen.len() as i64)
    }
}

/// A queue for people.
pub fn show(place: &Place) -> String {
    format!("topic {} queue {}", place.0, place.1)
}
