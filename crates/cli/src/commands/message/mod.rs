//! Messages.

pub mod print;
pub mod probe;
pub mod query;
pub mod queue;
pub mod range;
pub mod send;
mod shown;
pub mod trace;
