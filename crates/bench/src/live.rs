//! Senders and consumers of the same messages, at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::body::Bodies;
use crate::caller::Caller;
use crate::consumer::{Consumer, Reading, Shared, Sink, each};
use crate::engine::{Clock, Engine, Pace, Phase, SECOND, Tally, Timing, Traffic};
use crate::error::BenchError;
use crate::message::{DUE, Shape};
use crate::options::Common;
use crate::popper::{self, Begin, Counted, Popper, Popping};
use crate::pull::Filter;
use crate::report::{Quantiles, Report};
use crate::run::{Job, Measured, Run};
use crate::verify::{Check, Numbers};
use crate::workloads::send::{Sender, share};

/// How long messages may stay away after the last one was sent or due, in nanoseconds.
const PATIENCE: u64 = 5 * SECOND;
/// Seconds for which nobody else gets a message that was popped: longer than a run, nothing comes again.
const INVISIBLE: u32 = 43_200;

/// From when on a message's latency counts.
#[derive(Debug, Clone)]
pub(crate) enum Since {
    /// From when it should have been sent.
    Intended,
    /// From when it is due.
    Due,
}

/// How messages are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By long polls of each queue.
    Pull,
    /// By POP, each message acknowledged by a request of its own.
    Pop,
}

/// What receives messages.
trait Receiver: Traffic {
    fn arrivals(&mut self) -> &mut Arrivals;
}

impl Receiver for Consumer<Arrivals> {
    fn arrivals(&mut self) -> &mut Arrivals {
        &mut self.sink
    }
}

impl Receiver for Popper<Arrivals> {
    fn arrivals(&mut self) -> &mut Arrivals {
        &mut self.sink
    }
}

/// Both sides of a run.
struct Sides<R> {
    senders: Vec<Engine<Sender>>,
    consumers: Vec<Engine<R>>,
    shared: Arc<Shared>,
    /// Nanoseconds that messages take on purpose, at most.
    delay: u64,
}

/// What a run does.
pub(crate) struct Plan<'p, O> {
    /// The workload's name.
    pub workload: &'static str,
    pub options: &'p O,
    /// What is sent.
    pub shape: Shape,
    pub since: Since,
    /// How many milliseconds messages take on purpose, at most.
    pub delay: u64,
    pub how: How,
}

/// Sends messages and receives them.
pub(crate) fn run<O: serde::Serialize>(run: &Run, plan: &Plan<'_, O>) -> Result<Report, BenchError> {
    // What the topic has already is left alone.
    let common = &run.options;
    let topic = plan.shape.topics.name(0);
    let mut caller = Caller::connect(common)?;
    caller.create(&topic, common.queues)?;
    let shared = Arc::new(Shared::default());
    let consumers = || Arrivals::new(run.clock, plan.shape.bodies.clone(), plan.since.clone());
    match plan.how {
        How::Pull => measure(run, plan, pulling(run, &mut caller, topic, &shared, consumers)?, shared),
        How::Pop => measure(run, plan, popping(run, &mut caller, topic, &shared, consumers)?, shared),
    }
}

/// Consumers that pull.
fn pulling(
    run: &Run,
    caller: &mut Caller,
    topic: String,
    shared: &Arc<Shared>,
    arrivals: impl Fn() -> Arrivals,
) -> Result<Vec<Engine<Consumer<Arrivals>>>, BenchError> {
    let common = &run.options;
    let ends = (0..common.queues).map(|queue| caller.offsets(&topic, queue).map(|(_, end)| (end, end)));
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    let id = run.clock.wall_nanos();
    let reading = Reading { topic, queues: common.queues, groups: 1, filter: Filter::All, count: 32, live: true, id };
    let links = common.connections.min(common.queues);
    let threads = u64::from(common.threads.min(links));
    run.introduced(
        links,
        |link| reading.slots(link, links, 1),
        |caller, link| reading.introduce(caller, link, links),
        |thread| Ok(Consumer::new(reading.clone(), &ends, (thread, threads), links, Arc::clone(shared), arrivals())),
    )
}

/// Consumers that pop.
fn popping(
    run: &Run,
    caller: &mut Caller,
    topic: String,
    shared: &Arc<Shared>,
    arrivals: impl Fn() -> Arrivals,
) -> Result<Vec<Engine<Popper<Arrivals>>>, BenchError> {
    let common = &run.options;
    let popping = Popping {
        topic,
        group: format!("ApogeeBenchPop-{:x}", run.clock.wall_nanos()),
        broker: caller.broker_name()?,
        count: popper::MOST,
        invisible: INVISIBLE,
        begin: Begin::Last,
        counted: Counted::Popped,
        clock: run.clock,
    };
    popping.introduce(caller, common.queues)?;
    let links = common.connections.min(common.queues);
    // Of each two, one waits for messages while the other acknowledges some.
    let slots = 2 * common.queues.div_ceil(links);
    run.engines(links, |_| slots, |_| Ok(Popper::new(popping.clone(), Arc::clone(shared), arrivals())))
}

