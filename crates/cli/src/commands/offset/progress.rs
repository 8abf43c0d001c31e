//! How far a group is, or all of them.

use std::collections::HashMap;

use apogee_client::admin::{ConsumeType, GroupMembers, GroupProgress};
use apogee_client::{Admin, Queue};
use apogee_message::names;
use clap::{ArgAction, Args};
use serde_json::json;

use super::to_second;
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};
use crate::table::Table;
use apogee_wire::version;

/// Flags of `consumerProgress`.
#[derive(Args, Debug)]
pub struct Progress {
    /// Consumer group; without one, all groups in a line each
    #[arg(short = 'g', long = "groupName")]
    group: Option<String>,
    /// Only this topic
    #[arg(short = 't', long = "topicName", requires = "group")]
    topic: Option<String>,
    /// Whether to show who has each queue
    #[arg(short = 's', long = "showClientIP", default_value_t = false, action = ArgAction::Set)]
    show_client: bool,
    /// Count the unread messages that match what the group subscribes to, too
    #[arg(long = "matching", requires = "group")]
    matching: bool,
    /// Only the brokers of this cluster
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    cluster: Option<String>,
}

/// How far a group is behind, queue by queue; or how far all are.
pub async fn run(context: &Context, flags: &Progress) -> Result<Report, CliError> {
    let admin = match &flags.cluster {
        Some(cluster) => context.admin.cluster(cluster.trim()),
        None => context.admin.clone(),
    };
    match &flags.group {
        Some(group) => of_group(&admin, group.trim(), flags).await,
        None => of_all(context, &admin).await,
    }
}

async fn of_group(admin: &Admin, group: &str, flags: &Progress) -> Result<Report, CliError> {
    let topic = flags.topic.as_deref().map(str::trim);
    let progress = match flags.matching {
        true => admin.matching_progress(group, topic).await?,
        false => admin.progress(group, topic).await?,
    };
    if progress.queues.is_empty() && !admin.groups().await?.contains(group) {
        return Err(CliError::not_found(format!("no broker has group {group}")));
    }
    let owners = match flags.show_client {
        true => owners(admin, group).await?,
        false => HashMap::new(),
    };
    let mut columns = vec![
        ("#Topic", "topic"),
        ("#Broker Name", "broker"),
        ("#QID", "queue"),
        ("#Broker Offset", "brokerOffset"),
        ("#Consumer Offset", "consumerOffset"),
    ];
    if flags.show_client {
        columns.push(("#Client IP", "client"));
    }
    columns.push(("#Diff", "lag"));
    if flags.matching {
        columns.push(("#Matching", "matching"));
    }
    columns.extend([("#Inflight", "inflight"), ("#LastTime", "lastTime")]);
    let mut table = Table::new(&columns);
    let mut inflight_total = 0;
    for of_queue in &progress.queues {
        let queue = &of_queue.queue;
        let inflight = of_queue.fetched - of_queue.committed;
        inflight_total += inflight;
        let mut row: Vec<Cell> = vec![(&*queue.topic).into(), (&*queue.broker).into(), queue.id.into()];
        row.extend([of_queue.end.into(), of_queue.committed.into()]);
        if flags.show_client {
            row.push(owners.get(queue).map_or(Cell::both("N/A", ()), |owner| owner.into()));
        }
        row.push(of_queue.lag().into());
        if flags.matching {
            row.push(matching(of_queue.matching));
        }
        row.extend([inflight.into(), to_second(of_queue.last_stored)]);
        table.push(row);
    }
    let mut totals = Fields::new(0, ": ")
        .field("Consume TPS", "consumeTps", Cell::decimal(progress.per_second, 2))
        .field("Consume Diff Total", "lag", progress.lag());
    if flags.matching {
        totals = totals.field("Consume Matching Total", "matching", matching(progress.matching()));
    }
    let totals = totals.field("Consume Inflight Total", "inflight", inflight_total);
    Ok(Report::new().table("queues", table).line("").fields("total", totals))
}

/// How many messages match, at least and at most.
fn matching(count: Option<(u64, u64)>) -> Cell {
    match count {
        None => Cell::both("N/A", ()),
        Some((least, most)) if least == most => Cell::from(least),
        Some((least, most)) => Cell::both(format!("{least}-{most}"), json!({ "least": least, "most": most })),
    }
}

/// Addresses of those who have queues, as far as they tell.
async fn owners(admin: &Admin, group: &str) -> Result<HashMap<Queue, String>, CliError> {
    let mut owners = HashMap::new();
    for client in admin.members(group).await?.clients {
        // One that doesn't answer is none whose queues are known.
        let Ok(state) = admin.member_state(group, &client.id, false).await else { continue };
        let address = client.id.split('@').next().unwrap_or_default();
        owners.extend(state.queues.into_iter().map(|queue| (queue.queue, address.to_owned())));
    }
    Ok(owners)
}

async fn of_all(context: &Context, admin: &Admin) -> Result<Report, CliError> {
    let mut table = Table::new(&[
        ("#Group", "group"),
        ("#Count", "clients"),
        ("#Version", "version"),
        ("#Type", "type"),
        ("#Model", "model"),
        ("#TPS", "consumeTps"),
        ("#Diff Total", "lag"),
    ]);
    // As upstream finds them: a group has a retry topic.
    let topics = admin.topics().await?;
    let groups: Vec<_> = topics.iter().filter_map(|topic| topic.strip_prefix(names::RETRY_PREFIX)).collect();
    let bar = context.progress(groups.len() as u64, "groups");
    for group in groups {
        // One that can't be asked is shown as it is: without clients and lag.
        let progress = admin.progress(group, None).await.unwrap_or_default();
        let members = admin.members(group).await.unwrap_or_default();
        table.row(line(group, &progress, &members));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Report::new().table("groups", table))
}

fn line(group: &str, progress: &GroupProgress, members: &GroupMembers) -> [Cell; 7] {
    let (rate, lag) = (Cell::decimal(progress.per_second.trunc(), 0), progress.lag().into());
    let Some(oldest) = members.clients.iter().map(|client| client.version).min() else {
        return [group.into(), 0.into(), Cell::both("OFFLINE", ()), Cell::None, Cell::None, rate, lag];
    };
    let is_active = members.consume_type == Some(ConsumeType::Actively);
    let model = members.model.filter(|_| !is_active).map(|model| model.name());
    let kind = if is_active { "PULL" } else { "PUSH" };
    [group.into(), members.clients.len().into(), version::name(oldest).into(), kind.into(), model.into(), rate, lag]
}
