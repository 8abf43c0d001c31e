//! Commands about groups of consumers.

pub mod change;
pub mod many;
pub mod mode;
pub mod show;
