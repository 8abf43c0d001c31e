//! Settings of a cluster's masters in a file.

use clap::Args;
use serde_json::{Map, Value, json};

use super::Folder;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Settings that say what a cluster is.
const SETTINGS: [&str; 16] = [
    "brokerClusterName",
    "brokerId",
    "brokerName",
    "brokerRole",
    "fileReservedTime",
    "filterServerNums",
    "flushDiskType",
    "maxMessageSize",
    "messageDelayLevel",
    "msgTraceTopicName",
    "slaveReadEnable",
    "traceOn",
    "traceTopicEnable",
    "useTLS",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
];

/// Flags of `exportConfigs`.
#[derive(Args, Debug)]
pub struct Configs {
    /// Cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: String,
    #[command(flatten)]
    folder: Folder,
}

/// Writes settings of masters and the size of the cluster to a file.
pub async fn run(context: &Context, flags: &Configs) -> Result<Report, CliError> {
    let admin = context.admin.cluster(flags.cluster.trim());
    let (mut configs, mut masters, mut slaves) = (Map::new(), 0, 0);
    for broker in admin.brokers().await? {
        if !broker.is_master() {
            slaves += 1;
            continue;
        }
        masters += 1;
        for settings in admin.broker(&*broker.address).broker_settings().await? {
            let known = SETTINGS.iter().filter_map(|name| Some((*name, settings.get(*name)?)));
            let known: Map<_, _> = known.map(|(name, value)| (name.to_owned(), Value::from(value.as_str()))).collect();
            configs.insert(broker.name.clone(), Value::Object(known));
        }
    }
    let scale = json!({
        "namesrvSize": context.admin.name_servers().len(),
        "masterBrokerSize": masters,
        "slaveBrokerSize": slaves,
    });
    flags.folder.write("configs.json", &json!({ "brokerConfigs": configs, "clusterScale": scale }))
}
