//! Subscription groups and their progress.

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, ConsumeStats, ResetOffsetBody, SubscriptionGroupConfig};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    DeleteSubscriptionGroupRequestHeader, GetConsumeStatsRequestHeader, ResetOffsetRequestHeader,
};
use clap::Args;

use crate::admin::{Admin, AdminError};
use crate::table::{row, table, time};

/// Flags of `updateSubGroup`.
#[derive(Args, Debug)]
pub struct Update {
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr")]
    broker: Option<String>,
    /// Every broker of a cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// Whether the group may consume
    #[arg(short = 's', long = "consumeEnable", default_value_t = true, action = clap::ArgAction::Set)]
    consume: bool,
    /// Whether the group may consume by broadcast
    #[arg(short = 'd', long = "consumeBroadcastEnable", default_value_t = false, action = clap::ArgAction::Set)]
    broadcast: bool,
    /// Whether a new consumer of the group begins at the first message
    #[arg(short = 'm', long = "consumeFromMinEnable", default_value_t = false, action = clap::ArgAction::Set)]
    from_min: bool,
    /// Queues of the retry topic
    #[arg(short = 'q', long = "retryQueueNums", default_value_t = 1)]
    retry_queues: i32,
    /// Times that a message is tried again before it goes to the dead letters
    #[arg(short = 'r', long = "retryMaxTimes", default_value_t = 16)]
    retry_times: i32,
}

/// Creates a group, or changes it.
pub async fn update(admin: &Admin, command: Update) -> Result<String, AdminError> {
    let config = SubscriptionGroupConfig {
        consume_enable: command.consume,
        consume_broadcast_enable: command.broadcast,
        consume_from_min_enable: command.from_min,
        retry_queue_nums: command.retry_queues,
        retry_max_times: command.retry_times,
        ..SubscriptionGroupConfig::new(command.group)
    };
    let mut text = String::new();
    for broker in admin.targets(command.broker.as_deref(), command.cluster.as_deref()).await? {
        let question = Command::request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(config.encode());
        admin.ask(&broker, question).await?;
        text.push_str(&format!("create subscription group to {broker} success.\n"));
    }
    Ok(text)
}

/// Flags of `deleteSubGroup`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr")]
    broker: Option<String>,
    /// Every broker of a cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// Its offsets, too
    #[arg(short = 'r', long = "removeOffset", default_value_t = false, action = clap::ArgAction::Set)]
    offsets: bool,
}

/// Removes a group.
pub async fn delete(admin: &Admin, command: Delete) -> Result<String, AdminError> {
    let mut text = String::new();
    for broker in admin.targets(command.broker.as_deref(), command.cluster.as_deref()).await? {
        let header = DeleteSubscriptionGroupRequestHeader {
            group_name: &command.group,
            clean_offset: Some(command.offsets),
            rpc: Default::default(),
        };
        admin.ask(&broker, Command::request(request::DELETE_SUBSCRIPTIONGROUP).with_header(&header)).await?;
        text.push_str(&format!("delete subscription group [{}] from broker [{broker}] success.\n", command.group));
    }
    Ok(text)
}

/// Flags of `consumerProgress`.
#[derive(Args, Debug)]
pub struct Progress {
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// Only this topic
    #[arg(short = 't', long = "topicName")]
    topic: Option<String>,
}

/// How far a group is behind, queue by queue.
pub async fn progress(admin: &Admin, command: Progress) -> Result<String, AdminError> {
    let heading = ["#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#LastTime"];
    let mut rows = vec![row(heading)];
    let (mut rate, mut behind) = (0.0, 0);
    for (_, broker) in admin.brokers_of(&names::retry_topic(&command.group)).await? {
        let header = GetConsumeStatsRequestHeader {
            consumer_group: &command.group,
            topic: command.topic.as_deref(),
            topic_list: None,
            rpc: Default::default(),
        };
        let answer = admin.ask(&broker, Command::request(request::GET_CONSUME_STATS).with_header(&header)).await?;
        let stats = ConsumeStats::decode(&answer.body)?;
        rate += stats.consume_tps;
        for (queue, offsets) in stats.offset_table {
            let diff = offsets.broker_offset - offsets.consumer_offset;
            behind += diff;
            let numbers = [i64::from(queue.queue_id), offsets.broker_offset, offsets.consumer_offset, diff];
            let [id, broker_offset, consumer_offset, diff] = numbers.map(|number| number.to_string());
            let last = time(offsets.last_timestamp);
            rows.push(row([&queue.topic, &queue.broker_name, &id, &broker_offset, &consumer_offset, &diff, &last]));
        }
    }
    Ok(format!("{}\nConsume TPS: {rate:.2}\nConsume Diff Total: {behind}\n", table(&rows)))
}

/// Flags of `resetOffsetByTime`.
#[derive(Args, Debug)]
pub struct Reset {
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// `now`, or milliseconds since 1970
    #[arg(short = 's', long = "timestamp", allow_hyphen_values = true)]
    timestamp: String,
}

/// Moves a group to a time.
pub async fn reset(admin: &Admin, command: Reset) -> Result<String, AdminError> {
    let timestamp = match command.timestamp.as_str() {
        // The end, as brokers understand it.
        "now" => -1,
        text => text
            .parse()
            .map_err(|_| AdminError::Usage(format!("`{text}` is no time: give `now` or milliseconds since 1970")))?,
    };
    let mut rows = vec![row(["#brokerName", "#queueId", "#offset"])];
    for (_, broker) in admin.brokers_of(&command.topic).await? {
        let header = ResetOffsetRequestHeader {
            topic: &command.topic,
            group: &command.group,
            queue_id: Some(-1),
            timestamp,
            is_force: true,
            offset: None,
            rpc: Default::default(),
        };
        let answer =
            admin.ask(&broker, Command::request(request::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header)).await?;
        for (queue, offset) in ResetOffsetBody::decode(&answer.body)?.offset_table {
            rows.push(row([&queue.broker_name, &queue.queue_id.to_string(), &offset.to_string()]));
        }
    }
    Ok(table(&rows))
}
