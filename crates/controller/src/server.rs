//! The shell: a port, and what its requests are handed to.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_base::settings::{Current, KeptSettings};
use apogee_net::{BindError, Conn, Dial, Limits, Server, Service, Tcp};
use apogee_telemetry::{Health, Metrics};
use apogee_wire::Command;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use crate::error::ControllerError;
use crate::handlers;
use crate::liveness::Liveness;
use crate::peers::{Peers, PeersError};
use crate::raft::{Consensus, ConsensusError, Database, Network, OpenError, State, is_message};
use crate::settings::ControllerSettings;
use crate::watch;

/// Most requests that are at work at a time.
const MAX_REQUESTS: usize = 1024;
/// Most messages of other controllers that are at work at a time; they must not wait for requests.
const MAX_MESSAGES: usize = 256;

/// Why a controller cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(transparent)]
    Peers(#[from] PeersError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
}

/// What handlers are given.
pub(crate) struct Shared {
    pub peers: Arc<Peers>,
    pub consensus: Consensus,
    /// The groups as they are decided.
    pub state: State,
    pub settings: KeptSettings<ControllerSettings>,
    pub clock: Arc<dyn Clock>,
    pub dial: Arc<dyn Dial>,
    liveness: Mutex<Liveness>,
    /// There is something to look at before the next look is due.
    pub look: Notify,
    pub elections: AtomicU64,
    requests: Arc<Semaphore>,
    messages: Arc<Semaphore>,
}

/// A controller that is up.
pub struct Controller {
    shared: Arc<Shared>,
    server: Server,
    watch: JoinHandle<()>,
}

impl Controller {
    /// Takes up the state on disk and the port of its address in `controllerDLegerPeers`, and answers requests; it
    /// decides once most controllers are there. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When settings make no sense, the port is taken, or the state cannot be read.
    pub async fn start(
        settings: ControllerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StartError> {
        Self::start_with(settings, clock, disk, Arc::new(Tcp)).await
    }

    /// The same with another way to other controllers and to brokers.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn start_with(
        settings: ControllerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        dial: Arc<dyn Dial>,
    ) -> Result<Self, StartError> {
        let peers = Arc::new(Peers::read(&settings.controller_d_leger_peers, &settings.controller_d_leger_self_id)?);
        let idle = Duration::from_secs(settings.server_channel_max_idle_time_seconds);
        let server = Server::bind(&settings.bind_address, peers.port(), Limits { idle, ..Limits::default() })?;
        let database = Arc::new(Database::open(&*disk, Path::new(&settings.store_path()))?);
        let group = settings.controller_d_leger_group.clone();
        let network = Network::new(&group, Arc::clone(&peers), Arc::clone(&dial));
        let (consensus, state) = Consensus::start(&group, Arc::clone(&peers), database, network).await?;
        let shared = Arc::new(Shared {
            peers,
            consensus,
            state,
            settings: KeptSettings::new(disk, settings.config_store_path.clone(), settings),
            liveness: Mutex::new(Liveness::new(clock.now_ms())),
            clock,
            dial,
            look: Notify::new(),
            elections: AtomicU64::new(0),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            messages: Arc::new(Semaphore::new(MAX_MESSAGES)),
        });
        let watch = tokio::spawn(watch::forever(Arc::clone(&shared)));
        server.start(Arc::new(Requests { shared: Arc::clone(&shared) }), None);
        tracing::info!(address = %server.local_addr(), id = %shared.peers.own(), group, "controller is up");
        Ok(Self { shared, server, watch })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Where the leader of the controllers is, as `host:port`; `None` while there is none that most others hear.
    pub fn leader(&self) -> Option<String> {
        self.shared.consensus.leader().and_then(|leader| self.shared.peers.address(leader)).map(str::to_owned)
    }

    /// Whether this one leads.
    pub fn is_leader(&self) -> bool {
        self.shared.consensus.is_leader()
    }

    /// What tells whether it is well.
    pub fn health(&self) -> Arc<dyn Health> {
        Arc::clone(&self.shared) as _
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<dyn Metrics> {
        Arc::clone(&self.shared) as _
    }

    /// Its settings as they are now.
    pub fn settings(&self) -> Current<ControllerSettings> {
        self.shared.settings.load()
    }

    /// Closes the port and all connections; waits for what is queued on them, but not longer than `patience`. What
    /// was decided is on disk.
    pub async fn stop(self, patience: Duration) {
        self.watch.abort();
        self.shared.consensus.stop().await;
        self.server.stop(patience).await;
    }
}

impl Health for Shared {
    fn live(&self) -> Result<(), String> {
        self.consensus.check().map_err(|reason| format!("the controller has stopped ({reason}): restart it"))
    }

    fn ready(&self) -> Result<(), String> {
        self.live()?;
        let none = || "the controllers have no leader: most of them must be up and reach each other".to_owned();
        self.consensus.leader().map(drop).ok_or_else(none)
    }
}

impl Shared {
    /// Never held across I/O.
    pub fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an election that gave a group another master.
    pub fn count_election(&self) {
        self.elections.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the connections hand their requests to.
struct Requests {
    shared: Arc<Shared>,
}

impl Service for Requests {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        let shared = &self.shared;
        if let Some(served) = handlers::serve_at_once(shared, conn, request) {
            return answer(conn, request, served);
        }
        let room = if is_message(request.code) { &shared.messages } else { &shared.requests };
        let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
            return answer(conn, request, Err(ControllerError::Busy));
        };
        let (shared, conn, request) = (Arc::clone(shared), Arc::clone(conn), request.clone());
        tokio::spawn(async move {
            let served = handlers::serve(&shared, &conn, &request).await;
            answer(&conn, &request, served);
            drop(permit);
        });
    }

    fn closed(&self, conn: &Arc<Conn>) {
        if self.shared.liveness().closed(conn.id()) {
            self.shared.look.notify_one();
        }
    }
}

/// Replies unless the request wants none.
fn answer(conn: &Conn, request: &Command, result: Result<Command, ControllerError>) {
    if let Err(error) = &result {
        tracing::debug!(code = request.code, peer = %conn.peer(), %error, "a request failed");
    }
    if !request.is_oneway() {
        conn.reply(&result.unwrap_or_else(|error| handlers::refusal(request, &error)));
    }
}
