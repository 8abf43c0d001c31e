//! The handle of a connection.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use apogee_base::hash::QuickMap;
use apogee_wire::Command;
use apogee_wire::frame::FieldWriter;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::dial::{Dial, Dialled};
use crate::outbound::Outbound;
use crate::{Limits, Service, driver};

/// An open connection, held by everybody who may send something to the peer.
pub struct Conn {
    id: u64,
    peer: SocketAddr,
    local: SocketAddr,
    pub(crate) limits: Limits,
    outbound: Mutex<Outbound>,
    /// Bytes queued and not yet taken by the kernel.
    queued: AtomicUsize,
    closing: AtomicBool,
    calls: Mutex<Calls>,
    /// What the service keeps with the connection.
    state: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// Requests to the peer that wait for their answer.
#[derive(Default)]
struct Calls {
    next_opaque: i32,
    waiting: QuickMap<i32, oneshot::Sender<Command>>,
    /// No answer can come any more.
    closed: bool,
}

/// Why a request to a peer got no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection was closed before the answer came.
    #[error("the connection to {0} was closed")]
    Closed(SocketAddr),
    /// No answer within the time allowed.
    #[error("{peer} gave no answer within {timeout:?}")]
    Timeout {
        /// Who was asked.
        peer: SocketAddr,
        /// How long was waited.
        timeout: Duration,
    },
    /// Too many requests to this peer are waiting already.
    #[error("{0} requests to {1} wait for their answers already")]
    TooMany(usize, SocketAddr),
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system refused.
    #[error("cannot connect to {address}: {source}")]
    Refused {
        /// Who was called, as configured: a host name is resolved anew at each attempt.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nobody answered.
    #[error("cannot connect to {address}: no answer within {timeout:?}")]
    Timeout {
        /// Who was called.
        address: String,
        /// How long was waited.
        timeout: Duration,
    },
}

/// Connects to `address` (`host:port`); requests that the peer makes on the connection go to
/// `service`.
pub async fn connect(
    dial: &dyn Dial,
    address: &str,
    service: Arc<dyn Service>,
    limits: Limits,
    timeout: Duration,
) -> Result<Arc<Conn>, ConnectError> {
    let attempt = tokio::time::timeout(timeout, dial.dial(address)).await;
    let dialled = attempt.map_err(|_| ConnectError::Timeout { address: address.to_owned(), timeout })?;
    let dialled = dialled.map_err(|source| ConnectError::Refused { address: address.to_owned(), source })?;
    Ok(open(dialled, service, limits))
}

/// Runs a connection that was made, whichever side it is.
pub fn open(dialled: Dialled, service: Arc<dyn Service>, limits: Limits) -> Arc<Conn> {
    let conn = Conn::new(dialled.peer, dialled.local, limits);
    tokio::spawn(driver::run(dialled.stream, Arc::clone(&conn), service));
    conn
}

impl Conn {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, limits: Limits) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer,
            local,
            limits,
            outbound: Mutex::default(),
            queued: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            calls: Mutex::default(),
            state: OnceLock::new(),
        })
    }

    /// Unique among the connections of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Address of the other side.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Address of this side: the one the client dialled.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What the service keeps with this connection, made at the first call. All calls must ask for
    /// the same type; another one gets `None`.
    pub fn state<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.state.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// False once closing began.
    pub fn is_open(&self) -> bool {
        !self.closing.load(Ordering::Acquire)
    }

    /// Queues a frame. Frames queued while the connection's task is at work leave together; from
    /// another thread this wakes the task. A closed connection drops it.
    pub fn reply(&self, command: &Command) {
        let body = (!command.body.is_empty()).then(|| command.body.clone());
        self.push(|outbound| outbound.push(command, command.body.len(), body.into_iter()));
    }

    /// Queues a frame whose fields are those that `write` gives, not the command's: no map of
    /// them is needed. `write` must not block, nor ask the connection for anything.
    pub fn reply_with(&self, head: &Command, write: impl FnOnce(&mut FieldWriter<'_>)) {
        self.push(|outbound| outbound.push_with(head, write));
    }

    /// Queues a frame whose body is made of slices; none is copied unless tiny. The command's own
    /// body is ignored.
    pub fn reply_parts(&self, head: &Command, slices: Vec<Bytes>) {
        let length = slices.iter().map(Bytes::len).sum();
        self.push(|outbound| outbound.push(head, length, slices.into_iter()));
    }

    /// Does something on the connection's task, where it need not wake the task again to send what comes
    /// of it. Must not block. A closed connection drops it.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        let mut outbound = self.lock_outbound();
        // Under the lock: what came before the end is dropped by it.
        if self.is_open() {
            outbound.work.push(Box::new(work));
            let waker = outbound.waker.take();
            drop(outbound);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Sends a request that gets no answer.
    pub fn send_oneway(&self, request: Command) {
        let mut request = request.oneway();
        request.opaque = self.lock_calls().next_opaque();
        self.reply(&request);
    }

    /// The same with the fields that `write` gives instead of the command's, see [`Conn::reply_with`].
    pub fn send_oneway_with(&self, head: Command, write: impl FnOnce(&mut FieldWriter<'_>)) {
        let mut head = head.oneway();
        head.opaque = self.lock_calls().next_opaque();
        self.reply_with(&head, write);
    }

    /// Sends a request, at once; the answer is waited for.
    pub fn call(
        &self,
        mut request: Command,
        timeout: Duration,
    ) -> impl Future<Output = Result<Command, CallError>> + use<'_> {
        let called = self.begin_call(&mut request).inspect(|_| self.reply(&request));
        // The request is not carried along in what waits.
        async move { called?.answer(timeout).await }
    }

    /// The same with the fields that `write` gives instead of the command's, see [`Conn::reply_with`].
    pub fn call_with<'c, W: FnOnce(&mut FieldWriter<'_>)>(
        &'c self,
        mut head: Command,
        write: W,
        timeout: Duration,
    ) -> impl Future<Output = Result<Command, CallError>> + use<'c, W> {
        let called = self.begin_call(&mut head).inspect(|_| self.reply_with(&head, write));
        async move { called?.answer(timeout).await }
    }

    fn begin_call(&self, request: &mut Command) -> Result<Called<'_>, CallError> {
        let (answer, answered) = oneshot::channel();
        let mut calls = self.lock_calls();
        if calls.closed {
            return Err(CallError::Closed(self.peer));
        }
        if calls.waiting.len() >= self.limits.max_calls {
            return Err(CallError::TooMany(calls.waiting.len(), self.peer));
        }
        request.opaque = calls.next_opaque();
        calls.waiting.insert(request.opaque, answer);
        Ok(Called { conn: self, opaque: request.opaque, answered })
    }

    /// Closes the connection once what is queued has been sent, or soon if the peer doesn't take it.
    pub fn close(&self, reason: &str) {
        if !self.closing.swap(true, Ordering::AcqRel) {
            tracing::debug!(conn = self.id, peer = %self.peer, reason, "closing a connection");
            self.wake();
        }
    }

    pub(crate) fn lock_outbound(&self) -> MutexGuard<'_, Outbound> {
        // Nothing that can panic runs under this lock but growing a buffer.
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Hands a response to whoever waits for it; one that nobody waits for any more is dropped.
    pub(crate) fn answered(&self, response: &Command) {
        let waiting = self.lock_calls().waiting.remove(&response.opaque);
        if let Some(waiting) = waiting {
            // The waiter may have given up this very moment.
            let _ = waiting.send(response.clone());
        }
    }

    /// No answer will come any more: whoever waits for one learns it now.
    pub(crate) fn end_calls(&self) {
        self.closing.store(true, Ordering::Release);
        // It may hold this very connection.
        let work = std::mem::take(&mut self.lock_outbound().work);
        drop(work);
        let mut calls = self.lock_calls();
        calls.closed = true;
        calls.waiting.clear();
    }

    /// Queues what `frame` does, which returns how many bytes that are.
    fn push(&self, frame: impl FnOnce(&mut Outbound) -> usize) {
        if !self.is_open() {
            return;
        }
        let mut outbound = self.lock_outbound();
        let bytes = frame(&mut outbound);
        let waker = outbound.waker.take();
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        drop(outbound);
        if let Some(waker) = waker {
            waker.wake();
        }
        if queued > self.limits.max_outbound {
            self.close("the peer does not read what is sent to it");
        }
    }

    fn wake(&self) {
        let waker = self.lock_outbound().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock_calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    fn next_opaque(&mut self) -> i32 {
        self.next_opaque = self.next_opaque.wrapping_add(1);
        self.next_opaque
    }
}

/// A call that waits for its answer. Dropped when the caller gives up: the entry must not stay behind.
struct Called<'c> {
    conn: &'c Conn,
    opaque: i32,
    answered: oneshot::Receiver<Command>,
}

impl Called<'_> {
    async fn answer(mut self, timeout: Duration) -> Result<Command, CallError> {
        match tokio::time::timeout(timeout, &mut self.answered).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(CallError::Closed(self.conn.peer)),
            Err(_) => Err(CallError::Timeout { peer: self.conn.peer, timeout }),
        }
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        // With its answer, its entry went.
        if !self.answered.is_terminated() {
            self.conn.lock_calls().waiting.remove(&self.opaque);
        }
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({}, {})", self.id, self.peer)
    }
}
