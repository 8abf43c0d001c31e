//! Metrics of the broker: what is counted as it happens, and what is collected when somebody asks.
//!
//! Names, types, labels and buckets are upstream's; what upstream doesn't have begins with `apogee_`.
//!
//! | file | has |
//! |---|---|
//! | `traffic.rs` | what came in, by topic and type |
//! | `requests.rs` | how long requests took, by kind |
//! | `times.rs` | how long sends and pulls took, for upstream's tools |
//! | `events.rs`, `rare.rs` | what happens to messages on their way, by topic |
//! | `collect.rs` | all together, for a reader |
//! | `broker.rs`, `topics.rs`, `clients.rs`, `lag.rs`, `store.rs` | upstream's families |
//! | `exporter.rs` | the separate exporter's names |
//! | `own.rs`, `replication.rs`, `findings.rs`, `process.rs` | ours |

mod broker;
mod clients;
mod collect;
pub(crate) mod events;
mod exporter;
mod findings;
mod lag;
mod own;
mod process;
pub(crate) mod rare;
mod replication;
pub(crate) mod requests;
mod store;
mod times;
mod topics;
pub(crate) mod traffic;

use events::Events;
use requests::Requests;

pub(crate) use collect::Collector;
pub(crate) use times::Times;

/// What is counted as it happens, beside [`Stats`](crate::stats::Stats).
#[derive(Default)]
pub(crate) struct Counters {
    pub requests: Requests,
    pub events: Events,
}
