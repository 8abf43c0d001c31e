//! Moving groups.

use std::time::UNIX_EPOCH;

use apogee_client::admin::QueueOffset;
use apogee_client::{Admin, From};
use clap::{ArgAction, Args};

use crate::commands::time;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `resetOffsetByTime`.
#[derive(Args, Debug)]
pub struct Reset {
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// now, milliseconds since 1970, yyyy-MM-dd#HH:mm:ss:SSS (UTC), or -1 for the end
    #[arg(short = 's', long = "timestamp", allow_hyphen_values = true)]
    timestamp: String,
    /// Whether the group may go forward, too, and skip messages
    #[arg(short = 'f', long = "force", default_value_t = true, action = ArgAction::Set)]
    force: bool,
    /// Only the brokers of this cluster
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Only this broker, host:port
    #[arg(short = 'b', long = "broker", value_name = "ADDRESS")]
    broker: Option<String>,
    /// Only this queue of the broker
    #[arg(short = 'q', long = "queue", requires = "broker")]
    queue: Option<u32>,
    /// The offset to go to instead of a time
    #[arg(short = 'o', long = "offset", requires = "queue", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
}

/// Moves a group to a time.
pub async fn by_time(context: &Context, flags: &Reset) -> Result<Report, CliError> {
    let (group, topic, text) = (flags.group.trim(), flags.topic.trim(), flags.timestamp.trim());
    let (mut to, milliseconds) = place(text)?;
    let admin = match (&flags.broker, &flags.cluster) {
        (Some(broker), _) => context.admin.broker(broker.trim()),
        (None, Some(cluster)) => context.admin.cluster(cluster.trim()),
        (None, None) => context.admin.clone(),
    };
    let lost = format!("Group {group} will be moved in topic {topic}: where it is now is lost");
    context.confirm(&lost).await?;
    let (Some(id), Some(broker)) = (flags.queue, &flags.broker) else {
        let moved = match flags.force {
            true => admin.reset(group, topic, to).await?,
            false => admin.reset_back(group, topic, to).await?,
        };
        let line = format!(
            "start reset consumer offset by specified, group[{group}], topic[{topic}], force[{}], \
             timestamp(string)[{text}], timestamp(long)[{milliseconds}]",
            flags.force
        );
        return Ok(Report::new().line(line).table("queues", moved_to(&moved)));
    };
    if let Some(offset) = flags.offset {
        to = From::Offset(offset);
    }
    let ranges = admin.topic_stats(topic).await?.queues;
    let of_id = ranges.into_iter().find(|range| u32::try_from(range.queue.id) == Ok(id));
    let missing = || CliError::not_found(format!("topic {topic} has no queue {id} on broker {}", broker.trim()));
    let queue = of_id.ok_or_else(missing)?.queue;
    let moved = admin.reset_queue(group, &queue, to).await?;
    let line = format!(
        "start reset consumer offset by specified, group[{group}], topic[{topic}], queueId[{id}], broker[{}], \
         timestamp(string)[{text}], timestamp(long)[{milliseconds}]",
        broker.trim()
    );
    let report = Report::new().line(line).line(format!("reset consumer offset to {}", moved.offset));
    Ok(report.data("queues", moved_to(&[moved]).to_json()))
}

/// A place of queues, as upstream writes it; and its milliseconds since 1970, which upstream tells.
fn place(text: &str) -> Result<(From, i64), CliError> {
    if text == "-1" {
        return Ok((From::Last, -1));
    }
    let time = time::parse(text).map_err(|error| CliError::usage(format!("{error}, or -1 for the end")))?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((From::Time(time), i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

fn moved_to(moved: &[QueueOffset]) -> Table {
    let mut table = Table::new(&[("#brokerName", "broker"), ("#queueId", "queue"), ("#offset", "offset")]);
    for to in moved {
        table.row([(&*to.queue.broker).into(), to.queue.id.into(), to.offset.into()]);
    }
    table
}

/// Flags of `skipAccumulatedMessage`.
#[derive(Args, Debug)]
pub struct Skip {
    /// Consumer group
    #[arg(short = 'g', long = "group")]
    group: String,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Whether messages are really skipped; without, nothing changes but in queues that end before where the group is
    #[arg(short = 'f', long = "force", default_value_t = true, action = ArgAction::Set)]
    force: bool,
    /// Only the brokers of this cluster
    #[arg(short = 'c', long = "cluster", value_name = "CLUSTER")]
    cluster: Option<String>,
}

/// Moves a group to the end.
pub async fn skip(context: &Context, flags: &Skip) -> Result<Report, CliError> {
    let (group, topic) = (flags.group.trim(), flags.topic.trim());
    let admin: Admin = match &flags.cluster {
        Some(cluster) => context.admin.cluster(cluster.trim()),
        None => context.admin.clone(),
    };
    context.confirm(&format!("Group {group} will get none of the messages of topic {topic} that it lacks")).await?;
    let moved = match flags.force {
        true => admin.reset(group, topic, From::Last).await?,
        false => admin.reset_back(group, topic, From::Last).await?,
    };
    Ok(Report::new().table("queues", moved_to(&moved)))
}

/// Flags of `cloneGroupOffset`.
#[derive(Args, Debug)]
pub struct Copy {
    /// The group that is followed
    #[arg(short = 's', long = "srcGroup")]
    from: String,
    /// The group that gets its offsets
    #[arg(short = 'd', long = "destGroup")]
    to: String,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Whether the offsets count even if members of the first group do not subscribe to the topic
    #[arg(short = 'o', long = "offline", default_value_t = false, action = ArgAction::Set)]
    offline: bool,
}

/// Lets a group begin where another is.
pub async fn copy(context: &Context, flags: &Copy) -> Result<Report, CliError> {
    let (from, to, topic) = (flags.from.trim(), flags.to.trim(), flags.topic.trim());
    let groups = context.admin.groups().await?;
    if let Some(missing) = [from, to].into_iter().find(|group| !groups.contains(*group)) {
        return Err(CliError::not_found(format!("no broker has group {missing}: create it with updateSubGroup")));
    }
    context.confirm(&format!("Group {to} will be moved in topic {topic}: where it is now is lost")).await?;
    context.admin.copy_offsets(from, to, Some(topic), flags.offline).await?;
    let line = format!("clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]");
    Ok(Report::new().line(line))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_is_a_place_too() {
        let at = |milliseconds| From::Time(UNIX_EPOCH + Duration::from_millis(milliseconds));
        assert_eq!(place("2023-11-14#22:13:20:123").unwrap(), (at(1_700_000_000_123), 1_700_000_000_123));
        assert_eq!(place("-1").unwrap(), (From::Last, -1));
        for wrong in ["-2", "soon"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
