//! Connections to brokers and name servers, one for each address, made when they are needed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_net::{CallError, Conn, Dial, Limits, Service, connect};
use apogee_wire::Command;
use apogee_wire::codes::response;

use crate::Error;

/// A place for a connection: who comes while another makes it waits for that one.
#[derive(Default)]
struct Place {
    conn: tokio::sync::Mutex<Option<Arc<Conn>>>,
    /// How many answers have come.
    answers: AtomicU64,
}

pub(crate) struct Peers {
    places: Mutex<BTreeMap<String, Arc<Place>>>,
    dial: Arc<dyn Dial>,
    service: Arc<dyn Service>,
    limits: Limits,
    connect_timeout: Duration,
}

impl Peers {
    /// Requests of peers go to `service`.
    pub fn new(dial: Arc<dyn Dial>, service: Arc<dyn Service>, limits: Limits, connect_timeout: Duration) -> Self {
        Self { places: Mutex::default(), dial, service, limits, connect_timeout }
    }

    /// The connection to an address (`host:port`).
    pub async fn conn(&self, address: &str) -> Result<Arc<Conn>, Error> {
        self.connected(address, &self.place(address)).await
    }

    fn place(&self, address: &str) -> Arc<Place> {
        let mut places = self.lock();
        match places.get(address) {
            Some(place) => Arc::clone(place),
            None => Arc::clone(places.entry(address.to_owned()).or_default()),
        }
    }

    async fn connected(&self, address: &str, place: &Place) -> Result<Arc<Conn>, Error> {
        let mut conn = place.conn.lock().await;
        if let Some(conn) = conn.as_ref().filter(|conn| conn.is_open()) {
            return Ok(Arc::clone(conn));
        }
        let (service, limits) = (Arc::clone(&self.service), self.limits.clone());
        Ok(Arc::clone(conn.insert(connect(&*self.dial, address, service, limits, self.connect_timeout).await?)))
    }

    /// Asks, whatever the answer says.
    pub async fn ask(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, Error> {
        let place = self.place(address);
        let conn = self.connected(address, &place).await?;
        let before = place.answers.load(Ordering::Relaxed);
        match conn.call(request, timeout).await {
            Ok(answer) => {
                place.answers.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => {
                // Not to this one, nor to any other: the peer may have gone without a word, and another
                // connection may reach it.
                if matches!(error, CallError::Timeout { .. }) && place.answers.load(Ordering::Relaxed) == before {
                    conn.close("the peer answers nothing");
                }
                Err(error.into())
            }
        }
    }

    /// Asks; an answer that refuses is an error.
    pub async fn call(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, Error> {
        accepted(address, self.ask(address, request, timeout).await?)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        let places: Vec<_> = std::mem::take(&mut *self.lock()).into_values().collect();
        for place in places {
            if let Some(conn) = place.conn.lock().await.take() {
                conn.close("the client is closed");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
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
