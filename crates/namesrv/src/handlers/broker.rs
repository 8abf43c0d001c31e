//! Brokers come, give signs of life, and go.

use apogee_message::crc31;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, DataVersion, GetBrokerMemberGroupResponseBody, KVTable};
use apogee_wire::headers::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader, BrokerHeartbeatRequestHeader,
    GetBrokerMemberGroupRequestHeader, QueryDataVersionRequestHeader, QueryDataVersionResponseHeader,
    RegisterBrokerRequestHeader, RegisterBrokerResponseHeader, UnRegisterBrokerRequestHeader,
    WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader,
};

use super::{Answer, success};
use crate::error::NamesrvError;
use crate::kv::ORDER_TOPICS;
use crate::registration::Encoded;
use crate::routes::{BrokerId, Goodbye, Registered, Registration};
use crate::server::Shared;

/// Ext field by which a broker says, and a client asks for, an availability zone.
pub(super) const ZONE_NAME: &str = "__ZONE_NAME";

pub(super) fn register(shared: &Shared, link: u64, request: &Command) -> Answer {
    let header: RegisterBrokerRequestHeader<'_> = request.header()?;
    let computed = crc31(&request.body) as i32;
    if let Some(given) = header.body_crc32.filter(|&given| given != 0 && given != computed) {
        return Err(NamesrvError::Checksum { computed, given });
    }
    let encoded = Encoded { body: &request.body, compressed: header.compressed == Some(true) };
    let registration = Registration {
        broker: BrokerId { cluster: header.cluster_name, name: header.broker_name, addr: header.broker_addr },
        id: header.broker_id,
        ha_addr: header.ha_server_addr,
        zone: request.fields.get(ZONE_NAME),
        timeout_ms: header.heartbeat_timeout_millis,
        acting_master: header.enable_acting_master,
        link,
        version: encoded.version()?,
        len: request.body.len(),
    };
    let now_ms = shared.clock.now_ms();
    let settings = shared.settings.load();
    let registered = match shared.routes.renew(now_ms, &registration) {
        Some(renewed) => renewed,
        None => {
            let whole = settings.delete_topic_with_broker_registration;
            let registered = shared.routes.register(now_ms, &registration, &encoded.content()?, whole)?;
            let (name, id, topics_changed) = (header.broker_name, header.broker_id, registered.changed);
            if registered.first {
                let (address, cluster) = (header.broker_addr, header.cluster_name);
                tracing::info!(broker = name, id, address, cluster, topics_changed, "a broker registered");
            } else {
                tracing::debug!(broker = name, id, topics_changed, "a broker told what changed");
            }
            registered
        }
    };
    let Registered { master, notice, .. } = registered;
    if let Some(notice) = notice {
        shared.notify(&notice);
    }
    let mut answer = success(request);
    if let Some((master_addr, ha_server_addr)) = &master {
        let (master_addr, ha_server_addr) = (Some(master_addr.as_str()), Some(ha_server_addr.as_str()));
        answer = answer.with_header(&RegisterBrokerResponseHeader { ha_server_addr, master_addr });
    }
    let order = settings.return_order_topic_config_to_broker.then(|| shared.kv.namespace(ORDER_TOPICS)).flatten();
    Ok(match order {
        Some(table) => answer.with_body(KVTable { table }.encode()),
        None => answer,
    })
}

pub(super) fn unregister(shared: &Shared, link: u64, request: &Command) -> Answer {
    let header: UnRegisterBrokerRequestHeader<'_> = request.header()?;
    let broker = BrokerId { cluster: header.cluster_name, name: header.broker_name, addr: header.broker_addr };
    let by = if shared.is_linked(link) { Goodbye::Link(link) } else { Goodbye::Id(header.broker_id) };
    shared.removed(shared.routes.unregister(broker, by), "it unregistered");
    Ok(success(request))
}

pub(super) fn heartbeat(shared: &Shared, request: &Command) -> Answer {
    let header: BrokerHeartbeatRequestHeader<'_> = request.header()?;
    let broker = BrokerId { cluster: header.cluster_name, name: header.broker_name, addr: header.broker_addr };
    shared.routes.heartbeat(shared.clock.now_ms(), broker);
    Ok(success(request))
}

pub(super) fn data_version(shared: &Shared, request: &Command) -> Answer {
    let header: QueryDataVersionRequestHeader<'_> = request.header()?;
    let broker = BrokerId { cluster: header.cluster_name, name: header.broker_name, addr: header.broker_addr };
    let asked = DataVersion::decode(&request.body)?;
    shared.routes.heartbeat(shared.clock.now_ms(), broker);
    let known = shared.routes.version(broker);
    let changed = known.as_ref() != Some(&asked);
    let answer = success(request).with_header(&QueryDataVersionResponseHeader { changed });
    Ok(match known {
        Some(version) => answer.with_body(version.encode()),
        None => answer,
    })
}

pub(super) fn clusters(shared: &Shared, request: &Command) -> Answer {
    Ok(success(request).with_body(shared.routes.cluster_info().encode()))
}

pub(super) fn member_group(shared: &Shared, request: &Command) -> Answer {
    let header: GetBrokerMemberGroupRequestHeader<'_> = request.header()?;
    let group = shared.routes.member_group(header.cluster_name, header.broker_name);
    let body = GetBrokerMemberGroupResponseBody { broker_member_group: Some(group) };
    Ok(success(request).with_body(body.encode()))
}

pub(super) fn wipe_write(shared: &Shared, request: &Command) -> Answer {
    let header: WipeWritePermOfBrokerRequestHeader<'_> = request.header()?;
    let wipe_topic_count = set_write(shared, header.broker_name, true);
    Ok(success(request).with_header(&WipeWritePermOfBrokerResponseHeader { wipe_topic_count }))
}

pub(super) fn add_write(shared: &Shared, request: &Command) -> Answer {
    let header: AddWritePermOfBrokerRequestHeader<'_> = request.header()?;
    let add_topic_count = set_write(shared, header.broker_name, false);
    Ok(success(request).with_header(&AddWritePermOfBrokerResponseHeader { add_topic_count }))
}

fn set_write(shared: &Shared, broker: &str, wiped: bool) -> i32 {
    let topics = shared.routes.wipe_write(broker, wiped);
    tracing::info!(broker, wiped, topics, "write permission changed by remote request");
    i32::try_from(topics).unwrap_or(i32::MAX)
}
