//! `apogee bench transaction`.

use apogee_message::ids::OffsetId;
use apogee_message::names::property;
use apogee_message::sysflag::{TRANSACTION_COMMIT, TRANSACTION_PREPARED, TRANSACTION_ROLLBACK};
use apogee_wire::codes::request;
use apogee_wire::headers::{EndTransactionRequestHeader, RpcFields};
use apogee_wire::{Command, frame};
use bytes::BytesMut;
use clap::Args;
use serde::Serialize;

use super::send::share;
use crate::body::Bodies;
use crate::caller::{Caller, code_and_remark};
use crate::engine::frames::{Answer, number, text};
use crate::engine::{Clock, Pace, Phase, Place, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;
use crate::message::{PRODUCER, Requests, Shape};
use crate::options::{Common, Topics};
use crate::report::Report;
use crate::run::Run;
use crate::verify::{self, Numbers};

/// Sends messages in transactions: a half message and, when it is answered, its commit. Latency is from the one's
/// sending to the other's answer.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct TransactionArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Every so many transactions are rolled back; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rollback_every: u64,
}

/// Runs it.
pub(crate) fn run(mut options: TransactionArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    let size = options.common.settle_size(options.common.verify)?;
    options.common.must_end()?;
    let in_flight = options.common.settle_in_flight();
    let common = &options.common;
    let run = Run::start(common.clone());
    let mut shape =
        Shape::plain(Topics::new(&common.topic, 1)?, common.queues, Bodies::new(run.clock.wall_nanos(), size));
    shape.sys_flag = TRANSACTION_PREPARED;
    shape.properties = [(property::TRANSACTION_PREPARED, "true"), (property::PRODUCER_GROUP, PRODUCER)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    Caller::connect(common)?.create(&common.topic, common.queues)?;
    let starts = if common.verify { verify::ends(common, &shape.topics)? } else { Vec::new() };
    let (clock, threads) = (run.clock, u64::from(common.threads));
    let mut engines = run.engines(
        common.connections,
        |_| in_flight,
        |thread| {
            Ok(Transactions {
                requests: Requests::new(shape.clone())?,
                topic: common.topic.clone(),
                rollback_every: options.rollback_every,
                clock,
                thread,
                threads,
                next: 0,
                slots: Vec::new(),
                size: size as u64,
                verify: common.verify,
                committed: Numbers::default(),
                rolled_back: Numbers::default(),
            })
        },
    )?;
    if common.warm_up > 0 {
        run.phase("warm-up", &mut engines, |thread| Phase {
            operations: Some(share(common.warm_up, thread, threads)),
            ..Phase::default()
        })?;
        for engine in &mut engines {
            (engine.traffic.committed, engine.traffic.rolled_back) = Default::default();
        }
    }
    let measured = run.phase("transaction", &mut engines, |thread| Phase {
        length: common.nanoseconds(),
        operations: common.limit().map(|all| share(all, thread, threads)),
        pace: common.rate.map(|rate| Pace::new(rate, thread, threads)),
        ..Phase::default()
    })?;
    let report = Report::new("transaction", &options, &measured)?;
    if !common.verify {
        return Ok(report);
    }
    let (mut committed, mut rolled_back) = (Numbers::default(), Numbers::default());
    for engine in &mut engines {
        committed.add(std::mem::take(&mut engine.traffic.committed));
        rolled_back.add(std::mem::take(&mut engine.traffic.rolled_back));
    }
    drop(engines);
    let check = verify::verify(common, &shape, &starts, &committed)?;
    let wrong = check.received_of(&rolled_back);
    if wrong > 0 {
        return Err(BenchError::new(format!("{wrong} messages were delivered whose transaction was rolled back")));
    }
    report.with_verified(Some(check.result(&committed))).with("rolled_back", &rolled_back.count())
}

/// How far a slot's transaction is.
#[derive(Debug, Clone, Default)]
enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// The half message waits for its answer; its number.
    Half(u64),
    /// The half message is stored: where in the log, where in its queue.
    Stored { number: u64, offset: i64, place: i64, id: String },
    /// The end waits for its answer.
    Ending(u64),
}

struct Transactions {
    requests: Requests,
    topic: String,
    rollback_every: u64,
    clock: Clock,
    thread: u64,
    threads: u64,
    next: u64,
    slots: Vec<Vec<Stage>>,
    size: u64,
    verify: bool,
    committed: Numbers,
    rolled_back: Numbers,
}

impl Transactions {
    fn stage(&mut self, place: Place) -> &mut Stage {
        self.slots.resize_with(self.slots.len().max(place.link + 1), Vec::new);
        let slots = &mut self.slots[place.link];
        slots.resize(slots.len().max(place.slot as usize + 1), Stage::Idle);
        &mut slots[place.slot as usize]
    }

    fn commits(&self, number: u64) -> bool {
        self.rollback_every == 0 || !(number + 1).is_multiple_of(self.rollback_every)
    }

    fn end(&self, number: u64, offset: i64, place: i64, id: &str) -> Command {
        let key = self.requests.unique_key(number);
        Command::request(request::END_TRANSACTION).with_header(&EndTransactionRequestHeader {
            topic: Some(&self.topic),
            producer_group: PRODUCER,
            tran_state_table_offset: place,
            commit_log_offset: offset,
            commit_or_rollback: if self.commits(number) { TRANSACTION_COMMIT } else { TRANSACTION_ROLLBACK },
            from_transaction_check: Some(false),
            msg_id: &key,
            transaction_id: Some(id),
            rpc: RpcFields::default(),
        })
    }
}

impl Traffic for Transactions {
    fn request(&mut self, place: Place, now: u64, out: &mut BytesMut) -> bool {
        if let Stage::Stored { number, offset, place: at, id } = std::mem::take(self.stage(place)) {
            let mut command = self.end(number, offset, at, &id);
            command.opaque = place.opaque();
            frame::encode(&command, out);
            *self.stage(place) = Stage::Ending(number);
        } else {
            let number = self.next * self.threads + self.thread;
            self.next += 1;
            self.requests.write(number, place, self.clock.wall_millis(now), out);
            *self.stage(place) = Stage::Half(number);
        }
        true
    }

    fn answer(&mut self, place: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        let stage = std::mem::take(self.stage(place));
        let header = match answer {
            Answer::Success { header, .. } => *header,
            Answer::Other(command) => return Verdict::Failed(code_and_remark(command)),
        };
        match stage {
            Stage::Half(number_of) => {
                let offset = text(header, "msgId").and_then(|id| Some(id.parse::<OffsetId>().ok()?.offset));
                let (Some(offset), Some(place_of)) = (offset, number(header, "queueOffset")) else {
                    return Verdict::Failed("the answer to a half message does not say where it is".to_owned());
                };
                let id =
                    text(header, "transactionId").map_or_else(|| self.requests.unique_key(number_of), str::to_owned);
                *self.stage(place) = Stage::Stored { number: number_of, offset, place: place_of, id };
                Verdict::Again
            }
            Stage::Ending(number) => {
                tally.messages += 1;
                tally.bytes += self.size;
                tally.latencies.record(timing.latency());
                if self.verify {
                    if self.commits(number) { self.committed.insert(number) } else { self.rolled_back.insert(number) }
                }
                Verdict::Next
            }
            Stage::Idle | Stage::Stored { .. } => Verdict::Failed("an answer to nothing".to_owned()),
        }
    }
}
