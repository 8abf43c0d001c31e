//! The name server: route table and its handlers.

pub mod settings;
