//! Topics and groups in a file.

use std::collections::BTreeMap;

use apogee_client::Admin;
use apogee_client::admin::{GroupConfig, TopicConfig};
use apogee_message::names;
use clap::Args;
use serde_json::{Map, Value};

use super::Folder;
use crate::commands::target::Target;
use crate::commands::topic::show::is_of_group;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Groups that brokers have from their first start, or that belong to tools.
const NOT_OF_USERS: [&str; 13] = [
    "DEFAULT_PRODUCER",
    "DEFAULT_CONSUMER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
];

/// Flags of `exportMetadata`.
#[derive(Args, Debug)]
pub struct Metadata {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    folder: Folder,
    /// Only topics, to topic.json
    #[arg(short = 't', long = "topic", conflicts_with = "groups")]
    topics: bool,
    /// Only groups, to subscriptionGroup.json
    #[arg(short = 'g', long = "subscriptionGroup")]
    groups: bool,
    /// With topics of retries and dead letters
    #[arg(short = 's', long = "specialTopic")]
    special: bool,
}

/// Writes topics and groups of users to a file. Of what several brokers have, numbers of queues are added up.
pub async fn run(context: &Context, flags: &Metadata) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let (name, with_topics, with_groups) = match (flags.topics, flags.groups) {
        (true, _) => ("topic.json", true, false),
        (_, true) => ("subscriptionGroup.json", false, true),
        _ => ("metadata.json", true, true),
    };
    let mut file = Map::new();
    if with_topics {
        let topics = topics(&admin, flags.special).await?;
        file.insert(
            "topicConfigTable".to_owned(),
            json(topics.values().map(|topic| (&topic.name, serde_json::to_value(topic.written()))))?,
        );
    }
    if with_groups {
        let groups = groups(&admin).await?;
        file.insert(
            "subscriptionGroupTable".to_owned(),
            json(groups.values().map(|group| (&group.name, serde_json::to_value(group.written()))))?,
        );
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    file.insert("exportTime".to_owned(), (now.as_millis() as u64).into());
    flags.folder.write(name, &Value::Object(file))
}

fn json<'n>(entries: impl Iterator<Item = (&'n String, serde_json::Result<Value>)>) -> Result<Value, CliError> {
    let entries: serde_json::Result<Map<_, _>> = entries.map(|(name, value)| Ok((name.clone(), value?))).collect();
    entries.map(Value::Object).map_err(|error| CliError::failed(error.to_string()))
}

/// Topics of users.
pub async fn topics(admin: &Admin, special: bool) -> Result<BTreeMap<String, TopicConfig>, CliError> {
    let system = admin.system_topics().await?;
    let mut topics: BTreeMap<String, TopicConfig> = BTreeMap::new();
    for topic in admin.all_topic_configs().await? {
        if system.contains(&topic.name) || (!special && is_of_group(&topic.name)) {
            continue;
        }
        let mut topic = topic.value;
        if let Some(other) = topics.get(&topic.name) {
            topic.read_queues += other.read_queues;
            topic.write_queues += other.write_queues;
        }
        topics.insert(topic.name.clone(), topic);
    }
    Ok(topics)
}

/// Groups of users.
pub async fn groups(admin: &Admin) -> Result<BTreeMap<String, GroupConfig>, CliError> {
    let mut groups: BTreeMap<String, GroupConfig> = BTreeMap::new();
    for group in admin.all_group_configs().await? {
        if names::is_system_group(&group.name) || NOT_OF_USERS.contains(&&*group.name) {
            continue;
        }
        let mut group = group.value;
        if let Some(other) = groups.get(&group.name) {
            group.retry_queues += other.retry_queues;
        }
        groups.insert(group.name.clone(), group);
    }
    Ok(groups)
}
