//! The faults, one command each.

pub mod kill;
pub mod power;
