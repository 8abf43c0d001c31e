//! What brokers have of lite topics, altogether.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `getBrokerLiteInfo`.
#[derive(Args, Debug)]
pub struct Info {
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS", conflicts_with = "cluster")]
    broker: Option<String>,
    /// Every broker of this cluster
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// With parent topics and groups
    #[arg(short = 'd', long = "showDetail")]
    detail: bool,
}

/// What brokers have of lite topics, altogether.
pub async fn run(context: &Context, flags: &Info) -> Result<Report, CliError> {
    let admin = context.targets(flags.broker.as_deref(), flags.cluster.as_deref())?;
    let mut table = Table::new(&[
        ("#Broker", "broker"),
        ("#Store Type", "storeType"),
        ("#Max LMQ", "maxQueues"),
        ("#Current LMQ", "queues"),
        ("#SubscriptionCount", "subscriptions"),
        ("#OrderInfoCount", "ordered"),
        ("#CQTableSize", "queueTable"),
        ("#OffsetTableSize", "offsetTable"),
        ("#eventMapSize", "events"),
    ]);
    let mut details = Report::new();
    for of in admin.lite_states().await? {
        table.row([
            (&*of.address).into(),
            (&*of.store).into(),
            of.max_queues.into(),
            of.queues.into(),
            of.subscriptions.into(),
            of.ordered.into(),
            of.queue_table.into(),
            of.offset_table.into(),
            of.events.into(),
        ]);
        if flags.detail {
            details = details
                .line(format!("Topic Meta: {}", json!(of.parents)))
                .line(format!("Group Meta: {}", json!(of.groups)))
                .line("")
                .data_item("details", json!({"broker": of.address, "topics": of.parents, "groups": of.groups}));
        }
    }
    Ok(Report::new().table("brokers", table).then(details))
}
