//! The controller: elects the master of each group of brokers among those that have everything that was
//! acknowledged (upstream `ControllerManager`). Its own state is replicated by Raft.
//!
//! - [`election`] is the core: a state machine without time, sockets or disk;
//! - [`liveness`] knows which brokers are heard, told the time;
//! - [`raft`] replicates the core's commands, in one file and by messages of our own;
//! - [`server`] is the shell: a port, and a task that elects where a master is gone;
//! - `handlers` has one function per request.

pub mod election;
pub mod error;
mod handlers;
pub mod liveness;
mod metrics;
pub mod peers;
pub mod raft;
pub mod server;
pub mod settings;
mod watch;

pub use server::{Controller, StartError};
pub use settings::ControllerSettings;
