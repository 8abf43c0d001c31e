//! How far groups are that pop: what is in flight, and what they have not come to.

use apogee_message::record::Record;

use super::ordered::Place;
use super::{again, handle};
use crate::broker::Broker;

/// How a group that pops is with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Popping {
    /// The next message to be popped: so many were, or were passed over.
    pub cursor: i64,
    /// Messages that were popped and neither acknowledged nor given back.
    pub in_flight: i64,
    /// The first message that is not consumed.
    pub first: i64,
}

impl Broker {
    /// How a group that pops is with a queue; `None` where it does not pop it. Exact but for moments in which a message is on
    /// its way from memory to the log or the retry topic.
    pub(crate) fn popping(&self, group: &str, topic: &str, queue: i32) -> Option<Popping> {
        let committed = self.offsets.query(group, topic, queue)?;
        if let Some(popping) = self.popping_in_order(Place { group, topic, queue }, committed) {
            return Some(popping);
        }
        let in_memory = self.pop.flight(group, topic).progress(group, topic, queue);
        // Whose offset somebody else moved is where that says.
        let in_memory = in_memory.filter(|progress| progress.committed == committed || progress.is_read);
        let (noted, first_noted) = self.pop.noted().out(group, topic, queue);
        if in_memory.is_none() && noted == 0 {
            return None;
        }
        let (cursor, out, first) =
            in_memory.map_or((committed, 0, None), |progress| (progress.cursor, progress.out, progress.first_out));
        let first = first.into_iter().chain(first_noted).fold(cursor, i64::min);
        let in_flight = if self.has_batches(handle::origin(group, topic).unwrap_or(topic)) {
            let mut offsets = self.pop.flight(group, topic).out(group, topic, queue);
            offsets.extend(self.pop.noted().offsets(group, topic, queue));
            offsets.into_iter().map(|offset| self.messages_at(topic, queue, offset)).sum()
        } else {
            (out + noted) as i64
        };
        Some(Popping { cursor, in_flight, first })
    }

    /// The same of a group that has messages in order. What of them has had its time counts as not popped.
    fn popping_in_order(&self, place: Place<'_>, committed: i64) -> Option<Popping> {
        let (held, open) = self.pop.orders.lock().outstanding(place, committed, self.now())?;
        let Place { topic, queue, .. } = place;
        let last = open.last().map_or(held.end, |last| last + self.messages_at(topic, queue, *last));
        let open = open.into_iter().map(|offset| self.messages_at(topic, queue, offset)).sum();
        let (end, first) = (held.end.max(last), held.floor);
        Some(match held.is_due {
            true => Popping { cursor: end - open, in_flight: 0, first },
            false => Popping { cursor: end, in_flight: open, first },
        })
    }

    fn has_batches(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.keeps_batches())
    }

    /// How many messages the record is that has an offset: more than one where it is a batch.
    pub(crate) fn messages_at(&self, topic: &str, queue: i32, offset: i64) -> i64 {
        let is_plain = !again::is_retry(topic) && !self.has_batches(topic);
        let unit = if is_plain { None } else { self.store.unit(topic, queue, offset) };
        let bytes = unit.filter(|unit| !unit.is_blank()).and_then(|unit| self.store.record_at(unit.physical_offset));
        let count = bytes.and_then(|bytes| Record::read(&bytes).ok().map(|record| record.messages()));
        count.map_or(1, i64::from)
    }
}
