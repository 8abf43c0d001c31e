//! What is asked of the state machine, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use apogee_wire::codes::response;
use serde::{Deserialize, Serialize};

/// What a broker said of itself in its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Where it is.
    pub address: String,
    /// The master epoch that it knows; -1 before it knows one.
    pub epoch: i32,
    /// Where its log ends.
    pub max_offset: i64,
    /// Lower ones are preferred among those that are equal otherwise.
    pub priority: i32,
}

/// Brokers of one group that the leader of the controllers hears from, by id.
pub type Alive = BTreeMap<i64, Standing>;

/// Who shall become the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Candidate {
    /// Whoever is best; the controller asks because the master is gone. Where nobody can be elected, the group has
    /// no master from then on.
    Any,
    /// Whoever is best; a broker asks, which becomes the master where there never was one.
    Asking(i64),
    /// This one and nobody else; an administrator asks.
    Designated(i64),
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Command {
    /// A broker takes an id; its check code shows that a repeated request comes from the same broker.
    ApplyId { cluster: String, name: String, id: i64, check_code: String },
    /// A broker with an id comes up and says where it is.
    Register { cluster: String, name: String, id: i64, address: String, alive: Alive },
    /// A master is wanted. `unclean`: one outside of the in-sync set will do, if none in it is alive.
    Elect { cluster: Option<String>, name: String, candidate: Candidate, unclean: bool, alive: Alive },
    /// The master of an epoch says who has all that was acknowledged.
    AlterInSync {
        name: String,
        master: i64,
        master_epoch: i32,
        in_sync: BTreeSet<i64>,
        in_sync_epoch: i32,
        alive: Alive,
    },
    /// An administrator has replicas forgotten; the whole group where no ids are given.
    Clean { cluster: Option<String>, name: String, ids: Option<BTreeSet<i64>>, even_alive: bool, alive: Alive },
}

/// What the controllers say of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct View {
    pub cluster: String,
    pub name: String,
    pub master: Option<i64>,
    pub master_address: Option<String>,
    pub master_epoch: i32,
    pub in_sync: BTreeSet<i64>,
    pub in_sync_epoch: i32,
}

/// An election that changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elected {
    /// The group as it is now; without a master where nobody could be elected.
    pub view: View,
    /// The master before.
    pub before: Option<i64>,
    /// Addresses of all replicas, by id.
    pub members: BTreeMap<i64, String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// An entry of the log that asks for nothing.
    Nothing,
    /// The id is the broker's.
    IdApplied,
    /// The broker is known; this is its group.
    Registered(Box<View>),
    /// Another master, or none any more.
    Elected(Box<Elected>),
    /// The in-sync set is this one.
    InSync(Box<View>),
    /// What was to be forgotten is.
    Cleaned,
}

/// What comes of a command.
pub type Reply = Result<Done, Refused>;

