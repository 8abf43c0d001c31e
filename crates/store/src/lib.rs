//! The message store: one commit log for all topics, a consume queue per topic and queue, and an
//! index by key, in the files of upstream's broker (`DefaultMessageStore`).
//!
//! | step | file |
//! |---|---|
//! | a batch of records gets its offsets and is written with one call | `log/append.rs` |
//! | segments of the log; slices of them for readers | `log/mod.rs` |
//! | flush, and who waits for it | `log/confirm.rs` |
//! | copies on other machines, and who waits for them | `log/copies.rs`, `copying.rs` |
//! | a log that is a copy of another one | `log/follow.rs` |
//! | what a record causes: queue unit, index entries, an arrival; live and in recovery | `dispatch.rs` |
//! | consume queues: memory, files | `queue/` |
//! | counting what matches a filter | `matching.rs` |
//! | one message in many light queues | `light.rs` |
//! | index by key | `index/` |
//! | of topics that are compacted, the newest message of each key for ever | `compaction/`, `compacting.rs` |
//! | reading from a queue | `reader.rs` |
//! | a store that no broker has: checking it, showing it | `offline.rs` |
//! | which files of the log may go, and what goes with them | `retention.rs` |
//! | what is served is checked; damaged units are put right | `integrity.rs`, `scan.rs` |
//! | what happens at start | `recovery.rs`, `checkpoint.rs`, `mark.rs` |
//! | all of it together, and the steps that threads call | `store.rs` |
//!
//! Invariant: a record is visible in its queue only when it is confirmed: written, and with
//! `SYNC_FLUSH` flushed. Queue offsets have no holes and are never given twice.
//! Invariant: bytes below the published end of the log are never written again.
//! Invariant: queue units on disk never point past what is durable in the log.
//! Invariant: after a failed sync, and after a failed write other than for want of room, the store
//! takes no message any more and says why.
//! Invariant: the store starts no thread and asks no system clock.

mod checkpoint;
mod compacting;
mod compaction;
mod copying;
mod deleted;
mod dispatch;
mod error;
mod history;
mod index;
mod integrity;
mod light;
mod log;
mod mark;
mod matching;
mod missing;
mod offline;
mod opening;
mod options;
mod queue;
mod reader;
mod recovery;
mod retention;
mod scan;
mod store;

pub use compaction::{Compacted, CompactionOptions, CompactionRules};
pub use dispatch::ArrivalListener;
pub use error::{AppendError, StoreError};
pub use history::Kept;
pub use log::{Append, AppendDone, Appended, CopyError, CopyOptions, ProgressListener, Times};
pub use matching::{Matching, Spend};
pub use offline::{IndexEntry, Offline, Problem, Report, Stands};
pub use options::StoreOptions;
pub use queue::Unit;
pub use reader::{Boundary, Filter, ReadLimits, ReadResult, ReadStatus, Verdict};
pub use retention::{LogSegment, Removal, new_beginning};
pub use store::{Found, Store};
