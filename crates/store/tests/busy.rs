//! What a store does whose disk doesn't keep up.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_message::record::Draft;
use apogee_store::{Append, AppendDone, AppendError, Appended, Store, StoreOptions};
use bytes::Bytes;

mod common;

const NOW: i64 = 1_700_000_000_000;

#[derive(Default)]
struct Outcomes(Mutex<Vec<Result<i64, AppendError>>>);

impl AppendDone for Outcomes {
    fn done(&self, _: u64, result: &Result<Appended, AppendError>) {
        let outcome = result.as_ref().map(|appended| appended.queue_offset).map_err(Clone::clone);
        self.0.lock().unwrap().push(outcome);
    }
}

fn draft(bytes: usize) -> Draft {
    common::draft("T", 0, vec![b'x'; bytes], Bytes::new())
}

/// A store without a thread that flushes, and its clock.
fn open(waiting_bytes: usize) -> (Store, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW));
    let options =
        StoreOptions { log_file_size: 1 << 16, index: false, stall_ms: 2_000, waiting_bytes, ..Default::default() };
    let store = Store::open(Arc::new(SimDisk::new(1)), clock.clone(), PathBuf::from("/s"), options).unwrap();
    (store, clock)
}

/// Sends a message; what is known of it at once.
fn send(store: &Store, bytes: usize) -> Option<Result<i64, AppendError>> {
    let outcomes = Arc::new(Outcomes::default());
    store.append([Append { draft: draft(bytes), done: outcomes.clone(), token: 0 }]);
    outcomes.0.lock().unwrap().pop()
}

#[test]
fn messages_are_refused_while_a_flush_takes_too_long() {
    let (store, clock) = open(1 << 20);
    assert_eq!(send(&store, 10), None);
    clock.advance(2_000);
    assert_eq!(send(&store, 10), None);
    clock.advance(1);
    let refused = send(&store, 10).unwrap().unwrap_err();
    assert_eq!(refused, AppendError::Slow { stalled_ms: 2_001, limit_ms: 2_000 });
    assert!(refused.to_string().contains("2001 ms"), "{refused}");
    store.flush_step().unwrap();
    assert_eq!(send(&store, 10), None);
    store.flush_step().unwrap();
    assert_eq!(store.queue_range("T", 0), Some((0, 3)));
}

#[test]
fn messages_are_refused_while_too_many_bytes_wait() {
    let (store, _) = open(4_000);
    assert_eq!((send(&store, 3_000), send(&store, 3_000)), (None, None));
    assert!(matches!(send(&store, 10), Some(Err(AppendError::Busy { limit: 4_000, .. }))));
    store.flush_step().unwrap();
    assert_eq!(send(&store, 10), None);
}