/// Why a command was refused. Texts are upstream's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Refused {
    #[error("Broker-set: {0} hasn't been registered in controller")]
    UnknownGroup(String),
    #[error("BrokerId: {id} hasn't been registered in broker-set: {name}")]
    UnknownReplica { name: String, id: i64 },
    #[error("Broker hasn't been registered")]
    NotRegistered,
    #[error("Broker-set: {name} hasn't been registered in controller, but broker try to apply brokerId: {id}")]
    FirstIdIsOne { name: String, id: i64 },
    #[error("Fail to apply brokerId: {id} in broker-set: {name}")]
    IdTaken { name: String, id: i64 },
    #[error("broker id {0} is none: ids begin with 1")]
    NoId(i64),
    #[error(
        "broker id {id} of {name} is in use by the broker at {address}, which is alive: two brokers must not have the \
         same id; give this one a data folder of its own"
    )]
    IdInUse { name: String, id: i64, address: String },
    #[error("broker name {name} belongs to cluster {cluster}, not to {asked}")]
    OtherCluster { name: String, cluster: String, asked: String },
    #[error("a name or address {0}")]
    Text(String),
    #[error("there are {1} {0} already, which is the most")]
    Full(String, usize),
    #[error("The old master {} is still alive, not need to elect new master for broker {}", .0.master.unwrap_or_default(), .0.name)]
    MasterStillExists(Box<View>),
    #[error("Failed to elect a new master")]
    NobodyElectable,
    #[error("Broker metadata is not existed")]
    NoSuchGroupToAlter,
    #[error("The newSyncStateSet is equal with oldSyncStateSet, no needed to update syncStateSet")]
    SameInSync,
    #[error("Rejecting alter syncStateSet request because the current leader is:{{{}}}, not {{{asked}}}", or_none(.master))]
    OtherMaster { master: Option<i64>, asked: i64 },
    #[error("Rejecting alter syncStateSet request because the current master epoch is:{{{epoch}}}, not {{{asked}}}")]
    OtherMasterEpoch { epoch: i32, asked: i32 },
    #[error(
        "Rejecting alter syncStateSet request because the current syncStateSet epoch is:{{{epoch}}}, not {{{asked}}}"
    )]
    OtherInSyncEpoch { epoch: i32, asked: i32 },
    #[error("Rejecting alter syncStateSet request because the replicas {{{0}}} don't exist")]
    NoSuchReplica(i64),
    #[error("Rejecting alter syncStateSet request because the replicas {{{0}}} don't alive")]
    ReplicaNotAlive(i64),
    #[error("Rejecting alter syncStateSet request because the newSyncStateSet don't contains origin leader {{{0}}}")]
    WithoutMaster(i64),
    #[error("Broker {0} is not existed,clean broker data failure.")]
    NothingToClean(String),
    #[error("Broker {0} is still alive, clean up failure")]
    GroupStillAlive(String),
    #[error("Broker [{name},  {id}] is still alive, clean up failure")]
    ReplicaStillAlive { name: String, id: i64 },
    #[error("the epochs of {0} are used up")]
    NoEpochLeft(String),
}

fn or_none(id: &Option<i64>) -> String {
    id.map_or_else(|| "null".to_owned(), |id| id.to_string())
}

impl Refused {
    /// Upstream's response code.
    pub fn code(&self) -> i32 {
        match self {
            Self::UnknownGroup(_) | Self::UnknownReplica { .. } | Self::NotRegistered => {
                response::CONTROLLER_BROKER_NEED_TO_BE_REGISTERED
            }
            Self::FirstIdIsOne { .. } | Self::IdTaken { .. } | Self::NoId(_) | Self::IdInUse { .. } => {
                response::CONTROLLER_BROKER_ID_INVALID
            }
            Self::OtherCluster { .. } | Self::Text(_) | Self::Full(..) | Self::NoEpochLeft(_) => {
                response::CONTROLLER_INVALID_REQUEST
            }
            Self::MasterStillExists(_) => response::CONTROLLER_MASTER_STILL_EXIST,
            Self::NobodyElectable => response::CONTROLLER_ELECT_MASTER_FAILED,
            Self::NoSuchGroupToAlter | Self::SameInSync | Self::WithoutMaster(_) => {
                response::CONTROLLER_ALTER_SYNC_STATE_SET_FAILED
            }
            Self::OtherMaster { .. } => response::CONTROLLER_INVALID_MASTER,
            Self::OtherMasterEpoch { .. } => response::CONTROLLER_FENCED_MASTER_EPOCH,
            Self::OtherInSyncEpoch { .. } => response::CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH,
            Self::NoSuchReplica(_) => response::CONTROLLER_INVALID_REPLICAS,
            Self::ReplicaNotAlive(_) => response::CONTROLLER_BROKER_NOT_ALIVE,
            Self::NothingToClean(_) | Self::GroupStillAlive(_) | Self::ReplicaStillAlive { .. } => {
                response::CONTROLLER_INVALID_CLEAN_BROKER_METADATA
            }
        }
    }
}
