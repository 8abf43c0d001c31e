//! Brokers come, give signs of life, and ask.

use std::collections::BTreeMap;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, BrokerReplicasInfo, ReplicaIdentity, ReplicasInfo};
use apogee_wire::headers::{
    ApplyBrokerIdRequestHeader, ApplyBrokerIdResponseHeader, BrokerHeartbeatRequestHeader, GetMetaDataResponseHeader,
    GetNextBrokerIdRequestHeader, GetNextBrokerIdResponseHeader, GetReplicaInfoRequestHeader,
    GetReplicaInfoResponseHeader, RegisterBrokerToControllerRequestHeader, RegisterBrokerToControllerResponseHeader,
};

use super::election::set_of;
use super::{Answer, needed, success};
use crate::election::{Alive, Command as Asked, Done, Group, Standing};
use crate::error::ControllerError;
use crate::liveness::Beat;
use crate::server::Shared;

impl Shared {
    /// A broker asked something by a connection: a sign of life, for as long as no heartbeat has come.
    pub fn asked(&self, name: &str, id: i64, address: &str, conn: &Conn) {
        let standing = Standing { address: address.to_owned(), epoch: -1, max_offset: -1, priority: i32::MAX };
        let now_ms = self.clock.now_ms();
        let mut liveness = self.liveness();
        if !liveness.alive(name, now_ms).contains_key(&id) {
            liveness.heard(now_ms, Beat { name: name.to_owned(), id, standing, timeout_ms: None, conn: conn.id() });
        }
    }
}

pub(super) fn heartbeat(shared: &Shared, conn: &Conn, request: &Command) -> Answer {
    let header: BrokerHeartbeatRequestHeader<'_> = request.header()?;
    let id = header.broker_id.ok_or(ControllerError::NoBrokerId)?;
    let groups = shared.state.read();
    let registered = groups.get(header.broker_name).and_then(|group| group.address(id));
    if registered != Some(header.broker_addr) {
        // Not registered yet as far as this controller knows, or another broker with the same id.
        let (broker, address) = (header.broker_name, header.broker_addr);
        tracing::debug!(broker, id, address, registered, "a heartbeat of nobody who is registered does not count");
        return Ok(success(request).with_remark("the broker is not registered at this address"));
    }
    let standing = Standing {
        address: header.broker_addr.to_owned(),
        epoch: header.epoch.unwrap_or(-1),
        max_offset: header.max_offset.unwrap_or(-1),
        priority: header.election_priority.unwrap_or(i32::MAX),
    };
    let (name, timeout_ms, conn) = (header.broker_name.to_owned(), header.heartbeat_timeout_mills, conn.id());
    shared.liveness().heard(shared.clock.now_ms(), Beat { name, id, standing, timeout_ms, conn });
    Ok(success(request).with_remark("Heart beat success"))
}

/// Who leads the controllers; any of them answers.
pub(super) fn controllers(shared: &Shared, request: &Command) -> Answer {
    let (leader, settings) = (shared.consensus.leader(), shared.settings.load());
    let peers: String = shared.peers.iter().map(|(id, address)| format!("{id}:{address};")).collect();
    let header = GetMetaDataResponseHeader {
        group: Some(&settings.controller_d_leger_group),
        controller_leader_id: leader.as_ref().map(|leader| leader.as_str()),
        controller_leader_address: leader.and_then(|leader| shared.peers.address(leader)),
        is_leader: Some(leader == Some(shared.peers.own())),
        peers: Some(&peers),
    };
    Ok(success(request).with_header(&header))
}

pub(super) async fn next_id(shared: &Shared, request: &Command) -> Answer {
    let header: GetNextBrokerIdRequestHeader<'_> = request.header()?;
    let name = needed(header.broker_name, "brokerName")?;
    shared.consensus.catch_up().await?;
    Ok(success(request).with_header(&GetNextBrokerIdResponseHeader {
        cluster_name: header.cluster_name,
        broker_name: Some(name),
        next_broker_id: Some(shared.state.read().next_id(name)),
    }))
}

