//! Which queues a pop looks into, and what it takes of each.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use apogee_message::light;
use apogee_message::record::Record;
use apogee_store::{Filter, ReadLimits, Verdict};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::in_order::Order;
use super::{ALL, Allowed, FROM_FIRST, MOST, Wanted};
use crate::broker::Broker;
use crate::clients::{Picker, Subscription};
use crate::pop::flight::{Begin, Delivery, Flight, Pop};
use crate::pop::handle::{Handle, Source};
use crate::pop::{again, limits};
use crate::topics::Topic;

/// Reads of one queue that find no match before others have their turn.
const MOST_READS: usize = 4;

/// The queues of a pop, in the order in which it looks into them.
pub(super) struct Places<'o> {
    group: Arc<str>,
    pub(super) places: Queues,
    order: Option<Order<'o>>,
}

type Queues = SmallVec<[Place; 16]>;
type Offsets = SmallVec<[i64; MOST as usize]>;

pub(super) struct Place {
    pub source: Source,
    pub topic: Arc<str>,
    pub queue: i32,
}

impl<'o> Places<'o> {
    /// `chance` decides where it begins. Popped in order, messages don't come again by retry topics.
    pub fn of(broker: &Broker, allowed: &Allowed, queue: i32, order: Option<Order<'o>>, chance: u64) -> Self {
        let Allowed { settings, topic, group, .. } = allowed;
        let by_priority = order.is_none() && chance % 100 < allowed.priority_factor;
        let retries = match by_priority {
            true => settings.pop_from_retry_probability_for_priority,
            false => settings.pop_from_retry_probability,
        };
        let retry_first = chance % 100 < retries;
        let turn = match by_priority {
            true if settings.priority_order_asc => Turn::LastFirst,
            true => Turn::From(0),
            false => Turn::From((chance / 100) as usize),
        };
        let mut places = SmallVec::new();
        if retry_first && order.is_none() {
            Self::push_retries(&mut places, broker, allowed, turn);
        }
        match queue {
            ..0 => push(&mut places, Source::Own, topic, 0..topic.config.read_queue_nums, turn),
            _ => push(&mut places, Source::Own, topic, queue..queue + 1, turn),
        }
        match order {
            Some(order) => order.sort(broker, group, &mut places),
            None if !retry_first => Self::push_retries(&mut places, broker, allowed, turn),
            None => {}
        }
        Self { group: Arc::clone(group), places, order }
    }

    /// Of queues of lite topics those that have something.
    pub fn of_lite(broker: &Broker, group: &Arc<str>, queues: &[Arc<str>], order: Order<'o>) -> Self {
        let place = |queue: &Arc<str>| Place { source: Source::Own, topic: Arc::clone(queue), queue: light::QUEUE };
        let has_some = |place: &Place| place.unread(broker, group, Some(order), FROM_FIRST).is_some();
        let mut places: Queues = queues.iter().map(place).filter(has_some).collect();
        order.sort(broker, group, &mut places);
        Self { group: Arc::clone(group), places, order: Some(order) }
    }

    fn push_retries(places: &mut Queues, broker: &Broker, allowed: &Allowed, turn: Turn) {
        let Allowed { settings, topic, group, .. } = allowed;
        if again::is_retry(&topic.name) {
            return;
        }
        let v2 = settings.enable_retry_topic_v2;
        let v1 = !v2 || settings.retrieve_message_from_pop_retry_topic_v1;
        for (source, _) in [(Source::Retry, v1), (Source::RetryV2, v2)].into_iter().filter(|(_, is_read)| *is_read) {
            if let Some(retry) = broker.topics.get(&source.topic(group, &topic.name)) {
                push(places, source, &retry, 0..retry.config.read_queue_nums, turn);
            }
        }
    }

    /// Whether there are messages that the group has not read.
    pub fn any_unread(&self, broker: &Broker, begin: i32) -> bool {
        self.places.iter().any(|place| place.unread(broker, &self.group, self.order, begin).is_some())
    }

