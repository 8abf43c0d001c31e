//! What name servers keep: values by namespace, permissions to write, and their own settings.

use apogee_client::admin::At;
use clap::Args;
use serde_json::json;

use super::broker::settings::listed;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `updateKvConfig`.
#[derive(Args, Debug)]
pub struct Put {
    /// Namespace
    #[arg(short = 's', long = "namespace")]
    namespace: String,
    /// Name
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Value
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

/// Sets a value in every name server.
pub async fn put(context: &Context, flags: &Put) -> Result<Report, CliError> {
    let Put { namespace, key, value } = flags;
    context.admin.put_value(namespace.trim(), key.trim(), value.trim()).await?;
    Ok(Report::new().line("create or update kv config to namespace success."))
}

/// Flags of `deleteKvConfig`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Namespace
    #[arg(short = 's', long = "namespace")]
    namespace: String,
    /// Name
    #[arg(short = 'k', long = "key")]
    key: String,
}

/// Removes a value from every name server.
pub async fn delete(context: &Context, flags: &Delete) -> Result<Report, CliError> {
    context.admin.delete_value(flags.namespace.trim(), flags.key.trim()).await?;
    Ok(Report::new().line("delete kv config from namespace success."))
}

/// Flags of `getNamesrvConfig`.
#[derive(Args, Debug)]
pub struct Settings {}

/// Settings of every name server.
pub async fn settings(context: &Context, _: &Settings) -> Result<Report, CliError> {
    let all = context.admin.name_server_settings().await?;
    let list = |report, at: At<_>| listed(report, &at.address, "nameServers", &at.address, &at.value);
    Ok(all.into_iter().fold(Report::new(), list))
}

/// Flags of `updateNamesrvConfig`.
#[derive(Args, Debug)]
pub struct Update {
    /// Setting
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Its new value
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

/// Changes a setting of every name server.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    let (key, value) = (flags.key.trim(), flags.value.trim());
    context.admin.set_name_server_settings(&[(key, value)]).await?;
    let addresses = context.admin.name_servers().join(", ");
    Ok(Report::new().line(format!("update name server config success![{addresses}]")).line(format!("{key} : {value}")))
}

/// Flags of `wipeWritePerm` and `addWritePerm`.
#[derive(Args, Debug)]
pub struct WritePerm {
    /// Name of the broker
    #[arg(short = 'b', long = "brokerName")]
    broker: String,
}

/// Takes the write permission from a broker's topics, at every name server: none tells another.
pub async fn wipe(context: &Context, flags: &WritePerm) -> Result<Report, CliError> {
    let broker = flags.broker.trim();
    Ok(permitted("wipe", broker, context.admin.wipe_write_permission(broker).await?))
}

/// Gives the write permission back to a broker's topics, at every name server.
pub async fn give_back(context: &Context, flags: &WritePerm) -> Result<Report, CliError> {
    let broker = flags.broker.trim();
    Ok(permitted("add", broker, context.admin.add_write_permission(broker).await?))
}

fn permitted(what: &str, broker: &str, changed: Vec<At<u32>>) -> Report {
    changed.into_iter().fold(Report::new(), |report, At { address, value: topics }| {
        report
            .line(format!("{what} write perm of broker[{broker}] in name server[{address}] OK, {topics}"))
            .data_item("nameServers", json!({ "address": address, "topics": topics }))
    })
}
