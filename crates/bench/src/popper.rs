//! Consumers by POP: each slot pops, then acknowledges what it got, one message after the other.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apogee_wire::codes::{request, response};
use apogee_wire::headers::{AckMessageRequestHeader, PopMessageRequestHeader, RpcFields};
use apogee_wire::{Command, frame};
use bytes::BytesMut;

use crate::caller::{Caller, code_and_remark};
use crate::consumer::{Shared, Sink, each};
use crate::engine::frames::{Answer, number, text};
use crate::engine::{Clock, Place, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;

/// How long a broker keeps a pop that finds nothing, as official clients ask for, in milliseconds.
const WAIT_MILLIS: i64 = 15_000;
/// All queues of a topic, in whichever order the broker likes.
const ANY_QUEUE: i32 = -1;
/// Most that a pop may ask for.
pub(crate) const MOST: u32 = 32;

/// Where a group that is new begins (upstream `ConsumeInitMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    First = 0,
    Last = 1,
}

/// When a message counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// When it was popped; it is acknowledged, too.
    Popped,
    /// When it was popped; it is left alone, and is in flight from then on.
    Kept,
    /// When its acknowledgement is answered.
    Acknowledged,
}

/// What is popped, and how.
#[derive(Debug, Clone)]
pub(crate) struct Popping {
    pub topic: String,
    pub group: String,
    /// The broker's name, which is part of a message's handle.
    pub broker: String,
    /// Messages at most in an answer.
    pub count: u32,
    /// Seconds for which nobody else gets a message that was popped.
    pub invisible: u32,
    pub begin: Begin,
    pub counted: Counted,
    pub clock: Clock,
}

impl Popping {
    /// Asks for messages of a queue, and waits for them as long as told, in milliseconds.
    fn request(&self, queue_id: i32, wait: i64, now: u64) -> Command {
        Command::request(request::POP_MESSAGE).with_header(&PopMessageRequestHeader {
            consumer_group: &self.group,
            topic: &self.topic,
            queue_id,
            max_msg_nums: self.count as i32,
            invisible_time: i64::from(self.invisible) * 1000,
            poll_time: wait,
            born_time: self.clock.wall_millis(now) as i64,
            init_mode: self.begin as i32,
            exp_type: Some("TAG"),
            exp: Some("*"),
            order: Some(false),
            attempt_id: None,
            rpc: RpcFields::default(),
        })
    }

    fn acknowledge(&self, delivery: &Delivery) -> Command {
        Command::request(request::ACK_MESSAGE).with_header(&AckMessageRequestHeader {
            consumer_group: &self.group,
            topic: &self.topic,
            queue_id: delivery.queue,
            extra_info: &delivery.handle,
            offset: delivery.offset,
            lite_topic: None,
            rpc: RpcFields::default(),
        })
    }

    /// Makes the group known in each queue, so that from then on it misses nothing.
    pub(crate) fn introduce(&self, caller: &mut Caller, queues: u32) -> Result<(), BenchError> {
        for queue in 0..queues {
            let answer = caller.call(self.request(queue as i32, 0, self.clock.now()))?;
            if answer.code != response::SUCCESS && !is_nothing(answer.code) {
                return Err(BenchError::new(format!("the broker refuses a pop: {}", code_and_remark(&answer))));
            }
        }
        Ok(())
    }
}

/// Whether a code says that there is no message, not that the pop failed.
fn is_nothing(code: i32) -> bool {
    [response::PULL_NOT_FOUND, response::POLLING_TIMEOUT].contains(&code)
}

/// A message that a pop brought: where it is, and what names this delivery (upstream `ExtraInfoUtil`).
#[derive(Debug)]
struct Delivery {
    queue: i32,
    offset: i64,
    handle: String,
}

/// What one slot does: it pops, then acknowledges what it got, one after the other.
#[derive(Debug, Default)]
struct Slot {
    /// Not acknowledged yet.
    held: VecDeque<Delivery>,
    /// The request on its way is an acknowledgement.
    acknowledges: bool,
}

/// Pops of one thread's connections.
pub(crate) struct Popper<S> {
    popping: Popping,
    /// What counts, over all threads.
    shared: Arc<Shared>,
    slots: Vec<Vec<Slot>>,
    /// What is made of messages.
    pub sink: S,
    failed: Option<BenchError>,
}

impl<S: Sink> Popper<S> {
    pub(crate) fn new(popping: Popping, shared: Arc<Shared>, sink: S) -> Self {
        Self { popping, shared, slots: Vec::new(), sink, failed: None }
    }

    fn slot(&mut self, place: Place) -> &mut Slot {
        self.slots.resize_with(self.slots.len().max(place.link + 1), Vec::new);
        let slots = &mut self.slots[place.link];
        slots.resize_with(slots.len().max(place.slot as usize + 1), Slot::default);
        &mut slots[place.slot as usize]
    }

    /// Whether all that are to be popped were, when what counts is to come of them only later.
    fn has_enough(&self) -> bool {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        self.popping.counted != Counted::Popped && load(&self.shared.popped) >= load(&self.shared.enough)
    }

