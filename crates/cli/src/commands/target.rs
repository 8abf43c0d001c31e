//! Which brokers a command is for.

use apogee_client::Admin;
use clap::Args;

use crate::context::Context;
use crate::error::CliError;

/// One broker, or all of a cluster.
#[derive(Args, Debug)]
pub struct Target {
    /// One broker, host:port
    #[arg(short = 'b', long = "brokerAddr", value_name = "ADDRESS", conflicts_with = "cluster")]
    pub broker: Option<String>,
    /// Every broker of this cluster
    #[arg(short = 'c', long = "clusterName", alias = "cluster", value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// Does something on each broker, one after the other; returns their addresses. When one fails, the error says which
/// have it already.
pub async fn each(
    addresses: Vec<String>,
    mut change: impl AsyncFnMut(&str) -> Result<(), CliError>,
) -> Result<Vec<String>, CliError> {
    for (number, address) in addresses.iter().enumerate() {
        if let Err(error) = change(address).await {
            return Err(match number {
                0 => error,
                _ => CliError::failed(format!("{error}; it is done on {}", addresses[..number].join(", "))),
            });
        }
    }
    Ok(addresses)
}

impl Target {
    /// The administration of those; an error when none is named.
    pub fn admin(&self, context: &Context) -> Result<Admin, CliError> {
        context.targets(self.broker.as_deref(), self.cluster.as_deref())
    }

    /// The administration of those, of all when none is named.
    pub fn admin_or_all(&self, context: &Context) -> Result<Admin, CliError> {
        match (&self.broker, &self.cluster) {
            (None, None) => Ok(context.admin.clone()),
            _ => self.admin(context),
        }
    }

    /// Those in words.
    pub fn words(&self) -> String {
        match (&self.broker, &self.cluster) {
            (Some(broker), _) => format!("broker {}", broker.trim()),
            (None, Some(cluster)) => format!("cluster {}", cluster.trim()),
            (None, None) => "all brokers".to_owned(),
        }
    }
}
