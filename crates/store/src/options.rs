//! What can be chosen.

use crate::compaction::CompactionOptions;
use crate::log::CopyOptions;

/// Choices for a store; the defaults are upstream's but for the flush.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Folder of the commit log; `None`: `commitlog` below the root.
    pub log_folder: Option<std::path::PathBuf>,
    /// Bytes of one log file.
    pub log_file_size: u64,
    /// Bytes of one consume queue file, a multiple of 20.
    pub queue_file_size: u64,
    /// Bytes of one file of a queue in which a record may be several messages, a multiple of 46.
    pub batch_queue_file_size: u64,
    /// Whether a message is confirmed when it is flushed (true) or when it is written.
    pub sync_flush: bool,
    /// Milliseconds within which all was confirmed that a power cut can take, when messages are confirmed
    /// once they are written. Flush every half of it.
    pub flush_window_ms: i64,
    /// Check the CRC of each record that is recovered.
    pub check_crc_on_recover: bool,
    /// Give each record a sum over all of it (upstream `enabledAppendPropCRC`).
    pub record_sums: bool,
    /// Take a record without such a sum for damaged (upstream `forceVerifyPropCRC`).
    pub require_sums: bool,
    /// Keep an index by key.
    pub index: bool,
    /// Hash slots of one index file.
    pub index_slots: u32,
    /// Entries of one index file.
    pub index_entries: u32,
    /// Delays of the levels 1, 2, …, in milliseconds.
    pub delays: Vec<i64>,
    /// Bytes of records that may wait to be written or flushed; more are refused.
    pub waiting_bytes: usize,
    /// Milliseconds that a write or a flush may take; while one takes longer, messages are refused.
    pub stall_ms: i64,
    /// Bytes at the end of the log that are expected in memory: reads before them count as cold.
    pub hot_bytes: u64,
    /// Let the system read the log ahead of what is asked for.
    pub read_ahead: bool,
    /// Units of queues that are kept in memory, and in a file of ours, before those of rare queues are
    /// written to their own files; 0: all are written at each checkpoint.
    pub kept_units: usize,
    /// Bytes written since the last checkpoint that make the next one due.
    pub checkpoint_bytes: u64,
    /// Put messages into the light queues that they name, too (upstream `enableLmq` and `enableMultiDispatch`).
    pub light_queues: bool,
    /// Files of compacted logs; `None`: there are none.
    pub compaction: Option<CompactionOptions>,
    /// What copies on other machines are waited for; `None`: none.
    pub copies: Option<CopyOptions>,
    /// Whether the log is a copy of another one, see [`crate::Store::append_copy`]: nothing else is appended.
    pub follows: bool,
    /// Where the log is cut before it is opened: a place where a record ends and from which on it is not the one
    /// that others have. At or before the log's beginning: all of it goes.
    pub cut_at: Option<i64>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            log_folder: None,
            log_file_size: 1 << 30,
            queue_file_size: 6_000_000,
            batch_queue_file_size: 13_800_000,
            sync_flush: true,
            flush_window_ms: 50,
            check_crc_on_recover: true,
            record_sums: true,
            require_sums: false,
            index: true,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            delays: vec![
                1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000,
                540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
            ],
            waiting_bytes: 128 << 20,
            stall_ms: 2_000,
            hot_bytes: 2 << 30,
            read_ahead: false,
            kept_units: 4 << 20,
            checkpoint_bytes: 512 << 20,
            light_queues: false,
            compaction: None,
            copies: None,
            follows: false,
            cut_at: None,
        }
    }
}
