//! A topic's permission, and the clusters it is in.

use std::collections::BTreeSet;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, TopicConfigAndQueueMapping};
use apogee_wire::codes::request;
use apogee_wire::headers::{CreateTopicRequestHeader, GetTopicConfigRequestHeader};
use clap::Args;

use crate::admin::{Admin, AdminError};

/// Flags of `topicClusterList`.
#[derive(Args, Debug)]
pub struct Clusters {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
}

/// The clusters a topic is in.
pub async fn clusters(admin: &Admin, command: Clusters) -> Result<String, AdminError> {
    let route = admin.route(&command.topic).await?;
    let names: BTreeSet<String> = route.broker_datas.into_iter().filter_map(|broker| broker.cluster).collect();
    Ok(names.into_iter().map(|name| name + "\n").collect())
}

/// Flags of `updateTopicPerm`.
#[derive(Args, Debug)]
pub struct Update {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr", conflicts_with = "cluster")]
    broker: Option<String>,
    /// Every broker of a cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// 2 write, 4 read, 6 both
    #[arg(short = 'p', long = "perm", value_parser = clap::value_parser!(i32).range(0..=7))]
    perm: i32,
}

/// Changes a topic's permission and leaves the rest of it as it is.
pub async fn update(admin: &Admin, command: Update) -> Result<String, AdminError> {
    let topic = command.topic.as_str();
    let mut text = String::new();
    for broker in admin.targets(command.broker.as_deref(), command.cluster.as_deref()).await? {
        let header = GetTopicConfigRequestHeader { topic, rpc: Default::default() };
        let answer = admin.ask(&broker, Command::request(request::GET_TOPIC_CONFIG).with_header(&header)).await?;
        let now = TopicConfigAndQueueMapping::decode(&answer.body)?;
        if now.perm == command.perm {
            text.push_str("new perm equals to the old one!\n");
            continue;
        }
        let header = CreateTopicRequestHeader {
            topic,
            default_topic: "TBW102",
            read_queue_nums: now.read_queue_nums,
            write_queue_nums: now.write_queue_nums,
            perm: command.perm,
            topic_filter_type: now.topic_filter_type.name(),
            topic_sys_flag: Some(now.topic_sys_flag),
            order: now.order,
            // Attributes that aren't named stay.
            attributes: None,
            force: None,
            rpc: Default::default(),
        };
        admin.ask(&broker, Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header)).await?;
        text.push_str(&format!("update topic perm from {} to {} in {broker} success.\n", now.perm, command.perm));
    }
    Ok(text)
}
