//! Metrics: what is counted on hot paths, and the model that is written out.
//!
//! Counting is a few instructions on memory that other threads don't write: [`Histogram`] has a part for each
//! thread, and [`moment`] asks the clock once for all that one read brought. Everything else happens when somebody
//! asks: then [`Family`]s are collected and written, as [`prometheus`] text or by another crate as OTLP.
//! Pure: knows nothing of brokers, sockets or files.

mod histogram;
mod keyed;
mod model;
pub mod moment;
pub mod prometheus;
mod shown;
mod source;

pub use histogram::{Histogram, LATENCY_NS, SECONDS_PER_NS};
pub use keyed::KeyedHistograms;
pub use model::{Family, Kind, Label, Point, Scope, Snapshot, Text, Value};
pub use shown::{Ranked, Shown};
pub use source::{Health, Metrics};
