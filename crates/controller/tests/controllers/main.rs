//! Controllers in one process, over real sockets, with files on a disk in memory that can crash.

mod bad_input;
mod cluster;
mod failures;
mod requests;
