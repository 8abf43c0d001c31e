//! Commands about users, and what they may do.

use apogee_client::Admin;

use super::target::Target;
use crate::context::Context;
use crate::error::CliError;

pub mod acl;
pub mod acl_change;
pub mod user;
pub mod user_change;

/// Addresses of the broker, or of all brokers of the cluster: each keeps users for itself, slaves, too.
async fn all_of(context: &Context, target: &Target) -> Result<Vec<String>, CliError> {
    let admin = target.admin(context)?;
    match &target.broker {
        Some(broker) => Ok(vec![broker.trim().to_owned()]),
        None => Ok(admin.brokers().await?.into_iter().map(|broker| broker.address).collect()),
    }
}

/// Addresses of the broker, or of the masters of the cluster.
async fn masters_of(context: &Context, target: &Target) -> Result<Vec<String>, CliError> {
    let admin: Admin = target.admin(context)?;
    Ok(admin.masters().await?)
}

/// Words of a list, separated by commas.
fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
