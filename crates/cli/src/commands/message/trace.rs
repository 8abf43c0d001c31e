//! What happened to a message.

use std::time::SystemTime;

use apogee_client::admin::{Query, TraceEvent, TraceKind};
use apogee_message::names::TRACE_TOPIC;
use clap::Args;

use crate::cell::Cell;
use crate::commands::time;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `queryMsgTraceById`.
#[derive(Args, Debug)]
pub struct Trace {
    /// Id that the producer gave the message
    #[arg(short = 'i', long = "msgId")]
    id: String,
    /// Topic where traces are
    #[arg(short = 't', long = "traceTopic", value_name = "TOPIC", default_value = TRACE_TOPIC)]
    topic: String,
    /// Told at or after: milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS in UTC
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = time::parse)]
    begin: Option<SystemTime>,
    /// Told at or before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = time::parse)]
    end: Option<SystemTime>,
    /// Most messages of traces that are looked at on each broker
    #[arg(short = 'c', long = "maxNum", default_value_t = 64)]
    most: u32,
}

/// Shows what happened to a message.
pub async fn run(context: &Context, flags: &Trace) -> Result<Report, CliError> {
    let (topic, id) = (flags.topic.trim(), flags.id.trim());
    let query = Query::key(topic, id).at_most(flags.most);
    let query = flags.begin.into_iter().fold(query, Query::since);
    let query = flags.end.into_iter().fold(query, Query::until);
    let events = context.admin.trace(&query).await?;
    if events.is_empty() {
        return Err(CliError::not_found(format!("topic {topic} has no trace of a message with the id {id}")));
    }
    let mut published = table("#ProducerGroup", "#SendTime");
    let mut consumed = table("#ConsumerGroup", "#ConsumerTime");
    for event in &events {
        match event.kind {
            TraceKind::Published => row(&mut published, "Pub", event),
            TraceKind::TransactionEnded | TraceKind::Recalled => row(&mut published, event.kind.name(), event),
            TraceKind::Consumed => row(&mut consumed, "Sub", event),
            // Its end says more.
            TraceKind::Consuming => {}
        }
    }
    let mut report = Report::new();
    if !published.is_empty() {
        report = report.table("published", published).line("");
    }
    if !consumed.is_empty() {
        report = report.table("consumed", consumed).line("");
    }
    let begun = events.iter().filter(|event| event.kind == TraceKind::Consuming).count();
    Ok(report.data("begun", begun))
}

fn table(group: &'static str, time: &'static str) -> Table {
    Table::new(&[
        ("#Type", "type"),
        (group, "group"),
        ("#ClientHost", "clientHost"),
        (time, "time"),
        ("#CostTimes", "tookMs"),
        ("#Status", "status"),
    ])
}

fn row(table: &mut Table, kind: &str, event: &TraceEvent) {
    let host = event.client.rsplit_once(':').map_or(&*event.client, |(host, _)| host);
    let took = event.took.as_millis() as u64;
    table.row([
        kind.into(),
        (&event.group).into(),
        host.into(),
        Cell::time(event.at),
        Cell::both(format!("{took}ms"), took),
        if event.is_success { "success" } else { "failed" }.into(),
    ]);
}
