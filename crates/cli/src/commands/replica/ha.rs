//! How the slaves of a master stand.

use apogee_client::admin::{Replication, SlaveState};
use clap::Args;

use super::Again;
use crate::cell::Cell;
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};
use crate::table::Table;

/// Flags of `haStatus`.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    pub again: Again,
}

/// How far slaves have their master's log.
pub async fn status(context: &Context, flags: &Status) -> Result<Report, CliError> {
    let mut report = Report::new();
    for said in flags.target.admin(context)?.replication().await? {
        report = match said.is_master {
            true => of_master(report, &said.address, &said),
            false => of_slave(report, &said.address, &said.slave),
        };
    }
    Ok(report)
}

fn of_master(report: Report, address: &str, said: &Replication) -> Report {
    let fields = Fields::new(0, "\t")
        .field("#MasterAddr", "address", address)
        .field("#MasterCommitLogMaxOffset", "logEnd", said.log_end)
        .field("#SlaveNum", "slaves", said.slaves.len())
        .field("#InSyncSlaveNum", "inSync", said.in_step);
    let mut slaves = Table::new(&[
        ("#SlaveAddr", "address"),
        ("#SlaveAckOffset", "acknowledged"),
        ("#Diff", "behind"),
        ("#TransferSpeed(KB/s)", "kibPerSecond"),
        ("#Status", "status"),
        ("#TransferFromWhere", "transferFrom"),
    ]);
    for slave in &said.slaves {
        let status = if slave.in_step { "OK" } else { "Fall Behind" };
        slaves.row([
            (&*slave.address).into(),
            slave.acknowledged.into(),
            slave.behind.into(),
            kib(slave.bytes_per_second),
            status.into(),
            slave.reading.into(),
        ]);
    }
    report.line("").item("masters", fields).table("slaves", slaves)
}

fn of_slave(report: Report, address: &str, said: &SlaveState) -> Report {
    let fields = Fields::new(0, "\t")
        .data("address", address)
        .field("#MasterAddr", "master", said.master.as_deref().map_or(Cell::both("null", ()), Cell::from))
        .field("#CommitLogMaxOffset", "logEnd", said.log_end)
        .field("#TransferSpeed(KB/s)", "kibPerSecond", kib(said.bytes_per_second))
        .field("#LastReadTime", "lastRead", Cell::time(said.last_read))
        .field("#LastWriteTime", "lastWrite", Cell::time(said.last_write))
        .field("#MasterFlushOffset", "masterFlushed", said.master_flushed);
    report.line("").item("replicas", fields)
}

fn kib(bytes: i64) -> Cell {
    Cell::decimal(bytes as f64 / 1024.0, 2)
}
