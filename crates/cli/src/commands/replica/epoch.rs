//! The epochs of logs, and up to where a master's log is on disk.

use clap::Args;
use serde_json::json;

use super::Again;
use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};

/// Flags of `getBrokerEpoch`.
#[derive(Args, Debug)]
pub struct Epochs {
    /// Every broker of this cluster
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER", conflicts_with = "broker")]
    cluster: Option<String>,
    /// The brokers of this name
    #[arg(short = 'b', long = "brokerName", value_name = "NAME")]
    broker: Option<String>,
    #[command(flatten)]
    pub again: Again,
}

/// Which masters wrote which parts of the brokers' logs.
pub async fn show(context: &Context, flags: &Epochs) -> Result<Report, CliError> {
    let mut brokers = match (&flags.broker, &flags.cluster) {
        (_, Some(cluster)) => context.admin.cluster(cluster.trim()).brokers().await?,
        (Some(_), None) => context.admin.brokers().await?,
        (None, None) => return Err(CliError::usage("give a broker (-b NAME) or a cluster (-c NAME)")),
    };
    if let Some(name) = flags.broker.as_deref().map(str::trim) {
        brokers.retain(|broker| broker.name == name);
        if brokers.is_empty() {
            return Err(CliError::not_found(format!("there is no broker {name}")));
        }
    }
    let mut report = Report::new();
    for broker in brokers {
        for epochs in context.admin.broker(broker.address).epochs().await? {
            let mut fields = Fields::new(0, "\t")
                .field("#clusterName", "cluster", &*epochs.cluster)
                .field("#brokerName", "broker", &*epochs.broker)
                .field("#brokerAddr", "address", &*epochs.address)
                .field("#brokerId", "brokerId", epochs.broker_id);
            let parts = epochs.parts.iter();
            let parts = parts.map(|part| json!({"epoch": part.number, "start": part.start, "end": part.end}));
            fields = fields.data("epochs", Cell::both("", parts.collect::<Vec<_>>()));
            report = report.line("").item("brokers", fields);
            for part in &epochs.parts {
                let (epoch, start, end) = (part.number, part.start, part.end);
                report =
                    report.line(format!("#Epoch: EpochEntry{{epoch={epoch}, startOffset={start}, endOffset={end}}}"));
            }
        }
    }
    Ok(report)
}

/// Flags of `resetMasterFlushOffset`.
#[derive(Args, Debug)]
pub struct Reset {
    /// Slave, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS")]
    broker: Option<String>,
    /// Up to where its master's log is on disk, in bytes
    #[arg(short = 'o', long = "offset", allow_hyphen_values = true)]
    offset: Option<i64>,
}

/// Tells a slave up to where its master's log is on disk.
pub async fn reset(context: &Context, flags: &Reset) -> Result<Report, CliError> {
    let (Some(broker), Some(offset)) = (&flags.broker, flags.offset) else {
        return Err(CliError::usage("give a slave (-b ADDRESS) and an offset (-o BYTES)"));
    };
    context.admin.broker(broker.trim()).reset_master_flush_offset(offset).await?;
    Ok(Report::new().line(format!("reset master flush offset to {offset} success")))
}
