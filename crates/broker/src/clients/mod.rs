//! Who is connected: producers and consumers by group, learnt from their heartbeats.

use std::net::SocketAddr;

use apogee_net::Conn;

mod consumers;
mod producers;
mod registry;
mod subscription;

pub use consumers::{Change, Conflict, Consumers, Heartbeat, Noted};
pub use producers::Producers;
pub use registry::Client;
pub use subscription::Subscription;

/// A client's connection, as far as the registries need it.
pub trait Channel {
    /// Unique among the connections of this process.
    fn id(&self) -> u64;
    /// Address of the client.
    fn peer(&self) -> SocketAddr;
    /// False once closing began.
    fn is_open(&self) -> bool;
}

impl Channel for Conn {
    fn id(&self) -> u64 {
        self.id()
    }
    fn peer(&self) -> SocketAddr {
        self.peer()
    }
    fn is_open(&self) -> bool {
        self.is_open()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use apogee_wire::command::Language;

    use super::*;

    /// A connection without a socket.
    #[derive(Debug)]
    pub(super) struct Wire {
        id: u64,
        closed: AtomicBool,
    }

    impl Wire {
        pub(super) fn new(id: u64) -> Arc<Self> {
            Arc::new(Self { id, closed: AtomicBool::new(false) })
        }

        pub(super) fn close(&self) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    impl Channel for Wire {
        fn id(&self) -> u64 {
            self.id
        }
        fn peer(&self) -> SocketAddr {
            SocketAddr::from(([192, 0, 2, 1], 1000 + self.id as u16))
        }
        fn is_open(&self) -> bool {
            !self.closed.load(Ordering::Relaxed)
        }
    }

    /// A Java client.
    pub(super) fn client(id: &str) -> Client {
        Client { id: id.into(), language: Language::JAVA, version: 513 }
    }

    /// Names as plain texts.
    pub(super) fn names(names: &[Arc<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    /// The numbers of connections.
    pub(super) fn ids(channels: &[Arc<Wire>]) -> Vec<u64> {
        channels.iter().map(|channel| channel.id()).collect()
    }
}
