//! The lite topics of a client.

use clap::Args;
use serde_json::json;

use super::{brokers_of, failed};
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `getLiteClientInfo`.
#[derive(Args, Debug)]
pub struct Info {
    /// Parent topic
    #[arg(short = 'p', long = "parentTopic", value_name = "TOPIC")]
    parent: String,
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Client
    #[arg(short = 'c', long = "clientId", value_name = "ID")]
    client: String,
    /// With the names of its lite topics
    #[arg(short = 's', long = "showDetail")]
    detail: bool,
}

/// What brokers have of a client's lite topics.
pub async fn run(context: &Context, flags: &Info) -> Result<Report, CliError> {
    let (parent, group, client) = (flags.parent.trim(), flags.group.trim(), flags.client.trim());
    let mut table = Table::new(&[
        ("#Broker", "broker"),
        ("#LiteTopicCount", "liteTopics"),
        ("#LastAccessTime", "lastHeard"),
        ("#LastConsumeTime", "lastConsumed"),
    ]);
    let mut rest = Report::new();
    for (name, admin) in brokers_of(context, parent).await? {
        let all = match admin.lite_clients(parent, group, client).await {
            Ok(all) => all,
            Err(error) => {
                rest = rest.failure(failed(&name, &error));
                continue;
            }
        };
        for of in all {
            let count = if of.topics > 0 { of.topics.into() } else { Cell::both("N/A", ()) };
            table.row([(&*name).into(), count, Cell::time(of.last_heard), Cell::time(of.last_consumed)]);
            if let Some(names) = of.names.as_ref().filter(|_| flags.detail) {
                let list: Vec<_> = names.iter().map(String::as_str).collect();
                rest = rest
                    .line(format!("Lite Topics: [{}]", list.join(", ")))
                    .data_item("details", json!({"broker": name, "liteTopics": list}));
            }
        }
    }
    let heading = format!("Lite Client Info: [{parent}] [{group}] [{client}]");
    Ok(Report::new().line(heading).table("brokers", table).then(rest))
}
