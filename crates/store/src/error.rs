//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a store cannot be opened, read or closed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("{action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as in "cannot open".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("the store {} is in use by another process (its lock file is locked): stop that one or choose another folder", .0.display())]
    Locked(PathBuf),
    /// A write or a sync failed earlier.
    #[error("the store is read-only: {0}; look after the disk, then restart")]
    ReadOnly(String),
    /// A file that is not what its place says.
    #[error("{}: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Names the action and the path of an I/O error.
pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}

/// Why a message was not taken, or not as promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// More waits to be written and flushed than may wait. Trying again helps.
    #[error("the store is busy: {waiting} bytes wait to be written and flushed, over the limit of {limit}")]
    Busy {
        /// Bytes.
        waiting: usize,
        /// Bytes.
        limit: usize,
    },
    /// The disk is at work on what came before for too long. Trying again helps.
    #[error(
        "the store is busy: the disk has been writing or flushing for {stalled_ms} ms, over the limit of {limit_ms} ms (syncFlushTimeout): look after the disk, or send less"
    )]
    Slow {
        /// Milliseconds.
        stalled_ms: i64,
        /// Milliseconds.
        limit_ms: i64,
    },
    /// The record is larger than a log file.
    #[error("the record of {size} bytes does not fit into a log file of {limit}")]
    TooLarge {
        /// Bytes.
        size: usize,
        /// Bytes.
        limit: u64,
    },
    /// The queue's files cannot be read, so its next offset is not known. Other queues are not
    /// concerned.
    #[error("queue {queue_id} of topic {topic} cannot be opened: {reason}")]
    Queue {
        /// The topic.
        topic: Arc<str>,
        /// The queue.
        queue_id: i32,
        /// The system's reason, and what to do.
        reason: String,
    },
    /// The disk has no room. Writing goes on by itself once it has.
    #[error("the disk of the commit log is full: give it room")]
    DiskFull,
    /// So little room is left on the disk that no message is taken. Writing goes on by itself once
    /// there is room.
    #[error(
        "the disk of the store is used to {used} %, over the limit of {limit} % (diskSpaceWarningLevelRatio): give it room"
    )]
    ShortOfRoom {
        /// Per cent in use.
        used: u16,
        /// Per cent that may be in use.
        limit: u16,
    },
    /// Fewer machines keep up with the log than must before a message is taken. Trying again helps once more do.
    #[error(
        "{in_sync} of the machines that keep this log are in sync, and at least {needed} must be (inSyncReplicas, minInSyncReplicas): see which replica is down or far behind"
    )]
    TooFewCopies {
        /// Machines in sync, this one among them.
        in_sync: u32,
        /// Machines.
        needed: u32,
    },
    /// The log is a copy of a master's: only what the master has is in it.
    #[error("this store follows a master's log and takes no message of its own: send to the master")]
    Follows,
    /// A write or a sync failed earlier, or just now: the store is read-only.
    #[error("the store takes no messages any more: {0}; look after the disk, then restart")]
    Failed(String),
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}
