//! The state of the election, replicated among the controllers by Raft (the crate `openraft`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, InitializeError, RaftError};
use openraft::{BasicNode, Config, ServerState, SnapshotPolicy};

use crate::election::{Command, Refused, Reply};
use crate::peers::{PeerId, Peers};

mod file;
mod log;
mod machine;
mod messages;
mod network;

pub use file::{Database, OpenError};
pub use machine::{Machine, State};
pub use messages::{Message, NotForUs, is_message};
pub use network::Network;

/// Milliseconds between two heartbeats of the leader.
const HEARTBEAT_MS: u64 = 200;
/// A leader is taken for gone after the longer of these and a time between both: 1 to 1.2 s.
const ELECTION_MS: (u64, u64) = (400, 600);
/// Entries of the log after which a snapshot is taken.
const SNAPSHOT_AFTER: u64 = 500;
/// Entries that are kept behind a snapshot, for those that lag.
const KEPT_ENTRIES: u64 = 100;
/// Bytes of a snapshot in one message: as JSON they are up to four times as many.
const SNAPSHOT_CHUNK: u64 = 256 << 10;
/// How long a decision may take before it counts as not made.
const DECISION: Duration = Duration::from_secs(3);
/// A leader that most others have not acknowledged for so long may not be one any more.
const LEASE_MS: u64 = 1_500;

openraft::declare_raft_types!(
    /// What the replicated log holds.
    pub Types:
        D = Command,
        R = Reply,
        NodeId = PeerId,
        Node = BasicNode,
);

/// The consensus of this process.
#[derive(Clone)]
pub struct Consensus {
    raft: openraft::Raft<Types>,
    peers: Arc<Peers>,
}

/// Why consensus cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConsensusError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the controller's replicated state cannot be taken up: {0}")]
    Raft(String),
}

/// Why a decision was not made, or is not known to have been made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Undecided {
    #[error("The controller is not in leader state{}", .0.as_ref().map(|at| format!("; the leader is {at}")).unwrap_or_default())]
    NotLeader(Option<String>),
    #[error("most controllers did not agree within {DECISION:?}: are they up, and can they reach each other?")]
    NoQuorum,
    #[error("the controller has stopped: {0}")]
    Stopped(String),
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Consensus {
    /// Takes up what is on disk. On the very first start the controllers of the settings are those that vote; each
    /// of them says so, and all say the same.
    pub async fn start(
        group: &str,
        peers: Arc<Peers>,
        database: Arc<Database>,
        network: Network,
    ) -> Result<(Self, State), ConsensusError> {
        let config = Config {
            cluster_name: group.to_owned(),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_MS.0,
            election_timeout_max: ELECTION_MS.1,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_AFTER),
            max_in_snapshot_log_to_keep: KEPT_ENTRIES,
            snapshot_max_chunk_size: SNAPSHOT_CHUNK,
            ..Config::default()
        };
        let text = |error: &dyn std::error::Error| ConsensusError::Raft(error.to_string());
        let config = Arc::new(config.validate().map_err(|error| text(&error))?);
        let machine = Machine::open(Arc::clone(&database))?;
        let state = machine.state();
        let log = log::Log::new(database);
        let raft =
            openraft::Raft::new(peers.own(), config, network, log, machine).await.map_err(|error| text(&error))?;
        let members: BTreeMap<_, _> = peers.iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        match raft.initialize(members).await {
            Ok(()) => tracing::info!("the controllers begin with an empty state"),
            // It was begun with before.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(text(&error)),
        }
        let voters = raft.metrics().borrow().membership_config.membership().voter_ids().collect::<BTreeSet<_>>();
        let named: BTreeSet<_> = peers.iter().map(|(id, _)| id).collect();
        if voters != named {
            tracing::warn!(
                ?voters,
                ?named,
                "controllerDLegerPeers names other controllers than those that began the group, which go on to decide: \
                 give the ids of voters, at other addresses where they moved"
            );
        }
        Ok((Self { raft, peers }, state))
    }

    /// Has most controllers agree to a command, and does what it says.
    ///
    /// # Errors
    /// When this one doesn't lead, most others cannot be reached, or the command is refused. After
    /// [`Undecided::NoQuorum`] it may be done yet.
    pub async fn decide(&self, command: Command) -> Result<crate::election::Done, Undecided> {
        match tokio::time::timeout(DECISION, self.raft.client_write(command)).await {
            Err(_) => Err(Undecided::NoQuorum),
            Ok(Ok(written)) => Ok(written.data?),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(self.not_leader()),
            Ok(Err(error)) => Err(Undecided::Stopped(error.to_string())),
        }
    }

    /// Waits until what is read here is as new as what any controller has decided up to now.
    ///
    /// # Errors
    /// As [`Consensus::decide`].
    pub async fn catch_up(&self) -> Result<(), Undecided> {
        match tokio::time::timeout(DECISION, self.raft.ensure_linearizable()).await {
            Err(_) => Err(Undecided::NoQuorum),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(_))) => Err(self.not_leader()),
            Ok(Err(error)) => Err(Undecided::Stopped(error.to_string())),
        }
    }

    /// Who leads, as far as this one knows; nobody while most controllers are not heard from.
    pub fn leader(&self) -> Option<PeerId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leader = metrics.current_leader?;
        let is_heard = leader != self.peers.own() || metrics.millis_since_quorum_ack.is_some_and(|ms| ms < LEASE_MS);
        is_heard.then_some(leader)
    }

    /// Whether this one leads.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.peers.own())
    }

    /// Term, and entries that this one has applied.
    pub fn progress(&self) -> (u64, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        (metrics.current_term, metrics.last_applied.map_or(0, |applied| applied.index))
    }

    /// Whether it is at work.
    ///
    /// # Errors
    /// Says why it stopped.
    pub fn check(&self) -> Result<(), String> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match (&metrics.running_state, metrics.state) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(()), ServerState::Shutdown) => Err("it was shut down".to_owned()),
            _ => Ok(()),
        }
    }

    /// Waits until the leader changes.
    pub fn changes(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut metrics = self.raft.server_metrics();
        // What was before counts as seen.
        metrics.mark_unchanged();
        async move {
            // An error means that it has stopped.
            let _ = metrics.changed().await;
        }
    }

    /// Ends it; what is on disk stays as it is.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the controller's consensus did not end by itself");
        }
    }

    fn not_leader(&self) -> Undecided {
        let leader = self.leader().filter(|leader| *leader != self.peers.own());
        Undecided::NotLeader(leader.and_then(|leader| self.peers.address(leader)).map(str::to_owned))
    }
}
