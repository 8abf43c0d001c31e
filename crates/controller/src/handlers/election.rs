//! Masters and in-sync sets.

use std::collections::BTreeSet;
use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, BrokerMemberGroup, ElectMasterResponseBody, SyncStateSet};
use apogee_wire::headers::{
    AlterSyncStateSetRequestHeader, AlterSyncStateSetResponseHeader, CleanControllerBrokerDataRequestHeader,
    ElectMasterRequestHeader, ElectMasterResponseHeader,
};

use super::{Answer, needed, success};
use crate::election::{self, Candidate, Done, View};
use crate::error::ControllerError;
use crate::server::Shared;

pub(super) async fn alter(shared: &Shared, request: &Command) -> Answer {
    let header: AlterSyncStateSetRequestHeader<'_> = request.header()?;
    let body = SyncStateSet::decode(&request.body)?;
    let name = needed(header.broker_name, "brokerName")?.to_owned();
    let command = election::Command::AlterInSync {
        master: needed(header.master_broker_id, "masterBrokerId")?,
        master_epoch: needed(header.master_epoch, "masterEpoch")?,
        in_sync: body.sync_state_set,
        in_sync_epoch: body.sync_state_set_epoch,
        alive: shared.presumed_alive(&name),
        name,
    };
    let Done::InSync(view) = shared.consensus.decide(command).await? else { return Err(ControllerError::Bug) };
    tracing::info!(broker = view.name, in_sync = ?view.in_sync, epoch = view.in_sync_epoch, "the in-sync set has changed");
    let header = AlterSyncStateSetResponseHeader { new_sync_state_set_epoch: Some(view.in_sync_epoch) };
    Ok(success(request).with_header(&header).with_body(set_of(&view).encode()))
}

pub(super) async fn elect(shared: &Arc<Shared>, conn: &Conn, request: &Command) -> Answer {
    let header: ElectMasterRequestHeader<'_> = request.header()?;
    let (candidate, reason) = match header.designate_elect {
        true => (Candidate::Designated(header.broker_id), "an administrator wants it"),
        false => (Candidate::Asking(header.broker_id), "a broker asked"),
    };
    let cluster = Some(header.cluster_name.to_owned());
    let elected = shared.elect(cluster, header.broker_name, candidate, reason).await?;
    if let (Candidate::Asking(id), Some(address)) = (candidate, elected.members.get(&header.broker_id)) {
        shared.asked(header.broker_name, id, address, conn);
    }
    let group = BrokerMemberGroup {
        broker_addrs: elected.members,
        broker_name: Some(elected.view.name.clone()),
        cluster: Some(elected.view.cluster.clone()),
    };
    Ok(tell_master(success(request), &elected.view, Some(group)))
}

/// Adds to an answer who is the master.
pub(super) fn tell_master(answer: Command, view: &View, group: Option<BrokerMemberGroup>) -> Command {
    let header = ElectMasterResponseHeader {
        master_broker_id: view.master,
        master_address: view.master_address.as_deref(),
        master_epoch: Some(view.master_epoch),
        sync_state_set_epoch: Some(view.in_sync_epoch),
    };
    let body = ElectMasterResponseBody { broker_member_group: group, sync_state_set: Some(view.in_sync.clone()) };
    answer.with_header(&header).with_body(body.encode())
}

pub(super) async fn clean(shared: &Shared, request: &Command) -> Answer {
    let header: CleanControllerBrokerDataRequestHeader<'_> = request.header()?;
    let ids = header.broker_controller_ids_to_clean.filter(|ids| !ids.trim().is_empty());
    let number = |id: &str| id.trim().parse().map_err(|_| ControllerError::IdsToClean(id.to_owned()));
    let ids = ids.map(|ids| ids.split(';').map(number).collect::<Result<BTreeSet<i64>, _>>()).transpose()?;
    let name = header.broker_name.to_owned();
    let command = election::Command::Clean {
        cluster: header.cluster_name.map(str::to_owned),
        ids: ids.clone(),
        even_alive: header.is_clean_living_broker.unwrap_or_default(),
        alive: shared.presumed_alive(&name),
        name,
    };
    shared.consensus.decide(command).await?;
    tracing::info!(broker = header.broker_name, ?ids, "replicas are forgotten, as an administrator asked");
    Ok(success(request))
}

/// A view's in-sync set as it travels.
pub(super) fn set_of(view: &View) -> SyncStateSet {
    SyncStateSet { sync_state_set: view.in_sync.clone(), sync_state_set_epoch: view.in_sync_epoch }
}