pub(super) async fn apply_id(shared: &Shared, request: &Command) -> Answer {
    let header: ApplyBrokerIdRequestHeader<'_> = request.header()?;
    let (cluster_name, broker_name) = (header.cluster_name, header.broker_name);
    let command = Asked::ApplyId {
        cluster: needed(cluster_name, "clusterName")?.to_owned(),
        name: needed(broker_name, "brokerName")?.to_owned(),
        id: needed(header.applied_broker_id, "appliedBrokerId")?,
        check_code: needed(header.register_check_code, "registerCheckCode")?.to_owned(),
    };
    shared.consensus.decide(command).await?;
    tracing::info!(broker = broker_name, id = header.applied_broker_id, "a broker has its id");
    Ok(success(request).with_header(&ApplyBrokerIdResponseHeader { cluster_name, broker_name }))
}

pub(super) async fn register(shared: &Shared, conn: &Conn, request: &Command) -> Answer {
    let header: RegisterBrokerToControllerRequestHeader<'_> = request.header()?;
    let name = needed(header.broker_name, "brokerName")?;
    let id = needed(header.broker_id, "brokerId")?;
    let address = needed(header.broker_address, "brokerAddress")?;
    let command = Asked::Register {
        cluster: needed(header.cluster_name, "clusterName")?.to_owned(),
        name: name.to_owned(),
        id,
        address: address.to_owned(),
        alive: shared.heard_alive(name),
    };
    let done = shared.consensus.decide(command).await.inspect_err(|error| {
        tracing::warn!(broker = name, id, address, %error, "a broker was not registered");
    })?;
    let Done::Registered(view) = done else { return Err(ControllerError::Bug) };
    tracing::info!(broker = name, id, address, "a broker registered");
    shared.asked(name, id, address, conn);
    let alive = shared.presumed_alive(name);
    let master = view.master.filter(|master| alive.contains_key(master));
    let header = RegisterBrokerToControllerResponseHeader {
        cluster_name: Some(&view.cluster),
        broker_name: Some(&view.name),
        master_broker_id: master,
        master_address: master.and(view.master_address.as_deref()),
        master_epoch: master.map(|_| view.master_epoch),
        sync_state_set_epoch: master.map(|_| view.in_sync_epoch),
    };
    Ok(success(request).with_header(&header).with_body(set_of(&view).encode()))
}

pub(super) async fn replica_info(shared: &Shared, request: &Command) -> Answer {
    let header: GetReplicaInfoRequestHeader<'_> = request.header()?;
    let name = needed(header.broker_name, "brokerName")?;
    shared.consensus.catch_up().await?;
    let view = shared.state.read().get(name).map(Group::view).ok_or(ControllerError::NoSuchGroup)?;
    let header = GetReplicaInfoResponseHeader {
        master_broker_id: view.master,
        master_address: view.master_address.as_deref(),
        master_epoch: Some(view.master_epoch),
    };
    Ok(success(request).with_header(&header).with_body(set_of(&view).encode()))
}

/// The replicas of some broker names; those that nobody knows are left out.
pub(super) async fn in_sync(shared: &Shared, request: &Command) -> Answer {
    let names = Vec::<String>::decode(&request.body)?;
    shared.consensus.catch_up().await?;
    let groups = shared.state.read();
    let mut replicas_info_table = BTreeMap::new();
    for group in names.iter().filter_map(|name| groups.get(name)) {
        let alive = shared.liveness().alive(group.name(), shared.clock.now_ms());
        replicas_info_table.insert(group.name().to_owned(), replicas_of(group, &alive));
    }
    Ok(success(request).with_body(BrokerReplicasInfo { replicas_info_table }.encode()))
}

fn replicas_of(group: &Group, alive: &Alive) -> ReplicasInfo {
    let view = group.view();
    let identity = |(id, address): (i64, &str)| ReplicaIdentity {
        alive: Some(alive.contains_key(&id)),
        broker_address: Some(address.to_owned()),
        broker_id: Some(id),
        broker_name: Some(view.name.clone()),
    };
    let (inside, outside): (Vec<_>, Vec<_>) = group.replicas().partition(|(id, _)| view.in_sync.contains(id));
    ReplicasInfo {
        in_sync_replicas: inside.into_iter().map(identity).collect(),
        not_in_sync_replicas: outside.into_iter().map(identity).collect(),
        master_address: view.master_address.clone(),
        master_broker_id: view.master,
        master_epoch: view.master_epoch,
        sync_state_set_epoch: view.in_sync_epoch,
    }
}
