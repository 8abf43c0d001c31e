//! Brokers and clusters.

pub mod clean;
pub mod clusters;
pub mod settings;
pub mod stats;
pub mod status;