    /// The messages of an answer, with their handles.
    fn deliveries(&self, header: &[u8], body: &[u8]) -> Result<VecDeque<Delivery>, BenchError> {
        let info = Info::read(header)
            .ok_or_else(|| BenchError::new("the answer to a pop does not say what its messages' handles are"))?;
        let (mut deliveries, mut strange) = (VecDeque::new(), None);
        each(body, |record, _| {
            let (queue, offset) = (record.queue_id, record.queue_offset);
            match info.handle(&self.popping.broker, queue, offset) {
                Some(handle) => deliveries.push_back(Delivery { queue, offset, handle }),
                None => strange = Some((record.topic.to_owned(), queue, offset)),
            }
        })?;
        match strange {
            None => Ok(deliveries),
            Some((topic, queue, offset)) => Err(BenchError::new(format!(
                "a pop brought offset {offset} of queue {queue} of {topic}, and its header says nothing of it: was it \
                 not acknowledged within {} s?",
                self.popping.invisible
            ))),
        }
    }

    fn take(
        &mut self,
        place: Place,
        header: &[u8],
        body: &[u8],
        timing: Timing,
        tally: &mut Tally,
    ) -> Result<(), BenchError> {
        let deliveries = self.deliveries(header, body)?;
        self.shared.popped.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
        tally.bytes += body.len() as u64;
        let count = self.sink.take(body, timing, tally)?;
        if self.popping.counted != Counted::Acknowledged {
            tally.messages += count;
            self.shared.received.fetch_add(count, Ordering::Relaxed);
        }
        if self.popping.counted != Counted::Kept {
            self.slot(place).held = deliveries;
        }
        Ok(())
    }
}

impl<S: Sink> Traffic for Popper<S> {
    fn request(&mut self, place: Place, now: u64, out: &mut BytesMut) -> bool {
        let slot = self.slot(place);
        let next = slot.held.pop_front();
        slot.acknowledges = next.is_some();
        let mut command = match next {
            Some(delivery) => self.popping.acknowledge(&delivery),
            None if self.has_enough() => return false,
            None => self.popping.request(ANY_QUEUE, WAIT_MILLIS, now),
        };
        command.opaque = place.opaque();
        frame::encode(&command, out);
        true
    }

    fn answer(&mut self, place: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        let acknowledges = self.slot(place).acknowledges;
        if acknowledges && self.popping.counted == Counted::Acknowledged {
            // Refused or not: it is done with.
            self.shared.received.fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Answer::Other(command) if !acknowledges && is_nothing(command.code) => {}
            Answer::Other(command) => return Verdict::Failed(code_and_remark(command)),
            Answer::Success { .. } if acknowledges => {
                tally.messages += u64::from(self.popping.counted == Counted::Acknowledged);
            }
            Answer::Success { header, body } => {
                self.failed = self.take(place, header, body, timing, tally).err().or(self.failed.take());
            }
        }
        Verdict::Next
    }

    fn is_over(&mut self, now: u64) -> bool {
        self.shared.is_over(now)
    }

    fn abandons(&self) -> bool {
        true
    }

    fn failure(&mut self) -> Option<BenchError> {
        self.failed.take()
    }
}

/// What the header of a pop's answer says of its messages.
struct Info<'h> {
    pop_time: i64,
    invisible: i64,
    revive_queue: i64,
    /// The first offset of each queue.
    starts: HashMap<i32, &'h str>,
}

impl<'h> Info<'h> {
    fn read(header: &'h [u8]) -> Option<Self> {
        // `flag queue offset`, separated by semicolons; flag 0 is the topic itself, others are what comes again.
        let start = |entry: &'h str| {
            let mut parts = entry.strip_prefix("0 ")?.split(' ');
            Some((parts.next()?.parse().ok()?, parts.next()?))
        };
        Some(Self {
            pop_time: number(header, "popTime")?,
            invisible: number(header, "invisibleTime")?,
            revive_queue: number(header, "reviveQid")?,
            starts: text(header, "startOffsetInfo")?.split(';').filter_map(start).collect(),
        })
    }

    fn handle(&self, broker: &str, queue: i32, offset: i64) -> Option<String> {
        let start = self.starts.get(&queue)?;
        let Self { pop_time, invisible, revive_queue, .. } = self;
        let mut handle = String::with_capacity(64 + broker.len());
        // Writing to a string does not fail.
        let _ = write!(handle, "{start} {pop_time} {invisible} {revive_queue} 0 {broker} {queue} {offset}");
        Some(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_made_of_what_the_answer_says() {
        let header = br#"{"code":0,"extFields":{"popTime":"1700","invisibleTime":"60000","reviveQid":"3","startOffsetInfo":"0 1 7;0 12 40;1 1 9"}}"#;
        let info = Info::read(header).unwrap();
        assert_eq!(info.handle("b", 1, 8).as_deref(), Some("7 1700 60000 3 0 b 1 8"));
        assert_eq!(info.handle("b", 12, 40).as_deref(), Some("40 1700 60000 3 0 b 12 40"));
        assert_eq!(info.handle("b", 2, 40), None);
        assert!(Info::read(br#"{"code":0,"extFields":{}}"#).is_none());
    }
}