    /// Queues with messages that the group has not read: topic, queue, where it goes on, end.
    pub fn unread<'p>(&'p self, broker: &'p Broker) -> impl Iterator<Item = (&'p str, i32, i64, i64)> {
        self.places.iter().filter_map(|place| {
            let (offset, end) = place.unread(broker, &self.group, self.order, FROM_FIRST)?;
            Some((&*place.topic, place.queue, offset, end))
        })
    }

    /// Whether there are messages that the group has not read and wants.
    pub fn any_wanted(&self, broker: &Broker, subscription: &Subscription) -> bool {
        const ONE: ReadLimits = ReadLimits { messages: 1, bytes: usize::MAX, cold_messages: 1, cold_bytes: usize::MAX };
        self.places.iter().any(|place| {
            let Some((offset, end)) = place.unread(broker, &self.group, self.order, FROM_FIRST) else { return false };
            // What cannot be known without the disk may be.
            if place.source != Source::Own
                || subscription.is_of_all()
                || broker.store.may_wait(&place.topic, place.queue, offset)
            {
                return true;
            }
            let read = broker.store.read(&place.topic, place.queue, offset, ONE, &mut subscription.picker());
            read.messages > 0 || read.next_offset < end
        })
    }
}

/// Which of a topic's queues is looked into first.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// One of them, and then those behind it.
    From(usize),
    /// The last, and then those before it.
    LastFirst,
}

fn push(places: &mut Queues, source: Source, topic: &Topic, queues: Range<i32>, turn: Turn) {
    let place = |queue| Place { source, topic: Arc::clone(&topic.name), queue };
    match turn {
        Turn::From(first) => {
            let count = queues.len();
            places.extend(queues.cycle().skip(first % count.max(1)).take(count).map(place));
        }
        Turn::LastFirst => places.extend(queues.rev().map(place)),
    }
}

impl Place {
    /// Where the group goes on and where the queue ends, if there are messages between and nobody reads them now.
    pub(super) fn unread(
        &self,
        broker: &Broker,
        group: &str,
        order: Option<Order<'_>>,
        begin: i32,
    ) -> Option<(i64, i64)> {
        let (_, end) = broker.store.queue_range(&self.topic, self.queue)?;
        if let Some(order) = order {
            let committed = broker.offsets.query(group, &self.topic, self.queue);
            let committed = committed.unwrap_or_else(|| self.first(broker, begin));
            return order
                .open(broker, self.of(group), committed)
                .filter(|offset| *offset < end)
                .map(|offset| (offset, end));
        }
        let known = {
            let flight = broker.pop.flight(group, &self.topic);
            if is_full(broker, &flight, group, &self.topic, self.queue) {
                return None;
            }
            flight.progress(group, &self.topic, self.queue)
        };
        let offset = match known {
            Some(progress) if progress.is_read => return None,
            Some(progress) => progress.cursor,
            None => broker.offsets.query(group, &self.topic, self.queue).unwrap_or_else(|| self.first(broker, begin)),
        };
        (offset < end).then_some((offset, end))
    }

    /// Where a group begins that has no offset.
    pub(super) fn first(&self, broker: &Broker, begin: i32) -> i64 {
        let (min, max) = broker.store.queue_range(&self.topic, self.queue).unwrap_or_default();
        if begin == FROM_FIRST || self.source != Source::Own {
            return min;
        }
        let in_memory = broker.settings.load().init_pop_offset_by_check_msg_in_mem;
        match in_memory && min <= 0 && !broker.store.is_cold(&self.topic, self.queue, 0) {
            true => 0,
            false => (max - 1).max(0),
        }
    }
}

/// Whether so much of a queue is out to a group that it gets no more before something is settled.
fn is_full(broker: &Broker, flight: &Flight, group: &str, topic: &str, queue: i32) -> bool {
    broker.pop_limit().is_some_and(|limit| broker.pop.out(flight, group, topic, queue) >= limit)
}

