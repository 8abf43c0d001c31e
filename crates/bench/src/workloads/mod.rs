//! What can be measured.

pub(crate) mod connections;
pub(crate) mod consume;
pub(crate) mod e2e;
pub(crate) mod pop;
pub(crate) mod send;
pub(crate) mod timer;
pub(crate) mod topics;
pub(crate) mod transaction;
