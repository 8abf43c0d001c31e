//! The name server: which broker has which topic.
//!
//! - [`routes`] is the core: the route table, told the time and without network;
//! - [`kv`] keeps what survives a restart, in one file;
//! - [`server`] is the shell: a port, a timer, and a thread for what takes long;
//! - `handlers` has one function per request.
//!
//! Name servers know nothing of each other: brokers register with all of them.

mod asked;
pub mod error;
mod handlers;
pub mod kv;
mod persist;
mod registration;
pub mod routes;
pub mod server;
pub mod settings;
mod worker;

pub use asked::{Asked, AskedTopics};
pub use server::{NameServer, StartError};
pub use settings::NamesrvSettings;
