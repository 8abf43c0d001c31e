//! Acknowledging what was popped: `ACK_MESSAGE`, `BATCH_ACK_MESSAGE` (upstream `AckMessageProcessor`).

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{BatchAck, BatchAckMessageRequestBody, Body};
use apogee_wire::codes::response;
use apogee_wire::headers::AckMessageRequestHeader;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::answer::{self, Answer};
use super::MOST;
use super::lite::topic_of;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::pop::flight::{Acked, Delivery, Flight};
use crate::pop::handle::{Handle, IN_ORDER, Source};
use crate::pop::notes::{Acks, Key};

/// How long after its time a message may be acknowledged that the log knows as popped.
const GRACE_MS: i64 = 1_000;
/// Bytes of the bits of one batch: as many messages as a pop brings, each of which may be the largest batch.
const MOST_BITS: usize = MOST as usize * (i16::MAX as usize + 1) / 8;
/// Messages that are acknowledged at once.
const MOST_AT_ONCE: u32 = 4_096;

/// A delivery, as a request names it and checked against the queue that it is of.
pub(super) struct Named<'r> {
    pub group: &'r str,
    /// The topic that the message is stored in.
    pub topic: String,
    pub offset: i64,
    pub handle: Handle<'r>,
}

/// `ACK_MESSAGE`: a message is consumed.
pub(crate) fn ack(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: AckMessageRequestHeader<'_> = request.header()?;
    let AckMessageRequestHeader { consumer_group, topic, queue_id, extra_info, offset, lite_topic, .. } = header;
    let topic = &*topic_of(broker, consumer_group, topic, lite_topic, extra_info)?;
    Named::of(broker, consumer_group, topic, queue_id, extra_info, offset)?.ack(broker)?;
    answer::done(request)
}

/// `BATCH_ACK_MESSAGE`: messages are consumed. All that can be is acknowledged; if any cannot, the answer says why.
pub(crate) fn ack_batch(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let body = BatchAckMessageRequestBody::decode(&request.body)?;
    let name = body.broker_name.unwrap_or_else(|| broker.name());
    if body.acks.is_empty() {
        return Err(BrokerError::new(response::NO_MESSAGE, "an acknowledgement of no message"));
    }
    let mut failed = Ok(());
    for batch in &body.acks {
        let acked = ack_each(broker, batch, &name);
        failed = failed.and(acked);
    }
    failed?;
    answer::done(request)
}

fn ack_each(broker: &Broker, batch: &BatchAck, name: &str) -> Result<(), BrokerError> {
    let illegal = |what: &str| {
        BrokerError::new(response::MESSAGE_ILLEGAL, format!("an acknowledgement of several messages is wrong: {what}"))
    };
    let group = batch.consumer_group.as_deref().ok_or_else(|| illegal("it has no group"))?;
    let topic = batch.topic.as_deref().ok_or_else(|| illegal("it has no topic"))?;
    let flag = batch.retry.as_deref().unwrap_or("0").parse().ok();
    let source = flag.and_then(Source::of).ok_or_else(|| illegal("its retry flag"))?;
    let bits = STANDARD.decode(batch.bit_set.as_deref().unwrap_or_default()).map_err(|_| illegal("its bits"))?;
    let count = || bits.iter().map(|byte| byte.count_ones()).sum::<u32>();
    if bits.len() > MOST_BITS || count() > MOST_AT_ONCE {
        return Err(illegal("it has too many bits"));
    }
    if batch.invisible_time < 0 || batch.pop_time < 0 || batch.start_offset < 0 || batch.revive_queue_id < 0 {
        return Err(illegal("it has a number that cannot be"));
    }
    let handle = Handle {
        start: batch.start_offset,
        pop_time: batch.pop_time,
        invisible: batch.invisible_time,
        revive_queue: batch.revive_queue_id,
        source,
        broker: name,
        queue: batch.queue_id,
        offset: None,
    };
    let mut failed = Ok(());
    for place in (0..bits.len() * 8).filter(|place| bits[place / 8] & 1 << (place % 8) != 0) {
        let offset = batch.start_offset.saturating_add(place as i64);
        let acked = Named::by(broker, group, topic, handle, offset).and_then(|named| named.ack(broker));
        failed = failed.and(acked);
    }
    failed
}

impl<'r> Named<'r> {
    pub fn of(
        broker: &Broker,
        group: &'r str,
        topic: &str,
        queue: i32,
        text: &'r str,
        offset: i64,
    ) -> Result<Self, BrokerError> {
        let illegal =
            |what: &str| BrokerError::new(response::MESSAGE_ILLEGAL, format!("the handle `{text}` is wrong: {what}"));
        let handle = Handle::read(text).map_err(illegal)?;
        if handle.queue != queue || handle.offset.is_some_and(|of| of != offset) {
            return Err(illegal("it is of another message"));
        }
        Self::by(broker, group, topic, handle, offset)
    }