/// What a pop brings.
#[derive(Default)]
pub(super) struct Found {
    pub pop_time: i64,
    pub revive_queue: i32,
    pub slices: Vec<Bytes>,
    pub messages: usize,
    pub bytes: usize,
    /// Messages that are left.
    pub rest: i64,
    /// First offsets and all offsets by source and queue, as answers have them.
    pub starts: String,
    pub offsets: String,
    /// How often messages were given out before, where they are popped in order.
    pub times: Option<String>,
    /// The same of each message.
    pub counts: Vec<i32>,
    /// Somebody else wanted to read the same queue meanwhile.
    pub is_wanted: bool,
    /// It would have to wait for the disk.
    pub is_cold: bool,
    /// It looked at much that does not match, and not at all.
    pub is_cut_short: bool,
}

impl Wanted<'_> {
    pub(super) fn collect(&self, broker: &Broker, may_wait: bool) -> Found {
        let turn = broker.pop.turn();
        let now = broker.now();
        let queues = self.allowed.settings.revive_queue_num.max(1);
        let revive_queue = (turn % queues as u64) as i32;
        let mut found = Found { pop_time: now, revive_queue, ..Found::default() };
        for place in &self.places(broker).places {
            if found.messages >= self.most() || found.bytes >= self.most_bytes() {
                found.rest += place
                    .unread(broker, &self.allowed.group, None, self.header.init_mode)
                    .map_or(0, |(at, end)| end - at);
                continue;
            }
            self.take(broker, place, may_wait, &mut found);
        }
        found
    }

    pub(super) fn most(&self) -> usize {
        self.header.max_msg_nums.clamp(1, MOST) as usize
    }

    pub(super) fn most_bytes(&self) -> usize {
        self.allowed.settings.max_transfer_bytes_on_message_in_memory
    }

    /// Takes what one queue has, up to what is wanted.
    fn take(&self, broker: &Broker, place: &Place, may_wait: bool, found: &mut Found) {
        let Place { source, topic, queue } = place;
        let (group, queue) = (&*self.allowed.group, *queue);
        let Some((_, end)) = broker.store.queue_range(topic, queue) else { return };
        let delivery = Delivery { group, topic, queue, offset: 0, pop_time: 0 };
        let known = broker.offsets.query(group, topic, queue);
        let first = known.map_or_else(|| place.first(broker, self.header.init_mode), |_| 0);
        let begin = {
            let mut flight = broker.pop.flight(group, topic);
            if is_full(broker, &flight, group, topic, queue) {
                found.rest += known.map_or(0, |known| end - known);
                return;
            }
            let committed = broker.popped_to(delivery).unwrap_or_else(|| {
                broker.offsets.commit(group, topic, queue, first);
                first
            });
            flight.begin(group, topic, queue, committed, end, found.pop_time)
        };
        let Begin::From { lane, offset, but_for } = begin else { return };
        let pop = Pop {
            now_ms: found.pop_time,
            pop_time: found.pop_time,
            invisible: self.header.invisible_time,
            revive_queue: found.revive_queue,
            suspend: false,
        };
        let (next, mut slices, offsets) =
            self.read(broker, place, offset..end, MOST as usize, &but_for, may_wait, found);
        let limits = limits(&self.allowed.settings);
        let taken = {
            let mut flight = broker.pop.flight(group, topic);
            let taken = flight.took(lane, &offsets, next, pop, limits);
            broker.commit(taken.floor);
            taken.is_wanted
        };
        found.is_wanted |= taken;
        found.rest += (end - next).max(0);
        let Some(start) = offsets.first() else { return };
        if self.header.invisible_time < super::SOON_MS {
            broker.pop.bell.ring();
        }
        found.add_place(*source, queue, *start, &offsets);
        found.messages += offsets.len();
        found.bytes += slices.iter().map(Bytes::len).sum::<usize>();
        if *source == Source::Own || self.allowed.settings.pop_response_return_actual_retry_topic {
            found.slices.append(&mut slices);
            return;
        }
        let name = broker.name();
        let handle = Handle {
            start: *start,
            pop_time: found.pop_time,
            invisible: self.header.invisible_time,
            revive_queue: found.revive_queue,
            source: *source,
            broker: &name,
            queue,
            offset: None,
        };
        let (mut arena, own) = (BytesMut::new(), &self.allowed.topic.name);
        found
            .slices
            .extend(again::records(&slices).filter_map(|record| again::as_of(own, &record, handle, &mut arena)));
    }

    /// Reads a queue until something matches: where the reading ended, what matches, and its offsets. `most`: messages at most.
    #[allow(clippy::too_many_arguments)] // The parts of one reading.
    pub(super) fn read(
        &self,
        broker: &Broker,
        place: &Place,
        range: Range<i64>,
        most: usize,
        but_for: &[i64],
        may_wait: bool,
        found: &mut Found,
    ) -> (i64, Vec<Bytes>, Offsets) {
        let Place { source, topic, queue } = place;
        let (queue, mut offset, mut slices, mut reads) = (*queue, range.start, Vec::new(), 0);
        while offset < range.end && slices.is_empty() {
            if reads == MOST_READS {
                found.is_cut_short = true;
                break;
            }
            if !may_wait && broker.store.may_wait(topic, queue, offset) {
                found.is_cold = true;
                break;
            }
            let all;
            let subscription = match source {
                Source::Own => &*self.subscription,
                _ => {
                    all = Subscription::to_tags(topic, ALL, 0);
                    &all
                }
            };
            let mut sieve = Sieve { queue: topic, picker: subscription.picker(), but_for };
            let read = broker.store.read(topic, queue, offset, self.limits(found, most), &mut sieve);
            if may_wait {
                crate::handlers::answer::touch(&read.slices);
            }
            if read.next_offset <= offset && read.messages == 0 {
                break;
            }
            (offset, slices, reads) = (read.next_offset, read.slices, reads + 1);
        }
        let offsets = match light::is_light(topic) {
            true => again::light_offsets(&slices, topic).collect(),
            false => again::offsets(&slices).collect(),
        };
        (offset, slices, offsets)
    }

    fn limits(&self, found: &Found, most: usize) -> ReadLimits {
        let settings = &self.allowed.settings;
        let messages = most.min(self.most() - found.messages);
        ReadLimits {
            messages: messages.min(settings.max_transfer_count_on_message_in_memory),
            bytes: self.most_bytes() - found.bytes,
            cold_messages: messages.min(settings.max_transfer_count_on_message_in_disk),
            cold_bytes: settings.max_transfer_bytes_on_message_in_disk,
        }
    }
}

impl Found {
    pub(super) fn add_place(&mut self, source: Source, queue: i32, start: i64, offsets: &[i64]) {
        let flag = source.flag();
        let semicolon = if self.starts.is_empty() { "" } else { ";" };
        // Writing to a text cannot fail.
        let _ = write!(self.starts, "{semicolon}{flag} {queue} {start}");
        let _ = write!(self.offsets, "{semicolon}{flag} {queue} ");
        for (number, offset) in offsets.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(self.offsets, "{comma}{offset}");
        }
    }
}

/// What a subscription wants, but for what is acknowledged.
struct Sieve<'s> {
    queue: &'s str,
    picker: Picker<'s>,
    but_for: &'s [i64],
}

impl Filter for Sieve<'_> {
    fn by_unit(&mut self, tag_code: i64) -> bool {
        self.picker.by_unit(tag_code)
    }

    fn by_record(&mut self, record: &Record<'_>) -> Verdict {
        let offset = if light::is_light(self.queue) { light::offset_in(record, self.queue) } else { None };
        match self.but_for.binary_search(&offset.unwrap_or(record.queue_offset)) {
            Ok(_) => Verdict::Skip,
            Err(_) => self.picker.by_record(record),
        }
    }
}
