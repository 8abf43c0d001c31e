//! The crate from outside.
#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod bounds;
mod recorded;
mod simulation;
