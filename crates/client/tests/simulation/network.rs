//! Connections in memory, and who answers at their other end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apogee_client::{Dial, Dialled, Dialling};
use apogee_net::{Conn, Limits, Service, open};
use apogee_wire::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::cluster::Cluster;

/// Bytes of one way that nobody has read yet.
const ROOM: usize = 1 << 20;

/// What somebody finds who calls a node.
pub enum Line {
    /// The node.
    Node,
    /// Nobody takes calls.
    Refused,
    /// Nothing, not even a refusal.
    Silent,
    /// Somebody who talks nonsense.
    Nonsense(Vec<u8>),
}

/// The network as one client sees it.
pub struct Network(pub Arc<Cluster>);

impl Dial for Network {
    fn dial<'d>(&'d self, address: &'d str) -> Dialling<'d> {
        Box::pin(async move {
            let (near, mut far) = duplex(ROOM);
            let peer: SocketAddr = address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            match self.0.line(peer) {
                Line::Node => {
                    let dialled = Dialled { stream: Box::new(far), peer: client(), local: peer };
                    let node = Arc::new(Node { cluster: Arc::clone(&self.0), address: peer });
                    let conn = open(dialled, node, Limits::default());
                    self.0.accepted(peer, &conn);
                }
                Line::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
                Line::Silent => std::future::pending().await,
                Line::Nonsense(words) => {
                    tokio::spawn(async move {
                        // Once something was asked; then it stays on the line.
                        let _ = far.read_u8().await;
                        let _ = far.write_all(&words).await;
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    });
                }
            }
            Ok(Dialled { stream: Box::new(near), peer, local: client() })
        })
    }
}

fn client() -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 40_000))
}

/// A name server or broker, as a connection sees it.
struct Node {
    cluster: Arc<Cluster>,
    address: SocketAddr,
}

impl Service for Node {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        self.cluster.request(self.address, conn, request);
    }

    fn closed(&self, conn: &Arc<Conn>) {
        self.cluster.closed(self.address, conn);
    }
}
