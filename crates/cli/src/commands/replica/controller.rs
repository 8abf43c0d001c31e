//! Controllers: their state and settings, elections, and what they forget.

use clap::Args;
use serde_json::json;

use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};

/// Which controllers.
#[derive(Args, Debug)]
pub struct Addresses {
    /// Controllers, host:port, separated by semicolons
    #[arg(short = 'a', long = "controllerAddress", value_name = "ADDRESSES")]
    controllers: String,
}

/// Who leads the controllers, and who they are.
pub async fn state(context: &Context, flags: &Addresses) -> Result<Report, CliError> {
    let state = context.admin.controllers(&flags.controllers)?.state().await?;
    let fields = Fields::new(0, "\t")
        .field("#ControllerGroup", "group", &*state.group)
        .field("#ControllerLeaderId", "leaderId", &*state.leader_id)
        .field("#ControllerLeaderAddress", "leaderAddress", &*state.leader_address)
        .data("peers", Cell::both("", json!(state.peers)));
    let report = Report::new().line("").fields("controllers", fields);
    Ok(state.peers.iter().fold(report, |report, peer| report.line(format!("#Peer:\t{peer}"))))
}

/// The settings of each controller.
pub async fn settings(context: &Context, flags: &Addresses) -> Result<Report, CliError> {
    let mut report = Report::new();
    for controller in context.admin.controllers(&flags.controllers)?.settings().await? {
        let bar = "=".repeat(12);
        let mut fields = Fields::new(50, "=  ");
        for (name, value) in &controller.value {
            fields = fields.field(name, name, value);
        }
        report = report.line(format!("{bar}{}{bar}", controller.address)).item("controllers", fields);
        report = report.data_item("addresses", controller.address);
    }
    Ok(report)
}

/// Flags of `updateControllerConfig`.
#[derive(Args, Debug)]
pub struct Update {
    #[command(flatten)]
    addresses: Addresses,
    /// Name of the setting
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Its value
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

/// Changes a setting of all controllers.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    let (key, value) = (flags.key.trim(), flags.value.trim());
    let controllers = context.admin.controllers(&flags.addresses.controllers)?;
    controllers.set_settings(&[(key, value)]).await?;
    let addresses: Vec<_> = flags.addresses.controllers.split(';').map(str::trim).collect();
    let line = format!("update controller config success![{}]", addresses.join(", "));
    Ok(Report::new().line(line).line(format!("{key} : {value}")))
}

/// Flags of `electMaster`.
#[derive(Args, Debug)]
pub struct Elect {
    #[command(flatten)]
    addresses: Addresses,
    /// Id of the broker
    #[arg(short = 'b', long = "brokerId")]
    id: i64,
    /// Name of the broker; also -bn
    #[arg(long = "brokerName")]
    name: String,
    /// Its cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: String,
}

/// Has a broker made the master of its name.
pub async fn elect(context: &Context, flags: &Elect) -> Result<Report, CliError> {
    let (cluster, name, id) = (flags.cluster.trim(), flags.name.trim(), flags.id);
    let lost = format!("Broker {id} of {name} will be the master: what it lacks of the log is lost");
    context.confirm(&lost).await?;
    let elected = context.admin.controllers(&flags.addresses.controllers)?.elect(cluster, name, id).await?;
    let none = || Cell::both("null", ());
    let brokers = elected.brokers.iter().map(|(id, address)| json!({"brokerId": id, "address": address}));
    let fields = Fields::new(0, "\t")
        .field("#ClusterName", "cluster", cluster)
        .field("#BrokerName", "broker", name)
        .field("#BrokerMasterAddr", "masterAddress", elected.master_address.map_or_else(none, Cell::from))
        .field("#MasterEpoch", "masterEpoch", elected.master_epoch.map_or_else(none, Cell::from))
        .field("#SyncStateSetEpoch", "setEpoch", elected.set_epoch.map_or_else(none, Cell::from))
        .data("brokers", Cell::both("", brokers.collect::<Vec<_>>()));
    let report = Report::new().line("").fields("elected", fields);
    let line = |report: Report, (id, address): (&i64, &String)| report.line(format!("\t#Broker\t{id}\t{address}"));
    Ok(elected.brokers.iter().fold(report, line))
}

/// Flags of `cleanBrokerMetadata`.
#[derive(Args, Debug)]
pub struct Clean {
    #[command(flatten)]
    addresses: Addresses,
    /// Ids of the replicas, separated by semicolons; without, all of the name
    #[arg(short = 'b', long = "brokerControllerIdsToClean", value_delimiter = ';', value_name = "IDS")]
    ids: Vec<i64>,
    /// Name of the broker; also -bn
    #[arg(long = "brokerName")]
    name: String,
    /// Its cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
    /// Those that are alive, too
    #[arg(short = 'l', long = "cleanLivingBroker")]
    living: bool,
}

/// Has the controllers forget replicas.
pub async fn clean(context: &Context, flags: &Clean) -> Result<Report, CliError> {
    let (cluster, name) = (flags.cluster.as_deref().map(str::trim), flags.name.trim());
    if cluster.is_none() && !flags.living {
        return Err(CliError::usage("give the cluster (-c NAME), or say that living brokers are meant, too (-l)"));
    }
    let ids: Vec<_> = flags.ids.iter().map(i64::to_string).collect();
    let which = if ids.is_empty() { "all replicas".to_owned() } else { format!("replicas {}", ids.join(", ")) };
    context.confirm(&format!("The controllers will forget {which} of {name}")).await?;
    let controllers = context.admin.controllers(&flags.addresses.controllers)?;
    controllers.forget(cluster, name, &flags.ids, flags.living).await?;
    Ok(Report::new().line(format!("clear broker {name} metadata from controller success!")))
}
