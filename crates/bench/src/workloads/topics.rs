//! `apogee bench topics`.

use clap::Args;
use serde::Serialize;

use super::send::{self, Sender};
use crate::body::Bodies;
use crate::create;
use crate::engine::Phase;
use crate::error::BenchError;
use crate::message::Shape;
use crate::options::{Common, Topics};
use crate::report::{Figures, Report};
use crate::run::Run;

/// Creates topics, sends a message to each of their queues, and then measures messages to all of them.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct TopicsArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Topics: NAME-000000, NAME-000001 and so on.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    topics: u64,
}

/// Runs it.
pub(crate) fn run(mut options: TopicsArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    let size = options.common.settle_size(false)?;
    options.common.must_end()?;
    options.common.refuse("topics", &[("--verify", options.common.verify)])?;
    let in_flight = options.common.settle_in_flight();
    let common = &options.common;
    let run = Run::start(common.clone());
    let shape = Shape::plain(
        Topics::new(&common.topic, options.topics)?,
        common.queues,
        Bodies::new(run.clock.wall_nanos(), size),
    );
    let created = create::many(&run, &shape.topics)?;
    let (clock, threads) = (run.clock, u64::from(common.threads));
    let mut engines = run.engines(
        common.connections,
        |_| in_flight,
        |thread| Sender::new(shape.clone(), clock, thread, threads, false),
    )?;
    let queues = options.topics * u64::from(common.queues);
    let first = run.phase("first of each queue", &mut engines, |thread| Phase {
        operations: Some(send::share(queues, thread, threads)),
        ..Phase::default()
    })?;
    send::warm_up(&run, &mut engines, 1)?;
    let measured = send::measure("topics", &run, &mut engines, 1)?;
    Report::new("topics", &options, &measured)?
        .with("create", &Figures::of(&created))?
        .with("first", &Figures::of(&first))
}
