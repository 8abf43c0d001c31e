//! Replicas as controllers have them.

use apogee_client::admin::{ReplicaId, ReplicaSet};
use clap::Args;
use serde_json::{Value, json};

use super::Again;
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};

/// Flags of `getSyncStateSet`.
#[derive(Args, Debug)]
pub struct SyncStateSet {
    /// Controllers, host:port, separated by semicolons
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRESSES")]
    controllers: String,
    /// The brokers of this cluster
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER", conflicts_with = "broker")]
    cluster: Option<String>,
    /// The brokers of this name
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    broker: Option<String>,
    #[command(flatten)]
    pub again: Again,
}

/// Which replicas have all that was acknowledged.
pub async fn show(context: &Context, flags: &SyncStateSet) -> Result<Report, CliError> {
    let controllers = context.admin.controllers(&flags.controllers)?;
    let mut names = Vec::new();
    match (&flags.broker, &flags.cluster) {
        (Some(name), _) => names.push(name.trim().to_owned()),
        (None, Some(cluster)) => {
            let brokers = context.admin.cluster(cluster.trim()).brokers().await?;
            names.extend(brokers.into_iter().map(|broker| broker.name));
            names.dedup();
        }
        (None, None) => return Err(CliError::usage("give a broker (-b NAME) or a cluster (-c NAME)")),
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sets = controllers.replicas(&names).await?;
    if sets.is_empty() {
        return Err(CliError::not_found(format!("the controllers know no broker of {}", names.join(", "))));
    }
    Ok(sets.iter().fold(Report::new(), |report, (broker, set)| told(report, broker, set)))
}

fn told(report: Report, broker: &str, set: &ReplicaSet) -> Report {
    let json = |replicas: &[ReplicaId]| -> Value {
        let json = |one: &ReplicaId| json!({"brokerId": one.id, "address": one.address, "alive": one.is_alive});
        replicas.iter().map(json).collect()
    };
    let none = || Cell::both("null", ());
    let fields = Fields::new(0, "\t")
        .field("#brokerName", "broker", broker)
        .field("#MasterBrokerId", "masterId", set.master_id.map_or_else(none, Cell::from))
        .field("#MasterAddr", "masterAddress", set.master_address.as_deref().map_or_else(none, Cell::from))
        .field("#MasterEpoch", "masterEpoch", set.master_epoch)
        .field("#SyncStateSetEpoch", "setEpoch", set.set_epoch)
        .field("#SyncStateSetNums", "inSyncCount", set.in_step.len())
        .data("inSync", Cell::both("", json(&set.in_step)))
        .data("notInSync", Cell::both("", json(&set.behind)));
    let mut report = report.line("").item("brokers", fields);
    for (word, replicas) in [("InSyncReplica", &set.in_step), ("NotInSyncReplica", &set.behind)] {
        for one in replicas {
            report = report.line("").line(format!(
                "{word}:\tReplicaIdentity{{brokerName='{}', brokerId={}, brokerAddress='{}', alive={}}}",
                one.broker, one.id, one.address, one.is_alive
            ));
        }
    }
    report
}
