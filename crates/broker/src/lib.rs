//! The broker: topics, groups, offsets, long polling, delays and their handlers.
