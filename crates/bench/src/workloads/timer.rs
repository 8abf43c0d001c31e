//! `apogee bench timer`.

use clap::Args;
use serde::Serialize;

use crate::body::Bodies;
use crate::error::BenchError;
use crate::live::{self, How, Plan, Since};
use crate::message::{Due, Shape};
use crate::options::{Common, Topics};
use crate::report::Report;
use crate::run::Run;

/// Milliseconds of upstream's delay levels, from the first on (`messageDelayLevel`).
const LEVELS: [u64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000, 540_000,
    600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// Sends messages that are delivered later, and receives them by long polls. Latency is how late they come.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct TimerArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Messages are due after any time up to this, in milliseconds; all are equally likely.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    delay_ms: u64,
    /// Instead: messages have this delay level, whose time is the one that brokers have by default.
    #[arg(long, value_name = "LEVEL", conflicts_with = "delay_ms", value_parser = clap::value_parser!(u32).range(1..=18))]
    delay_level: Option<u32>,
}

/// Runs it.
pub(crate) fn run(mut options: TimerArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    let size = options.common.settle_size(true)?;
    options.common.must_end()?;
    options.common.settle_in_flight();
    let run = Run::start(options.common.clone());
    let level = options.delay_level.and_then(|level| Some(Due::Level(level, *LEVELS.get(level as usize - 1)?)));
    let due = level.unwrap_or(Due::Spread(options.delay_ms));
    let shape = Shape {
        due: Some(due),
        ..Shape::plain(
            Topics::new(&options.common.topic, 1)?,
            options.common.queues,
            Bodies::new(run.clock.wall_nanos(), size),
        )
    };
    let plan =
        Plan { workload: "timer", options: &options, shape, since: Since::Due, delay: due.most(), how: How::Pull };
    live::run(&run, &plan)
}
