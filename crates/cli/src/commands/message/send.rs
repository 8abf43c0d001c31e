//! Sending a message.

use apogee_client::{Client, Message, Producer, Queue, Sent};
use clap::Args;
use serde_json::{Value, json};

use super::range;
use super::shown::status;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Group of tools that send.
pub const SENDERS: &str = "TOOLS_PRODUCER";

/// Flags of `sendMessage`.
#[derive(Args, Debug)]
pub struct Send {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Body
    #[arg(short = 'p', long = "body", allow_hyphen_values = true)]
    body: String,
    /// Keys, separated by blanks
    #[arg(short = 'k', long = "key")]
    keys: Option<String>,
    /// Tag
    #[arg(short = 'c', long = "tags")]
    tag: Option<String>,
    /// Name of the broker; any that has the topic if none is given
    #[arg(short = 'b', long = "broker")]
    broker: Option<String>,
    /// Queue; any if none is given
    #[arg(short = 'i', long = "qid")]
    queue: Option<i32>,
    /// Tell the topic of traces of it
    #[arg(short = 'm', long = "msgTraceEnable", default_value_t = false, action = clap::ArgAction::Set)]
    trace: bool,
}

/// Sends a message.
pub async fn send(context: &Context, flags: &Send) -> Result<Report, CliError> {
    let client = match flags.trace {
        true => context.client_with(|client| client.trace())?,
        false => context.client().clone(),
    };
    let sent = send_by(&client, flags).await;
    // Traces are sent now.
    client.close().await;
    let sent = sent?;
    let mut table = Table::new(&[
        ("#Broker Name", "broker"),
        ("#QID", "queue"),
        ("#Send Result", "result"),
        ("#MsgId", "messageId"),
    ]);
    table.row([(&*sent.queue.broker).into(), sent.queue.id.into(), status(sent.status).into(), sent.message_id.into()]);
    Ok(Report::new().table("sent", table))
}

async fn send_by(client: &Client, flags: &Send) -> Result<Sent, CliError> {
    let mut message = Message::new(flags.topic.trim(), flags.body.clone());
    for key in flags.keys.iter().flat_map(|keys| keys.split_whitespace()) {
        message = message.key(key);
    }
    if let Some(tag) = &flags.tag {
        message = message.tag(tag.trim());
    }
    let producer = client.producer(SENDERS)?;
    if flags.broker.is_none() && flags.queue.is_none() {
        return Ok(producer.send(message).await?);
    }
    let queue = chosen(&producer, message.topic(), flags.broker.as_deref().map(str::trim), flags.queue).await?;
    Ok(producer.send_to(&queue, message).await?)
}

/// The queue that is meant, or the first one of the broker that is meant.
async fn chosen(producer: &Producer, topic: &str, broker: Option<&str>, queue: Option<i32>) -> Result<Queue, CliError> {
    let queues = producer.queues(topic).await?;
    let is_meant =
        |one: &&Queue| broker.is_none_or(|broker| *one.broker == *broker) && queue.is_none_or(|queue| one.id == queue);
    queues.iter().find(is_meant).cloned().ok_or_else(|| {
        let there: Vec<_> = queues.iter().map(|queue| format!("{}:{}", queue.broker, queue.id)).collect();
        CliError::not_found(format!("topic {topic} has no such queue to write to; it has: {}", there.join(", ")))
    })
}

/// Where a message is, as upstream writes it.
pub fn written(sent: &Sent) -> String {
    format!(
        "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={}, queueOffset={}, recallHandle={}]",
        status(sent.status),
        sent.message_id,
        sent.offset_id,
        range::written(&sent.queue),
        sent.offset,
        sent.recall_handle.as_deref().unwrap_or("null"),
    )
}

/// The same for machines.
pub fn json(sent: &Sent) -> Value {
    json!({
        "result": status(sent.status),
        "messageId": sent.message_id,
        "offsetId": sent.offset_id,
        "broker": &*sent.queue.broker,
        "queue": sent.queue.id,
        "offset": sent.offset,
    })
}
