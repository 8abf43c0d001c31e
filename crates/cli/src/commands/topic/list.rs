//! Topics of a file.

use std::path::PathBuf;

use apogee_client::admin::{Permission, TopicConfig};
use apogee_wire::bodies::{Body, TopicConfig as Written};
use clap::Args;

use super::change::{Changes, attributes_at};
use crate::commands::target::{Target, each};
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `updateTopicList`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    target: Target,
    /// File with a JSON list of topics, each as {"topicName": "T", "readQueueNums": 8, "writeQueueNums": 8, "perm": 6,
    /// "attributes": {"+message.type": "FIFO"}}
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
}

/// Creates the topics of a file, or changes them: of each broker all or none.
pub async fn run(context: &Context, flags: &List) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let name = flags.file.display();
    let text = std::fs::read(&flags.file).map_err(|source| CliError::file(format!("cannot read {name}"), source))?;
    let topics = Vec::<Written>::decode(&text)
        .map_err(|error| CliError::usage(format!("{name} is no list of topics: {error}")))?;
    if topics.is_empty() {
        return Err(CliError::usage(format!("{name} has no topic")));
    }
    let mut report = Report::new();
    let put = async |address: &str| {
        let broker = admin.broker(address);
        let mut wanted = Vec::with_capacity(topics.len());
        for topic in &topics {
            let attributes = attributes_at(&broker, topic.topic_name.trim(), &changes(topic)).await?;
            wanted.push(TopicConfig { attributes, ..config(topic)? });
        }
        Ok(broker.put_topics(&wanted).await?)
    };
    for address in each(admin.masters().await?, put).await? {
        let line = format!("submit batch of topic config to {address} success, please check the result later.");
        report = report.line(line);
    }
    Ok(report)
}

/// Attributes that a file sets and removes: upstream's brokers want a sign before their names.
fn changes(topic: &Written) -> Changes {
    let change = |(name, value): (&String, &String)| match name.strip_prefix('-') {
        Some(name) => (name.to_owned(), None),
        None => (name.trim_start_matches('+').to_owned(), Some(value.clone())),
    };
    topic.attributes.iter().map(change).collect()
}

fn config(topic: &Written) -> Result<TopicConfig, CliError> {
    let name = topic.topic_name.trim();
    let queues = |queues: i32| {
        u32::try_from(queues).map_err(|_| CliError::usage(format!("topic {name} cannot have {queues} queues")))
    };
    Ok(TopicConfig {
        read_queues: queues(topic.read_queue_nums)?,
        write_queues: queues(topic.write_queue_nums)?,
        permission: Permission::of(topic.perm),
        ordered: topic.order,
        system_flag: topic.topic_sys_flag,
        ..TopicConfig::new(name, 0)
    })
}
