//! The remoting protocol of RocketMQ, without I/O: frames, headers, codes and bodies.
//!
//! - [`frame`] cuts commands from a byte stream and writes them, in both header encodings;
//! - [`command`] is one request or response, [`fields`] its ext fields;
//! - [`bodies`] are the typed JSON bodies;
//! - [`json`] is the dialect of bodies and config files;
//! - [`allocation`] shares the queues of a topic among the members of a group;
//! - [`version`] names versions of the protocol;
//! - [`codes`] and [`headers`] are the tables: each request, response and field once.

pub mod allocation;
pub mod bodies;
pub mod codes;
pub mod command;
pub mod fields;
pub mod frame;
pub mod headers;
pub mod json;
pub mod version;

pub use command::{Command, Encoding, Language};
