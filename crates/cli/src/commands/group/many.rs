//! Groups from a file.

use std::path::PathBuf;

use apogee_client::admin::GroupConfig;
use apogee_wire::bodies::{Body, SubscriptionGroupConfig};
use clap::Args;

use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `updateSubGroupList`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    target: Target,
    /// JSON file with a list of groups, such as [{"groupName":"G","retryMaxTimes":3}]
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
}

/// Creates or changes the groups of a file.
pub async fn run(context: &Context, flags: &List) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let path = flags.file.display();
    let text = std::fs::read(&flags.file).map_err(|error| CliError::file(format!("cannot read {path}"), error))?;
    let bodies: Vec<SubscriptionGroupConfig> =
        Body::decode(&text).map_err(|error| CliError::usage(format!("{path} is no list of groups: {error}")))?;
    let mut groups = Vec::with_capacity(bodies.len());
    for mut body in bodies {
        if body.group_name.is_empty() {
            return Err(CliError::usage(format!("{path} has a group without a groupName")));
        }
        // Upstream's files have them as changes.
        let plain = |name: String| name.strip_prefix('+').map(str::to_owned).unwrap_or(name);
        body.attributes = body.attributes.into_iter().map(|(name, value)| (plain(name), value)).collect();
        groups.push(GroupConfig::of(body));
    }
    if groups.is_empty() {
        return Err(CliError::usage(format!("{path} has no groups")));
    }
    // As upstream words it, one thing for a broker and another for a cluster.
    let what = if flags.target.broker.is_some() { "group" } else { "subscription group" };
    let mut report = Report::new();
    for address in admin.masters().await? {
        admin.broker(&*address).put_groups(&groups).await?;
        let line = format!("submit batch of {what} config to {address} success, please check the result later.");
        report = report.line(line);
    }
    Ok(report)
}
