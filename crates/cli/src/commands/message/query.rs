//! Messages by an id, a key, or their place.

use std::time::SystemTime;

use apogee_client::admin::{Consumed, MemberState, Query};
use apogee_client::{Admin, Queue, Received};
use apogee_message::ids::OffsetId;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::print::{TOOLS, is_there};
use super::shown::{Charset, fields, tracks};
use crate::commands::time;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Messages that have one id, at most: those that were sent again.
const SAME_ID: u32 = 32;

/// A member of a group that is to consume a message at once.
#[derive(Args, Debug)]
pub struct Member {
    /// Have a member of this group consume it at once (with -d)
    #[arg(short = 'g', long = "consumerGroup", requires = "client")]
    group: Option<String>,
    /// The member's client id
    #[arg(short = 'd', long = "clientId", requires = "group")]
    client: Option<String>,
}

impl Member {
    fn named(&self) -> Option<(&str, &str)> {
        Some((self.group.as_deref()?.trim(), self.client.as_deref()?.trim()))
    }
}

/// Flags of `queryMsgById`.
#[derive(Args, Debug)]
pub struct ById {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Ids that brokers or producers gave messages, separated by commas
    #[arg(short = 'i', long = "msgId", value_delimiter = ',', required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    member: Member,
    /// Send it again, as a new message
    #[arg(short = 's', long = "sendMessage", default_value_t = false, action = clap::ArgAction::Set)]
    resend: bool,
    /// Send it as a client of this unit
    #[arg(short = 'u', long = "unitName", requires = "resend")]
    unit: Option<String>,
    /// Charset of the body
    #[arg(short = 'f', long = "bodyFormat", value_name = "CHARSET", value_parser = Charset::parser())]
    charset: Option<Charset>,
    /// Look on the brokers of this cluster, or on those that have this topic: for light topics, which have no route
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
}

/// Shows messages with what became of them, has a member consume them, or sends them again.
pub async fn by_id(context: &Context, flags: &ById) -> Result<Report, CliError> {
    let (admin, topic) = (&context.admin, flags.topic.trim());
    if let Some(cluster) = &flags.cluster {
        admin.route_by(topic, cluster.trim());
    }
    let mut report = Report::new();
    for id in flags.ids.iter().map(|id| id.trim()).filter(|id| !id.is_empty()) {
        let message = find(admin, topic, id).await?;
        report = match flags.member.named() {
            Some((group, client)) => consumed(report, admin, group, client, &message).await?,
            None if flags.resend => resent(report, context, flags.unit.as_deref(), id, &message).await?,
            None => shown_with_tracks(report, admin, &message, flags.charset.unwrap_or_default()).await?,
        };
    }
    Ok(report)
}

/// The message with an id of its place or of its producer. Ids of both kinds may look alike: those of a place name one of
/// the brokers.
async fn find(admin: &Admin, topic: &str, id: &str) -> Result<Received, CliError> {
    let place = id.parse::<OffsetId>().ok().map(|place| place.host.to_string());
    let brokers = admin.brokers().await?;
    if place.as_ref().is_some_and(|host| brokers.iter().any(|broker| broker.address == *host)) {
        return Ok(admin.message(id).await?);
    }
    match admin.find(&Query::message_id(topic, id).at_most(SAME_ID)).await?.into_iter().next() {
        Some(message) => Ok(message),
        None => Err(no_message(topic, id)),
    }
}

fn no_message(topic: &str, id: &str) -> CliError {
    CliError::not_found(format!("topic {topic} has no message with the id {id}, and no broker is named by it"))
}

async fn shown_with_tracks(
    report: Report,
    admin: &Admin,
    message: &Received,
    charset: Charset,
) -> Result<Report, CliError> {
    let report = report.item("messages", fields(message, charset));
    Ok(tracks(report, &admin.track(message).await?))
}

