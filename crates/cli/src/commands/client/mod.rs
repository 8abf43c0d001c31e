//! Commands about clients.

pub mod connections;
pub mod member;
pub mod status;