fn measure<O: serde::Serialize, R: Receiver>(
    run: &Run,
    plan: &Plan<'_, O>,
    consumers: Vec<Engine<R>>,
    shared: Arc<Shared>,
) -> Result<Report, BenchError> {
    let common = &run.options;
    let Plan { workload, options, shape, delay, .. } = plan;
    let (clock, threads, in_flight) = (run.clock, u64::from(common.threads), common.in_flight.unwrap_or(1));
    let senders = run.engines(
        common.connections,
        |_| in_flight,
        |thread| Sender::new(shape.clone(), clock, thread, threads, common.verify),
    )?;
    let mut sides = Sides { senders, consumers, shared, delay: delay * (SECOND / 1000) };
    if common.warm_up > 0 {
        let threads = sides.senders.len() as u64;
        let operations = |thread| Some(share(common.warm_up, thread, threads));
        sides.phase("warm-up", run, |thread| Phase { operations: operations(thread), ..Phase::default() })?;
        sides.senders.iter_mut().for_each(|engine| engine.traffic.begin());
    }
    let mut measured = sides.phase(workload, run, |thread| phase(common, thread))?;
    let mut sent = Tally::default();
    let mut numbers = Numbers::default();
    for engine in &mut sides.senders {
        sent.add(&engine.tally);
        numbers.add(std::mem::take(&mut engine.traffic.sent));
    }
    let (mut check, mut early) = (Check::default(), 0);
    for engine in &mut sides.consumers {
        let arrivals = engine.traffic.arrivals();
        check.add(std::mem::take(&mut arrivals.check));
        early += arrivals.early;
    }
    measured.tally.lateness = std::mem::take(&mut sent.lateness);
    let missing = sent.messages.saturating_sub(measured.tally.messages);
    let seconds = PATIENCE / SECOND;
    measured.tally.errors.add_many(&format!("sent, not received within {seconds} s"), missing);
    for (text, count) in sent.errors.texts() {
        measured.tally.errors.add_many(text, *count);
    }
    let sending = json!({ "messages": sent.messages, "latency_us": Quantiles::of(&sent.latencies) });
    let mut report = Report::new(workload, *options, &measured)?.with("sending", &sending)?;
    if *delay > 0 {
        report = report.with("early", &early)?;
    }
    Ok(report.with_verified(common.verify.then(|| check.result(&numbers))))
}

fn phase(common: &Common, thread: u64) -> Phase {
    let threads = u64::from(common.threads);
    Phase {
        length: common.nanoseconds(),
        operations: common.limit().map(|all| share(all, thread, threads)),
        pace: common.rate.map(|rate| Pace::new(rate, thread, threads)),
        ..Phase::default()
    }
}

impl<R: Receiver> Sides<R> {
    /// Sends as the phase says, and receives until everything has come. What is measured is what was received;
    /// the senders' counts stay with them.
    fn phase(&mut self, name: &str, run: &Run, phase: impl Fn(u64) -> Phase) -> Result<Measured, BenchError> {
        let Self { senders, consumers, shared, delay } = self;
        let (clock, delay, before) = (run.clock, *delay, shared.received.load(Ordering::Relaxed));
        let (sending, sent) = (AtomicU64::new(senders.len() as u64), AtomicU64::new(0));
        shared.enough.store(u64::MAX, Ordering::Relaxed);
        shared.give_up.store(u64::MAX, Ordering::Relaxed);
        let phases: Vec<Phase> = (0..senders.len() as u64).map(phase).collect();
        // A number of the measured phase says which message of its pace it is.
        let paces: Vec<_> =
            senders.iter().zip(&phases).map(|(engine, phase)| (engine.traffic.position(), phase.pace)).collect();
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for (engine, phase) in senders.iter_mut().zip(phases) {
            let (sending, sent, shared) = (&sending, &sent, &*shared);
            jobs.push(Box::new(move |start| {
                let done = engine.run(&Phase { start, ..phase });
                sent.fetch_add(engine.tally.messages, Ordering::Relaxed);
                if sending.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let patience = if done.is_ok() { PATIENCE + delay } else { 0 };
                    shared.give_up.store(clock.now() + patience, Ordering::Relaxed);
                    shared.enough.store(before + sent.load(Ordering::Relaxed), Ordering::Relaxed);
                }
                done.map(|()| Tally::default())
            }));
        }
        let progress = consumers.iter().map(Engine::progress).collect();
        for engine in consumers.iter_mut() {
            engine.traffic.arrivals().paces.clone_from(&paces);
            jobs.push(Box::new(move |start| {
                engine.traffic.arrivals().start = start;
                engine.run(&Phase { start, ..Phase::default() }).map(|()| std::mem::take(&mut engine.tally))
            }));
        }
        run.threads(name, progress, jobs)
    }
}

/// Messages as they come in.
pub(crate) struct Arrivals {
    clock: Clock,
    bodies: Bodies,
    since: Since,
    /// When the phase began.
    start: u64,
    /// Of each sending thread, the first number of the phase, and its pace.
    paces: Vec<(u64, Option<Pace>)>,
    check: Check,
    /// Messages that came before they were due.
    early: u64,
}

impl Arrivals {
    fn new(clock: Clock, bodies: Bodies, since: Since) -> Self {
        Self { clock, bodies, since, start: 0, paces: Vec::new(), check: Check::default(), early: 0 }
    }
}

impl Sink for Arrivals {
    fn take(&mut self, records: &[u8], timing: Timing, tally: &mut Tally) -> Result<u64, BenchError> {
        let Self { clock, bodies, since, start, paces, check, early } = self;
        let mut ours = 0;
        each(records, |record, _| {
            let Some(number) = check.find(record, bodies) else { return };
            ours += 1;
            match since {
                Since::Intended => {
                    let threads = paces.len() as u64;
                    let Some((first, Some(pace))) = paces.get((number % threads) as usize) else { return };
                    if let Some(place) = (number / threads).checked_sub(*first) {
                        tally.latencies.record(timing.now.saturating_sub(pace.intended(*start, place)));
                    }
                }
                Since::Due => {
                    let Some(due) = record.property(DUE).and_then(|due| due.parse::<u64>().ok()) else { return };
                    let (due, now) = (due * 1_000_000, clock.wall(timing.now));
                    *early += u64::from(now < due);
                    tally.latencies.record(now.saturating_sub(due));
                }
            }
        })?;
        Ok(ours)
    }
}