/// Has a member consume a message. One that pulls by itself cannot.
async fn consumed(
    report: Report,
    admin: &Admin,
    group: &str,
    client: &str,
    message: &Received,
) -> Result<Report, CliError> {
    let state = admin.member_state(group, client, false).await?;
    if !is_handed_messages(&state) {
        let reason = "this client is not push consumer, not support direct push";
        return Err(CliError::failed(format!("{client}: {reason}")));
    }
    let Consumed { outcome, remark, ordered, took } = admin.consume_directly(group, client, message).await?;
    let (outcome, took) = (outcome.map(|outcome| outcome.name()), took.as_millis() as u64);
    let text = format!(
        "ConsumeMessageDirectlyResult [order={ordered}, autoCommit=true, consumeResult={}, remark={}, \
         spentTimeMills={took}]",
        outcome.unwrap_or("null"),
        remark.as_deref().unwrap_or("null"),
    );
    let json = json!({ "messageId": message.message_id(), "outcome": outcome, "remark": remark, "ordered": ordered, "tookMs": took });
    Ok(report.line(text).data_item("consumed", json))
}

/// Whether a member is given its messages by its client (upstream `isPushType`).
fn is_handed_messages(state: &MemberState) -> bool {
    state.settings.get("PROP_CONSUME_TYPE").is_some_and(|kind| kind == "CONSUME_PASSIVELY")
}

async fn resent(
    report: Report,
    context: &Context,
    unit: Option<&str>,
    id: &str,
    message: &Received,
) -> Result<Report, CliError> {
    let sent = match unit {
        None => context.admin.send_again(message).await?,
        Some(unit) => {
            let client = context.client_with(|client| client.unit(unit.trim()))?;
            let sent = client.admin().send_again(message).await;
            client.close().await;
            sent?
        }
    };
    let text = format!("prepare resend msg. originalMsgId={id}");
    Ok(report.line(text).line(super::send::written(&sent)).data_item("sent", super::send::json(&sent)))
}

/// Flags of `queryMsgByUniqueKey`.
#[derive(Args, Debug)]
pub struct ByUniqueKey {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Id that the producer gave the message
    #[arg(short = 'i', long = "msgId")]
    id: String,
    #[command(flatten)]
    member: Member,
    /// All messages with that id: a resend has the id of the first
    #[arg(short = 'a', long = "showAll")]
    all: bool,
    /// Look on the brokers of this cluster, or on those that have this topic: for light topics, which have no route
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// Stored at or after: milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS in UTC
    #[arg(short = 's', long = "startTime", value_name = "TIME", value_parser = time::parse)]
    begin: Option<SystemTime>,
    /// Stored at or before
    #[arg(short = 'e', long = "endTime", value_name = "TIME", value_parser = time::parse)]
    end: Option<SystemTime>,
}

/// Shows the message that has an id of its producer: the oldest one, or all; or has a member consume it.
pub async fn by_unique_key(context: &Context, flags: &ByUniqueKey) -> Result<Report, CliError> {
    let (admin, topic, id) = (&context.admin, flags.topic.trim(), flags.id.trim());
    if let Some(cluster) = &flags.cluster {
        admin.route_by(topic, cluster.trim());
    }
    let query = between(Query::message_id(topic, id).at_most(SAME_ID), flags.begin, flags.end);
    let mut found = admin.find(&query).await?;
    let Some(first) = found.first() else { return Err(no_message(topic, id)) };
    if let Some((group, client)) = flags.member.named() {
        return consumed(Report::new(), admin, group, client, first).await;
    }
    found.truncate(if flags.all { usize::MAX } else { 1 });
    let mut report = Report::new();
    for message in &found {
        report = shown_with_tracks(report, admin, message, Charset::default()).await?;
    }
    Ok(report)
}

fn between(query: Query, begin: Option<SystemTime>, end: Option<SystemTime>) -> Query {
    let query = begin.into_iter().fold(query, Query::since);
    end.into_iter().fold(query, Query::until)
}

