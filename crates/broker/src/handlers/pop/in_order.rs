//! Popping in order: of each queue a group has one batch at a time.

use std::fmt::Write;
use std::sync::Arc;

use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader};
use bytes::Bytes;

use super::super::answer;
use super::collect::{Found, Place, Places};
use super::settle::Named;
use super::{MOST, Wanted, wake};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::pop::flight::{Delivery as Queue, Floor};
use crate::pop::handle::IN_ORDER;
use crate::pop::ordered::{Acked, Begin, Delivery, Place as Lane, Pop};

/// Bytes of the name of an attempt.
const MOST_ATTEMPT: usize = 255;

/// How a pop in order is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'r> {
    /// Which attempt it is: one that has messages gets them again.
    attempt: Option<&'r str>,
}

impl<'r> Order<'r> {
    /// What a request says; `None`: any order will do.
    pub fn of(is_in_order: Option<bool>, attempt: Option<&'r str>) -> Result<Option<Self>, BrokerError> {
        if attempt.is_some_and(|attempt| attempt.len() > MOST_ATTEMPT) {
            let remark = format!("attemptId is longer than {MOST_ATTEMPT} bytes");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        let attempt = attempt.filter(|attempt| !attempt.is_empty());
        Ok((is_in_order == Some(true)).then_some(Self { attempt }))
    }

    /// The attempt, for one that waits.
    pub fn to_wait(self) -> Option<Arc<str>> {
        self.attempt.map(Arc::from)
    }

    /// Puts queues first that this attempt has messages of.
    pub fn sort(self, broker: &Broker, group: &str, places: &mut [Place]) {
        if self.attempt.is_some() {
            let orders = broker.pop.orders.lock();
            places.sort_by_key(|place| !orders.is_of(place.of(group), self.attempt));
        }
    }

    /// Where a pop of a queue goes on, if it may.
    pub fn open(self, broker: &Broker, lane: Lane<'_>, committed: i64) -> Option<i64> {
        broker.pop.orders.lock().open(lane, committed, self.attempt, broker.now())
    }

    /// Wakes those that may get something now: `has_some`: this attempt got messages, which all its requests get.
    pub fn wake(self, broker: &Broker, group: &str, topic: &str, queue: i32, has_some: bool) {
        if has_some && let Some(attempt) = self.attempt {
            wake(broker, broker.pop.waiters.of_attempt(group, topic, attempt));
        }
        wake(broker, broker.pop.waiters.next_in_order(group, topic, queue));
    }
}

impl Place {
    pub fn of<'n>(&'n self, group: &'n str) -> Lane<'n> {
        Lane { group, topic: &self.topic, queue: self.queue }
    }
}

impl Wanted<'_> {
    pub(super) fn collect_in_order(&self, broker: &Broker, order: Order<'_>, may_wait: bool) -> Found {
        let group = &*self.allowed.group;
        let Places { places, .. } = self.places(broker);
        let pop_time = {
            let lanes = places.iter().map(|place| place.of(group));
            broker.pop.orders.lock().pop_time(lanes, broker.now())
        };
        let mut found = Found { pop_time, revive_queue: IN_ORDER, times: Some(String::new()), ..Found::default() };
        for place in &places {
            if found.messages >= self.most() || found.bytes >= self.most_bytes() {
                let unread = place.unread(broker, group, Some(order), self.header.init_mode);
                found.rest += unread.map_or(0, |(offset, end)| end - offset);
                continue;
            }
            self.take_in_order(broker, place, order, may_wait, &mut found);
        }
        found
    }

    fn take_in_order(&self, broker: &Broker, place: &Place, order: Order<'_>, may_wait: bool, found: &mut Found) {
        let group = &*self.allowed.group;
        let Place { source, topic, queue } = place;
        let Some((_, end)) = broker.store.queue_range(topic, *queue) else { return };
        let lane = place.of(group);
        let pop = Pop {
            now_ms: broker.now(),
            pop_time: found.pop_time,
            invisible: self.header.invisible_time,
            attempt: order.attempt,
        };
        let known = broker.offsets.query(group, topic, *queue);
        let first = known.map_or_else(|| place.first(broker, self.header.init_mode), |_| 0);
        let (begin, committed) = {
            let mut orders = broker.pop.orders.lock();
            let committed = broker.in_order_to(lane).unwrap_or_else(|| {
                broker.offsets.commit(group, topic, *queue, first);
                first
            });
            (orders.begin(lane, committed, end, pop), committed)
        };
        let Begin::From { offset, most, but_for } = begin else { return };
        let most = most.min(MOST as usize);
        let (next, mut slices, offsets) = self.read(broker, place, offset..end, most, &but_for, may_wait, found);
        let taken = {
            let mut orders = broker.pop.orders.lock();
            let taken = orders.took(lane, &offsets, next, pop);
            broker.commit_in_order(lane, committed, taken.floor);
            taken
        };
        found.rest += (end - next).max(0);
        let Some(start) = offsets.first() else {
            found.is_wanted |= taken.is_wanted;
            return;
        };
        if self.header.invisible_time < super::SOON_MS {
            broker.pop.bell.ring();
        }
        found.add_place(*source, *queue, *start, &offsets);
        found.add_times(source.flag(), *queue, &offsets, &taken.times);
        let times = |offset: &i64| taken.times.iter().find(|(of, _)| of == offset).map_or(0, |(_, count)| *count);
        found.counts.extend(offsets.iter().map(times));
        found.messages += offsets.len();
        found.bytes += slices.iter().map(Bytes::len).sum::<usize>();
        found.slices.append(&mut slices);
    }
}

