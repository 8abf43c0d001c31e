//! A group of brokers on simulated disks, with a simulated network and controller, over many seeds: the store, the
//! replication and the election that run in production, with faults at every step.
//!
//! A failing seed is printed; `GROUP_SEED=<n>` runs it alone, `GROUP_SEEDS=<n>` sets how many run. Many are
//! quicker with `--release`.
//!
//! | | file |
//! |---|---|
//! | brokers, network, controller; one step of any of them, and faults | `world.rs` |
//! | one broker: its store and what it is in the group | `node.rs` |
//! | what was promised, and whether it holds | `history.rs` |

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

mod history;
mod node;
mod world;

use world::{Faults, World};

/// The seeds asked for, else so many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("GROUP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GROUP_SEEDS").unwrap_or(usual),
    }
}

fn all(faults: Faults, usual: u64) {
    // All of them, so that one run tells how many fail.
    let (mut failed, mut acknowledged) = (Vec::new(), 0);
    for seed in seeds(usual) {
        match std::panic::catch_unwind(|| World::run(seed, faults)) {
            Ok(count) => acknowledged += count,
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
    assert!(acknowledged > 0, "nothing was acknowledged, so nothing was shown");
}

#[test]
fn nothing_acknowledged_is_lost_while_processes_die() {
    all(Faults { kills: true, ..Faults::default() }, 15);
}

#[test]
fn nothing_acknowledged_is_lost_while_the_power_fails() {
    all(Faults { kills: true, power: true, ..Faults::default() }, 15);
}

#[test]
fn nothing_acknowledged_is_lost_while_the_network_parts() {
    all(Faults { partitions: true, ..Faults::default() }, 15);
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_at_once() {
    all(Faults { kills: true, power: true, partitions: true, elections: true }, 30);
}
