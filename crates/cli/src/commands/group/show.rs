//! Groups as brokers have them.

use apogee_client::admin::{GroupConfig, RetryDelays};
use clap::Args;
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};

/// Flags of `getConsumerConfig`.
#[derive(Args, Debug)]
pub struct Config {
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
}

/// A group as each broker has it.
pub async fn config(context: &Context, flags: &Config) -> Result<Report, CliError> {
    let group = flags.group.trim();
    let mut report = Report::new();
    let mut is_there = false;
    for broker in context.admin.brokers().await?.into_iter().filter(|broker| broker.is_master()) {
        for config in context.admin.broker(&*broker.address).group_configs(group).await? {
            is_there = true;
            let bar = "=".repeat(29);
            let heading = format!("{bar}{}:{}{bar}", broker.cluster, broker.name);
            let fields = Fields::new(40, "=  ").data("cluster", &*broker.cluster);
            let fields = fields.data("broker", &*broker.name).data("address", &*broker.address);
            report = report.line(heading).item("groups", fields_of(fields, &config));
        }
    }
    match is_there {
        true => Ok(report),
        false => Err(CliError::not_found(format!("no broker has group {group}"))),
    }
}

fn fields_of(fields: Fields, group: &GroupConfig) -> Fields {
    let GroupConfig { name, attributes, .. } = group;
    let same = |fields: Fields, name: &str, value: Cell| fields.field(name, name, value);
    let fields = same(fields, "groupName", name.into());
    let fields = same(fields, "consumeEnable", group.may_consume.into());
    let fields = same(fields, "consumeFromMinEnable", group.from_first.into());
    let fields = same(fields, "consumeBroadcastEnable", group.may_broadcast.into());
    let fields = same(fields, "consumeMessageOrderly", group.ordered.into());
    let fields = same(fields, "retryQueueNums", group.retry_queues.into());
    let fields = same(fields, "retryMaxTimes", group.max_retries.into());
    let fields = same(fields, "groupRetryPolicy", Cell::both(policy(&group.retry_delays), policy_json(group)));
    let fields = same(fields, "brokerId", group.broker_id.into());
    let fields = same(fields, "whichBrokerWhenConsumeSlowly", group.slow_broker_id.into());
    let fields = same(fields, "notifyConsumerIdsChangedEnable", group.tells_changes.into());
    let fields = same(fields, "groupSysFlag", group.system_flag.into());
    let fields = same(fields, "consumeTimeoutMinute", minutes(group).into());
    let fields = same(fields, "subscriptionDataSet", Cell::None);
    same(fields, "attributes", Cell::both(map(attributes), json!(attributes)))
}

/// A group in one line, as upstream writes it.
pub fn written(group: &GroupConfig) -> String {
    format!(
        "SubscriptionGroupConfig{{groupName={}, consumeEnable={}, consumeFromMinEnable={}, \
         consumeBroadcastEnable={}, consumeMessageOrderly={}, retryQueueNums={}, retryMaxTimes={}, \
         groupRetryPolicy={}, brokerId={}, whichBrokerWhenConsumeSlowly={}, notifyConsumerIdsChangedEnable={}, \
         groupSysFlag={}, consumeTimeoutMinute={}, subscriptionDataSet=null, attributes={}}}",
        group.name,
        group.may_consume,
        group.from_first,
        group.may_broadcast,
        group.ordered,
        group.retry_queues,
        group.max_retries,
        policy(&group.retry_delays),
        group.broker_id,
        group.slow_broker_id,
        group.tells_changes,
        group.system_flag,
        minutes(group),
        map(&group.attributes),
    )
}

fn minutes(group: &GroupConfig) -> u64 {
    group.consume_timeout.as_secs() / 60
}

fn map(entries: &std::collections::BTreeMap<String, String>) -> String {
    let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", entries.join(", "))
}

fn policy(delays: &RetryDelays) -> String {
    let (kind, exponential, customized) = match delays {
        RetryDelays::Levels => ("CUSTOMIZED", "null".to_owned(), "null".to_owned()),
        RetryDelays::Steps(steps) => {
            let steps: Vec<_> = steps.iter().map(|step| step.as_millis().to_string()).collect();
            ("CUSTOMIZED", "null".to_owned(), format!("CustomizedRetryPolicy{{next=[{}]}}", steps.join(", ")))
        }
        RetryDelays::Growing { first, most, factor } => {
            let (first, most) = (first.as_millis(), most.as_millis());
            let policy = format!("ExponentialRetryPolicy{{initial={first}, max={most}, multiplier={factor}}}");
            ("EXPONENTIAL", policy, "null".to_owned())
        }
    };
    format!("GroupRetryPolicy{{type={kind}, exponentialRetryPolicy={exponential}, customizedRetryPolicy={customized}}}")
}

fn policy_json(group: &GroupConfig) -> Value {
    match &group.retry_delays {
        RetryDelays::Levels => json!({"type": "CUSTOMIZED"}),
        RetryDelays::Steps(steps) => {
            let next: Vec<_> = steps.iter().map(|step| step.as_millis() as u64).collect();
            json!({"type": "CUSTOMIZED", "customizedRetryPolicy": {"next": next}})
        }
        RetryDelays::Growing { first, most, factor } => {
            let (initial, max) = (first.as_millis() as u64, most.as_millis() as u64);
            let policy = json!({"initial": initial, "max": max, "multiplier": factor});
            json!({"type": "EXPONENTIAL", "exponentialRetryPolicy": policy})
        }
    }
}
