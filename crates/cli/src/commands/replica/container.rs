//! Brokers that share a process (upstream `BrokerContainer`).

use clap::Args;

use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `addBroker`.
#[derive(Args, Debug)]
pub struct Add {
    /// Container, host:port
    #[arg(short = 'c', long = "brokerContainerAddr", value_name = "ADDRESS")]
    container: String,
    /// The broker's property file, on the container's machine
    #[arg(short = 'b', long = "brokerConfigPath", value_name = "PATH")]
    path: String,
}

/// Starts a broker in a container.
pub async fn add(context: &Context, flags: &Add) -> Result<Report, CliError> {
    let container = flags.container.trim();
    context.admin.add_to_container(container, flags.path.trim()).await?;
    Ok(Report::new().line(format!("add broker to {container} success")))
}

/// Flags of `removeBroker`.
#[derive(Args, Debug)]
pub struct Remove {
    /// Container, host:port
    #[arg(short = 'c', long = "brokerContainerAddr", value_name = "ADDRESS")]
    container: String,
    /// The broker, as cluster:name:id
    #[arg(short = 'b', long = "brokerIdentity", value_name = "CLUSTER:NAME:ID", value_parser = identity)]
    broker: (String, String, i64),
}

fn identity(text: &str) -> Result<(String, String, i64), String> {
    let mut parts = text.split(':').map(str::trim);
    let (Some(cluster), Some(name), Some(id), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("give cluster:name:id".to_owned());
    };
    let id = id.parse().ok().filter(|id| *id >= 0).ok_or("the id is a number, 0 for the master")?;
    Ok((cluster.to_owned(), name.to_owned(), id))
}

/// Stops a broker of a container.
pub async fn remove(context: &Context, flags: &Remove) -> Result<Report, CliError> {
    let (container, (cluster, name, id)) = (flags.container.trim(), &flags.broker);
    context.confirm(&format!("Broker {id} of {name} will be stopped in the container {container}")).await?;
    context.admin.remove_from_container(container, cluster, name, *id).await?;
    Ok(Report::new().line(format!("remove broker from {container} success")))
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn a_broker_has_three_parts() {
        assert_eq!(identity("C:b:0"), Ok(("C".to_owned(), "b".to_owned(), 0)));
        assert!(identity("C:b").is_err() && identity("C:b:-1").is_err() && identity("C:b:0:x").is_err());
    }
}
