//! Handlers of requests, by what they are about.

mod answer;
mod attributes;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod group;
pub(crate) mod offset;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod recall;
pub(crate) mod relay;
pub(crate) mod reply;
pub(crate) mod reset;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod stats;
pub(crate) mod topic;
pub(crate) mod transaction;
