//! Messages of Raft as remoting commands: a JSON body that names the group, and whom it is from and for.

use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Consensus, Types};
use crate::peers::PeerId;

/// A message on its way.
#[derive(Serialize, Deserialize)]
pub struct Message<T> {
    /// The group of controllers.
    pub group: String,
    /// Who sent it.
    pub from: PeerId,
    /// Who shall get it.
    pub to: PeerId,
    /// What it says.
    pub says: T,
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotForUs {
    #[error("this is no message of a controller: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("this controller is of group {own}, the message is of group {other}: check controllerDLegerGroup")]
    Group { own: String, other: String },
    #[error(
        "this controller is {own}, the message is for {to}: check controllerDLegerPeers and controllerDLegerSelfId"
    )]
    Recipient { own: PeerId, to: PeerId },
    #[error("{0} is none of the controllers here: check controllerDLegerPeers")]
    Stranger(PeerId),
}

type Answer<T, E = openraft::error::Infallible> = Result<T, RaftError<PeerId, E>>;
/// What is answered to each kind of message.
pub(super) type Appended = Answer<AppendEntriesResponse<PeerId>>;
pub(super) type Voted = Answer<VoteResponse<PeerId>>;
pub(super) type Installed = Answer<InstallSnapshotResponse<PeerId>, InstallSnapshotError>;

/// Whether a request is a message of Raft.
pub fn is_message(code: i32) -> bool {
    matches!(code, request::CONTROLLER_RAFT_APPEND | request::CONTROLLER_RAFT_VOTE | request::CONTROLLER_RAFT_SNAPSHOT)
}

impl Consensus {
    /// Hands a message to Raft; the answer is what it says.
    ///
    /// # Errors
    /// When the message cannot be read, or is not for this controller.
    pub async fn receive(&self, group: &str, asked: &Command) -> Result<Command, NotForUs> {
        let body = match asked.code {
            request::CONTROLLER_RAFT_APPEND => {
                let says: AppendEntriesRequest<Types> = self.read(group, asked)?;
                serde_json::to_vec(&self.raft.append_entries(says).await)?
            }
            request::CONTROLLER_RAFT_VOTE => {
                let says: VoteRequest<PeerId> = self.read(group, asked)?;
                serde_json::to_vec(&self.raft.vote(says).await)?
            }
            _ => {
                let says: InstallSnapshotRequest<Types> = self.read(group, asked)?;
                serde_json::to_vec(&self.raft.install_snapshot(says).await)?
            }
        };
        Ok(Command::response_to(asked, response::SUCCESS).with_body(body))
    }

    fn read<T: DeserializeOwned>(&self, group: &str, asked: &Command) -> Result<T, NotForUs> {
        let message: Message<T> = serde_json::from_slice(&asked.body)?;
        if message.group != group {
            return Err(NotForUs::Group { own: group.to_owned(), other: message.group });
        }
        if message.to != self.peers.own() {
            return Err(NotForUs::Recipient { own: self.peers.own(), to: message.to });
        }
        if self.peers.address(message.from).is_none() || message.from == self.peers.own() {
            return Err(NotForUs::Stranger(message.from));
        }
        Ok(message.says)
    }
}
