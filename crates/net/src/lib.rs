//! The network shell: listener, connection loop, calls to peers.
//!
//! A connection is one task (`driver.rs`) that reads frames, hands each request to the [`Service`]
//! in order of arrival, and writes what was queued for the peer. Everybody else holds the
//! connection's handle, [`Conn`]: any thread can queue a reply on it.
//!
//! Invariant: a connection costs one task however many requests are under way on it.
//! Invariant: replies that are ready together leave in one vectored write, bodies uncopied.
//! Invariant: memory held for a peer is bounded by [`Limits`], whatever it sends or doesn't read.

use std::sync::Arc;
use std::time::Duration;

use apogee_wire::Command;

mod conn;
mod dial;
mod driver;
mod outbound;
mod owned;
mod server;
mod spare;
#[cfg(feature = "tls")]
mod tls;
mod workers;

pub use conn::{CallError, Conn, ConnectError, connect, open};
pub use dial::{Dial, Dialled, Dialling, Stream, Tcp};
pub use owned::{OwnedConn, Unasked};
pub use server::{BindError, Server};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
pub use workers::{Beat, Pulse, Workers};

/// What is behind a connection: it gets the requests, and answers through the [`Conn`].
pub trait Service: Send + Sync + 'static {
    /// One request, in order of arrival, on the connection's task: must not block. `request` is
    /// reused for the next one; clone it to keep it.
    fn request(&self, conn: &Arc<Conn>, request: &Command);

    /// All requests that one read brought have been handed over: the moment to pass on together
    /// what was collected from them.
    fn batch_end(&self, _conn: &Arc<Conn>) {}

    /// The connection is gone; nothing more comes from it.
    fn closed(&self, _conn: &Arc<Conn>) {}
}

/// Bounds of one connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest frame that is read, in bytes.
    pub max_frame: usize,
    /// A connection that completes no frame and takes no byte of ours for so long is closed. A peer
    /// that sends one byte a second therefore ends here, too.
    pub idle: Duration,
    /// Bytes queued for the peer above which no more requests are read from it.
    pub pause_reading_at: usize,
    /// Bytes queued for the peer above which the connection is closed: it reads nothing while
    /// others go on sending to it.
    pub max_outbound: usize,
    /// Requests to the peer that wait for its answer.
    pub max_calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: apogee_wire::frame::MAX_FRAME,
            idle: Duration::from_secs(120),
            pause_reading_at: 4 << 20,
            max_outbound: 256 << 20,
            max_calls: 1024,
        }
    }
}
