//! What tools ask of brokers that keep parts of their state in RocksDB (upstream `AdminBrokerProcessor`). This one
//! keeps none there.

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::CheckRocksdbCqWriteResult;
use apogee_wire::codes::response;
use apogee_wire::headers::ExportRocksDBConfigToJsonRequestHeader;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// Upstream's `CheckStatus.CHECK_IN_PROGRESS`: its tool looks for the result in the broker's log.
const IN_PROGRESS: i32 = 2;

/// `CHECK_ROCKSDB_CQ_WRITE_PROGRESS`: whether queues in files and in RocksDB are the same. As upstream answers it,
/// the result is in the log.
pub(crate) fn check_queues(_: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    tracing::info!(peer = %conn.peer(), "no queues are kept in RocksDB: there is nothing to compare");
    answer::body(request, &CheckRocksdbCqWriteResult { check_result: None, check_status: IN_PROGRESS })
}

/// `EXPORT_ROCKSDB_CONFIG_TO_JSON`: writes tables to their JSON files, with what only their journals had.
pub(crate) fn export_config(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: ExportRocksDBConfigToJsonRequestHeader<'_> = request.header()?;
    let kinds: Vec<_> = header.config_type.split(';').map(str::trim).filter(|kind| !kind.is_empty()).collect();
    let known = ["topics", "subscriptionGroups", "consumerOffsets"];
    if let Some(kind) = kinds.iter().find(|kind| !known.iter().any(|known| known.eq_ignore_ascii_case(kind))) {
        let remark = format!("Unknown config type: {kind}; there are {}", known.join(", "));
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    let is_wanted = |known: &str| kinds.iter().any(|kind| kind.eq_ignore_ascii_case(known));
    let [topics, groups, offsets] = known.map(is_wanted);
    if topics {
        broker.topics.close()?;
    }
    if groups {
        broker.groups.close()?;
    }
    if offsets {
        broker.offsets.close(broker.now())?;
    }
    tracing::info!(peer = %conn.peer(), ?kinds, "tables are written to their JSON files by remote request");
    Ok(Some(answer::success(request).with_remark("export done.")))
}

/// `SWITCH_TIMER_ENGINE`: upstream has two, one in files (`F`) and one in RocksDB (`R`); here is one, in files.
pub(crate) fn switch_timer(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let refused = |remark: &'static str| Err(BrokerError::new(response::SYSTEM_ERROR, remark));
    if !broker.settings.load().timer_wheel_enable {
        return refused("broker timerWheelEnable is false");
    }
    match request.fields.get("E_T") {
        Some("F") => Ok(Some(answer::success(request).with_remark("switch timer engine success"))),
        Some("R") => refused("there is no timer in RocksDB here, and none is needed: messages wait in files (F)"),
        _ => refused("param error: E_T is F (files) or R (RocksDB)"),
    }
}

/// `POP_ROLLBACK`: moves records of popped messages from RocksDB to files; there are none.
pub(crate) fn export_pop_records(_: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    tracing::info!(peer = %conn.peer(), "no records of popped messages are kept in RocksDB: there is nothing to move");
    answer::done(request)
}
