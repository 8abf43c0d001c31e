//! What masters, slaves and tools ask of each other (upstream `AdminBrokerProcessor`). This broker is a master
//! without slaves.

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{
    ExchangeHAInfoRequestHeader, ExchangeHAInfoResponseHeader, NotifyMinBrokerIdChangeRequestHeader,
    ResetMasterFlushOffsetHeader,
};

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;

/// `EXCHANGE_BROKER_HA_INFO`: where slaves find the master, and how much it had at its start. What a new master
/// tells its slaves with the same code changes nothing in a master.
pub(crate) fn exchange(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: ExchangeHAInfoRequestHeader<'_> = request.header()?;
    if header.master_ha_address.is_some() {
        return answer::done(request);
    }
    let head = ExchangeHAInfoResponseHeader {
        master_ha_address: Some(&broker.ha_address),
        master_flush_offset: Some(broker.log_end_at_start),
        master_address: Some(&broker.advertised),
    };
    Ok(Some(answer::success(request).with_header(&head)))
}

/// `RESET_MASTER_FLUSH_OFFSET`: of what a slave knows of its master; nothing in a master.
pub(crate) fn reset_flushed(_: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let _: ResetMasterFlushOffsetHeader = request.header()?;
    answer::done(request)
}

/// `NOTIFY_MIN_BROKER_ID_CHANGE`: a name server says who of a master and its slaves is left.
pub(crate) fn min_broker_id(_: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: NotifyMinBrokerIdChangeRequestHeader<'_> = request.header()?;
    let (least, offline) = (header.min_broker_id, header.offline_broker_addr);
    tracing::info!(peer = %conn.peer(), least, offline, "a name server tells who is left of this broker's group");
    answer::done(request)
}

/// `GET_BROKER_EPOCH_CACHE`, `NOTIFY_BROKER_ROLE_CHANGED`: of brokers whose master a controller chooses.
pub(crate) fn without_controller(_: &Broker, _: &Arc<Conn>, _: &Command) -> Answer {
    Err(BrokerError::new(response::SYSTEM_ERROR, "this request only for controllerMode "))
}
