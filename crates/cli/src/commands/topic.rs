//! Topics.

use apogee_wire::Command;
use apogee_wire::bodies::{Body, TopicList, TopicStatsTable};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    CreateTopicRequestHeader, DeleteTopicFromNamesrvRequestHeader, DeleteTopicRequestHeader,
    GetTopicStatsInfoRequestHeader,
};
use clap::Args;

use crate::admin::{Admin, AdminError};
use crate::table::{row, table, time};

/// Flags of `updateTopic`.
#[derive(Args, Debug)]
pub struct Update {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr")]
    broker: Option<String>,
    /// Every broker of a cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// Queues to read from
    #[arg(short = 'r', long = "readQueueNums", default_value_t = 8)]
    read_queues: i32,
    /// Queues to write to
    #[arg(short = 'w', long = "writeQueueNums", default_value_t = 8)]
    write_queues: i32,
    /// 2 write, 4 read, 6 both
    #[arg(short = 'p', long = "perm", default_value_t = 6)]
    perm: i32,
    /// Whether messages are in order
    #[arg(short = 'o', long = "order", default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
    /// Attributes: +key=value or -key, separated by commas
    #[arg(short = 'a', long = "attributes", allow_hyphen_values = true)]
    attributes: Option<String>,
}

/// Creates a topic, or changes it.
pub async fn update(admin: &Admin, command: Update) -> Result<String, AdminError> {
    let mut text = String::new();
    for broker in admin.targets(command.broker.as_deref(), command.cluster.as_deref()).await? {
        let header = CreateTopicRequestHeader {
            topic: &command.topic,
            default_topic: "TBW102",
            read_queue_nums: command.read_queues,
            write_queue_nums: command.write_queues,
            perm: command.perm,
            topic_filter_type: "SINGLE_TAG",
            topic_sys_flag: Some(0),
            order: command.order,
            attributes: command.attributes.as_deref(),
            force: None,
            rpc: Default::default(),
        };
        admin.ask(&broker, Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header)).await?;
        text.push_str(&format!("create topic to {broker} success.\n"));
    }
    Ok(text)
}

/// Flags of `deleteTopic`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Every broker of this cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: String,
}

/// Removes a topic from brokers, then from name servers.
pub async fn delete(admin: &Admin, command: Delete) -> Result<String, AdminError> {
    let topic = &command.topic;
    for broker in admin.masters(&command.cluster).await? {
        let header = DeleteTopicRequestHeader { topic, rpc: Default::default() };
        admin.ask(&broker, Command::request(request::DELETE_TOPIC_IN_BROKER).with_header(&header)).await?;
    }
    let header =
        DeleteTopicFromNamesrvRequestHeader { topic, cluster_name: Some(&command.cluster), rpc: Default::default() };
    admin.ask_all_namesrv(&Command::request(request::DELETE_TOPIC_IN_NAMESRV).with_header(&header)).await?;
    Ok(format!(
        "delete topic [{topic}] from cluster [{}] success.\ndelete topic [{topic}] from NameServer success.\n",
        command.cluster
    ))
}

/// Flags of `topicList`.
#[derive(Args, Debug)]
pub struct List {}

/// Names of all topics.
pub async fn list(admin: &Admin, _: List) -> Result<String, AdminError> {
    let answer = admin.ask_namesrv(Command::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER)).await?;
    let topics = TopicList::decode(&answer.body)?.topic_list;
    Ok(topics.into_iter().map(|topic| topic + "\n").collect())
}

/// Flags of `topicRoute`.
#[derive(Args, Debug)]
pub struct Route {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// As a table
    #[arg(short = 'l', long = "list")]
    list: bool,
}

/// Which brokers have a topic.
pub async fn route(admin: &Admin, command: Route) -> Result<String, AdminError> {
    let route = admin.route(&command.topic).await?;
    if !command.list {
        return Ok(String::from_utf8_lossy(&route.encode_pretty()).into_owned());
    }
    let mut rows =
        vec![row(["#Cluster Name", "#Broker Name", "#Broker Addrs", "#Read Queue", "#Write Queue", "#Perm"])];
    for broker in &route.broker_datas {
        let addresses: Vec<String> =
            broker.broker_addrs.iter().map(|(id, address)| format!("{id}:{address}")).collect();
        for queues in route.queue_datas.iter().filter(|queues| queues.broker_name == broker.broker_name) {
            let numbers =
                [queues.read_queue_nums, queues.write_queue_nums, queues.perm].map(|number| number.to_string());
            rows.push(row([
                broker.cluster.as_deref().unwrap_or_default(),
                &broker.broker_name,
                &addresses.join(","),
                &numbers[0],
                &numbers[1],
                &numbers[2],
            ]));
        }
    }
    Ok(table(&rows))
}

/// Flags of `topicStatus`.
#[derive(Args, Debug)]
pub struct Status {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
}

/// Offsets of a topic's queues.
pub async fn status(admin: &Admin, command: Status) -> Result<String, AdminError> {
    let mut rows = vec![row(["#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated"])];
    let mut rate = 0.0;
    for (_, broker) in admin.brokers_of(&command.topic).await? {
        let header = GetTopicStatsInfoRequestHeader { topic: &command.topic, rpc: Default::default() };
        let answer = admin.ask(&broker, Command::request(request::GET_TOPIC_STATS_INFO).with_header(&header)).await?;
        let stats = TopicStatsTable::decode(&answer.body)?;
        rate += stats.topic_put_tps;
        for (queue, offsets) in stats.offset_table {
            let numbers =
                [i64::from(queue.queue_id), offsets.min_offset, offsets.max_offset].map(|number| number.to_string());
            rows.push(row([
                &queue.broker_name,
                &numbers[0],
                &numbers[1],
                &numbers[2],
                &time(offsets.last_update_timestamp),
            ]));
        }
    }
    Ok(format!("{}\nTopic Put TPS: {rate:.1}\n", table(&rows)))
}
