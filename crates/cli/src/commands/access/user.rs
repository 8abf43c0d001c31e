//! Users as brokers keep them.

use apogee_client::admin::User;
use clap::Args;

use super::masters_of;
use crate::cell::Cell;
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `getUser`.
#[derive(Args, Debug)]
pub struct Get {
    #[command(flatten)]
    target: Target,
    /// User; without one, all
    #[arg(short = 'u', long = "username")]
    name: Option<String>,
}

/// A user, from the first broker that has it.
pub async fn get(context: &Context, flags: &Get) -> Result<Report, CliError> {
    let name = flags.name.as_deref().unwrap_or_default().trim();
    for address in masters_of(context, &flags.target).await? {
        let broker = context.admin.broker(&*address);
        let users = if name.is_empty() { broker.users(None).await? } else { broker.user(name).await? };
        if !users.is_empty() {
            let users = users.into_iter().map(|user| user.value);
            return Ok(told(Report::new().table("users", table(users)), flags.target.broker.is_none(), &address));
        }
    }
    Err(CliError::not_found(format!("{} has no user {name}", flags.target.words())))
}

/// Flags of `listUser`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    target: Target,
    /// Only users whose names have this in them
    #[arg(short = 'f', long = "filter")]
    filter: Option<String>,
}

/// Users, from the first broker that has some.
pub async fn list(context: &Context, flags: &List) -> Result<Report, CliError> {
    let filter = flags.filter.as_deref().map(str::trim);
    for address in masters_of(context, &flags.target).await? {
        let users = context.admin.broker(&*address).users(filter).await?;
        if !users.is_empty() {
            let users = users.into_iter().map(|user| user.value);
            return Ok(told(Report::new().table("users", table(users)), flags.target.broker.is_none(), &address));
        }
    }
    Ok(Report::new().table("users", table([])))
}

/// Of a cluster, who was asked.
fn told(report: Report, is_cluster: bool, address: &str) -> Report {
    if is_cluster { report.line(format!("get user from {address} success.")) } else { report }
}

fn table(users: impl IntoIterator<Item = User>) -> Table {
    let mut table = Table::new(&[
        ("#UserName", "username"),
        ("#Password", "password"),
        ("#UserType", "type"),
        ("#UserStatus", "status"),
    ]);
    for user in users {
        let kind = if user.is_super { "Super" } else { "Normal" };
        let status = if user.is_enabled { "enable" } else { "disable" };
        table.row([user.name.into(), password(user.password), kind.into(), status.into()]);
    }
    table
}

/// What brokers tell of a password: some don't.
fn password(password: Option<String>) -> Cell {
    password.map_or(Cell::both("-", ()), Cell::from)
}
