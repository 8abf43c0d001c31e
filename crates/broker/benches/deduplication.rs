//! What a window against duplicates costs: `cargo bench -p apogee-broker --bench deduplication`.
//!
//! Prints nanoseconds per message and bytes per key, for a window that a million messages pass through.

#![allow(clippy::print_stdout)] // Its result.

use std::sync::Arc;
use std::time::Instant;

use apogee_broker::deduplication::{Claim, Window};
use apogee_store::{AppendDone, AppendError, Appended};

const MESSAGES: i64 = 1_000_000;

struct Nobody;

impl AppendDone for Nobody {
    fn done(&self, _: u64, _: &Result<Appended, AppendError>) {}
}

fn main() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
    };
    let before = resident();
    let window = Arc::new(Window::new(60_000, MESSAGES as usize));
    let done: Arc<dyn AppendDone> = Arc::new(Nobody);
    let pass = |from: i64| {
        let started = Instant::now();
        for number in from..from + MESSAGES {
            let key = format!("{number:032X}");
            if let Claim::First(first) = window.claim(0, key.as_bytes(), 0, &done, 0) {
                let place = Appended {
                    physical_offset: number,
                    size: 1,
                    queue_id: 0,
                    queue_offset: number,
                    store_timestamp: 0,
                    copied: true,
                };
                first.done(0, &Ok(place));
            }
        }
        started.elapsed().as_nanos() as i64 / MESSAGES
    };
    println!("new keys, window filling: {} ns per message", pass(0));
    println!("memory: {} bytes per key", (resident() - before) / MESSAGES as usize);
    println!("new keys, window full:    {} ns per message", pass(MESSAGES));
    println!("keys sent again:          {} ns per message", pass(MESSAGES));
}
