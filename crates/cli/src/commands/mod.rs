//! Commands, by what they are about.

pub mod client;
pub mod cluster;
pub mod find;
pub mod group;
pub mod kv;
pub mod message;
pub mod perm;
pub mod topic;
