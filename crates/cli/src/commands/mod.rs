//! Commands, by what they are about.

pub mod access;
pub mod broker;
pub mod client;
pub mod engine;
pub mod export;
pub mod group;
pub mod lite;
pub mod message;
pub mod monitor;
pub mod namesrv;
pub mod offset;
pub mod replica;
pub mod target;
pub mod time;
pub mod topic;
