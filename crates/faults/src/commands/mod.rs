//! The faults, one command each.

pub mod delete;
pub mod flip;
pub mod full;
pub mod kill;
pub mod power;
pub mod sync_error;
