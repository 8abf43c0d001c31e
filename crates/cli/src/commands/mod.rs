//! Commands, by what they are about.

pub mod cluster;
pub mod group;
pub mod message;
pub mod topic;
