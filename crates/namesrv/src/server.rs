//! The name server: one port, the route table behind it, and a thread for what takes long.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_base::settings::{Current, KeptSettings};
use apogee_net::{BindError, Conn, Limits, Server, Service};
use apogee_telemetry::Health;
use apogee_wire::Command;
use apogee_wire::codes::request;
use apogee_wire::headers::NotifyMinBrokerIdChangeRequestHeader;
use tokio::task::JoinHandle;

use crate::asked::AskedTopics;
use crate::error::NamesrvError;
use crate::handlers;
use crate::kv::{KvConfig, KvError, KvReader};
use crate::routes::{MinIdChange, Removed, RouteTable};
use crate::settings::NamesrvSettings;
use crate::worker::{Jobs, Worker};

/// Why a name server cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// What handlers are given.
pub(crate) struct Shared {
    pub routes: RouteTable,
    pub settings: KeptSettings<NamesrvSettings>,
    pub kv: KvReader,
    pub clock: Arc<dyn Clock>,
    pub asked: Arc<AskedTopics>,
    /// When it started, in ms since the epoch.
    started_ms: i64,
    /// Milliseconds after that in which route requests are refused.
    wait_ms: i64,
    /// Connections that brokers registered by.
    links: Mutex<HashMap<u64, Arc<Conn>>>,
}

/// A name server that is up.
pub struct NameServer {
    shared: Arc<Shared>,
    server: Server,
    worker: Worker,
    scan: JoinHandle<()>,
}

impl NameServer {
    /// Reads what was kept, takes the port and answers requests. Needs a tokio runtime around it.
    pub fn start(settings: NamesrvSettings, clock: Arc<dyn Clock>, disk: Arc<dyn Disk>) -> Result<Self, StartError> {
        let idle = Duration::from_secs(settings.server_channel_max_idle_time_seconds);
        let server = Server::bind(&settings.bind_address, settings.listen_port, Limits { idle, ..Limits::default() })?;
        let kv = KvConfig::open(Arc::clone(&disk), &settings.kv_config_path)?;
        let scan_every = Duration::from_millis(settings.scan_not_active_broker_interval);
        let wait_s = if settings.need_wait_for_service { settings.wait_seconds_for_service } else { 0 };
        let shared = Arc::new(Shared {
            routes: RouteTable::default(),
            settings: KeptSettings::new(disk, settings.config_store_path.clone(), settings),
            kv: kv.reader(),
            started_ms: clock.now_ms(),
            wait_ms: 0i64.saturating_add_unsigned(wait_s.saturating_mul(1000)),
            clock,
            asked: Arc::default(),
            links: Mutex::default(),
        });
        let worker = Worker::start(Arc::clone(&shared), kv).map_err(StartError::Thread)?;
        let scan = tokio::spawn(scan_forever(Arc::clone(&shared), scan_every));
        server.start(Arc::new(Requests { shared: Arc::clone(&shared), jobs: worker.jobs() }), None);
        tracing::info!(address = %server.local_addr(), "name server is up");
        Ok(Self { shared, server, worker, scan })
    }

    /// The address it listens on; its port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The routes, for whoever runs in the same process.
    pub fn routes(&self) -> &RouteTable {
        &self.shared.routes
    }

    /// Topics that clients ask for in vain.
    pub fn asked(&self) -> Arc<AskedTopics> {
        Arc::clone(&self.shared.asked)
    }

    /// What tells whether it is well.
    pub fn health(&self) -> Arc<dyn Health> {
        Arc::clone(&self.shared) as _
    }

    /// Its settings as they are now.
    pub fn settings(&self) -> Current<NamesrvSettings> {
        self.shared.settings.load()
    }

    /// Closes the connections of all but brokers, so that those who reach another name server ask that one; the
    /// others come back. Says how many they are.
    pub fn send_on(&self, reason: &str) -> usize {
        self.server.close(|conn| !self.shared.is_linked(conn.id()), reason)
    }

    /// Closes the port and all connections; waits for what is queued on them, but not longer than
    /// `patience`.
    pub async fn stop(self, patience: Duration) {
        self.scan.abort();
        self.server.stop(patience).await;
        self.worker.stop();
    }
}

impl Health for Shared {
    fn live(&self) -> Result<(), String> {
        // Who asks has been answered: nothing else can be wrong that a restart mends.
        Ok(())
    }

