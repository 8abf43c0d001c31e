//! Reading what is on disk only: limits of groups, and how the disk reads ahead (upstream `AdminBrokerProcessor`).

use std::sync::Arc;

use apogee_base::settings::properties;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// The mode in which the system reads ahead as it thinks best; 1 is the other one, in which it doesn't.
const READ_AHEAD: &str = "0";

fn text(request: &Command) -> Result<&str, BrokerError> {
    let error = |_| BrokerError::new(response::INVALID_PARAMETER, "the request's body is no text");
    std::str::from_utf8(&request.body).map_err(error)
}

/// `UPDATE_COLD_DATA_FLOW_CTR_CONFIG`: lines `group=bytes`.
pub(crate) fn limit(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let given: Vec<_> = properties::parse(text(request)?).into_iter().map(|line| (line.key, line.value)).collect();
    broker.cold.limit(given.clone())?;
    tracing::info!(peer = %conn.peer(), ?given, "limits of cold reads are set by remote request");
    answer::done(request)
}

/// `REMOVE_COLD_DATA_FLOW_CTR_CONFIG`: a group's limit goes.
pub(crate) fn unlimit(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let group = text(request)?.trim();
    broker.cold.unlimit(group)?;
    tracing::info!(peer = %conn.peer(), group, "a limit of cold reads is removed by remote request");
    answer::done(request)
}

/// `GET_COLD_DATA_FLOW_CTR_INFO`: limits, and what was read.
pub(crate) fn info(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    answer::body(request, &broker.cold.info(&broker.settings.load(), broker.now()))
}

/// `SET_COMMITLOG_READ_MODE`: whether the system reads the log ahead of what is asked for. Kept as the setting
/// `dataReadAheadEnable`.
pub(crate) fn read_mode(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let Some(mode @ (READ_AHEAD | "1")) = request.fields.get("READ_AHEAD_MODE") else {
        let remark = "set commitlog readahead mode param value error: READ_AHEAD_MODE is 0 (read ahead) or 1 (don't)";
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    };
    let line = format!("dataReadAheadEnable={}", mode == READ_AHEAD);
    broker.settings.update(line.as_bytes(), broker.now())?;
    broker.apply_settings();
    tracing::info!(peer = %conn.peer(), mode, "how the log is read ahead is set by remote request");
    Ok(Some(answer::success(request).with_remark(format!("set commitlog readahead mode success, mode: {mode}"))))
}
