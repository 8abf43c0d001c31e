//! Clusters and brokers.

use std::collections::BTreeMap;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, KVTable};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader, WipeWritePermOfBrokerRequestHeader,
    WipeWritePermOfBrokerResponseHeader,
};
use clap::Args;

use crate::admin::{Admin, AdminError};
use crate::table::{row, table};

/// Flags of `clusterList`.
#[derive(Args, Debug)]
pub struct List {
    /// Only this cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
}

async fn figures(admin: &Admin, broker: &str) -> Result<BTreeMap<String, String>, AdminError> {
    let answer = admin.ask(broker, Command::request(request::GET_BROKER_RUNTIME_INFO)).await?;
    Ok(KVTable::decode(&answer.body)?.table)
}

/// Clusters and their brokers.
pub async fn list(admin: &Admin, command: List) -> Result<String, AdminError> {
    let info = admin.cluster().await?;
    let heading =
        ["#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS", "#OutTPS", "#SPACE", "#ACTIVATED"];
    let mut rows = vec![row(heading)];
    for (cluster, names) in &info.cluster_addr_table {
        if command.cluster.as_ref().is_some_and(|wanted| wanted != cluster) {
            continue;
        }
        for broker in names.iter().filter_map(|name| info.broker_addr_table.get(name)) {
            for (id, address) in &broker.broker_addrs {
                // A broker that doesn't answer is shown all the same.
                let figures = figures(admin, address).await.unwrap_or_default();
                let figure = |key: &str| figures.get(key).map(String::as_str).unwrap_or_default();
                let rate = |key: &str| figure(key).split(' ').next().unwrap_or_default().to_owned();
                let (input, output) = (rate("putTps"), rate("getTransferredTps"));
                let (version, space, active) =
                    (figure("brokerVersionDesc"), figure("commitLogDiskRatio"), figure("brokerActive"));
                rows.push(row([
                    cluster,
                    &broker.broker_name,
                    &id.to_string(),
                    address,
                    version,
                    &input,
                    &output,
                    space,
                    active,
                ]));
            }
        }
    }
    Ok(table(&rows))
}

/// Flags that name one broker or the brokers of a cluster.
#[derive(Args, Debug)]
pub struct Target {
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr")]
    broker: Option<String>,
    /// Every broker of a cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: Option<String>,
}

/// Figures of brokers.
pub async fn status(admin: &Admin, command: Target) -> Result<String, AdminError> {
    let mut text = String::new();
    for broker in admin.targets(command.broker.as_deref(), command.cluster.as_deref()).await? {
        for (key, value) in figures(admin, &broker).await? {
            text.push_str(&format!("{key:<32}: {value}\n"));
        }
    }
    Ok(text)
}

/// Settings of brokers.
pub async fn config(admin: &Admin, command: Target) -> Result<String, AdminError> {
    let mut text = String::new();
    for broker in admin.targets(command.broker.as_deref(), command.cluster.as_deref()).await? {
        let answer = admin.ask(&broker, Command::request(request::GET_BROKER_CONFIG)).await?;
        text.push_str(&format!("============{broker}============\n"));
        for entry in apogee_base::settings::properties::parse(&String::from_utf8_lossy(&answer.body)) {
            text.push_str(&format!("{:<50}=  {}\n", entry.key, entry.value));
        }
    }
    Ok(text)
}

/// Flags of `updateBrokerConfig`.
#[derive(Args, Debug)]
pub struct Update {
    #[command(flatten)]
    target: Target,
    /// Setting
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Its new value
    #[arg(short = 'v', long = "value")]
    value: String,
}

/// Changes a setting of brokers.
pub async fn update(admin: &Admin, command: Update) -> Result<String, AdminError> {
    let mut text = String::new();
    let line = format!("{}={}\n", command.key, apogee_base::settings::properties::escape(&command.value));
    for broker in admin.targets(command.target.broker.as_deref(), command.target.cluster.as_deref()).await? {
        admin.ask(&broker, Command::request(request::UPDATE_BROKER_CONFIG).with_body(line.clone())).await?;
        text.push_str(&format!("update broker config success, {broker}\n"));
    }
    Ok(text)
}

/// Flags of `wipeWritePerm` and `addWritePerm`.
#[derive(Args, Debug)]
pub struct WritePerm {
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
}

/// Takes the write permission from a broker's topics, at every name server: none tells another.
pub async fn wipe(admin: &Admin, command: WritePerm) -> Result<String, AdminError> {
    let header = WipeWritePermOfBrokerRequestHeader { broker_name: &command.broker };
    let question = Command::request(request::WIPE_WRITE_PERM_OF_BROKER).with_header(&header);
    let mut text = String::new();
    for namesrv in admin.namesrvs() {
        let answer = admin.ask(namesrv, question.clone()).await?;
        let count = answer.header::<WipeWritePermOfBrokerResponseHeader>()?.wipe_topic_count;
        text.push_str(&format!(
            "wipe write perm of broker[{}] in name server[{namesrv}] OK, {count}\n",
            command.broker
        ));
    }
    Ok(text)
}

/// Gives the write permission back to a broker's topics, at every name server.
pub async fn give_back(admin: &Admin, command: WritePerm) -> Result<String, AdminError> {
    let header = AddWritePermOfBrokerRequestHeader { broker_name: &command.broker };
    let question = Command::request(request::ADD_WRITE_PERM_OF_BROKER).with_header(&header);
    let mut text = String::new();
    for namesrv in admin.namesrvs() {
        let answer = admin.ask(namesrv, question.clone()).await?;
        let count = answer.header::<AddWritePermOfBrokerResponseHeader>()?.add_topic_count;
        text.push_str(&format!("add write perm of broker[{}] in name server[{namesrv}] OK, {count}\n", command.broker));
    }
    Ok(text)
}
