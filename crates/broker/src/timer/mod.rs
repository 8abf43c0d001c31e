//! Messages that are delivered at a time of their own (upstream `TimerMessageStore`).
#![allow(dead_code)] // The service comes next.

mod entry;
mod kept;
mod merge;
mod queue;
mod run;
