//! Creating, changing and removing a group.

use std::collections::BTreeMap;

use apogee_client::admin::{GroupConfig, RetryDelays};
use apogee_message::names;
use apogee_wire::bodies::{Body, GroupRetryPolicy};
use clap::{ArgAction, Args};

use super::show;
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `updateSubGroup`.
#[derive(Args, Debug)]
pub struct Update {
    #[command(flatten)]
    target: Target,
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// Whether the group may consume
    #[arg(short = 's', long = "consumeEnable", default_value_t = true, action = ArgAction::Set)]
    consume: bool,
    /// Whether a new consumer of the group begins at the first message
    #[arg(short = 'm', long = "consumeFromMinEnable", default_value_t = false, action = ArgAction::Set)]
    from_min: bool,
    /// Whether the group may consume by broadcast
    #[arg(short = 'd', long = "consumeBroadcastEnable", default_value_t = false, action = ArgAction::Set)]
    broadcast: bool,
    /// Whether the group consumes in order
    #[arg(short = 'o', long = "consumeMessageOrderly", default_value_t = false, action = ArgAction::Set)]
    orderly: bool,
    /// Queues of the retry topic
    #[arg(short = 'q', long = "retryQueueNums", default_value_t = 1)]
    retry_queues: u32,
    /// Times that a message is tried again before it goes to the dead letters
    #[arg(short = 'r', long = "retryMaxTimes", default_value_t = 16)]
    retry_times: u32,
    /// How long until a message comes again, as JSON: {"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000]}}
    /// or {"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2}}
    #[arg(short = 'p', long = "groupRetryPolicy", value_name = "JSON")]
    retry_policy: Option<String>,
    /// Id of the broker that the group reads from
    #[arg(short = 'i', long = "brokerId", default_value_t = 0)]
    broker_id: i64,
    /// Id of the broker that it reads from when it is far behind
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly", default_value_t = 1)]
    slow_broker_id: i64,
    /// Whether its members are told when one comes or goes
    #[arg(short = 'a', long = "notifyConsumerIdsChanged", default_value_t = true, action = ArgAction::Set)]
    notify: bool,
    /// Attributes: +key=value or -key, separated by commas; others stay
    #[arg(long = "attributes", allow_hyphen_values = true)]
    attributes: Option<String>,
}

/// Creates a group, or changes it.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let changes = changes(flags.attributes.as_deref().unwrap_or_default())?;
    let group = GroupConfig {
        may_consume: flags.consume,
        may_broadcast: flags.broadcast,
        from_first: flags.from_min,
        ordered: flags.orderly,
        retry_queues: flags.retry_queues,
        max_retries: flags.retry_times,
        retry_delays: flags.retry_policy.as_deref().map_or(Ok(RetryDelays::Levels), delays)?,
        tells_changes: flags.notify,
        broker_id: flags.broker_id,
        slow_broker_id: flags.slow_broker_id,
        ..GroupConfig::new(flags.group.trim())
    };
    let mut report = Report::new();
    for address in admin.masters().await? {
        admin.broker(&*address).change_group(&group, &changes).await?;
        report = report.line(format!("create subscription group to {address} success."));
    }
    Ok(report.line(show::written(&GroupConfig { attributes: changes, ..group })))
}

/// Changes of attributes as brokers want them: `+name` with a value, or `-name`.
fn changes(text: &str) -> Result<BTreeMap<String, String>, CliError> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| match word.split_once('=') {
            Some((name, value)) if name.len() > 1 && name.starts_with('+') => Ok((name.to_owned(), value.to_owned())),
            None if word.len() > 1 && word.starts_with('-') => Ok((word.to_owned(), String::new())),
            _ => {
                Err(CliError::usage(format!("`{word}` is no attribute: give +key=value to set one, -key to remove it")))
            }
        })
        .collect()
}

/// A policy of retries as upstream writes it.
fn delays(json: &str) -> Result<RetryDelays, CliError> {
    let policy = GroupRetryPolicy::decode(json.as_bytes());
    policy.map(RetryDelays::of).map_err(|error| CliError::usage(format!("`{json}` is no policy of retries: {error}")))
}

/// Flags of `deleteSubGroup`.
#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    target: Target,
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// Its offsets, too
    #[arg(short = 'r', long = "removeOffset", default_value_t = false, action = ArgAction::Set)]
    offsets: bool,
}

/// Removes a group; from a cluster, with the topics of its retries and dead letters.
pub async fn delete(context: &Context, flags: &Delete) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let group = flags.group.trim();
    let where_from = flags.target.words();
    let lost = match (&flags.target.cluster, flags.offsets) {
        (Some(_), true) => "with its offsets, retries and dead letters",
        (Some(_), false) => "with its retries and dead letters",
        (None, true) => "with its offsets",
        (None, false) => "without its offsets",
    };
    context.confirm(&format!("Group {group} will be removed from {where_from}, {lost}")).await?;
    let mut report = Report::new();
    for address in admin.masters().await? {
        admin.broker(&*address).delete_group(group, flags.offsets).await?;
        let cluster = flags.target.cluster.as_ref().map(|cluster| format!(" in cluster [{}]", cluster.trim()));
        let cluster = cluster.unwrap_or_default();
        report = report.line(format!("delete subscription group [{group}] from broker [{address}]{cluster} success."));
    }
    if flags.target.cluster.is_some() {
        admin.delete_topic(&names::retry_topic(group)).await?;
        admin.delete_topic(&names::dlq_topic(group)).await?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn attributes_and_policies_are_read_as_upstream_writes_them() {
        let read = changes("+a=b=c, -d").unwrap();
        assert_eq!(read, BTreeMap::from([("+a".into(), "b=c".into()), ("-d".into(), String::new())]));
        assert!(changes("a=b").is_err() && changes("-").is_err() && changes("-a=b").is_err());
        let steps = r#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000]}}"#;
        assert_eq!(delays(steps).unwrap(), RetryDelays::Steps([1, 5].map(Duration::from_secs).into()));
        assert!(delays("{").is_err());
    }
}
