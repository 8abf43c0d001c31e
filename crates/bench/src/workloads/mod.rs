//! What can be measured.

pub(crate) mod connections;
pub(crate) mod consume;
pub(crate) mod send;
pub(crate) mod topics;
