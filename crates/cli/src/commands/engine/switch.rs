//! What timers and POP keep their state with.

use apogee_client::admin::TimerEngine;
use clap::{ArgAction, Args};

use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `switchTimerEngine`.
#[derive(Args, Debug)]
pub struct Timer {
    #[command(flatten)]
    target: Target,
    /// F: a wheel in files; R: RocksDB, which only Apache's broker has
    #[arg(short = 'e', long = "engineType", value_parser = ["F", "R"])]
    engine: String,
}

/// Says with what brokers keep messages that wait for a time of their own.
pub async fn timer(context: &Context, flags: &Timer) -> Result<Report, CliError> {
    let (engine, name) = match &*flags.engine {
        "R" => (TimerEngine::RocksDb, "ROCKSDB_TIMELINE"),
        _ => (TimerEngine::Wheel, "FILE_TIME_WHEEL"),
    };
    let mut report = Report::new();
    for address in flags.target.admin(context)?.masters().await? {
        context.admin.broker(&*address).set_timer_engine(engine).await?;
        report = report.line(format!("switchTimerEngine to {name} success, {address}"));
    }
    Ok(report)
}

/// Flags of `exportPopRecord`.
#[derive(Args, Debug)]
pub struct PopRecords {
    #[command(flatten)]
    target: Target,
    /// Whether nothing is to change
    #[arg(short = 'd', long = "dryRun", default_value_t = false, action = ArgAction::Set)]
    dry_run: bool,
}

/// Has brokers give records of POP that they keep in RocksDB back to topics.
pub async fn pop_records(context: &Context, flags: &PopRecords) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let brokers = match &flags.target.broker {
        Some(broker) => {
            let address = broker.trim().to_owned();
            let settings = admin.broker_settings().await?;
            let name = settings.first().and_then(|settings| settings.get("brokerName").cloned());
            vec![(name.unwrap_or_default(), address)]
        }
        None => admin.brokers().await?.into_iter().map(|broker| (broker.name, broker.address)).collect(),
    };
    let mut report = Report::new();
    for (name, address) in brokers {
        if !flags.dry_run {
            context.admin.broker(&*address).export_pop_records().await?;
        }
        let line = format!("Export broker records, brokerName={name}, brokerAddr={address}, dryRun={}", flags.dry_run);
        report = report.line(line);
    }
    Ok(report)
}
