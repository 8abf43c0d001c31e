//! Requests: from each to its answer.

#[allow(dead_code)] // Until the broker hands it requests.
pub(crate) mod client;
