//! Topics.

pub mod change;
pub mod fixed;
pub mod list;
pub mod order;
pub mod show;
