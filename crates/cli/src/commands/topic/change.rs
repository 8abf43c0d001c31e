//! Creating, changing and removing topics.

use std::collections::BTreeMap;

use apogee_client::Admin;
use apogee_client::admin::{Permission, TopicConfig};
use clap::Args;

use super::order;
use crate::commands::target::{Target, each};
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Bits of a topic's system flag (upstream `TopicSysFlag`).
const UNIT: i32 = 1;
const UNIT_SUB: i32 = 1 << 1;

/// Flags of `updateTopic`.
#[derive(Args, Debug)]
pub struct Update {
    #[command(flatten)]
    target: Target,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Queues to read from
    #[arg(short = 'r', long = "readQueueNums", default_value_t = 8)]
    read_queues: u32,
    /// Queues to write to
    #[arg(short = 'w', long = "writeQueueNums", default_value_t = 8)]
    write_queues: u32,
    /// 2 write, 4 read, 6 both
    #[arg(short = 'p', long = "perm", default_value_t = 6, value_parser = clap::value_parser!(i32).range(0..=7))]
    perm: i32,
    /// Whether messages are in order
    #[arg(short = 'o', long = "order", default_value_t = false, action = clap::ArgAction::Set)]
    order: bool,
    /// Whether it belongs to a unit of the cluster
    #[arg(short = 'u', long = "unit", default_value_t = false, action = clap::ArgAction::Set)]
    unit: bool,
    /// Whether groups of a unit subscribe to it
    #[arg(short = 's', long = "hasUnitSub", default_value_t = false, action = clap::ArgAction::Set)]
    unit_sub: bool,
    /// Attributes: +key=value or -key, separated by commas
    #[arg(short = 'a', long = "attributes", allow_hyphen_values = true)]
    attributes: Option<String>,
}

/// Creates a topic, or changes it. Attributes that are not named stay.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let changes = changes(flags.attributes.as_deref().unwrap_or_default())?;
    let wanted = TopicConfig {
        read_queues: flags.read_queues,
        write_queues: flags.write_queues,
        permission: Permission::of(flags.perm),
        ordered: flags.order,
        system_flag: if flags.unit { UNIT } else { 0 } | if flags.unit_sub { UNIT_SUB } else { 0 },
        ..TopicConfig::new(flags.topic.trim(), 0)
    };
    let mut report = Report::new();
    let put = async |address: &str| {
        let broker = admin.broker(address);
        let attributes = attributes_at(&broker, &wanted.name, &changes).await?;
        Ok(broker.put_topic(&TopicConfig { attributes, ..wanted.clone() }).await?)
    };
    for address in each(admin.masters().await?, put).await? {
        report = report.line(format!("create topic to {address} success."));
    }
    if flags.order {
        let conf = order::put_for(&admin, &flags.target, &wanted).await?;
        let whose = if flags.target.broker.is_some() { "broker" } else { "cluster" };
        report = report.line(format!("set {whose} orderConf. isOrder=true, orderConf=[{conf}]"));
    }
    Ok(report.line(written(&wanted, flags.attributes.as_deref())))
}

/// What becomes of attributes: a value for those that are set, none for those that go.
pub type Changes = BTreeMap<String, Option<String>>;

/// Reads changes as upstream writes them.
fn changes(text: &str) -> Result<Changes, CliError> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| match (word.strip_prefix('+').and_then(|rest| rest.split_once('=')), word.strip_prefix('-')) {
            (Some((name, value)), _) if !name.is_empty() => Ok((name.to_owned(), Some(value.to_owned()))),
            (_, Some(name)) if !name.is_empty() => Ok((name.to_owned(), None)),
            _ => {
                Err(CliError::usage(format!("`{word}` is no attribute: give +key=value to set one, -key to remove it")))
            }
        })
        .collect()
}

/// The attributes that a topic has on a broker, and what changes them.
pub async fn attributes_at(
    broker: &Admin,
    topic: &str,
    changes: &Changes,
) -> Result<BTreeMap<String, String>, CliError> {
    let now = broker.topic_configs(topic).await?.into_iter().next();
    let mut attributes = now.map(|config| config.value.attributes).unwrap_or_default();
    for (name, value) in changes {
        match value {
            Some(value) => drop(attributes.insert(name.clone(), value.clone())),
            None => drop(attributes.remove(name)),
        }
    }
    Ok(attributes)
}

/// A topic as upstream writes it.
fn written(topic: &TopicConfig, attributes: Option<&str>) -> String {
    let Permission { read, write, inherit } = topic.permission;
    let letter = |is: bool, letter: char| if is { letter } else { '-' };
    let permission: String = [letter(read, 'R'), letter(write, 'W'), letter(inherit, 'X')].into_iter().collect();
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={permission}, \
         topicFilterType=SINGLE_TAG, topicSysFlag={}, order={}, attributes={{{}}}]",
        topic.name,
        topic.read_queues,
        topic.write_queues,
        topic.system_flag,
        topic.ordered,
        attributes.unwrap_or_default(),
    )
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
pub async fn delete(context: &Context, flags: &Delete) -> Result<Report, CliError> {
    let (topic, cluster) = (flags.topic.trim(), flags.cluster.trim());
    context.confirm(&format!("topic {topic} and its messages are removed from cluster {cluster}")).await?;
    context.admin.cluster(cluster).delete_topic(topic).await?;
    Ok(Report::new()
        .line(format!("delete topic [{topic}] from cluster [{cluster}] success."))
        .line(format!("delete topic [{topic}] from NameServer success.")))
}

/// Flags of `updateTopicPerm`.
#[derive(Args, Debug)]
pub struct Permit {
    #[command(flatten)]
    target: Target,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// 2 write, 4 read, 6 both
    #[arg(short = 'p', long = "perm", value_parser = clap::value_parser!(i32).range(0..=7))]
    perm: i32,
}

/// Changes a topic's permission and leaves the rest of it as it is.
pub async fn permit(context: &Context, flags: &Permit) -> Result<Report, CliError> {
    let (topic, perm) = (flags.topic.trim(), flags.perm);
    let admin = flags.target.admin(context)?;
    let configs = admin.topic_configs(topic).await?;
    if configs.is_empty() {
        return Err(CliError::not_found(format!("none of these brokers has topic {topic}")));
    }
    let mut report = Report::new();
    for config in configs {
        let old = config.permission.bits();
        if old == perm {
            report = report.line("new perm equals to the old one!");
            continue;
        }
        let address = config.address;
        let changed = config.value.permission(Permission::of(perm));
        admin.broker(&*address).put_topic(&changed).await?;
        report = report.line(format!("update topic perm from {old} to {perm} in {address} success."));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_and_removed() {
        let read = changes("+message.type=FIFO, -other,").expect("read");
        let expected = [("message.type", Some("FIFO")), ("other", None)];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into());
        for bad in ["message.type=FIFO", "+message.type", "+=FIFO", "-"] {
            assert!(changes(bad).is_err_and(|error| error.to_string().contains(bad)), "{bad}");
        }
    }

    #[test]
    fn a_topic_is_written_as_upstream_writes_it() {
        let text = "TopicConfig [topicName=T_adm2, readQueueNums=2, writeQueueNums=2, perm=RW-, \
                    topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={+message.type=FIFO}]";
        assert_eq!(written(&TopicConfig::new("T_adm2", 2), Some("+message.type=FIFO")), text);
    }
}
