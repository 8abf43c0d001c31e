//! Threads that connections live on.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads with a runtime each. A connection stays on the one that it was given to: what one of them does
/// wakes no other, and none takes another's work away. Ended when dropped.
pub struct Workers {
    workers: Vec<Worker>,
}

struct Worker {
    handle: Handle,
    connections: Arc<AtomicUsize>,
    /// Ends the thread when dropped.
    _until: oneshot::Sender<()>,
}

/// Tells how threads of connections are, as long as they live.
pub struct Pulse {
    workers: Vec<(Handle, Arc<AtomicUsize>)>,
}

/// How one thread is.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// Time at work since its start.
    pub busy: Duration,
    /// How long a task waited for its turn just now; a second when it has not come yet.
    pub delay: Duration,
    /// Connections on it.
    pub connections: usize,
}

/// How long is waited for a thread that is busy.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Pulse {
    /// How each thread is. Waits for all of them together, for a second at most: not on one of them.
    pub fn feel(&self) -> Vec<Beat> {
        let began = Instant::now();
        let asked: Vec<_> = self.workers.iter().map(|worker| (worker, ask(&worker.0, began))).collect();
        let beat = |((handle, connections), answer): (&(Handle, Arc<AtomicUsize>), mpsc::Receiver<Duration>)| {
            let delay = answer.recv_timeout(LONGEST_WAIT.saturating_sub(began.elapsed())).unwrap_or(LONGEST_WAIT);
            let busy = handle.metrics().worker_total_busy_duration(0);
            Beat { busy, delay, connections: connections.load(Ordering::Relaxed) }
        };
        asked.into_iter().map(beat).collect()
    }
}

/// Has a thread tell when its turn came.
fn ask(handle: &Handle, began: Instant) -> mpsc::Receiver<Duration> {
    let (tell, told) = mpsc::sync_channel(1);
    handle.spawn(async move {
        // Who asked may not wait any more.
        let _ = tell.try_send(began.elapsed());
    });
    told
}

/// A place of a connection; free again when dropped.
pub(crate) struct Seat {
    pub handle: Handle,
    connections: Arc<AtomicUsize>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts so many threads, at least one.
    pub fn start(count: usize) -> io::Result<Self> {
        let workers = (0..count.max(1)).map(|_| Worker::start()).collect::<io::Result<_>>()?;
        Ok(Self { workers })
    }

    /// What tells how these threads are.
    pub fn pulse(&self) -> Pulse {
        let worker = |worker: &Worker| (worker.handle.clone(), Arc::clone(&worker.connections));
        Pulse { workers: self.workers.iter().map(worker).collect() }
    }

    /// A place on the thread that has the fewest connections.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let worker = self.workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat { handle: worker.handle.clone(), connections: Arc::clone(&worker.connections) })
    }
}

impl Worker {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().thread_name("apogee").build()?;
        let (handle, connections) = (runtime.handle().clone(), Arc::default());
        let (until, ended) = oneshot::channel();
        std::thread::Builder::new().name("connections".to_owned()).spawn(move || {
            // An error says that the other end was dropped: that is the word to end.
            let _: Result<(), _> = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, connections, _until: until })
    }
}
