//! A connection that somebody owns.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use apogee_wire::Command;

use crate::{Conn, ConnectError, Dial, Limits, Service, connect};

/// A connection to a peer that is closed when its owner drops it, once what is queued has been sent. Left alone it
/// would hold on to its service for as long as a silent peer is waited for.
#[derive(Debug)]
pub struct OwnedConn(Arc<Conn>);

impl OwnedConn {
    /// Connects as [`connect`] does, within its default [`Limits`].
    ///
    /// # Errors
    /// When the system refuses, or nobody answers in time.
    pub async fn connect(
        dial: &dyn Dial,
        address: &str,
        service: Arc<dyn Service>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        connect(dial, address, service, Limits::default(), timeout).await.map(Self)
    }
}

impl Deref for OwnedConn {
    type Target = Arc<Conn>;

    fn deref(&self) -> &Arc<Conn> {
        &self.0
    }
}

impl Drop for OwnedConn {
    fn drop(&mut self) {
        self.0.close("its owner needs it no more");
    }
}

/// Behind a connection to a peer that asks nothing on it: requests get no answer.
pub struct Unasked;

impl Service for Unasked {
    fn request(&self, _: &Arc<Conn>, _: &Command) {}
}
