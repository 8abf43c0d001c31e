//! The broker: topics, groups, offsets, long polling, delays and their handlers.

pub mod settings;
mod settings_inert;
