//! Who is connected: producers and consumers by group, learnt from their heartbeats.

use std::net::SocketAddr;

use apogee_net::Conn;
use apogee_wire::Command;

mod consumers;
mod producers;
mod registry;
mod subscription;

pub use consumers::{Change, Complaint, Conflict, Consumers, Heartbeat, Members, Noted};
pub use producers::Producers;
pub use registry::Client;
pub use subscription::{ALL, Picker, Subscription, TAG, Unusable};

/// A client's connection, as far as the registries need it.
pub trait Channel {
    /// Unique among the connections of this process.
    fn id(&self) -> u64;
    /// Address of the client.
    fn peer(&self) -> SocketAddr;
    /// False once closing began.
    fn is_open(&self) -> bool;
    /// Sends a request that gets no answer.
    fn send_oneway(&self, request: Command);
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
    fn send_oneway(&self, request: Command) {
        self.send_oneway(request);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use apogee_wire::command::Language;

    use super::*;

    /// A connection without a socket.
    #[derive(Debug)]
    pub(crate) struct Wire {
        id: u64,
        closed: AtomicBool,
        /// Requests sent to the client.
        sent: Mutex<Vec<Command>>,
    }

    impl Wire {
        pub(crate) fn new(id: u64) -> Arc<Self> {
            Arc::new(Self { id, closed: AtomicBool::new(false), sent: Mutex::default() })
        }

        pub(crate) fn close(&self) {
            self.closed.store(true, Ordering::Relaxed);
        }

        /// Takes what was sent to the client.
        pub(crate) fn take_sent(&self) -> Vec<Command> {
            std::mem::take(&mut self.sent.lock().unwrap())
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
        fn send_oneway(&self, request: Command) {
            self.sent.lock().unwrap().push(request);
        }
    }

    /// A Java client.
    pub(crate) fn client(id: &str) -> Client {
        Client { id: id.into(), language: Language::JAVA, version: 513 }
    }

    /// Names as plain texts.
    pub(crate) fn names(names: &[Arc<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    /// The numbers of connections.
    pub(crate) fn ids(channels: &[Arc<Wire>]) -> Vec<u64> {
        channels.iter().map(|channel| channel.id()).collect()
    }
}
