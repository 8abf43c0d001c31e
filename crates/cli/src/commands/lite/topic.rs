//! Parent topics, and one of their lite topics.

use clap::Args;
use serde_json::json;

use super::{brokers_of, failed, queue_name};
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `getParentTopicInfo`.
#[derive(Args, Debug)]
pub struct Parent {
    /// Parent topic
    #[arg(short = 'p', long = "parentTopic", value_name = "TOPIC")]
    parent: String,
}

/// What brokers have of the lite topics of a parent.
pub async fn parent(context: &Context, flags: &Parent) -> Result<Report, CliError> {
    let parent = flags.parent.trim();
    let mut table = Table::new(&[
        ("#Broker Name", "broker"),
        ("#TTL", "minutesToLive"),
        ("#Lite Count", "liteTopics"),
        ("#LMQ NUM", "queues"),
        ("#GROUPS", "groups"),
    ]);
    let mut errors = Report::new();
    for (name, admin) in brokers_of(context, parent).await? {
        match admin.lite_parents(parent).await {
            Ok(all) => {
                for of in all {
                    let groups = of.groups.as_ref().map_or(Cell::both("null", ()), |groups| {
                        let names: Vec<_> = groups.iter().map(String::as_str).collect();
                        Cell::both(format!("[{}]", names.join(", ")), json!(names))
                    });
                    let minutes = of.minutes_to_live.into();
                    table.row([(&*name).into(), minutes, of.topics.into(), of.queues.into(), groups]);
                }
            }
            Err(error) => errors = errors.failure(failed(&name, &error)),
        }
    }
    Ok(Report::new().line(format!("Parent Topic Info: [{parent}]")).table("brokers", table).then(errors))
}

/// Flags of `getLiteTopicInfo`.
#[derive(Args, Debug)]
pub struct Lite {
    /// Parent topic
    #[arg(short = 'p', long = "parentTopic", value_name = "TOPIC")]
    parent: String,
    /// Lite topic
    #[arg(short = 'l', long = "liteTopic", value_name = "TOPIC")]
    lite: String,
    /// With the clients that subscribe to it
    #[arg(short = 's', long = "showClientId")]
    clients: bool,
}

/// What brokers have of a lite topic.
pub async fn lite(context: &Context, flags: &Lite) -> Result<Report, CliError> {
    let (parent, lite) = (flags.parent.trim(), flags.lite.trim());
    let mut table = Table::new(&[
        ("#Broker Name", "broker"),
        ("#MinOffset", "first"),
        ("#MaxOffset", "end"),
        ("#LastUpdate", "lastStored"),
        ("#Sharding", "isHere"),
        ("#SubClientCount", "clients"),
    ]);
    let mut rest = Report::new();
    for (name, admin) in brokers_of(context, parent).await? {
        let all = match admin.lite_topics(parent, lite).await {
            Ok(all) => all,
            Err(error) => {
                rest = rest.failure(failed(&name, &error));
                continue;
            }
        };
        for of in all {
            let stored = of.last_stored.map_or(Cell::both("-", ()), |time| Cell::time(Some(time)));
            let count = of.subscribers.len().into();
            table.row([(&*name).into(), of.first.into(), of.end.into(), stored, of.is_here.into(), count]);
            if flags.clients {
                let clients: Vec<_> =
                    of.subscribers.iter().map(|(client, group)| format!("{client}@{group}")).collect();
                let json: Vec<_> = of
                    .subscribers
                    .iter()
                    .map(|(client, group)| json!({"broker": name, "clientId": client, "group": group}))
                    .collect();
                rest = rest.line(format!("[{}]", clients.join(", ")));
                rest = json.into_iter().fold(rest, |rest, client| rest.data_item("subscribers", client));
            }
        }
    }
    let heading = format!("Lite Topic Info: [{parent}] [{lite}] [{}]", queue_name(parent, lite));
    Ok(Report::new().line(heading).table("brokers", table).then(rest))
}
