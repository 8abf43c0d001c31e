//! How far a group is behind in lite topics, and waking it.

use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

use apogee_client::admin::LiteLag;
use clap::Args;

use super::{brokers_of, failed};
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};
use crate::table::Table;

/// Flags of `getLiteGroupInfo`.
#[derive(Args, Debug)]
pub struct Info {
    /// Parent topic
    #[arg(short = 'p', long = "parentTopic", value_name = "TOPIC")]
    parent: String,
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Only this lite topic
    #[arg(short = 'l', long = "liteTopic", value_name = "TOPIC")]
    lite: Option<String>,
    /// How many of the worst lite topics of each broker
    #[arg(short = 'k', long = "topK", default_value_t = 20)]
    worst: u32,
}

/// How far a group is behind in lite topics.
pub async fn info(context: &Context, flags: &Info) -> Result<Report, CliError> {
    let (parent, group) = (flags.parent.trim(), flags.group.trim());
    let lite = flags.lite.as_deref().map(str::trim).filter(|lite| !lite.is_empty());
    let mut of_one = Table::new(&[
        ("#Broker Name", "broker"),
        ("#BrokerOffset", "end"),
        ("#ConsumeOffset", "committed"),
        ("#LagCount", "lag"),
        ("#LastUpdate", "lastConsumed"),
    ]);
    let (mut lag, mut oldest, mut most, mut longest) = (0, None::<SystemTime>, Vec::new(), Vec::new());
    let mut errors = Report::new();
    for (name, admin) in brokers_of(context, parent).await? {
        let all = match admin.lite_progress(parent, group, lite, flags.worst).await {
            Ok(all) => all,
            Err(error) => {
                errors = errors.failure(failed(&name, &error));
                continue;
            }
        };
        for of in all {
            let of = of.value;
            lag += of.lag;
            oldest = [oldest, of.oldest].into_iter().flatten().min();
            if let Some((end, committed, last)) = of.topic {
                let lag = (end - committed).into();
                of_one.row([(&*name).into(), end.into(), committed.into(), lag, Cell::time(last)]);
            }
            most.extend(of.most);
            longest.extend(of.longest);
        }
    }
    let now = SystemTime::now();
    // As upstream has it: where nothing waits, it is now.
    let since = oldest.unwrap_or(now);
    let ago = now.duration_since(since).unwrap_or_default().as_secs();
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let since = Cell::both(format!("{since} ({ago} s ago)"), Cell::time(oldest).to_json());
    let totals =
        Fields::new(0, ": ").field("Total Lag Count", "lag", lag).field("Min Unconsumed Timestamp", "oldest", since);
    let mut report = Report::new().line(format!("Lite Group Info: [{group}] [{parent}]"));
    if lite.is_some() {
        report = report.table("topic", of_one);
    }
    report = report.then(errors).fields("total", totals).line("");
    if lite.is_some() {
        return Ok(report);
    }
    most.sort_by_key(|one| Reverse(one.lag));
    longest.sort_by_key(|one| one.oldest);
    Ok(report
        .line("------TopK by lag count-----")
        .table("most", worst(most))
        .line("")
        .line("------TopK by lag time------")
        .table("longest", worst(longest)))
}

fn worst(list: Vec<LiteLag>) -> Table {
    let mut table = Table::new(&[
        ("NO", "number"),
        ("Lite Topic", "liteTopic"),
        ("Lag Count", "lag"),
        ("UnconsumedTimestamp", "oldest"),
    ]);
    for (at, one) in list.into_iter().enumerate() {
        let oldest = one.oldest.map_or(Cell::both("-", ()), |time| Cell::time(Some(time)));
        table.row([(at + 1).into(), one.topic.into(), one.lag.into(), oldest]);
    }
    table
}

/// Flags of `triggerLiteDispatch`.
#[derive(Args, Debug)]
pub struct Trigger {
    /// Parent topic
    #[arg(short = 'p', long = "parentTopic", value_name = "TOPIC")]
    parent: String,
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Only this client of it
    #[arg(short = 'c', long = "clientId", value_name = "ID")]
    client: Option<String>,
    /// Only the broker of this name
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    broker: Option<String>,
}

/// Has brokers look again for what they have for the clients of a group.
pub async fn trigger(context: &Context, flags: &Trigger) -> Result<Report, CliError> {
    let (parent, group) = (flags.parent.trim(), flags.group.trim());
    let client = flags.client.as_deref().map(str::trim);
    let mut brokers = brokers_of(context, parent).await?;
    if let Some(wanted) = flags.broker.as_deref().map(str::trim) {
        brokers.retain(|(name, _)| name == wanted);
        if brokers.is_empty() {
            return Err(CliError::not_found(format!("topic {parent} is not on broker {wanted}")));
        }
    }
    // As upstream has it, without headings.
    let mut report = Report::new().line(format!("Group And Topic Info: [{group}] [{parent}]")).line("");
    let (mut last, mut any) = (None, false);
    for (name, admin) in brokers {
        let outcome = admin.trigger_lite_dispatch(parent, group, client).await;
        let word = if outcome.is_ok() { "dispatched" } else { "error" };
        report = report.line(format!("{name:<30} {word}"));
        match outcome {
            Ok(()) => any = true,
            Err(error) => last = Some(error),
        }
    }
    match last.filter(|_| !any) {
        Some(error) => Err(error.into()),
        None => Ok(report),
    }
}
