//! How a log is kept on several machines, pure: what is said between a master and its slaves
//! (upstream `HAService`), and what either concludes of it. Told the time, no sockets, no threads.
//!
//! | | file |
//! |---|---|
//! | frames where roles are set by hand | `plain.rs` |
//! | frames where a controller elects the master | `switch.rs` |
//! | which master wrote what; its file | `epochs.rs`, `epoch_file.rs` |
//! | a master and one slave: where the copy begins, what is told of it | `session.rs` |
//! | a master and all its slaves: who has what, who is waited for | `leader/` |
//! | a slave and its master | `follower.rs` |
//! | how fast a copy comes, and when it will be complete | `progress.rs` |
//!
//! Invariant: a slave appends nothing but the bytes that follow its own log's end.
//! Invariant: a set of replicas in sync counts for what is acknowledged from the moment the controller may know of
//! it until the controller has said that it does not hold any more.

mod epoch_file;
mod epochs;
mod follower;
mod frame;
mod leader;
pub mod plain;
mod progress;
mod session;
pub mod switch;

pub use epoch_file::{EpochFile, EpochFileError};
pub use epochs::{Epoch, EpochError, Epochs};
pub use follower::{Follower, Following, Refusal, Step};
pub use frame::FrameError;
pub use leader::{Leader, Mastership, NoSlave, Rules, SlaveStatus, Wanted};
pub use progress::{Meter, Progress};
pub use session::{Facts, Heard, Session, Turned};
