//! `apogee bench pop`.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_wire::codes::{request, response};
use apogee_wire::headers::{AckMessageRequestHeader, PopMessageRequestHeader, RpcFields};
use apogee_wire::{Command, frame};
use bytes::BytesMut;
use clap::Args;
use serde::Serialize;

use super::consume::Read;
use crate::caller::{Caller, code_and_remark};
use crate::consumer::each;
use crate::engine::frames::{Answer, number, text};
use crate::engine::{Clock, Phase, Place, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;
use crate::options::Common;
use crate::report::Report;
use crate::run::Run;

/// How long a broker keeps a pop that finds nothing, as official clients ask for, in milliseconds.
const WAIT_MILLIS: i64 = 15_000;
/// All queues of a topic, in whichever order the broker likes.
const ANY_QUEUE: i32 = -1;
/// A group that is new begins with the oldest message (upstream `ConsumeInitMode.MIN`).
const FROM_FIRST: i32 = 0;

/// Pops all messages that a topic has when it begins, with --queues queues, by a group that is new, and
/// acknowledges each by a request of its own, as official clients do. Latency is that of pops that brought messages.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct PopArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Messages at most in the answer to a pop.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32))]
    pop_batch: u32,
    /// Seconds for which nobody else gets a message that was popped.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=43_200))]
    invisible: u32,
    /// Acknowledges nothing: all messages are in flight at the end.
    #[arg(long)]
    keep: bool,
}

/// Runs it.
pub(crate) fn run(mut options: PopArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    if !options.common.seconds_given {
        // It ends by itself.
        options.common.seconds = Some(0.0);
    }
    let in_flight = options.common.settle_in_flight();
    let common = &options.common;
    common.refuse(
        "pop",
        &[
            ("--rate", common.rate.is_some()),
            ("--size", common.size.is_some()),
            ("--warm-up", common.warm_up > 0),
            ("--verify with --messages", common.verify && common.messages > 0),
        ],
    )?;
    let mut caller = Caller::connect(common)?;
    let ends = (0..common.queues).map(|queue| caller.offsets(&common.topic, queue)).collect::<Result<Vec<_>, _>>()?;
    let there: i64 = ends.iter().map(|(first, end)| end - first).sum();
    let there = u64::try_from(there).unwrap_or_default();
    if there == 0 {
        return Err(BenchError::new(format!(
            "the {} queues of {} hold no message: send some before, or see --queues",
            common.queues, common.topic
        )));
    }
    let broker = caller.broker_name()?;
    let run = Run::start(common.clone());
    let shared = Arc::new(Shared {
        enough: common.limit().map_or(there, |limit| limit.min(there)),
        popped: AtomicU64::new(0),
        settled: AtomicU64::new(0),
        read: Mutex::default(),
    });
    let group = format!("ApogeeBenchPop-{:x}", run.clock.wall_nanos());
    let mut engines = run.engines(
        common.connections,
        |_| in_flight,
        |_| {
            Ok(Popper {
                options: options.clone(),
                group: group.clone(),
                broker: broker.clone(),
                clock: run.clock,
                shared: Arc::clone(&shared),
                slots: Vec::new(),
                failed: None,
            })
        },
    )?;
    let measured = run.phase("pop", &mut engines, |_| Phase { length: common.nanoseconds(), ..Phase::default() })?;
    let report = Report::new("pop", &options, &measured)?.with("popped", &shared.popped.load(Ordering::Relaxed))?;
    if !common.verify {
        return Ok(report);
    }
    let read = shared.read.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(report.with_verified(Some(read.result(there))))
}

/// What the threads of a run share.
#[derive(Debug)]
struct Shared {
    /// How many messages are popped.
    enough: u64,
    popped: AtomicU64,
    /// Acknowledged, or refused when they were to be.
    settled: AtomicU64,
    read: Mutex<Read>,
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

struct Popper {
    options: PopArgs,
    group: String,
    /// The broker's name, which is part of a handle.
    broker: String,
    clock: Clock,
    shared: Arc<Shared>,
    slots: Vec<Vec<Slot>>,
    failed: Option<BenchError>,
}

impl Popper {
    fn slot(&mut self, place: Place) -> &mut Slot {
        self.slots.resize_with(self.slots.len().max(place.link + 1), Vec::new);
        let slots = &mut self.slots[place.link];
        slots.resize_with(slots.len().max(place.slot as usize + 1), Slot::default);
        &mut slots[place.slot as usize]
    }

