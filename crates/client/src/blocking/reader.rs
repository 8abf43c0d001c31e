//! Reading, and waiting for it.

use std::fmt;
use std::time::Duration;

use super::Engine;
use crate::{Error, Received};

/// See [`crate::Reader`]. As an iterator, it waits for each message.
///
/// ```no_run
/// # fn example(client: apogee_client::blocking::Client) -> Result<(), apogee_client::Error> {
/// for message in client.open(client.reader("Orders").from_first())?.take(10) {
///     println!("{:?}", message?.body);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Reader {
    pub(super) inner: crate::Reader,
    pub(super) engine: Engine,
}

impl Reader {
    /// The next message, if one comes within a time.
    ///
    /// # Errors
    /// See [`crate::Reader::next`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Received>, Error> {
        // Made inside: a time-out needs the runtime.
        let next = async { tokio::time::timeout(patience, self.inner.next()).await };
        self.engine.wait(next).ok().flatten().transpose()
    }
}

impl Iterator for Reader {
    type Item = Result<Received, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.engine.wait(self.inner.next())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
