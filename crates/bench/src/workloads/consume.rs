//! `apogee bench consume`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use apogee_message::record::Record;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::caller::Caller;
use crate::consumer::{Consumer, Count, Reading, Shared, Sink, each};
use crate::engine::{Phase, Tally, Timing};
use crate::error::BenchError;
use crate::options::Common;
use crate::pull::Filter;
use crate::report::{Report, Verified};
use crate::run::Run;
use crate::verify::Numbers;

/// How messages are got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Pulls that are answered at once, up to where the queues end when it begins.
    Pull,
    /// Long polls of groups that send heartbeats, as official push consumers have them; they wait for messages.
    Push,
}

/// Where consumption begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum From {
    /// With the oldest message there is.
    First,
    /// With those that come after the beginning.
    Last,
}

/// Reads the messages of a topic, which must be there, with --queues queues.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How messages are got.
    #[arg(long, value_enum, default_value_t = Mode::Pull)]
    mode: Mode,
    /// Messages at most in the answer to a pull.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pull_batch: u32,
    /// Groups that each read all messages.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    groups: u32,
    /// Only messages with this tag, or with one of several: `a || b`.
    #[arg(long, value_name = "EXPR", conflicts_with = "sql")]
    tag: Option<String>,
    /// Only messages that this SQL92 expression is true of.
    #[arg(long, value_name = "EXPR")]
    sql: Option<String>,
    /// Where to begin; `first` with pulls, `last` with long polls unless given.
    #[arg(long, value_enum)]
    from: Option<From>,
}

/// Runs it.
pub(crate) fn run(mut options: ConsumeArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    options.common.settle_in_flight();
    let from = *options.from.get_or_insert(if options.mode == Mode::Pull { From::First } else { From::Last });
    if options.mode == Mode::Pull && !options.common.seconds_given {
        // It ends by itself.
        options.common.seconds = Some(0.0);
    }
    let filter = Filter::new(options.tag.as_ref(), options.sql.as_ref());
    let common = &options.common;
    common.refuse("consume", &[("--rate", common.rate.is_some()), ("--size", common.size.is_some())])?;
    if options.mode == Mode::Push {
        common.must_end()?;
    }
    if common.verify && (filter != Filter::All || options.groups > 1 || options.mode == Mode::Push) {
        return Err(BenchError::new(
            "--verify of what is read is for one group that pulls all messages: without --mode push, --groups, --tag \
             and --sql",
        ));
    }
    let mut caller = Caller::connect(common)?;
    let all = (0..common.queues).map(|queue| caller.offsets(&common.topic, queue)).collect::<Result<Vec<_>, _>>()?;
    let ranges = all.iter().map(|&(first, end)| if from == From::First { (first, end) } else { (end, end) });
    let ranges: Vec<(i64, i64)> = ranges.collect();
    if options.mode == Mode::Pull && ranges.iter().all(|(first, end)| first == end) {
        return Err(BenchError::new(format!(
            "the {} queues of {} hold no message: send some before, or see --queues and --from",
            common.queues, common.topic
        )));
    }
    let run = Run::start(common.clone());
    let reading = Reading {
        topic: common.topic.clone(),
        queues: common.queues,
        groups: options.groups,
        filter,
        count: options.pull_batch,
        live: options.mode == Mode::Push,
        id: run.clock.wall_nanos(),
    };
    if !common.verify {
        return Ok(consume(run, &options, &reading, &ranges, || Count { timed: !reading.live })?.0);
    }
    let found = Arc::new(Mutex::new(Read::default()));
    let (report, scanned) = consume(run, &options, &reading, &ranges, || Reader(Arc::clone(&found)))?;
    let read = found.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(report.with_verified(Some(read.result(scanned))))
}

fn consume<S: Sink>(
    run: Run,
    options: &ConsumeArgs,
    reading: &Reading,
    ranges: &[(i64, i64)],
    sink: impl Fn() -> S,
) -> Result<(Report, u64), BenchError> {
    let (links, in_flight) = (options.common.connections, options.common.in_flight.unwrap_or(1));
    let threads = u64::from(options.common.threads);
    let shared = Arc::new(Shared::default());
    let mut engines = run.introduced(
        links,
        |link| reading.slots(link, links, in_flight),
        |caller, link| reading.introduce(caller, link, links),
        |thread| Ok(Consumer::new(reading.clone(), ranges, (thread, threads), links, Arc::clone(&shared), sink())),
    )?;
    let mut before = 0;
    if options.common.warm_up > 0 {
        shared.enough.store(options.common.warm_up, Ordering::Relaxed);
        run.phase("warm-up", &mut engines, |_| Phase::default())?;
        before = shared.received.load(Ordering::Relaxed);
    }
    shared.enough.store(options.common.limit().map_or(u64::MAX, |limit| before + limit), Ordering::Relaxed);
    let scanned_before: u64 = engines.iter().map(|engine| engine.traffic.scanned).sum();
    let measured =
        run.phase("consume", &mut engines, |_| Phase { length: options.common.nanoseconds(), ..Phase::default() })?;
    let scanned: u64 = engines.iter().map(|engine| engine.traffic.scanned).sum();
    let report = Report::new("consume", options, &measured)?;
    Ok((report.with("scanned", &(scanned - scanned_before))?, scanned))
}

/// What was read, as far as it can be judged without knowing what was sent.
#[derive(Debug, Default)]
pub(crate) struct Read {
    received: u64,
    duplicates: u64,
    damaged: u64,
    /// The offsets that were read of each queue.
    offsets: Vec<Numbers>,
}

/// Looks at what one thread reads.
pub(crate) struct Reader(pub Arc<Mutex<Read>>);

impl Sink for Reader {
    fn take(&mut self, records: &[u8], timing: Timing, tally: &mut Tally) -> Result<u64, BenchError> {
        tally.latencies.record(timing.latency());
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        each(records, |record, bytes| read.take(record, bytes))
    }
}

impl Read {
    /// Looks at a record, with the bytes that it begins.
    pub(crate) fn take(&mut self, record: &Record<'_>, bytes: &[u8]) {
        if !record.is_intact(bytes) {
            self.damaged += 1;
            return;
        }
        let queue = record.queue_id.max(0) as usize;
        self.offsets.resize_with(self.offsets.len().max(queue + 1), Default::default);
        let offset = record.queue_offset.max(0) as u64;
        if self.offsets[queue].contains(offset) {
            self.duplicates += 1;
        } else {
            self.offsets[queue].insert(offset);
            self.received += 1;
        }
    }

    /// Compared with the places of queues that were passed.
    pub(crate) fn result(&self, passed: u64) -> Verified {
        let missing = passed.saturating_sub(self.received + self.damaged);
        Verified { sent: passed, received: self.received, missing, duplicates: self.duplicates, damaged: self.damaged }
    }
}
