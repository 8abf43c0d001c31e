//! What a start costs, counted in bytes read.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_store::{Store, StoreOptions};

mod common;
use common::draft;

const QUEUES: i32 = 4;
const BODY: usize = 1000;

fn open(disk: &SimDisk) -> Store {
    let options = StoreOptions {
        log_file_size: 1 << 20,
        queue_file_size: 20_000,
        index_slots: 1000,
        index_entries: 4000,
        ..StoreOptions::default()
    };
    Store::open(Arc::new(disk.clone()), Arc::new(ManualClock::new(1)), PathBuf::from("/store"), options).unwrap()
}

fn send(store: &Store, count: i32) {
    let drafts =
        (0..count).map(|number| draft("T", number % QUEUES, vec![b'x'; BODY], format!("KEYS\x01k{number}\x02")));
    store.append_now(drafts).unwrap();
}

/// Bytes that a start reads when `before` messages lie before the last checkpoint and `since` behind it,
/// and the process was killed.
fn start_after_a_kill(before: i32, since: i32) -> u64 {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    send(&store, before);
    store.index_step().unwrap();
    store.checkpoint_step().unwrap();
    send(&store, since);
    disk.kill_process();
    drop(store);
    let read_before = disk.bytes_read();
    let store = open(&disk);
    let read = disk.bytes_read() - read_before;
    for queue in 0..QUEUES {
        assert_eq!(store.queue_range("T", queue), Some((0, i64::from((before + since) / QUEUES))));
    }
    read
}

#[test]
fn a_start_after_a_kill_costs_what_was_written_since_the_checkpoint_and_not_what_the_store_holds() {
    let (small, large) = (start_after_a_kill(1_000, 200), start_after_a_kill(20_000, 200));
    assert!(large < small + 100_000, "a store 20 times as large: {large} bytes read and not {small}");
    assert!(large < 200 * 2 * (BODY as u64 + 200) + 200_000, "{large} bytes for 200 messages");
    let more = start_after_a_kill(1_000, 2_000);
    assert!(more > 5 * small, "{more} bytes for 2,000 messages, {small} for 200: is anything counted?");
}
