//! Connections to brokers and name servers, one for each address, made when they are needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_net::{Conn, Dial, Limits, Service, connect};
use apogee_wire::Command;
use apogee_wire::codes::response;

use crate::Error;

/// A place for a connection: who comes while another makes it waits for that one.
type Place = Arc<tokio::sync::Mutex<Option<Arc<Conn>>>>;

pub(crate) struct Peers {
    places: Mutex<HashMap<String, Place>>,
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
        let place = {
            let mut places = self.lock();
            match places.get(address) {
                Some(place) => Arc::clone(place),
                None => Arc::clone(places.entry(address.to_owned()).or_default()),
            }
        };
        let mut place = place.lock().await;
        if let Some(conn) = place.as_ref().filter(|conn| conn.is_open()) {
            return Ok(Arc::clone(conn));
        }
        let conn =
            connect(&*self.dial, address, Arc::clone(&self.service), self.limits.clone(), self.connect_timeout).await?;
        *place = Some(Arc::clone(&conn));
        Ok(conn)
    }

    /// Asks, whatever the answer says.
    pub async fn ask(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, Error> {
        let conn = self.conn(address).await?;
        Ok(conn.call(request, timeout).await?)
    }

    /// Asks; an answer that refuses is an error.
    pub async fn call(&self, address: &str, request: Command, timeout: Duration) -> Result<Command, Error> {
        accepted(address, self.ask(address, request, timeout).await?)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        let places: Vec<_> = self.lock().drain().map(|(_, place)| place).collect();
        for place in places {
            if let Some(conn) = place.lock().await.take() {
                conn.close("the client is closed");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Place>> {
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
