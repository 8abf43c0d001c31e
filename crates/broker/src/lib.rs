//! The broker: topics, groups, offsets, long polling, delays, transactions and their handlers.
//!
//! A [`Node`] runs a [`RunningBroker`], one that is up in a role that is fixed. `serve.rs` is the table of requests; a handler in
//! `handlers/` gets the `Broker`, the connection and the request, and answers. Each table
//! of state is a file with its own lock: topics, groups, offsets, clients, locks, longpoll,
//! schedule, timer, transactions, stats.

mod access;
mod acting;
mod background;
mod bell;
mod broker;
pub mod clients;
mod cold;
mod compaction;
mod config;
mod copied;
pub mod deduplication;
mod durable;
mod error;
pub mod groups;
mod handlers;
mod journal;
mod life;
mod lite;
pub mod locks;
mod longpoll;
mod look;
mod message_type;
mod metrics;
mod node;
pub mod offsets;
pub mod persist;
mod pop;
mod registration;
pub mod replication;
mod required_codecs;
mod retention;
mod retry;
pub mod role;
mod routes;
mod schedule;
mod serve;
pub mod settings;
mod settings_inert;
mod settled;
mod slave;
mod static_topics;
mod stats;
pub mod table_file;
#[cfg(test)]
mod testing;
mod timer;
pub mod topics;
mod transactions;
mod unique_id;

pub use broker::{RunningBroker, StartError};
pub use error::BrokerError;
pub use look::{GroupLook, Look, MemberLook, Observer, SlaveLook, SlavesLook, TopicLook, UnreadLook};
pub use node::Node;
