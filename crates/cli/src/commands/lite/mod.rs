//! Commands about lite topics. Of several brokers, one that cannot tell is named, and the others tell.

use apogee_client::Admin;

use crate::context::Context;
use crate::error::CliError;

pub mod broker;
pub mod client;
pub mod group;
pub mod topic;

/// The name of the light queue of a lite topic (upstream `LiteUtil`).
fn queue_name(parent: &str, lite: &str) -> String {
    format!("%LMQ%${parent}${lite}")
}

/// Name and administration of each broker that has a topic.
async fn brokers_of(context: &Context, parent: &str) -> Result<Vec<(String, Admin)>, CliError> {
    let route = context.admin.route(parent).await?;
    let first = |broker: apogee_client::admin::TopicBroker| {
        let address = broker.addresses.into_values().next()?;
        Some((broker.name, context.admin.broker(address)))
    };
    Ok(route.brokers.into_iter().filter_map(first).collect())
}

/// What is told of a broker that does not answer, or refuses.
fn failed(broker: &str, error: &apogee_client::Error) -> String {
    format!("[{broker}] error: {error}")
}
