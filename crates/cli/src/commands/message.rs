//! Messages.

use apogee_base::clock::{Clock, SystemClock};
use apogee_message::ids::OffsetId;
use apogee_message::names::property;
use apogee_message::{properties, record};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    QueryMessageRequestHeader, SendMessageRequestHeader, SendMessageResponseHeader, ViewMessageRequestHeader,
};
use clap::Args;

use crate::admin::{Admin, AdminError};
use crate::table::{row, table, time};

/// Flags of `queryMsgById`.
#[derive(Args, Debug)]
pub struct ById {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: Option<String>,
    /// Id that the broker gave the message: 32 or 56 hexadecimal digits
    #[arg(short = 'i', long = "msgId")]
    id: String,
}

/// Shows the message with an id.
pub async fn by_id(admin: &Admin, command: ById) -> Result<String, AdminError> {
    let id: OffsetId =
        command.id.parse().map_err(|error: apogee_message::ids::IdError| AdminError::Usage(error.to_string()))?;
    let header = ViewMessageRequestHeader { topic: command.topic.as_deref(), offset: id.offset };
    let question = Command::request(request::VIEW_MESSAGE_BY_ID).with_header(&header);
    let answer = admin.ask(&id.host.to_string(), question).await?;
    let messages = record::iter(&answer.body).filter_map(Result::ok);
    Ok(messages.map(|message| describe(&message)).collect())
}

/// A message as upstream prints it.
pub(super) fn describe(message: &record::Record<'_>) -> String {
    let property = |name| message.property(name).unwrap_or_default().to_owned();
    let all = properties::iter(message.properties);
    let all = all.map(|(name, value)| format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    let lines = [
        ("OffsetID:", message.offset_id().to_string()),
        ("Topic:", message.topic.to_owned()),
        ("Tags:", format!("[{}]", property(property::TAGS))),
        ("Keys:", format!("[{}]", property(property::KEYS))),
        ("Queue ID:", message.queue_id.to_string()),
        ("Queue Offset:", message.queue_offset.to_string()),
        ("CommitLog Offset:", message.physical_offset.to_string()),
        ("Reconsume Times:", message.reconsume_times.to_string()),
        ("Born Timestamp:", time(message.born_timestamp)),
        ("Store Timestamp:", time(message.store_timestamp)),
        ("Born Host:", message.born_host.to_string()),
        ("Store Host:", message.store_host.to_string()),
        ("System Flag:", message.sys_flag.to_string()),
        ("Properties:", format!("{{{}}}", all.collect::<Vec<_>>().join(", "))),
        ("Message Body:", String::from_utf8_lossy(message.body).into_owned()),
    ];
    lines.map(|(name, value)| format!("{name:<21}{value}\n")).concat()
}

/// Flags of `queryMsgByKey`.
#[derive(Args, Debug)]
pub struct ByKey {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Key of the message
    #[arg(short = 'k', long = "msgKey")]
    key: String,
    /// Stored at or after, in milliseconds since 1970
    #[arg(short = 'b', long = "beginTimestamp", default_value_t = 0)]
    begin: i64,
    /// Stored at or before, in milliseconds since 1970
    #[arg(short = 'e', long = "endTimestamp", default_value_t = i64::MAX)]
    end: i64,
    /// Most messages
    #[arg(short = 'm', long = "maxNum", default_value_t = 64)]
    most: i32,
}

/// Shows the messages with a key.
pub async fn by_key(admin: &Admin, command: ByKey) -> Result<String, AdminError> {
    let mut rows = vec![row(["#Message ID", "#QID", "#Offset"])];
    for (_, broker) in admin.brokers_of(&command.topic).await? {
        let header = QueryMessageRequestHeader {
            topic: &command.topic,
            key: &command.key,
            max_num: command.most,
            begin_timestamp: command.begin,
            end_timestamp: command.end,
            index_type: None,
            last_key: None,
            rpc: Default::default(),
        };
        let answer = admin.answer(&broker, Command::request(request::QUERY_MESSAGE).with_header(&header)).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            continue;
        }
        for message in record::iter(&answer.body).filter_map(Result::ok) {
            let id =
                message.property(property::UNIQ_KEY).map_or_else(|| message.offset_id().to_string(), str::to_owned);
            rows.push(row([&id, &message.queue_id.to_string(), &message.queue_offset.to_string()]));
        }
    }
    Ok(table(&rows))
}

/// Flags of `sendMessage`.
#[derive(Args, Debug)]
pub struct Send {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Body
    #[arg(short = 'p', long = "body")]
    body: String,
    /// Keys
    #[arg(short = 'k', long = "key")]
    keys: Option<String>,
    /// Tag
    #[arg(short = 'c', long = "tags")]
    tag: Option<String>,
    /// Name of the broker; the first that has the topic if none is given
    #[arg(short = 'b', long = "broker")]
    broker: Option<String>,
    /// Queue; the broker chooses if none is given
    #[arg(short = 'i', long = "qid", default_value_t = -1, allow_negative_numbers = true)]
    queue: i32,
}

/// Sends a message.
pub async fn send(admin: &Admin, command: Send) -> Result<String, AdminError> {
    let brokers = admin.brokers_of(&command.topic).await?;
    let wanted = |(name, _): &&(String, String)| command.broker.as_ref().is_none_or(|broker| broker == name);
    let (name, address) = brokers
        .iter()
        .find(wanted)
        .ok_or_else(|| AdminError::Usage(format!("no such broker has the topic {}", command.topic)))?;
    let mut text = Vec::new();
    for (name, value) in [(property::KEYS, &command.keys), (property::TAGS, &command.tag)] {
        if let Some(value) = value {
            properties::push(&mut text, name, value);
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut question = Command::request(request::SEND_MESSAGE_V2).with_body(command.body.into_bytes());
    let header = SendMessageRequestHeader {
        producer_group: "TOOLS_PRODUCER",
        topic: &command.topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: command.queue,
        sys_flag: 0,
        born_timestamp: SystemClock.now_ms(),
        flag: 0,
        properties: Some(&text),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        batch: Some(false),
        max_reconsume_times: None,
        broker_name: Some(name),
        rpc: Default::default(),
    };
    header.encode_v2(&mut question.fields);
    let answer = admin.ask(address, question).await?;
    let header = answer.header::<SendMessageResponseHeader<'_>>()?;
    let id = header.transaction_id.unwrap_or(header.msg_id);
    let queue = header.queue_id.to_string();
    Ok(table(&[row(["#Broker Name", "#QID", "#Send Result", "#MsgId"]), row([name, &queue, "SEND_OK", id])]))
}
