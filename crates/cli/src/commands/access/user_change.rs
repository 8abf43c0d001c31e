//! Creating, changing, removing and copying users.

use apogee_client::admin::{User, UserChange};
use clap::Args;

use super::{all_of, words};
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `createUser`.
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    target: Target,
    /// User
    #[arg(short = 'u', long = "username")]
    name: String,
    /// Password
    #[arg(short = 'p', long = "password")]
    password: String,
    /// Super: it may do everything; Normal: what its rules say
    #[arg(short = 't', long = "userType", value_parser = ["Super", "Normal"], ignore_case = true)]
    kind: Option<String>,
}

/// Creates a user.
pub async fn create(context: &Context, flags: &Create) -> Result<Report, CliError> {
    let kind = flags.kind.as_deref().unwrap_or("Normal");
    let user = User {
        is_super: kind.eq_ignore_ascii_case("Super"),
        ..User::new(flags.name.trim()).password(flags.password.trim())
    };
    let mut report = Report::new();
    for address in all_of(context, &flags.target).await? {
        context.admin.broker(&*address).create_user(&user).await?;
        report = report.line(format!("create user to {address} success."));
    }
    Ok(report)
}

/// Flags of `updateUser`.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    target: Target,
    /// User
    #[arg(short = 'u', long = "username")]
    name: String,
    /// Password
    #[arg(short = 'p', long = "password")]
    password: Option<String>,
    /// Super: it may do everything; Normal: what its rules say
    #[arg(short = 't', long = "userType", value_parser = ["Super", "Normal"], ignore_case = true)]
    kind: Option<String>,
    /// Whether it may come in
    #[arg(short = 's', long = "userStatus", value_parser = ["enable", "disable"], ignore_case = true)]
    status: Option<String>,
}

/// Changes a user.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    let change = UserChange {
        password: flags.password.as_deref().map(|password| password.trim().to_owned()),
        is_super: flags.kind.as_deref().map(|kind| kind.eq_ignore_ascii_case("Super")),
        is_enabled: flags.status.as_deref().map(|status| status.eq_ignore_ascii_case("enable")),
    };
    if change.password.is_none() && change.is_super.is_none() && change.is_enabled.is_none() {
        return Err(CliError::usage("say what of the user is to change: -p PASSWORD, -t TYPE or -s STATUS"));
    }
    let mut report = Report::new();
    for address in all_of(context, &flags.target).await? {
        context.admin.broker(&*address).change_user(flags.name.trim(), &change).await?;
        report = report.line(format!("update user to {address} success."));
    }
    Ok(report)
}

/// Flags of `deleteUser`.
#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    target: Target,
    /// User
    #[arg(short = 'u', long = "username")]
    name: String,
}

/// Removes a user.
pub async fn delete(context: &Context, flags: &Delete) -> Result<Report, CliError> {
    let name = flags.name.trim();
    context.confirm(&format!("User {name} will be removed from {}", flags.target.words())).await?;
    let mut report = Report::new();
    for address in all_of(context, &flags.target).await? {
        context.admin.broker(&*address).delete_user(name).await?;
        report = report.line(format!("delete user to {address} success."));
    }
    Ok(report)
}

/// Flags of `copyUser`.
#[derive(Args, Debug)]
pub struct Copy {
    /// Broker that has them, host:port
    #[arg(short = 'f', long = "fromBroker", value_name = "ADDRESS")]
    from: String,
    /// Broker that gets them, host:port
    #[arg(short = 't', long = "toBroker", value_name = "ADDRESS")]
    to: String,
    /// Users, separated by commas; without, all
    #[arg(short = 'u', long = "usernames")]
    names: Option<String>,
}

/// Copies users from a broker to another.
pub async fn copy(context: &Context, flags: &Copy) -> Result<Report, CliError> {
    let (from, to) = (flags.from.trim(), flags.to.trim());
    let (source, target) = (context.admin.broker(from), context.admin.broker(to));
    let names = words(flags.names.as_deref().unwrap_or_default());
    let mut users = Vec::new();
    match names.is_empty() {
        true => users.extend(source.users(None).await?),
        false => {
            for name in &names {
                let found = source.user(name).await?;
                if found.is_empty() {
                    return Err(CliError::not_found(format!("broker {from} has no user {name}")));
                }
                users.extend(found);
            }
        }
    }
    let mut report = Report::new();
    for user in users {
        let has_it = !target.user(&user.name).await?.is_empty();
        if user.password.as_deref().unwrap_or_default().is_empty() && !has_it {
            let name = &user.name;
            return Err(CliError::failed(format!(
                "broker {from} does not tell the password of user {name}: create it on {to} with createUser"
            )));
        }
        target.put_user(&user.value).await?;
        report = report.line(format!("copy user of {} from {from} to {to} success.", user.name));
    }
    Ok(report)
}

impl std::fmt::Debug for Create {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Create").field("target", &self.target).field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Update {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Update").field("target", &self.target).field("name", &self.name).finish_non_exhaustive()
    }
}
