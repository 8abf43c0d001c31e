//! How the slaves of a master stand.

use std::time::Duration;

use apogee_client::admin::{Replication, SlaveState};
use clap::Args;
use serde_json::json;

use super::Again;
use crate::cell::{Cell, size};
use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::{Fields, Report};
use crate::table::Table;

/// Bytes that a slave may lack without a word.
const FAR: i64 = 16 << 20;

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
    let report = report.line("").item("masters", fields).table("slaves", slaves);
    // Those that all is well with need no word.
    let far = said.slaves.iter().filter(|slave| !slave.in_step || slave.behind >= FAR);
    far.fold(report, |report, slave| {
        let left = seconds_left(slave.behind, slave.bytes_per_second);
        let words = match left {
            Some(seconds) => format!("{} left at this speed", humantime::format_duration(Duration::from_secs(seconds))),
            None => "nothing comes now".to_owned(),
        };
        report
            .line(format!("{} lacks {}: {words}", slave.address, size(slave.behind)))
            .data_item("catchingUp", json!({"address": slave.address, "behind": slave.behind, "secondsLeft": left}))
    })
}

/// Seconds until a slave has everything if nothing changes; `None` while nothing comes.
fn seconds_left(behind: i64, bytes_per_second: i64) -> Option<u64> {
    match (behind, bytes_per_second) {
        (..=0, _) => Some(0),
        (_, ..=0) => None,
        (behind, rate) => u64::try_from(behind / rate + i64::from(behind % rate > 0)).ok(),
    }
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

#[cfg(test)]
mod tests {
    use apogee_client::admin::Replica;

    use super::*;

    #[test]
    fn a_slave_that_catches_up_is_told_with_the_time_that_it_needs() {
        let slave = |behind, bytes_per_second| Replica {
            address: "s:1".to_owned(),
            acknowledged: 0,
            behind,
            in_step: true,
            bytes_per_second,
            reading: 0,
        };
        let text = |slave| {
            let said = Replication { is_master: true, slaves: vec![slave], ..Replication::default() };
            of_master(Report::new(), "m:1", &said).to_text(None)
        };
        assert!(text(slave(3 << 30, 64 << 20)).contains("s:1 lacks 3.0 GiB: 48s left at this speed"));
        assert!(text(slave(3 << 30, 0)).contains("s:1 lacks 3.0 GiB: nothing comes now"));
        assert!(!text(slave(1_000, 0)).contains("lacks"), "that is on its way");
        assert_eq!((seconds_left(7, 3), seconds_left(0, 0), seconds_left(1, 0)), (Some(3), Some(0), None));
    }
}
