//! Threads that connections live on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
