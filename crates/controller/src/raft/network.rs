//! The way to the other controllers: one connection to each, made when it is needed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_net::{CallError, Conn, ConnectError, Dial, Limits, Service};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use openraft::BasicNode;
use openraft::error::{NetworkError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Types;
use super::messages::{Appended, Installed, Message, Voted};
use crate::peers::{PeerId, Peers};

/// Pause before a peer that could not be reached is called again.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes and keeps connections.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    group: String,
    peers: Arc<Peers>,
    dial: Arc<dyn Dial>,
    connections: Mutex<HashMap<PeerId, Arc<Conn>>>,
    /// Peers that gave no answer the last time, which is told once.
    silent: Mutex<HashSet<PeerId>>,
}

/// Why a peer gave no answer that can be read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0} is not in controllerDLegerPeers")]
    Stranger(PeerId),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{peer} refused: {remark}")]
    Refused { peer: PeerId, remark: String },
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// Peers ask nothing on the connections that they were called by.
struct Silent;

impl Service for Silent {
    fn request(&self, _: &Arc<Conn>, _: &Command) {}
}

impl Network {
    /// To the controllers of a group.
    pub fn new(group: &str, peers: Arc<Peers>, dial: Arc<dyn Dial>) -> Self {
        Self {
            shared: Arc::new(Shared {
                group: group.to_owned(),
                peers,
                dial,
                connections: Mutex::default(),
                silent: Mutex::default(),
            }),
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: PeerId, _: &BasicNode) -> Peer {
        Peer { shared: Arc::clone(&self.shared), target }
    }
}

/// The way to one peer.
pub struct Peer {
    shared: Arc<Shared>,
    target: PeerId,
}

impl Peer {
    async fn connection(&self, timeout: Duration) -> Result<Arc<Conn>, Failure> {
        let open = self.lock().get(&self.target).filter(|conn| conn.is_open()).cloned();
        if let Some(conn) = open {
            return Ok(conn);
        }
        // The address of the settings, not the one that the peers once agreed on: a controller may move.
        let address = self.shared.peers.address(self.target).ok_or(Failure::Stranger(self.target))?;
        let conn =
            apogee_net::connect(&*self.shared.dial, address, Arc::new(Silent), Limits::default(), timeout).await?;
        if let Some(before) = self.lock().insert(self.target, Arc::clone(&conn)) {
            before.close("there is another connection to this controller");
        }
        Ok(conn)
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        code: i32,
        says: Q,
        option: &RPCOption,
    ) -> Result<A, Failure> {
        let answer = self.call(code, says, option.hard_ttl()).await;
        self.note(answer.as_ref().err());
        Ok(serde_json::from_slice(&answer?.body)?)
    }

    async fn call(&self, code: i32, says: impl Serialize, timeout: Duration) -> Result<Command, Failure> {
        let (group, from, to) = (self.shared.group.clone(), self.shared.peers.own(), self.target);
        let body = serde_json::to_vec(&Message { group, from, to, says })?;
        let answer = self.connection(timeout).await?.call(Command::request(code).with_body(body), timeout).await?;
        if answer.code != response::SUCCESS {
            let remark = answer.remark.unwrap_or_else(|| format!("code {}", answer.code));
            return Err(Failure::Refused { peer: self.target, remark });
        }
        Ok(answer)
    }

    /// Tells the operator when a peer begins to be silent, or ends to be.
    fn note(&self, failure: Option<&Failure>) {
        let mut silent = self.shared.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let has_changed = match failure {
            Some(_) => silent.insert(self.target),
            None => silent.remove(&self.target),
        };
        drop(silent);
        match failure {
            Some(failure) if has_changed => {
                tracing::warn!(peer = %self.target, %failure, "a controller gives no answer: is it up, and set up alike?");
            }
            None if has_changed => tracing::info!(peer = %self.target, "a controller answers again"),
            _ => {}
        }
    }

    /// As Raft is told of it.
    fn failed<E: std::error::Error>(failure: &Failure) -> RPCError<PeerId, BasicNode, E> {
        match failure {
            Failure::Call(_) => RPCError::Network(NetworkError::new(failure)),
            _ => RPCError::Unreachable(Unreachable::new(failure)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PeerId, Arc<Conn>>> {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Told<T, E = openraft::error::Infallible> = Result<T, RPCError<PeerId, BasicNode, RaftError<PeerId, E>>>;

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        says: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Told<AppendEntriesResponse<PeerId>> {
        let answer: Appended =
            self.ask(request::CONTROLLER_RAFT_APPEND, says, &option).await.map_err(|error| Self::failed(&error))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }

    async fn install_snapshot(
        &mut self,
        says: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Told<InstallSnapshotResponse<PeerId>, openraft::error::InstallSnapshotError> {
        let answer: Installed =
            self.ask(request::CONTROLLER_RAFT_SNAPSHOT, says, &option).await.map_err(|error| Self::failed(&error))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }

    async fn vote(&mut self, says: VoteRequest<PeerId>, option: RPCOption) -> Told<VoteResponse<PeerId>> {
        let answer: Voted =
            self.ask(request::CONTROLLER_RAFT_VOTE, says, &option).await.map_err(|error| Self::failed(&error))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.target, error)))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}
