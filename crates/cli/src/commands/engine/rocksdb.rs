//! What Apache's broker may keep in RocksDB. Ours has none: it is asked all the same, and no folder of RocksDB is read
//! here.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgAction, Args};
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Tables of a broker that may be in RocksDB.
const TABLES: [&str; 3] = ["topics", "subscriptionGroups", "consumerOffsets"];
/// How far back queues are compared when nothing is said.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a folder of RocksDB is not read, and what to do instead.
fn unreadable(path: &Path, table: &str) -> CliError {
    if !path.exists() {
        return CliError::not_found(format!("there is no folder {}", path.display()));
    }
    let file = match table {
        "subscriptionGroups" => "subscriptionGroup.json",
        "consumerOffsets" => "consumerOffset.json",
        _ => "topics.json",
    };
    CliError::failed(format!(
        "{} is a folder of RocksDB, which this program does not read: have its broker write {file} \
         (rocksDBConfigToJson -b ADDRESS -t {table}), or ask a running broker (exportMetadata)",
        path.join(table).display()
    ))
}

/// Flags of `exportMetadataInRocksDB`.
#[derive(Args, Debug)]
pub struct Export {
    /// Folder of Apache's broker
    #[arg(short = 'p', long = "path")]
    path: std::path::PathBuf,
    /// topics or subscriptionGroups
    #[arg(short = 't', long = "configType", value_parser = ["topics", "subscriptionGroups"], ignore_case = true)]
    table: String,
    /// Whether it is to be JSON
    #[arg(short = 'j', long = "jsonEnable", default_value_t = false, action = ArgAction::Set)]
    _json: bool,
}

/// Says how to get at what a folder of RocksDB has.
pub async fn export(_: &Context, flags: &Export) -> Result<Report, CliError> {
    Err(unreadable(&flags.path, &flags.table))
}

/// Flags of `rocksDBConfigToJson`.
#[derive(Args, Debug)]
pub struct ToJson {
    /// topics, subscriptionGroups, consumerOffsets, or several, separated by semicolons; without, all
    #[arg(short = 't', long = "configType", value_delimiter = ';', value_parser = TABLES)]
    tables: Vec<String>,
    /// Folder of Apache's broker
    #[arg(short = 'p', long = "configPath")]
    path: Option<std::path::PathBuf>,
    /// File to write to, with -p
    #[arg(short = 'e', long = "exportFile", requires = "path")]
    _file: Option<std::path::PathBuf>,
    /// Whether it is to be JSON, with -p
    #[arg(short = 'j', long = "jsonEnable", requires = "path", action = ArgAction::Set)]
    _json: Option<bool>,
    /// Every broker of this cluster
    #[arg(short = 'c', long = "cluster", conflicts_with = "broker")]
    cluster: Option<String>,
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS")]
    broker: Option<String>,
}

/// Has brokers write what they keep in RocksDB as JSON files.
pub async fn to_json(context: &Context, flags: &ToJson) -> Result<Report, CliError> {
    if let Some(path) = &flags.path {
        return Err(unreadable(path, flags.tables.first().map_or("topics", String::as_str)));
    }
    let admin = context.targets(flags.broker.as_deref(), flags.cluster.as_deref())?;
    let mut tables: Vec<&str> = flags.tables.iter().map(String::as_str).collect();
    if tables.is_empty() {
        tables.extend(TABLES);
    }
    let which = if flags.broker.is_some() { "broker" } else { "all brokers in cluster" };
    admin.export_rocksdb_config(&tables).await?;
    let line = format!("Use [rpc mode] call {which} to export to json file");
    Ok(Report::new().line(line).line("broker export done."))
}

/// Flags of `checkRocksdbCqWriteProgress`.
#[derive(Args, Debug)]
pub struct Check {
    /// Every broker of this cluster
    #[arg(short = 'c', long = "cluster")]
    cluster: String,
    /// Only this topic
    #[arg(short = 't', long = "topic")]
    topic: Option<String>,
    /// Only messages stored since, in milliseconds since 1970 (30 days ago); also -cf
    #[arg(long = "checkFrom", value_name = "MILLISECONDS")]
    from: Option<u64>,
}

/// Has brokers compare queues in RocksDB with those in files.
pub async fn check(context: &Context, flags: &Check) -> Result<Report, CliError> {
    let now = SystemTime::now();
    let from = flags.from.and_then(|since| UNIX_EPOCH.checked_add(Duration::from_millis(since)));
    let from = from.unwrap_or_else(|| now.checked_sub(MONTH).unwrap_or(UNIX_EPOCH));
    let mut report = Report::new();
    for broker in context.admin.cluster(flags.cluster.trim()).brokers().await? {
        if !broker.is_master() {
            continue;
        }
        let (name, admin) = (&broker.name, context.admin.broker(&*broker.address));
        for wrong in admin.check_rocksdb_queues(flags.topic.as_deref().map(str::trim), from).await? {
            report = report.line(match &wrong.value {
                Some(error) => format!("{name} check error, please check log... errInfo: {error}"),
                None => format!("{name} check doing, please wait and get the result from log..."),
            });
            let json = json!({"broker": name, "address": broker.address, "error": wrong.value});
            report = report.data_item("brokers", json);
        }
    }
    Ok(report)
}
