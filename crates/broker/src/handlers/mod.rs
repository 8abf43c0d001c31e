//! Handlers of requests, by what they are about.

pub(crate) mod access;
mod answer;
pub(crate) mod assignment;
mod attributes;
pub(crate) mod client;
pub(crate) mod cold;
pub(crate) mod config;
pub(crate) mod group;
pub(crate) mod lite;
pub(crate) mod offset;
mod parking;
pub(crate) mod pop;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod recall;
pub(crate) mod relay;
pub(crate) mod replication;
pub(crate) mod reply;
pub(crate) mod reset;
pub(crate) mod rocksdb;
pub(crate) mod runtime;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod stats;
pub(crate) mod topic;
pub(crate) mod transaction;
