//! Connections to brokers and name servers, one for each address, made when they are needed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_net::{CallError, Conn, Dial, Limits, Service, connect};
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::frame::FieldWriter;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::Error;

pub(crate) struct Peers {
    places: Mutex<BTreeMap<String, Place>>,
    dial: Arc<dyn Dial>,
    service: Arc<dyn Service>,
    limits: Limits,
    connect_timeout: Duration,
}

/// A place for the connection to an address.
#[derive(Default)]
struct Place {
    link: Option<Arc<Link>>,
    /// Who comes while another connects waits for that one.
    connecting: Arc<tokio::sync::Mutex<()>>,
}

/// A connection to a peer.
pub(crate) struct Link {
    /// Whose, as it was called.
    pub address: String,
    pub conn: Arc<Conn>,
    /// How many answers have come.
    answers: AtomicU64,
    /// Places for messages that wait for their answer: who sends more waits.
    places: Semaphore,
}

/// Requests to a peer that may wait for their answer. Each queue that is consumed has one, a pull.
const MOST_CALLS: usize = 16 << 10;
/// Of these, messages that are sent.
const MOST_SENDS: usize = 1 << 10;

impl Peers {
    /// Requests of peers go to `service`.
    pub fn new(dial: Arc<dyn Dial>, service: Arc<dyn Service>, connect_timeout: Duration) -> Self {
        let limits = Limits { max_calls: MOST_CALLS, ..Limits::default() };
        Self { places: Mutex::default(), dial, service, limits, connect_timeout }
    }

    /// The connection to an address (`host:port`).
    pub async fn link(&self, address: &str) -> Result<Arc<Link>, Error> {
        if let Some(link) = self.open(address) {
            return Ok(link);
        }
        let connecting = Arc::clone(&self.lock().entry(address.to_owned()).or_default().connecting);
        let _connecting = connecting.lock().await;
        if let Some(link) = self.open(address) {
            return Ok(link);
        }
        let (service, limits) = (Arc::clone(&self.service), self.limits.clone());
        let conn = connect(&*self.dial, address, service, limits, self.connect_timeout).await?;
        let link = Arc::new(Link {
            address: address.to_owned(),
            conn,
            answers: AtomicU64::default(),
            places: Semaphore::new(MOST_SENDS),
        });
        self.lock().entry(address.to_owned()).or_default().link = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Whether there was a connection to an address that is closed.
    pub fn has_lost(&self, address: &str) -> bool {
        let places = self.lock();
        places.get(address).and_then(|place| place.link.as_ref()).is_some_and(|link| !link.conn.is_open())
    }

    fn open(&self, address: &str) -> Option<Arc<Link>> {
        self.lock().get(address)?.link.as_ref().filter(|link| link.conn.is_open()).cloned()
    }

    /// Asks, whatever the answer says.
    pub async fn ask(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, Error> {
        self.link(address).await?.ask(request, timeout).await
    }

    /// Asks; an answer that refuses is an error.
    pub async fn call(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, Error> {
        accepted(address, self.ask(address, request, timeout).await?)
    }

    /// Closes all connections.
    pub fn close(&self) {
        for link in std::mem::take(&mut *self.lock()).into_values().filter_map(|place| place.link) {
            link.conn.close("the client is closed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Left open, connections would last until the other side has enough of their silence.
impl Drop for Peers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Link {
    /// A place for a message that waits for its answer; `None` when there is none in time.
    pub async fn place(&self, deadline: Instant) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        tokio::time::timeout_at(deadline, self.places.acquire()).await.ok()?.ok()
    }

    /// Asks, whatever the answer says.
    pub async fn ask(&self, request: Command, timeout: Duration) -> Result<Command, Error> {
        self.answered(self.conn.call(request, timeout)).await
    }

    /// Asks at once, with the fields that `write` gives instead of the command's own.
    pub fn ask_with<'l, W: FnOnce(&mut FieldWriter<'_>)>(
        &'l self,
        head: Command,
        write: W,
        timeout: Duration,
    ) -> impl Future<Output = Result<Command, Error>> + use<'l, W> {
        self.answered(self.conn.call_with(head, write, timeout))
    }

    async fn answered(&self, call: impl Future<Output = Result<Command, CallError>>) -> Result<Command, Error> {
        let before = self.answers.load(Ordering::Relaxed);
        match call.await {
            Ok(answer) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => {
                // Not to this one, nor to any other: the peer may have gone without a word, and another
                // connection may reach it.
                if matches!(error, CallError::Timeout { .. }) && self.answers.load(Ordering::Relaxed) == before {
                    self.conn.close("the peer answers nothing");
                }
                Err(error.into())
            }
        }
    }
}

/// An answer that does not refuse.
pub(crate) fn accepted(peer: &str, answer: Command) -> Result<Command, Error> {
    match answer.code {
        response::SUCCESS => Ok(answer),
        code => Err(refused(peer, code, answer)),
    }
}

/// An answer that refuses.
pub(crate) fn refused(peer: &str, code: i32, answer: Command) -> Error {
    Error::Refused { peer: peer.to_owned(), code, remark: answer.remark.unwrap_or_default() }
}
