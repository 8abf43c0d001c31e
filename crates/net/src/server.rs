//! The listener.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_wire::Command;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{Conn, Limits, Service, Workers, driver};

/// Pause after an accept that failed, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a server that stops looks whether all connections are closed.
const STOPPING: Duration = Duration::from_millis(5);

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The setting is none that can be listened on.
    #[error("bindAddress={0} is not an IP address")]
    NoAddress(String),
    /// The system refused.
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Refused {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port: stop it or choose another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need the privilege to bind them",
        io::ErrorKind::AddrNotAvailable => "; no network interface of this machine has this address",
        _ => "",
    }
}

/// A listening port and its connections.
pub struct Server {
    local: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    limits: Limits,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<HashMap<u64, Arc<Conn>>>,
}

impl Server {
    /// Takes the port of an IP address, 0: any; connections are accepted once [`Server::start`] is called. Needs a
    /// tokio runtime around it.
    ///
    /// # Errors
    /// When the address is none, or the system does not give the port.
    pub fn bind(ip: &str, port: u16, limits: Limits) -> Result<Self, BindError> {
        let ip: IpAddr = ip.parse().map_err(|_| BindError::NoAddress(ip.to_owned()))?;
        let address = SocketAddr::new(ip, port);
        let error = |source| BindError::Refused { address, source };
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        };
        let socket = socket.map_err(error)?;
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true).map_err(error)?;
        socket.bind(address).map_err(error)?;
        let listener = socket.listen(1024).map_err(error)?;
        Ok(Self {
            local: listener.local_addr().map_err(error)?,
            listener: Mutex::new(Some(listener)),
            limits,
            shared: Arc::default(),
            stop: watch::channel(false).0,
        })
    }

    /// The address taken; its port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.shared.lock().len()
    }

    /// Accepts connections for `service` until [`Server::stop`]; a second call does nothing. They live on
    /// `workers`, without these on the runtime around this call.
    pub fn start(&self, service: Arc<dyn Service>, workers: Option<Workers>) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            let shared = Arc::clone(&self.shared);
            let service: Arc<dyn Service> = Arc::new(Tracked { service, shared: Arc::clone(&shared) });
            let opening = Opening { service, shared, workers };
            tokio::spawn(accept(listener, opening, self.limits.clone(), self.stop.subscribe()));
        }
    }

    /// Closes the connections that are chosen, after what is queued on them was sent; says how many they are.
    pub fn close(&self, is_chosen: impl Fn(&Conn) -> bool, reason: &str) -> usize {
        let chosen: Vec<_> = self.shared.lock().values().filter(|conn| is_chosen(conn)).cloned().collect();
        chosen.iter().for_each(|conn| conn.close(reason));
        chosen.len()
    }

    /// Closes the port and all connections, after what is queued on them was sent; waits for that,
    /// but not longer than `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.stop.send_replace(true);
        drop(self.listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        let close_all = async {
            loop {
                let open: Vec<_> = self.shared.lock().values().cloned().collect();
                if open.is_empty() {
                    return;
                }
                for conn in open {
                    conn.close("the server stops");
                }
                tokio::time::sleep(STOPPING).await;
            }
        };
        if tokio::time::timeout(patience, close_all).await.is_err() {
            tracing::warn!(open = self.connections(), port = self.local.port(), "stopped with connections still open");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Conn>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What opens connections.
struct Opening {
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
    workers: Option<Workers>,
}

async fn accept(listener: TcpListener, opening: Opening, limits: Limits, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let opened = accepted.and_then(|(stream, _)| opening.open(stream, &limits));
        match opened {
            // Whoever stops the server may have looked at what is open before.
            Ok(conn) if *stop.borrow() => conn.close("the server stops"),
            Ok(_) => {}
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; if files ran out, raise the limit (ulimit -n)");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Its threads end with it: not before the last connection.
    while !opening.shared.lock().is_empty() {
        tokio::time::sleep(STOPPING).await;
    }
}

impl Opening {
    fn open(&self, stream: TcpStream, limits: &Limits) -> io::Result<Arc<Conn>> {
        stream.set_nodelay(true)?;
        let conn = Conn::new(stream.peer_addr()?, stream.local_addr()?, limits.clone());
        let (service, opened) = (Arc::clone(&self.service), Arc::clone(&conn));
        let Some(seat) = self.workers.as_ref().and_then(Workers::seat) else {
            self.shared.lock().insert(conn.id(), Arc::clone(&conn));
            tokio::spawn(driver::run(stream, conn, service));
            return Ok(opened);
        };
        let stream = stream.into_std()?;
        self.shared.lock().insert(conn.id(), Arc::clone(&conn));
        seat.handle.clone().spawn(async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => driver::run(stream, conn, service).await,
                Err(error) => {
                    tracing::warn!(%error, peer = %conn.peer(), "cannot serve a connection");
                    service.closed(&conn);
                }
            }
            drop(seat);
        });
        Ok(opened)
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected | InvalidInput)
}

/// Takes a connection off the list when it ends.
struct Tracked {
    service: Arc<dyn Service>,
    shared: Arc<Shared>,
}

impl Service for Tracked {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        self.service.request(conn, request);
    }

    fn batch_end(&self, conn: &Arc<Conn>) {
        self.service.batch_end(conn);
    }

    fn closed(&self, conn: &Arc<Conn>) {
        self.service.closed(conn);
        self.shared.lock().remove(&conn.id());
    }
}
