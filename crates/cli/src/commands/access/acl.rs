//! What users may do, as brokers keep it.

use apogee_client::admin::Access;
use clap::Args;
use serde_json::json;

use super::masters_of;
use crate::cell::Cell;
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `getAcl`.
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    target: Target,
    /// Subject, such as User:alice; without one, all
    #[arg(short = 's', long = "subject")]
    subject: Option<String>,
}

/// What a subject may do.
pub async fn get(context: &Context, flags: &Get) -> Result<Report, CliError> {
    let subject = flags.subject.as_deref().unwrap_or_default().trim();
    let mut all = Vec::new();
    for address in masters_of(context, &flags.target).await? {
        let broker = context.admin.broker(&*address);
        let found =
            if subject.is_empty() { broker.accesses(None, None).await? } else { broker.access(subject).await? };
        all.extend(found.into_iter().map(|access| access.value));
    }
    if all.is_empty() && !subject.is_empty() {
        return Err(CliError::not_found(format!("{} has no rules for {subject}", flags.target.words())));
    }
    Ok(Report::new().table("rules", table(all)))
}

/// Flags of `listAcl`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    target: Target,
    /// Only subjects with this in their names
    #[arg(short = 's', long = "subject")]
    subject: Option<String>,
    /// Only rules for resources with this in their names
    #[arg(short = 'r', long = "resource")]
    resource: Option<String>,
}

/// What subjects may do, from the first broker that has rules.
pub async fn list(context: &Context, flags: &List) -> Result<Report, CliError> {
    let [subject, resource] = [&flags.subject, &flags.resource].map(|text| text.as_deref().map(str::trim));
    for address in masters_of(context, &flags.target).await? {
        let all = context.admin.broker(&*address).accesses(subject, resource).await?;
        if !all.is_empty() {
            let report = Report::new().table("rules", table(all.into_iter().map(|access| access.value)));
            return Ok(match flags.target.broker {
                Some(_) => report,
                None => report.line(format!("get acl from {address} success.")),
            });
        }
    }
    Ok(Report::new().table("rules", table([])))
}

fn table(all: impl IntoIterator<Item = Access>) -> Table {
    let mut table = Table::new(&[
        ("#Subject", "subject"),
        ("#PolicyType", "policyType"),
        ("#Resource", "resource"),
        ("#Actions", "actions"),
        ("#SourceIp", "sourceIps"),
        ("#Decision", "decision"),
    ]);
    let list = |words: &[String]| Cell::both(format!("[{}]", words.join(", ")), json!(words));
    for access in all {
        for rule in &access.rules {
            let sources = if rule.sources.is_empty() { Cell::both("null", ()) } else { list(&rule.sources) };
            let kind = if rule.is_default { "Default" } else { "Custom" };
            let decision = if rule.is_allowed { "Allow" } else { "Deny" };
            let (subject, resource) = ((&*access.subject).into(), (&*rule.resource).into());
            table.row([subject, kind.into(), resource, list(&rule.actions), sources, decision.into()]);
        }
    }
    table
}