    fn by(broker: &Broker, group: &'r str, topic: &str, handle: Handle<'r>, offset: i64) -> Result<Self, BrokerError> {
        let topic = handle.source.topic(group, topic);
        let queue = handle.queue;
        let known = broker.topics.get(&topic).ok_or_else(|| BrokerError::no_topic(&topic))?;
        let queues = known.config.read_queue_nums;
        if !(0..queues).contains(&queue) {
            let remark = format!("queueId[{queue}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}]");
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, remark));
        }
        let (min, max) = broker.store.queue_range(&topic, queue).unwrap_or_default();
        if offset < min.max(handle.start) || offset >= max {
            let remark = format!("offset is illegal, key:{topic}@{queue}, commit:{offset}, store:{min}~{max}");
            return Err(BrokerError::new(response::NO_MESSAGE, remark));
        }
        let ahead = handle.pop_time - broker.now();
        // Popped in order, the time tells which batch it is, and may be ahead of a clock that was put back.
        if handle.revive_queue != IN_ORDER && ahead > broker.settings.load().timer_max_delay_ms() {
            return Err(BrokerError::new(response::MESSAGE_ILLEGAL, "the handle is of a time to come"));
        }
        Ok(Self { group, topic, offset, handle })
    }

    pub fn delivery(&self) -> Delivery<'_> {
        let Handle { pop_time, queue, .. } = self.handle;
        Delivery { group: self.group, topic: &self.topic, queue, offset: self.offset, pop_time }
    }

    fn ack(&self, broker: &Broker) -> Result<(), BrokerError> {
        if self.is_in_order() {
            return self.ack_in_order(broker);
        }
        let (delivery, now, due) = (self.delivery(), broker.now(), self.handle.due());
        let (acked, makes_room) = {
            let mut flight = broker.pop.flight(self.group, &self.topic);
            let committed = broker.popped_to(delivery);
            match flight.ack(delivery, committed, due, now) {
                Acked::Done { floor, is_noted } => {
                    broker.commit(floor);
                    (Acked::Done { floor: None, is_noted }, self.makes_room(broker, &flight))
                }
                other => (other, false),
            }
        };
        let settled = match acked {
            Acked::Done { is_noted: false, .. } => Ok(()),
            // Said twice is as good as once, as long as it cannot have come again since.
            Acked::Before if now < due => Ok(()),
            Acked::Done { is_noted: true, .. } => self.note(broker),
            Acked::Elsewhere if now <= due.saturating_add(GRACE_MS) => return self.settle_noted(broker),
            other => Err(self.refusal(&other)),
        };
        if makes_room {
            self.wake_next(broker);
        }
        settled
    }

    /// Settles a message that is noted in the log.
    fn settle_noted(&self, broker: &Broker) -> Result<(), BrokerError> {
        self.note(broker)?;
        let makes_room = {
            let flight = broker.pop.flight(self.group, &self.topic);
            self.makes_room(broker, &flight)
        };
        if makes_room {
            self.wake_next(broker);
        }
        Ok(())
    }

    /// Whether this was the last message too many of those that are out.
    fn makes_room(&self, broker: &Broker, flight: &Flight) -> bool {
        let out = || broker.pop.out(flight, self.group, &self.topic, self.handle.queue);
        broker.pop_limit().is_some_and(|limit| out() + 1 == limit)
    }

    fn wake_next(&self, broker: &Broker) {
        super::wake(broker, broker.pop.waiters.next_of(self.group, &self.topic));
    }

    /// Has the acknowledgement noted in the log.
    pub fn note(&self, broker: &Broker) -> Result<(), BrokerError> {
        let Handle { start, pop_time, revive_queue, queue, broker: name, .. } = self.handle;
        let key = Key {
            group: self.group.to_owned(),
            topic: self.topic.clone(),
            queue,
            start,
            pop_time,
            broker: name.to_owned(),
        };
        let queues = broker.settings.load().revive_queue_num.max(1);
        let acks =
            Acks { key, offsets: vec![self.offset], due: self.handle.due(), revive_queue: revive_queue % queues };
        match broker.pop.note(acks) {
            true => Ok(()),
            false => {
                let remark = "too many acknowledgements wait to be noted: try again";
                Err(BrokerError::new(response::SYSTEM_BUSY, remark))
            }
        }
    }

    /// Why a delivery cannot be settled.
    pub fn refusal(&self, acked: &Acked) -> BrokerError {
        let Self { group, topic, offset, handle } = self;
        let why = match acked {
            Acked::Again => "was given out again since, and is named by a newer handle",
            Acked::Never => "was not given out by this handle",
            Acked::Done { .. } | Acked::Before | Acked::Elsewhere | Acked::Revived => {
                "cannot be settled any more: the handle has expired, and what was not acknowledged comes again"
            }
        };
        let queue = handle.queue;
        let remark = format!("message {offset} of queue {queue} of topic {topic} for group {group} {why}");
        BrokerError::new(response::NO_MESSAGE, remark)
    }
}
