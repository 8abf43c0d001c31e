//! Settings of brokers.

use std::collections::BTreeMap;

use apogee_client::admin::Broker;
use clap::Args;
use serde_json::json;

use crate::commands::target::{Target, each};
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `getBrokerConfig`.
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    target: Target,
}

/// Settings of a broker, or of the masters and slaves of a cluster.
pub async fn get(context: &Context, flags: &Get) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let brokers = match &flags.target.broker {
        Some(address) => vec![(address.trim().to_owned(), address.trim().to_owned())],
        None => headed(admin.brokers().await?),
    };
    let mut report = Report::new();
    for (address, heading) in brokers {
        for broker in admin.broker(address).broker_settings().await? {
            report = listed(report, &heading, "brokers", &broker.address, &broker.value);
        }
    }
    Ok(report)
}

/// Addresses with what is written above their settings, in order: a slave's names its master's.
fn headed(brokers: Vec<Broker>) -> Vec<(String, String)> {
    let mut master: Option<(String, String)> = None;
    let heading = |broker: Broker| {
        if broker.is_master() {
            master = Some((broker.name, broker.address.clone()));
            return (broker.address.clone(), format!("Master: {}", broker.address));
        }
        let of_name = master.as_ref().filter(|(name, _)| *name == broker.name).map(|(_, address)| &**address);
        let heading = format!("My Master: {}=====Slave: {}", of_name.unwrap_or("NO_MASTER"), broker.address);
        (broker.address, heading)
    };
    brokers.into_iter().map(heading).collect()
}

/// Settings below a heading, as upstream writes them.
pub fn listed(
    report: Report,
    heading: &str,
    key: &'static str,
    address: &str,
    settings: &BTreeMap<String, String>,
) -> Report {
    let report = report.line(format!("============{heading}============"));
    let lines = settings.iter().map(|(name, value)| format!("{name:<50}=  {value}"));
    let report = lines.fold(report, Report::line).line("");
    report.data_item(key, json!({ "address": address, "settings": settings }))
}

/// Flags of `updateBrokerConfig`.
#[derive(Args, Debug)]
pub struct Update {
    #[command(flatten)]
    target: Target,
    /// Slaves of the cluster, too: any value but false
    #[arg(short = 'a', long = "updateAllBroker")]
    all: Option<String>,
    /// Setting
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Its new value
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

/// Changes a setting of brokers while they run.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let addresses = match (&flags.target.cluster, flags.all.as_deref()) {
        (Some(_), Some(all)) if all != "false" => {
            admin.brokers().await?.into_iter().map(|broker| broker.address).collect()
        }
        _ => admin.masters().await?,
    };
    let setting = [(flags.key.trim(), flags.value.trim())];
    let put = async |address: &str| Ok(admin.broker(address).set_broker_settings(&setting).await?);
    let changed = each(addresses, put).await?;
    let line = |address: String| format!("update broker config success, {address}");
    Ok(changed.into_iter().map(line).fold(Report::new(), Report::line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slaves_are_listed_with_their_masters() {
        let broker = |name: &str, id| Broker {
            cluster: "C".to_owned(),
            name: name.to_owned(),
            id,
            address: format!("{name}:{id}"),
        };
        let headings = headed(vec![broker("a", 0), broker("a", 1), broker("b", 1)]);
        let headings: Vec<_> = headings.iter().map(|(_, heading)| &**heading).collect();
        let expected = ["Master: a:0", "My Master: a:0=====Slave: a:1", "My Master: NO_MASTER=====Slave: b:1"];
        assert_eq!(headings, expected);
    }
}
