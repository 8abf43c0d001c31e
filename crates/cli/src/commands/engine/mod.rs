//! Commands about parts of brokers: cold reads, reading ahead, timers, RocksDB, compacted logs.

pub mod cold;
pub mod compaction;
pub mod rocksdb;
pub mod switch;
