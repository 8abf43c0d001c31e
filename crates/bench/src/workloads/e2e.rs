//! `apogee bench e2e`.

use clap::Args;
use serde::Serialize;

use crate::body::Bodies;
use crate::error::BenchError;
use crate::live::{self, How, Plan, Since};
use crate::message::Shape;
use crate::options::{Common, Topics};
use crate::report::Report;
use crate::run::Run;

/// Messages a second when the user doesn't say.
const RATE: f64 = 1000.0;

/// Sends messages at a pace (--rate, 1000 by default) and receives them by long polls. Latency is from when a
/// message should have been sent until it is received.
#[derive(Args, Debug, Clone, Serialize)]
pub(crate) struct EndToEndArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// Receives by POP, and acknowledges each message by a request of its own.
    #[arg(long)]
    pop: bool,
}

/// Runs it.
pub(crate) fn run(mut options: EndToEndArgs) -> Result<Report, BenchError> {
    options.common.settle()?;
    let size = options.common.settle_size(true)?;
    options.common.must_end()?;
    options.common.rate.get_or_insert(RATE);
    options.common.settle_in_flight();
    let run = Run::start(options.common.clone());
    let shape = Shape::plain(
        Topics::new(&options.common.topic, 1)?,
        options.common.queues,
        Bodies::new(run.clock.wall_nanos(), size),
    );
    let how = if options.pop { How::Pop } else { How::Pull };
    live::run(&run, &Plan { workload: "e2e", options: &options, shape, since: Since::Intended, delay: 0, how })
}
