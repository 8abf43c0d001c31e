//! Removing what nobody needs any more.

use clap::Args;

use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of commands that clean.
#[derive(Args, Debug)]
pub struct Clean {
    #[command(flatten)]
    target: Target,
}

/// Removes files of queues whose messages are gone.
pub async fn queues(context: &Context, flags: &Clean) -> Result<Report, CliError> {
    flags.target.admin_or_all(context)?.remove_expired_queues().await?;
    Ok(Report::new().line("success"))
}

/// Removes files of the log that are old enough.
pub async fn log(context: &Context, flags: &Clean) -> Result<Report, CliError> {
    flags.target.admin_or_all(context)?.remove_expired_log().await?;
    Ok(Report::new().line("success"))
}

/// Removes queues whose topic is gone.
pub async fn topics(context: &Context, flags: &Clean) -> Result<Report, CliError> {
    flags.target.admin_or_all(context)?.remove_unused_topics().await?;
    Ok(Report::new().line("success"))
}
