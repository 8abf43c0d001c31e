//! Figures of a broker.

use clap::Args;
use serde_json::json;

use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `brokerStatus`.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    target: Target,
}

/// Figures of a broker, or of the masters and slaves of a cluster.
pub async fn status(context: &Context, flags: &Status) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let (addresses, prefixed): (Vec<_>, _) = match &flags.target.broker {
        Some(address) => (vec![address.trim().to_owned()], false),
        None => (admin.brokers().await?.into_iter().map(|broker| broker.address).collect(), true),
    };
    let mut report = Report::new();
    for address in addresses {
        let prefix = if prefixed { format!("{address:<24} ") } else { String::new() };
        let figures = match admin.broker(&*address).broker_states().await {
            Ok(states) => states.into_iter().next().map(|state| state.value.figures).unwrap_or_default(),
            Err(error) if prefixed => {
                // The others can be asked.
                let reason = error.to_string();
                report = report.line(format!("{prefix}{reason}"));
                report = report.data_item("brokers", json!({ "address": address, "error": reason }));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let lines = figures.iter().map(|(name, value)| format!("{prefix}{name:<32}: {value}"));
        report = lines.fold(report, Report::line);
        report = report.data_item("brokers", json!({ "address": address, "figures": figures }));
    }
    Ok(report)
}
