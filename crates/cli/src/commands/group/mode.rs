//! How groups ask for messages.

use apogee_client::admin::{GroupMode, RequestMode};
use clap::Args;

use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `setConsumeMode`.
#[derive(Args, Debug)]
pub struct Mode {
    #[command(flatten)]
    target: Target,
    /// Topic
    #[arg(short = 't', long = "topicName")]
    topic: String,
    /// Consumer group
    #[arg(short = 'g', long = "groupName")]
    group: String,
    /// PULL: a queue is one member's; POP: a message is
    #[arg(short = 'm', long = "mode", value_parser = ["PULL", "POP"], ignore_case = true)]
    mode: String,
    /// How many members share a queue when they pop; 0: all
    #[arg(short = 'q', long = "popShareQueueNum", default_value_t = 0)]
    shared_by: u32,
}

/// Says how a group asks for the messages of a topic.
pub async fn set(context: &Context, flags: &Mode) -> Result<Report, CliError> {
    let admin = flags.target.admin(context)?;
    let is_pop = flags.mode.eq_ignore_ascii_case("POP");
    let mode = GroupMode {
        group: flags.group.trim().to_owned(),
        topic: flags.topic.trim().to_owned(),
        mode: if is_pop { RequestMode::Pop } else { RequestMode::Pull },
        shared_by: flags.shared_by,
    };
    let mut report = Report::new();
    for address in admin.masters().await? {
        admin.broker(&*address).set_request_mode(&mode).await?;
        report = report.line(format!("set consume mode to {address} success."));
    }
    Ok(report.line(format!(
        "topic[{}] group[{}] consume mode[{}] popShareQueueNum[{}]",
        mode.topic,
        mode.group,
        mode.mode.name(),
        mode.shared_by
    )))
}
