//! Messages by the id of their producer, or by their place.

use apogee_message::names::property;
use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{PullMessageRequestHeader, QueryMessageRequestHeader};
use clap::Args;

use super::message::describe;
use crate::admin::{Admin, AdminError};

/// Bit of a pull request's system flag: the subscription comes with it.
const WITH_SUBSCRIPTION: i32 = 1 << 2;
/// The group that upstream's tools read by; every broker has it.
const TOOLS_GROUP: &str = "TOOLS_CONSUMER";

/// Flags of `queryMsgByUniqueKey`.
#[derive(Args, Debug)]
pub struct ByUniqueKey {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Id that the producer gave the message
    #[arg(short = 'i', long = "msgId")]
    id: String,
    /// All messages with that id: a resend has the id of the first
    #[arg(short = 'a', long = "showAll")]
    all: bool,
    /// Stored at or after, in milliseconds since 1970
    #[arg(short = 's', long = "startTime", default_value_t = 0)]
    begin: i64,
    /// Stored at or before, in milliseconds since 1970
    #[arg(short = 'e', long = "endTime", default_value_t = i64::MAX)]
    end: i64,
}

/// Shows the message that has an id of its producer: the oldest one, or all.
pub async fn by_unique_key(admin: &Admin, command: ByUniqueKey) -> Result<String, AdminError> {
    let mut found = Vec::new();
    for (_, broker) in admin.brokers_of(&command.topic).await? {
        let header = QueryMessageRequestHeader {
            topic: &command.topic,
            key: &command.id,
            max_num: 32,
            begin_timestamp: command.begin,
            end_timestamp: command.end,
            index_type: None,
            last_key: None,
            rpc: Default::default(),
        };
        let mut question = Command::request(request::QUERY_MESSAGE).with_header(&header);
        question.fields.set("_UNIQUE_KEY_QUERY", true);
        let answer = admin.answer(&broker, question).await?;
        match answer.code {
            response::SUCCESS => {}
            response::QUERY_NOT_FOUND => continue,
            code => {
                let remark = answer.remark.unwrap_or_default();
                return Err(AdminError::Refused { peer: broker, code, remark });
            }
        }
        let messages = record::iter(&answer.body).filter_map(Result::ok);
        // Different ids may have one hash.
        let wanted = messages.filter(|message| message.property(property::UNIQ_KEY) == Some(&command.id));
        found.extend(wanted.map(|message| (message.store_timestamp, describe(&message))));
    }
    if found.is_empty() {
        return Err(AdminError::Usage(format!("topic {} has no message with the id {}", command.topic, command.id)));
    }
    found.sort();
    found.truncate(if command.all { usize::MAX } else { 1 });
    Ok(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n"))
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
    /// Topic whose route is used, instead of the message's
    #[arg(short = 'r', long = "routeTopic")]
    route_topic: Option<String>,
}

/// Shows the message at a place of a queue.
pub async fn by_offset(admin: &Admin, command: ByOffset) -> Result<String, AdminError> {
    let brokers = admin.brokers_of(command.route_topic.as_deref().unwrap_or(&command.topic)).await?;
    let Some((_, address)) = brokers.iter().find(|(name, _)| *name == command.broker) else {
        let names: Vec<&str> = brokers.iter().map(|(name, _)| name.as_str()).collect();
        return Err(AdminError::Usage(format!(
            "topic {} is not on the broker {}; it is on: {}",
            command.topic,
            command.broker,
            names.join(", ")
        )));
    };
    let header = PullMessageRequestHeader {
        consumer_group: TOOLS_GROUP,
        topic: &command.topic,
        lite_topic: None,
        queue_id: command.queue,
        queue_offset: command.offset,
        max_msg_nums: 1,
        sys_flag: WITH_SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_millis: 0,
        subscription: Some("*"),
        sub_version: 0,
        expression_type: Some("TAG"),
        max_msg_bytes: None,
        request_source: None,
        proxy_froward_client_id: None,
        rpc: Default::default(),
    };
    let answer = admin.answer(address, Command::request(request::PULL_MESSAGE).with_header(&header)).await?;
    let nothing = || {
        let ByOffset { topic, broker, queue, offset, .. } = &command;
        let more = answer.remark.as_deref().map(|remark| format!(" ({remark})")).unwrap_or_default();
        AdminError::Usage(format!("queue {queue} of topic {topic} on {broker} has no message at offset {offset}{more}"))
    };
    match answer.code {
        response::SUCCESS => {}
        response::PULL_NOT_FOUND | response::PULL_OFFSET_MOVED | response::PULL_RETRY_IMMEDIATELY => {
            return Err(nothing());
        }
        code => {
            let remark = answer.remark.clone().unwrap_or_default();
            return Err(AdminError::Refused { peer: address.clone(), code, remark });
        }
    }
    let mut messages = record::iter(&answer.body).filter_map(Result::ok);
    // Brokers may answer with the next one that is there.
    let message = messages.find(|message| message.queue_offset == command.offset);
    message.map(|message| describe(&message)).ok_or_else(nothing)
}
