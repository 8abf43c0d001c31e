//! One thread for requests that write files or are large: they must not hold up the connections,
//! and are served in the order they came.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::request;

use crate::error::NamesrvError;
use crate::handlers;
use crate::kv::KvConfig;
use crate::server::{Shared, answer};

/// A registration with a larger body takes long to read, in bytes.
const LARGE: usize = 64 << 10;
/// Most requests that wait; a cluster has fewer brokers.
const MAX_JOBS: usize = 1024;
/// Most bytes of bodies that wait: sixteen registrations of the largest size.
const MAX_BYTES: usize = 256 << 20;

struct Job {
    conn: Arc<Conn>,
    request: Command,
}

/// The thread's queue.
#[derive(Clone)]
pub(crate) struct Jobs {
    queue: SyncSender<Option<Job>>,
    /// Bytes of bodies that wait.
    waiting: Arc<AtomicUsize>,
}

impl Jobs {
    /// Whether a request is for the thread.
    pub fn takes(request: &Command) -> bool {
        match request.code {
            request::PUT_KV_CONFIG | request::DELETE_KV_CONFIG | request::UPDATE_NAMESRV_CONFIG => true,
            request::REGISTER_BROKER => request.body.len() > LARGE,
            _ => false,
        }
    }

    /// Queues a request.
    pub fn push(&self, conn: &Arc<Conn>, request: &Command) -> Result<(), NamesrvError> {
        let bytes = request.body.len();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let job = Job { conn: Arc::clone(conn), request: request.clone() };
        if waiting + bytes <= MAX_BYTES && self.queue.try_send(Some(job)).is_ok() {
            return Ok(());
        }
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        Err(NamesrvError::Busy(waiting))
    }
}

/// The thread. It alone changes the key-value configuration.
pub(crate) struct Worker {
    jobs: Jobs,
    thread: JoinHandle<()>,
}

impl Worker {
    pub fn start(shared: Arc<Shared>, mut kv: KvConfig) -> std::io::Result<Self> {
        let (queue, queued) = sync_channel(MAX_JOBS);
        let jobs = Jobs { queue, waiting: Arc::default() };
        let waiting = Arc::clone(&jobs.waiting);
        let thread = std::thread::Builder::new()
            .name("namesrv-worker".into())
            .spawn(move || run(&queued, &shared, &mut kv, &waiting))?;
        Ok(Self { jobs, thread })
    }

    pub fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }

    /// Serves what is queued and ends the thread.
    pub fn stop(self) {
        // `None` ends the thread; if it is gone already, so is the queue.
        let _ = self.jobs.queue.send(None);
        if self.thread.join().is_err() {
            tracing::error!("the name server's worker thread panicked: restart it, and please report it");
        }
    }
}

fn run(queued: &Receiver<Option<Job>>, shared: &Shared, kv: &mut KvConfig, waiting: &AtomicUsize) {
    while let Ok(Some(Job { conn, request })) = queued.recv() {
        // A bug in one request must not end the service of all others.
        let served = catch_unwind(AssertUnwindSafe(|| handlers::serve_long(shared, kv, &conn, &request)));
        answer(&conn, &request, served.unwrap_or(Err(NamesrvError::Bug)));
        waiting.fetch_sub(request.body.len(), Ordering::Relaxed);
        if !conn.is_open() {
            // It was closed while its registration waited: what was just registered is gone.
            shared.removed(shared.routes.link_closed(conn.id()), "its connection was closed");
        }
    }
}