    fn pop(&self, now: u64) -> Command {
        Command::request(request::POP_MESSAGE).with_header(&PopMessageRequestHeader {
            consumer_group: &self.group,
            topic: &self.options.common.topic,
            queue_id: ANY_QUEUE,
            max_msg_nums: self.options.pop_batch as i32,
            invisible_time: i64::from(self.options.invisible) * 1000,
            poll_time: WAIT_MILLIS,
            born_time: self.clock.wall_millis(now) as i64,
            init_mode: FROM_FIRST,
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
            topic: &self.options.common.topic,
            queue_id: delivery.queue,
            extra_info: &delivery.handle,
            offset: delivery.offset,
            lite_topic: None,
            rpc: RpcFields::default(),
        })
    }

    /// The messages of an answer, with their handles.
    fn deliveries(&self, header: &[u8], body: &[u8]) -> Result<Vec<Delivery>, BenchError> {
        let info = Info::read(header)
            .ok_or_else(|| BenchError::new("the answer to a pop does not say what its messages' handles are"))?;
        let mut read =
            self.options.common.verify.then(|| self.shared.read.lock().unwrap_or_else(PoisonError::into_inner));
        let (mut deliveries, mut strange) = (Vec::new(), None);
        each(body, |record, bytes| {
            if let Some(read) = &mut read {
                read.take(record, bytes);
            }
            let (queue, offset) = (record.queue_id, record.queue_offset);
            match info.handle(&self.broker, queue, offset) {
                Some(handle) => deliveries.push(Delivery { queue, offset, handle }),
                None => strange = Some((record.topic.to_owned(), queue, offset)),
            }
        })?;
        match strange {
            None => Ok(deliveries),
            Some((topic, queue, offset)) => Err(BenchError::new(format!(
                "a pop brought offset {offset} of queue {queue} of {topic}, and its header says nothing of it: was it \
                 not acknowledged within --invisible {} s?",
                self.options.invisible
            ))),
        }
    }
}

impl Traffic for Popper {
    fn request(&mut self, place: Place, now: u64, out: &mut BytesMut) -> bool {
        let slot = self.slot(place);
        let next = slot.held.pop_front();
        slot.acknowledges = next.is_some();
        let mut command = match next {
            Some(delivery) => self.acknowledge(&delivery),
            None if self.shared.popped.load(Ordering::Relaxed) >= self.shared.enough => return false,
            None => self.pop(now),
        };
        command.opaque = place.opaque();
        frame::encode(&command, out);
        true
    }

    fn answer(&mut self, place: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        let (header, body) = match answer {
            Answer::Success { header, body } => (*header, *body),
            Answer::Other(command) => {
                if self.slot(place).acknowledges {
                    self.shared.settled.fetch_add(1, Ordering::Relaxed);
                } else if [response::PULL_NOT_FOUND, response::POLLING_TIMEOUT].contains(&command.code) {
                    return Verdict::Next;
                }
                return Verdict::Failed(code_and_remark(command));
            }
        };
        if self.slot(place).acknowledges {
            tally.messages += 1;
            self.shared.settled.fetch_add(1, Ordering::Relaxed);
            return Verdict::Next;
        }
        match self.deliveries(header, body) {
            Ok(deliveries) => {
                let count = deliveries.len() as u64;
                self.shared.popped.fetch_add(count, Ordering::Relaxed);
                tally.latencies.record(timing.latency());
                tally.bytes += body.len() as u64;
                if self.options.keep {
                    tally.messages += count;
                    self.shared.settled.fetch_add(count, Ordering::Relaxed);
                } else {
                    self.slot(place).held = deliveries.into();
                }
            }
            Err(error) => self.failed = Some(error),
        }
        Verdict::Next
    }

    fn is_over(&mut self, _now: u64) -> bool {
        self.shared.settled.load(Ordering::Relaxed) >= self.shared.enough
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
