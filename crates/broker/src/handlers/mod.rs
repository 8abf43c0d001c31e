//! Handlers of requests, by what they are about.

pub(crate) mod client;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod send;
pub(crate) mod send_back;
