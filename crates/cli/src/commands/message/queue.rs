//! What a queue has of its messages.

use std::collections::BTreeSet;

use apogee_client::Queue;
use apogee_client::admin::{QueueUnit, Subscription};
use apogee_message::tag;
use apogee_wire::bodies::{Body, SubscriptionData};
use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Between the parts.
const LINE: &str = "======================================";

/// Flags of `queryCq`.
#[derive(Args, Debug)]
pub struct Units {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Queue
    #[arg(short = 'q', long = "queue")]
    queue: i32,
    /// Offset of the first one
    #[arg(short = 'i', long = "index")]
    index: i64,
    /// How many
    #[arg(short = 'c', long = "count", default_value_t = 10)]
    count: u32,
    /// The broker, host:port; the first that has the topic if none is given
    #[arg(short = 'b', long = "broker", value_name = "ADDRESS")]
    broker: Option<String>,
    /// Whether this group takes them
    #[arg(short = 'g', long = "consumer", value_name = "GROUP")]
    group: Option<String>,
}

/// Shows units of a queue.
pub async fn run(context: &Context, flags: &Units) -> Result<Report, CliError> {
    let topic = flags.topic.trim();
    let (admin, broker) = match &flags.broker {
        Some(address) => (context.admin.broker(address.trim()), String::new()),
        None => {
            let first = context.admin.route(topic).await?.brokers.into_iter().next();
            let first = first.ok_or_else(|| apogee_client::Error::NoTopic(topic.to_owned()))?;
            (context.admin.clone(), first.name)
        }
    };
    let queue = Queue { topic: topic.into(), broker: broker.into(), id: flags.queue };
    let group = flags.group.as_deref().map(str::trim);
    let units = admin.queue_units(&queue, flags.index, flags.count, group).await?;
    let mut report = Report::new();
    if let Some(subscription) = &units.subscription {
        let data = written(subscription);
        let text = String::from_utf8_lossy(&data.encode_pretty()).into_owned();
        report = report.line("Subscription data:").line(text).line(LINE);
        report = report.data(
            "subscription",
            json!({ "kind": subscription.kind, "expression": subscription.expression,
            "version": subscription.version }),
        );
    }
    if let Some(filter) = &units.filter {
        report = report.line("Filter data:").line(filter).line(LINE).data("filter", filter.as_str());
    }
    let (min, max) = (units.first, units.end);
    report = report.line("Queue data:").line(format!("max: {max}, min: {min}")).line(LINE);
    report = report.data("min", min).data("max", max).data("units", json!([]));
    let numbered = units.units.iter().zip(flags.index..);
    Ok(numbered.fold(report, |report, (unit, index)| {
        let QueueUnit { log_offset, size, tag_code, is_wanted, message, extended, bit_map } = unit;
        let quoted = |text: &Option<String>| format!("'{}'", text.as_deref().unwrap_or("null"));
        let text = format!(
            "ConsumeQueueData{{physicOffset={log_offset}, physicSize={size}, tagsCode={tag_code}, extendDataJson={}, \
             bitMap={}, eval={is_wanted}, msg={}}}",
            quoted(extended),
            quoted(bit_map),
            quoted(message),
        );
        let unit = json!({ "index": index, "logOffset": log_offset, "size": size, "tagCode": tag_code,
            "extended": extended, "bitMap": bit_map, "wanted": is_wanted, "message": message });
        report.line(format!("idx: {index}")).line(text).line(LINE).data_item("units", unit)
    }))
}

/// A subscription as clients tell it, with its tags and their codes.
fn written(subscription: &Subscription) -> SubscriptionData {
    let tags: BTreeSet<String> = match (&*subscription.kind, &*subscription.expression) {
        ("TAG", expression) if expression != "*" => {
            expression.split("||").map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
        }
        _ => BTreeSet::new(),
    };
    SubscriptionData {
        code_set: tags.iter().map(|tag| tag::java_hash(tag)).collect(),
        tags_set: tags,
        expression_type: Some(subscription.kind.clone()),
        sub_string: Some(subscription.expression.clone()),
        sub_version: subscription.version,
        topic: subscription.topic.clone(),
        ..SubscriptionData::default()
    }
}
