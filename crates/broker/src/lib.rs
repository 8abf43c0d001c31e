//! The broker: topics, groups, offsets, long polling, delays and their handlers.

pub mod clients;
mod error;
pub mod groups;
mod handlers;
pub mod locks;
pub mod offsets;
pub mod persist;
pub mod settings;
mod settings_inert;
pub mod topics;

pub use error::BrokerError;