/// Flags of `queryMsgByKey`.
#[derive(Args, Debug)]
pub struct ByKey {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Key of the message, or its tag with -p T
    #[arg(short = 'k', long = "msgKey")]
    key: String,
    /// Stored at or after: milliseconds since 1970, or yyyy-MM-dd#HH:mm:ss:SSS in UTC
    #[arg(short = 'b', long = "beginTimestamp", value_name = "TIME", value_parser = time::parse)]
    begin: Option<SystemTime>,
    /// Stored at or before
    #[arg(short = 'e', long = "endTimestamp", value_name = "TIME", value_parser = time::parse)]
    end: Option<SystemTime>,
    /// Most messages of each broker
    #[arg(short = 'm', long = "maxNum", default_value_t = 64)]
    most: u32,
    /// Look on the brokers of this cluster, or on those that have this topic: for light topics, which have no route
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
    /// What the key is: K for a key, T for a tag
    #[arg(short = 'p', long = "keyType", value_name = "KIND", default_value = "K")]
    kind: KeyKind,
    /// Only those after the one with this index key
    #[arg(short = 'l', long = "lastKey", value_name = "INDEX KEY")]
    after: Option<String>,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
enum KeyKind {
    #[value(name = "K")]
    Key,
    #[value(name = "T")]
    Tag,
}

/// Shows the messages with a key.
pub async fn by_key(context: &Context, flags: &ByKey) -> Result<Report, CliError> {
    let (topic, key) = (flags.topic.trim(), flags.key.trim());
    if let Some(cluster) = &flags.cluster {
        context.admin.route_by(topic, cluster.trim());
    }
    let query = match flags.kind {
        KeyKind::Key => Query::key(topic, key),
        KeyKind::Tag => Query::tag(topic, key),
    };
    let query = between(query.at_most(flags.most), flags.begin, flags.end);
    let query = flags.after.iter().fold(query, Query::after);
    let found = context.admin.find(&query).await?;
    let mut table = Table::new(&[
        ("#Message ID", "messageId"),
        ("#QID", "queue"),
        ("#Offset", "offset"),
        ("#IndexKey", "indexKey"),
    ]);
    for message in &found {
        let id = message.message_id().into_owned();
        table.row([id.into(), message.queue.id.into(), message.offset.into(), query.index_key(message).into()]);
    }
    Ok(Report::new().table("messages", table))
}

/// Flags of `queryMsgByOffset`.
#[derive(Args, Debug)]
pub struct ByOffset {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
    /// Queue
    #[arg(short = 'i', long = "queueId")]
    queue: i32,
    /// Offset in the queue
    #[arg(short = 'o', long = "offset")]
    offset: i64,
    /// Charset of the body
    #[arg(short = 'f', long = "bodyFormat", value_name = "CHARSET", value_parser = Charset::parser())]
    charset: Option<Charset>,
    /// Topic whose route is used, instead of the message's
    #[arg(short = 'r', long = "routeTopic", value_name = "TOPIC")]
    route_topic: Option<String>,
}

/// Shows the message at a place of a queue.
pub async fn by_offset(context: &Context, flags: &ByOffset) -> Result<Report, CliError> {
    let (admin, topic) = (&context.admin, flags.topic.trim());
    if let Some(other) = &flags.route_topic {
        admin.route_by(topic, other.trim());
    }
    let queue = Queue { topic: topic.into(), broker: flags.broker.trim().into(), id: flags.queue };
    is_there(&context.client().pull_consumer(TOOLS).build()?, &queue).await?;
    let found = admin.message_at(&queue, flags.offset).await?;
    let message = found.ok_or_else(|| {
        let Queue { topic, broker, id } = &queue;
        CliError::not_found(format!(
            "queue {id} of topic {topic} on {broker} has no message at offset {}",
            flags.offset
        ))
    })?;
    shown_with_tracks(Report::new(), admin, &message, flags.charset.unwrap_or_default()).await
}