impl Found {
    /// Adds how often messages of a queue were given out before: of each, and the least of all, which is what older
    /// clients look at.
    fn add_times(&mut self, flag: i32, queue: i32, offsets: &[i64], times: &[(i64, i32)]) {
        let text = self.times.get_or_insert_default();
        // Writing to a text cannot fail.
        for (offset, count) in times {
            let _ = write!(text, "{}{flag} qo{queue}%{offset} {count}", separator(text));
        }
        let least = times.iter().map(|(_, count)| *count).min().filter(|_| times.len() == offsets.len());
        let _ = write!(text, "{}{flag} {queue} {}", separator(text), least.unwrap_or(0));
    }
}

fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { ";" }
}

impl Broker {
    /// Where a group is in a queue, by what is committed or where an administrator wants it. Under the lock of what is
    /// held in order.
    fn in_order_to(&self, Lane { group, topic, queue }: Lane<'_>) -> Option<i64> {
        self.popped_to(Queue { group, topic, queue, offset: 0, pop_time: 0 })
    }

    fn commit_in_order(&self, Lane { group, topic, queue }: Lane<'_>, before: i64, offset: Option<i64>) {
        let offset = offset.filter(|offset| *offset != before);
        self.commit(offset.map(|offset| Floor { group: group.into(), topic: topic.into(), queue, offset, before }));
    }
}

impl Named<'_> {
    pub(super) fn is_in_order(&self) -> bool {
        self.handle.revive_queue == IN_ORDER
    }

    fn lane(&self) -> Lane<'_> {
        Lane { group: self.group, topic: &self.topic, queue: self.handle.queue }
    }

    fn in_order(&self, broker: &Broker) -> Delivery {
        let end = self.offset + broker.messages_at(&self.topic, self.handle.queue, self.offset);
        Delivery { offset: self.offset, end, pop_time: self.handle.pop_time, due: self.handle.due() }
    }

    pub(super) fn ack_in_order(&self, broker: &Broker) -> Result<(), BrokerError> {
        let (lane, delivery) = (self.lane(), self.in_order(broker));
        let acked = {
            let mut orders = broker.pop.orders.lock();
            let committed = broker.in_order_to(lane);
            let acked = orders.ack(lane, delivery, committed, broker.now());
            if let (Acked::Done { floor, .. }, Some(committed)) = (&acked, committed) {
                broker.commit_in_order(lane, committed, Some(*floor));
            }
            acked
        };
        match acked {
            Acked::Done { is_free, .. } => {
                if is_free {
                    wake(broker, broker.pop.waiters.next_in_order(lane.group, lane.topic, lane.queue));
                    broker.wake_lite(lane.topic, Some(lane.group));
                }
                Ok(())
            }
            // Said twice is as good as once.
            Acked::Before => Ok(()),
            Acked::Again | Acked::Never => Err(self.refusal_in_order(&acked)),
        }
    }

    pub(super) fn change_in_order(
        &self,
        broker: &Broker,
        request: &Command,
        header: &ChangeInvisibleTimeRequestHeader<'_>,
    ) -> Result<Command, BrokerError> {
        let (lane, delivery, now) = (self.lane(), self.in_order(broker), broker.now());
        let how = (header.invisible_time, header.suspend == Some(true));
        let changed = {
            let mut orders = broker.pop.orders.lock();
            let committed = broker.in_order_to(lane);
            orders.change(lane, delivery, committed, how, now)
        };
        let visible_at = changed.map_err(|acked| self.refusal_in_order(&acked))?;
        if header.invisible_time < super::SOON_MS {
            broker.pop.bell.ring();
        }
        let header = ChangeInvisibleTimeResponseHeader {
            pop_time: self.handle.pop_time,
            invisible_time: visible_at.saturating_sub(self.handle.pop_time),
            revive_qid: IN_ORDER,
        };
        Ok(answer::success(request).with_header(&header))
    }

    fn refusal_in_order(&self, acked: &Acked) -> BrokerError {
        let (code, why) = match acked {
            Acked::Again => (response::NO_MESSAGE, "was given out again since, and is named by a newer handle"),
            Acked::Never => (response::MESSAGE_ILLEGAL, "is not one of those that its group was given in order"),
            Acked::Before | Acked::Done { .. } => (response::NO_MESSAGE, "was acknowledged before"),
        };
        let Lane { group, topic, queue } = self.lane();
        let remark = format!("message {} of queue {queue} of topic {topic} for group {group} {why}", self.offset);
        BrokerError::new(code, remark)
    }
}
