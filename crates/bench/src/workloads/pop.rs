//! `apogee bench pop`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde::Serialize;

use super::consume::{Read, Reader};
use crate::caller::Caller;
use crate::consumer::{Count, Shared, Sink};
use crate::engine::Phase;
use crate::error::BenchError;
use crate::options::Common;
use crate::popper::{Begin, Counted, MOST, Popper, Popping};
use crate::report::Report;
use crate::run::Run;

/// Pops all messages that a topic has when it begins, with --queues queues, by a group that is new, and
/// acknowledges each by a request of its own, as official clients do. Latency is that of pops that brought messages.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct PopArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Messages at most in the answer to a pop.
    #[arg(long, value_name = "N", default_value_t = MOST, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
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
    options.common.settle_in_flight();
    if !options.common.seconds_given {
        // It ends by itself.
        options.common.seconds = Some(0.0);
    }
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
    let run = Run::start(common.clone());
    let popping = Popping {
        topic: common.topic.clone(),
        group: format!("ApogeeBenchPop-{:x}", run.clock.wall_nanos()),
        broker: caller.broker_name()?,
        count: options.pop_batch,
        invisible: options.invisible,
        begin: Begin::First,
        counted: if options.keep { Counted::Kept } else { Counted::Acknowledged },
        clock: run.clock,
    };
    let shared = Arc::new(Shared::default());
    shared.enough.store(common.limit().map_or(there, |limit| limit.min(there)), Ordering::Relaxed);
    if !common.verify {
        return pop(&run, &options, &popping, &shared, || Count { timed: true });
    }
    let found = Arc::new(Mutex::new(Read::default()));
    let report = pop(&run, &options, &popping, &shared, || Reader(Arc::clone(&found)))?;
    let read = found.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(report.with_verified(Some(read.result(there))))
}

fn pop<S: Sink>(
    run: &Run,
    options: &PopArgs,
    popping: &Popping,
    shared: &Arc<Shared>,
    sink: impl Fn() -> S,
) -> Result<Report, BenchError> {
    let (connections, in_flight) = (options.common.connections, options.common.in_flight.unwrap_or(1));
    let mut engines =
        run.engines(connections, |_| in_flight, |_| Ok(Popper::new(popping.clone(), Arc::clone(shared), sink())))?;
    let length = options.common.nanoseconds();
    let measured = run.phase("pop", &mut engines, |_| Phase { length, ..Phase::default() })?;
    Report::new("pop", options, &measured)?.with("popped", &shared.popped.load(Ordering::Relaxed))
}
