//! Creating, changing, removing and copying what users may do.

use apogee_client::admin::{Access, Rule};
use clap::Args;

use super::{all_of, words};
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `createAcl` and `updateAcl`.
#[derive(Args, Debug)]
pub struct Put {
    #[command(flatten)]
    target: Target,
    /// Subject, such as User:alice
    #[arg(short = 's', long = "subject")]
    subject: String,
    /// Resources, such as Topic:Orders, Group:billing-* or *, separated by commas
    #[arg(short = 'r', long = "resources")]
    resources: String,
    /// What is done: some of All, Pub, Sub, Create, Update, Delete, Get and List, separated by commas
    #[arg(short = 'a', long = "actions")]
    actions: String,
    /// Addresses or networks that it is done from, separated by commas; without, all
    #[arg(short = 'i', long = "sourceIp")]
    sources: Option<String>,
    /// Whether it may be done
    #[arg(short = 'd', long = "decision", value_parser = ["Allow", "Deny"], ignore_case = true)]
    decision: String,
}

impl Put {
    fn access(&self) -> Result<Access, CliError> {
        let (resources, actions) = (words(&self.resources), words(&self.actions));
        if resources.is_empty() || actions.is_empty() {
            return Err(CliError::usage("give at least one resource (-r) and one action (-a)"));
        }
        let rules = resources.into_iter().map(|resource| Rule {
            is_allowed: self.decision.eq_ignore_ascii_case("Allow"),
            sources: words(self.sources.as_deref().unwrap_or_default()),
            ..Rule::allow(resource, actions.clone())
        });
        Ok(Access { rules: rules.collect(), ..Access::new(self.subject.trim()) })
    }
}

/// Gives a subject that has none rules.
pub async fn create(context: &Context, flags: &Put) -> Result<Report, CliError> {
    let access = flags.access()?;
    let mut report = Report::new();
    for address in all_of(context, &flags.target).await? {
        context.admin.broker(&*address).create_access(&access).await?;
        report = report.line(format!("create acl to {address} success."));
    }
    Ok(report)
}

/// Changes rules of a subject; those for other resources stay.
pub async fn update(context: &Context, flags: &Put) -> Result<Report, CliError> {
    let access = flags.access()?;
    let mut report = Report::new();
    for address in all_of(context, &flags.target).await? {
        context.admin.broker(&*address).change_access(&access).await?;
        report = report.line(format!("update acl to {address} success."));
    }
    Ok(report)
}

/// Flags of `deleteAcl`.
#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    target: Target,
    /// Subject, such as User:alice
    #[arg(short = 's', long = "subject")]
    subject: String,
    /// Only the rule for this resource; without, all
    #[arg(short = 'r', long = "resources")]
    resource: Option<String>,
}

/// Removes rules of a subject.
pub async fn delete(context: &Context, flags: &Delete) -> Result<Report, CliError> {
    let subject = flags.subject.trim();
    let resource = flags.resource.as_deref().map(str::trim);
    let what = resource.map_or("All rules".to_owned(), |resource| format!("The rule for {resource}"));
    context.confirm(&format!("{what} of {subject} will be removed from {}", flags.target.words())).await?;
    let mut report = Report::new();
    for address in all_of(context, &flags.target).await? {
        context.admin.broker(&*address).delete_access(subject, resource).await?;
        report = report.line(format!("delete acl to {address} success."));
    }
    Ok(report)
}

/// Flags of `copyAcl`.
#[derive(Args, Debug)]
pub struct Copy {
    /// Broker that has them, host:port
    #[arg(short = 'f', long = "fromBroker", value_name = "ADDRESS")]
    from: String,
    /// Broker that gets them, host:port
    #[arg(short = 't', long = "toBroker", value_name = "ADDRESS")]
    to: String,
    /// Subjects, separated by commas; without, all
    #[arg(short = 's', long = "subjects")]
    subjects: Option<String>,
}

/// Copies rules from a broker to another.
pub async fn copy(context: &Context, flags: &Copy) -> Result<Report, CliError> {
    let (from, to) = (flags.from.trim(), flags.to.trim());
    let (source, target) = (context.admin.broker(from), context.admin.broker(to));
    let subjects = words(flags.subjects.as_deref().unwrap_or_default());
    let mut all = Vec::new();
    match subjects.is_empty() {
        true => all.extend(source.accesses(None, None).await?),
        false => {
            for subject in &subjects {
                let found = source.access(subject).await?;
                if found.is_empty() {
                    return Err(CliError::not_found(format!("broker {from} has no rules for {subject}")));
                }
                all.extend(found);
            }
        }
    }
    let mut report = Report::new();
    for access in all {
        target.put_access(&access.value).await?;
        report = report.line(format!("copy acl of {} from {from} to {to} success.", access.subject));
    }
    Ok(report)
}
