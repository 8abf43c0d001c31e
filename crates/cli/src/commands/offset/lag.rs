//! How far all groups of a broker are.

use std::time::Duration;

use clap::{ArgAction, Args};

use super::to_second;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};
use crate::table::Table;

/// Flags of `brokerConsumeStats`.
#[derive(Args, Debug)]
pub struct Stats {
    /// Broker, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS")]
    broker: String,
    /// How long the answer may take, in milliseconds
    #[arg(short = 't', long = "timeoutMillis", default_value_t = 50_000)]
    timeout: u64,
    /// Only queues where a group is at least so far behind
    #[arg(short = 'l', long = "level", default_value_t = 0)]
    level: i64,
    /// Whether only topics count that are declared to be in order
    #[arg(short = 'o', long = "order", default_value_t = false, action = ArgAction::Set)]
    order: bool,
}

/// How far all groups are in all queues of a broker, where they have consumed something.
pub async fn run(context: &Context, flags: &Stats) -> Result<Report, CliError> {
    let admin = context.admin.broker(flags.broker.trim()).timeout(Duration::from_millis(flags.timeout));
    let all = match flags.order {
        true => admin.all_ordered_progress().await?,
        false => admin.all_progress().await?,
    };
    let mut table = Table::new(&[
        ("#Topic", "topic"),
        ("#Group", "group"),
        ("#Broker Name", "broker"),
        ("#QID", "queue"),
        ("#Broker Offset", "brokerOffset"),
        ("#Consumer Offset", "consumerOffset"),
        ("#Diff", "lag"),
        ("#LastTime", "lastTime"),
    ]);
    for (group, progress) in &all {
        let shown = progress.queues.iter().filter(|of| of.last_stored.is_some() && of.lag() >= flags.level);
        for of in shown {
            table.row([
                (&*of.queue.topic).into(),
                group.into(),
                (&*of.queue.broker).into(),
                of.queue.id.into(),
                of.end.into(),
                of.committed.into(),
                of.lag().into(),
                to_second(of.last_stored),
            ]);
        }
    }
    let total: i64 = all.values().map(|progress| progress.lag()).sum();
    let total = Fields::new(0, ": ").field("Diff Total", "lag", total);
    Ok(Report::new().table("queues", table).line("").fields("total", total))
}
