//! What masters, slaves and tools ask of each other (upstream `AdminBrokerProcessor`). This broker is a master
//! without slaves.

use std::sync::Arc;

use apogee_net::Conn;
use apogee_replication::Epoch;
use apogee_wire::Command;
use apogee_wire::bodies::{EpochEntry, EpochEntryCache};
use apogee_wire::codes::response;
use apogee_wire::headers::{
    ExchangeHAInfoRequestHeader, ExchangeHAInfoResponseHeader, NotifyMinBrokerIdChangeRequestHeader,
    ResetMasterFlushOffsetHeader,
};

use super::answer::{self, Answer};
use crate::acting::{self, Delivered};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::node::notice;
use crate::replication::ReplicationEvent;
use crate::slave::{DELIVERED_BY, HANDED_OVER, NOTED_TO};

/// `EXCHANGE_BROKER_HA_INFO`: where slaves find the master, and how much it had at its start. With an address: a master
/// tells its slaves that it is back. With a field of ours: a slave tells what it delivered for its master.
pub(crate) fn exchange(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: ExchangeHAInfoRequestHeader<'_> = request.header()?;
    let failed = |error: String| BrokerError::new(response::SYSTEM_ERROR, error);
    if let Some(ha) = header.master_ha_address {
        let acts = broker.role.is_slave() && broker.settings.load().enable_slave_acting_master;
        let mut answer = answer::success(request);
        if let Some(slave) = broker.weak().upgrade().filter(|_| acts) {
            acting::master_is_back(&slave, ha, header.master_address).map_err(failed)?;
            answer.fields.set_str(HANDED_OVER, "true");
        }
        return Ok(Some(answer));
    }
    if let Some(by) = request.fields.get(DELIVERED_BY) {
        return delivered(broker, by, request);
    }
    let head = ExchangeHAInfoResponseHeader {
        master_ha_address: Some(&broker.ha_address),
        master_flush_offset: Some(broker.log_end_at_start),
        master_address: Some(&broker.advertised),
    };
    Ok(Some(answer::success(request).with_header(&head)))
}

fn delivered(broker: &Broker, by: &str, request: &Command) -> Answer {
    let wrong = |error: &'static str| BrokerError::new(response::INVALID_PARAMETER, error);
    if broker.role.is_slave() {
        return Err(wrong("this broker is a slave: what another one delivered is for their master to know"));
    }
    let delivered = Delivered::decode(&request.body);
    let delivered = delivered.ok_or_else(|| wrong("the body is no list of what a slave delivered"))?;
    let noted_to = acting::take_over(broker, by, &delivered);
    let mut answer = answer::success(request);
    answer.fields.set_number(NOTED_TO, noted_to.map_err(|error| BrokerError::new(response::SYSTEM_ERROR, error))?);
    Ok(Some(answer))
}

/// `RESET_MASTER_FLUSH_OFFSET`: of what a slave knows of its master; nothing in a master.
pub(crate) fn reset_flushed(_: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let _: ResetMasterFlushOffsetHeader = request.header()?;
    answer::done(request)
}

/// `NOTIFY_MIN_BROKER_ID_CHANGE`: a name server says who of a master and its slaves is left.
pub(crate) fn min_broker_id(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: NotifyMinBrokerIdChangeRequestHeader<'_> = request.header()?;
    let (least, offline) = (header.min_broker_id, header.offline_broker_addr);
    tracing::info!(peer = %conn.peer(), least, offline, "a name server tells who is left of this broker's group");
    broker.acting.news.notify_waiters();
    answer::done(request)
}

/// `GET_BROKER_HA_STATUS`: a master's slaves, or how a slave's copy goes on.
pub(crate) fn status(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    answer::body(request, &broker.ha_status())
}

/// `NOTIFY_BROKER_ROLE_CHANGED`: a controller says how this broker's group stands. What comes of it is decided by
/// who runs the broker.
pub(crate) fn role_changed(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    if !broker.settings.load().enable_controller_mode {
        return without_controller();
    }
    let standing = notice(request).map_err(|error| BrokerError::new(response::INVALID_PARAMETER, error))?;
    tracing::debug!(peer = %conn.peer(), ?standing, "a controller tells how the group stands");
    // One that finds no room is heard of when the controller is asked next.
    broker.replication.tell(ReplicationEvent::Told(standing));
    answer::done(request)
}

/// Refuses what is of brokers whose master a controller chooses.
fn without_controller() -> Answer {
    Err(BrokerError::new(response::SYSTEM_ERROR, "this request only for controllerMode "))
}

/// `GET_BROKER_EPOCH_CACHE`: which master wrote what of this broker's log.
pub(crate) fn epochs(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let Some(epochs) = broker.replication.epochs() else { return without_controller() };
    let entries = epochs.entries();
    let ends = entries.iter().skip(1).map(|next| next.start).chain([i64::MAX]);
    let entry =
        |(epoch, end_offset): (&Epoch, i64)| EpochEntry { epoch: epoch.number, start_offset: epoch.start, end_offset };
    let settings = broker.settings.load();
    answer::body(
        request,
        &EpochEntryCache {
            broker_id: broker.replication.id().unwrap_or(settings.broker_id),
            broker_name: Some(settings.broker_name.clone()),
            cluster_name: Some(settings.broker_cluster_name.clone()),
            epoch_list: entries.iter().zip(ends).map(entry).collect(),
            max_offset: broker.store.log_max_offset(),
        },
    )
}
