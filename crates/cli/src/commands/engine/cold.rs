//! How much groups may read that is not in memory, and how the log is read.

use apogee_client::admin::{Broker, ColdReads, ReadAhead};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cell::Cell;
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// The brokers that are meant, each with its heading: of a cluster, slaves, too.
async fn with_headings(context: &Context, target: &Target) -> Result<Vec<(String, String)>, CliError> {
    let bar = "=".repeat(12);
    if let Some(broker) = &target.broker {
        return Ok(vec![(broker.trim().to_owned(), format!(" {bar}{}{bar}", broker.trim()))]);
    }
    let brokers = target.admin(context)?.brokers().await?;
    let master_of = |slave: &Broker| {
        let master = brokers.iter().find(|broker| broker.name == slave.name && broker.is_master());
        master.map_or("none", |master| &*master.address)
    };
    let heading = |broker: &Broker| match broker.is_master() {
        true => format!(" {bar}Master: {}{bar}", broker.address),
        false => format!(" {bar}My Master: {}=====Slave: {}{bar}", master_of(broker), broker.address),
    };
    Ok(brokers.iter().map(|broker| (broker.address.clone(), heading(broker))).collect())
}

/// Flags of `getColdDataFlowCtrInfo`.
#[derive(Args, Debug)]
pub struct Reads {
    #[command(flatten)]
    target: Target,
}

/// How much groups have read that was not in memory, and their limits.
pub async fn reads(context: &Context, flags: &Reads) -> Result<Report, CliError> {
    let mut report = Report::new();
    for (address, heading) in with_headings(context, &flags.target).await? {
        for reads in context.admin.broker(&*address).cold_reads().await? {
            let mut json = of_broker(&reads);
            report = report.line(&*heading).line(text(&json));
            json.insert("address".to_owned(), address.clone().into());
            report = report.data_item("brokers", json);
        }
    }
    Ok(report)
}

/// As upstream writes it.
fn of_broker(reads: &ColdReads) -> Map<String, Value> {
    let mut groups = Map::new();
    for group in &reads.groups {
        let [first, last] = [group.first, group.last].map(|time| Cell::time(time).to_string());
        let json = json!({"coldAcc": group.bytes, "lastColdReadTimeFormat": last, "createTimeFormat": first});
        groups.insert(group.group.clone(), json);
    }
    let mut all = Map::new();
    all.insert("runtimeTable".to_owned(), groups.into());
    all.insert("configTable".to_owned(), json!(reads.limits));
    all.insert("cgColdReadThreshold".to_owned(), reads.group_limit.into());
    all.insert("globalColdReadThreshold".to_owned(), reads.limit.into());
    all.insert("globalAcc".to_owned(), reads.bytes.into());
    all
}

/// JSON in lines, indented with tabs.
fn text(json: &Map<String, Value>) -> String {
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(object) if !object.is_empty() => {
            let inner: Vec<_> = object.iter().map(|(name, value)| format!("\t\t\"{name}\":{value}")).collect();
            format!("\t\"{name}\":{{\n{}\n\t}}", inner.join(",\n"))
        }
        value => format!("\t\"{name}\":{value}"),
    };
    format!("{{\n{}\n}}", json.iter().map(line).collect::<Vec<_>>().join(",\n"))
}

/// Flags of `updateColdDataFlowCtrGroupConfig`.
#[derive(Args, Debug)]
pub struct Limit {
    #[command(flatten)]
    target: Target,
    /// Consumer group
    #[arg(short = 'g', long = "consumerGroup")]
    group: String,
    /// Bytes that it may read in a span of time that are not in memory
    #[arg(short = 'v', long = "threshold", value_name = "BYTES")]
    bytes: u64,
}

/// Limits a group's reads of what is not in memory.
pub async fn limit(context: &Context, flags: &Limit) -> Result<Report, CliError> {
    let mut report = Report::new();
    for address in flags.target.admin(context)?.masters().await? {
        context.admin.broker(&*address).set_cold_read_limit(flags.group.trim(), flags.bytes).await?;
        report = report.line(format!("updateColdDataFlowCtrGroupConfig success, {address}"));
    }
    Ok(report)
}

/// Flags of `removeColdDataFlowCtrGroupConfig`.
#[derive(Args, Debug)]
pub struct Unlimit {
    #[command(flatten)]
    target: Target,
    /// Consumer group
    #[arg(short = 'g', long = "consumerGroup")]
    group: String,
}

/// Takes a group's own limit away.
pub async fn unlimit(context: &Context, flags: &Unlimit) -> Result<Report, CliError> {
    let mut report = Report::new();
    for address in flags.target.admin(context)?.masters().await? {
        context.admin.broker(&*address).remove_cold_read_limit(flags.group.trim()).await?;
        report = report.line(format!("remove broker cold read threshold success, {address}"));
    }
    Ok(report)
}

/// Flags of `setCommitLogReadAheadMode`.
#[derive(Args, Debug)]
pub struct Ahead {
    #[command(flatten)]
    target: Target,
    /// 0: the system reads ahead in the log; 1: it reads just what is asked for
    #[arg(short = 'm', long = "commitLogReadAheadMode", value_parser = ["0", "1"])]
    mode: String,
}

/// Says how brokers read their logs.
pub async fn ahead(context: &Context, flags: &Ahead) -> Result<Report, CliError> {
    let mode = if flags.mode == "0" { ReadAhead::Normal } else { ReadAhead::Random };
    let mut report = Report::new();
    for (address, heading) in with_headings(context, &flags.target).await? {
        for said in context.admin.broker(&*address).set_read_ahead(mode).await? {
            report = report.line(&*heading).line(format!("commitLog set readAhead mode rstStr{}", said.value));
        }
    }
    Ok(report)
}