    fn ready(&self) -> Result<(), String> {
        let missing = self.waits_ms();
        let early = || format!("the name server waits {missing} ms yet for brokers to register (needWaitForService)");
        if missing > 0 { Err(early()) } else { Ok(()) }
    }
}

async fn scan_forever(shared: Arc<Shared>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.scan();
    }
}

impl Shared {
    /// Milliseconds for which route requests are refused yet. A clock that is before the start was set: it must not
    /// hold clients up for as long as it was set back.
    pub fn waits_ms(&self) -> i64 {
        let up_ms = self.clock.now_ms() - self.started_ms;
        if (0..self.wait_ms).contains(&up_ms) { self.wait_ms - up_ms } else { 0 }
    }

    /// Removes the brokers that fell silent.
    fn scan(&self) {
        let removed = self.routes.expire(self.clock.now_ms());
        for broker in &removed.brokers {
            // A broker that is up after all notices the closed connection and registers again.
            if let Some(conn) = self.link(broker.link) {
                conn.close("its broker gave no sign of life");
            }
        }
        self.removed(removed, "it gave no sign of life");
    }

    /// Remembers the connection that a broker registers by.
    pub fn linked(&self, conn: &Arc<Conn>) {
        self.lock_links().insert(conn.id(), Arc::clone(conn));
    }

    /// A connection is gone, and the brokers that registered by it.
    pub fn unlinked(&self, conn: &Conn) {
        if self.lock_links().remove(&conn.id()).is_some() {
            self.removed(self.routes.link_closed(conn.id()), "its connection was closed");
        }
    }

    /// Tells whom brokers' going concerns.
    pub fn removed(&self, removed: Removed, reason: &str) {
        for broker in removed.brokers {
            tracing::info!(broker = broker.name, address = broker.addr, reason, "a broker is gone");
        }
        removed.notices.iter().for_each(|notice| self.notify(notice));
    }

    /// Tells brokers of the lowest id among them.
    pub fn notify(&self, notice: &MinIdChange) {
        if !self.settings.load().notify_min_broker_id_changed {
            return;
        }
        let header = NotifyMinBrokerIdChangeRequestHeader {
            min_broker_id: Some(notice.min_id),
            broker_name: None,
            min_broker_addr: Some(&notice.min_addr),
            offline_broker_addr: notice.offline_addr.as_deref(),
            ha_broker_addr: notice.ha_addr.as_deref(),
        };
        for conn in notice.links.iter().filter_map(|&link| self.link(link)) {
            conn.send_oneway(Command::request(request::NOTIFY_MIN_BROKER_ID_CHANGE).with_header(&header));
        }
    }

    /// Whether brokers have registered by this connection.
    pub fn is_linked(&self, link: u64) -> bool {
        self.lock_links().contains_key(&link)
    }

    fn link(&self, link: u64) -> Option<Arc<Conn>> {
        self.lock_links().get(&link).cloned()
    }

    fn lock_links(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Conn>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the connections hand their requests to.
struct Requests {
    shared: Arc<Shared>,
    jobs: Jobs,
}

impl Service for Requests {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        if request.code == request::REGISTER_BROKER {
            self.shared.linked(conn);
        }
        if Jobs::takes(request) {
            if let Err(busy) = self.jobs.push(conn, request) {
                answer(conn, request, Err(busy));
            }
            return;
        }
        let served = handlers::serve(&self.shared, conn.id(), request);
        if let Err(NamesrvError::NoRoute(route)) = &served {
            self.shared.asked.note(route, conn.peer());
        }
        answer(conn, request, served);
    }

    fn closed(&self, conn: &Arc<Conn>) {
        self.shared.unlinked(conn);
    }
}

/// Replies unless the request wants none.
pub(crate) fn answer(conn: &Conn, request: &Command, result: Result<Command, NamesrvError>) {
    if let Err(error) = &result {
        tracing::debug!(code = request.code, peer = %conn.peer(), %error, "a request failed");
    }
    if !request.is_oneway() {
        conn.reply(&result.unwrap_or_else(|error| refusal(request, &error)));
    }
}

/// The response that says why a request failed.
pub(crate) fn refusal(request: &Command, error: &NamesrvError) -> Command {
    Command::response_to(request, error.code()).with_remark(error.to_string())
}
