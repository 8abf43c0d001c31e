//! The route table: which broker has which topic. Synchronous, told the time, without network.
//!
//! Invariant: a topic refers only to brokers that are up, and a broker has at least one member.
//! Invariant: the table holds nothing for a topic beyond its name and 20 bytes per broker.
//! Invariant: a registration that says what the one before said costs no look at its topics.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod brokers;
mod missing;
mod query;
mod register;
mod remove;
#[cfg(test)]
mod tests;
mod topics;

use brokers::Brokers;
use topics::Topics;

pub use missing::{Cause, NoRoute};
pub use query::{RouteOptions, Units};
pub use register::{Content, Refused, Registered, Registration, TopicEntry};
pub use remove::{Gone, Goodbye, Removed};

/// Permission bit: messages may be read.
pub const PERM_READ: i32 = 4;
/// Permission bit: messages may be written.
pub const PERM_WRITE: i32 = 2;
/// Permission bit: topics created automatically take after this one.
pub const PERM_INHERIT: i32 = 1;

/// Silence after which a broker counts as gone unless it asked for another time, in ms.
pub const BROKER_TIMEOUT_MS: i64 = 120_000;

/// One broker, as requests name it.
#[derive(Debug, Clone, Copy)]
pub struct BrokerId<'a> {
    /// Name of its cluster.
    pub cluster: &'a str,
    /// Name that it shares with its slaves or master.
    pub name: &'a str,
    /// Address that clients reach it at.
    pub addr: &'a str,
}

/// Says to the brokers of a group that the lowest id among them is another one now
/// (upstream `NOTIFY_MIN_BROKER_ID_CHANGE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinIdChange {
    /// Connections of the brokers to tell.
    pub links: Vec<u64>,
    /// The lowest id.
    pub min_id: i64,
    /// Address of the broker that has it.
    pub min_addr: String,
    /// The broker whose going changed it.
    pub offline_addr: Option<String>,
    /// Where the broker whose coming changed it replicates from.
    pub ha_addr: Option<String>,
}

/// The route table (upstream `RouteInfoManager`).
#[derive(Debug, Default)]
pub struct RouteTable {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    brokers: Brokers,
    topics: Topics,
    statics: query::StaticTopics,
}

impl RouteTable {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while writing would leave a topic out at worst, which the next registration heals.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
