//! A message is encoded, appended, dispatched to its queue and the index, and read again.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apogee_base::clock::ManualClock;
use apogee_base::disk::RealDisk;
use apogee_message::record::Draft;
use apogee_store::{Append, AppendDone, AppendError, Appended, Filter, ReadLimits, ReadStatus, Store, StoreOptions};
use bytes::BytesMut;

use crate::sample::{TIMES, TOPIC, body, message};
use crate::{Failure, Piece, measured};

pub const PIECES: &[Piece] = &[
    Piece { name: "encode-record", run: encode },
    Piece { name: "append-one", run: || append(1) },
    Piece { name: "append-32", run: || append(32) },
    Piece { name: "index-message", run: index },
    Piece { name: "queue-range", run: queue_range },
    Piece { name: "read-32-units", run: units },
    Piece { name: "pull-32", run: pull },
];

/// A store in a folder of its own, removed at the end. It has no threads: a step is done where it is called.
pub struct Scratch {
    folder: PathBuf,
    pub store: Store,
}

impl Scratch {
    pub fn open() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("apogee-counts-{}", std::process::id()));
        let options = StoreOptions {
            log_file_size: 64 << 20,
            sync_flush: false,
            index_slots: 10_000,
            index_entries: 100_000,
            ..StoreOptions::default()
        };
        // A clock that stands still: nothing depends on how fast the pieces run.
        let clock = Arc::new(ManualClock::new(1_763_000_000_000));
        let store = Store::open(Arc::new(RealDisk), clock, folder.clone(), options)?;
        Ok(Self { folder, store })
    }

    /// A store with messages in the queues 0 to 3 of the topic.
    pub fn with_messages(count: u64) -> Result<Self, Failure> {
        let scratch = Self::open()?;
        let (topic, body, mut arena) = (Arc::from(TOPIC), body(), BytesMut::new());
        let draft = |number| Draft::new(&message(number, &topic, &body), &mut arena);
        let drafts = (0..count).map(draft).collect::<Result<Vec<_>, _>>()?;
        scratch.store.append_now(drafts)?;
        scratch.store.flush_step()?;
        Ok(scratch)
    }

    /// Asks for 32 messages again and again, of each queue in turn, from all over it. `least`: what a read must
    /// bring.
    pub fn pull(&self, times: u64, least: usize, filter: &mut dyn Filter) -> Result<(), Failure> {
        let limits = ReadLimits { messages: 32, bytes: 256 << 10, cold_messages: 32, cold_bytes: 256 << 10 };
        for number in 0..times {
            let read = self.store.read(TOPIC, (number % 4) as i32, (number / 4 * 7) as i64, limits, filter);
            if read.status != ReadStatus::Found || read.messages < least {
                return Err(format!("a read brought {} messages: {:?}", read.messages, read.status).into());
            }
            black_box(read);
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A system's folder for temporary files is emptied by somebody else.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Counts what was confirmed.
#[derive(Default)]
struct Confirmed(AtomicU64);

impl AppendDone for Confirmed {
    fn done(&self, _: u64, result: &Result<Appended, AppendError>) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn encode() -> Result<u64, Failure> {
    let topic = Arc::from(TOPIC);
    let messages: Vec<_> = (0..TIMES).map(|number| message(number, &topic, &body())).collect();
    let mut arena = BytesMut::with_capacity(1 << 20);
    let mut failure = None;
    let mut all = || {
        for message in &messages {
            match Draft::new(message, &mut arena) {
                Ok(draft) => drop(black_box(draft)),
                Err(error) => failure = Some(error),
            }
        }
    };
    measured(&mut all);
    failure.map_or(Ok(TIMES), |error| Err(error.into()))
}

/// Appends so many in one call; with asynchronous flush they are in their queues and confirmed within it.
fn append(together: u64) -> Result<u64, Failure> {
    let scratch = Scratch::open()?;
    let confirmed = Arc::new(Confirmed::default());
    let (topic, body) = (Arc::from(TOPIC), body());
    let mut arena = BytesMut::with_capacity(1 << 20);
    let mut entries = |count: u64| {
        let entry = |number: u64| {
            let draft = Draft::new(&message(number, &topic, &body), &mut arena)?;
            Ok(Append { draft, done: Arc::clone(&confirmed) as Arc<dyn AppendDone>, token: number })
        };
        (0..count).map(entry).collect::<Result<Vec<_>, Failure>>()
    };
    let calls = TIMES / together;
    let (warm_up, outbox) = (entries(10 * together)?, entries(calls * together)?);
    scratch.store.append(warm_up);
    let before = confirmed.0.load(Ordering::Relaxed);
    let mut outbox = outbox.into_iter();
    measured(&mut || {
        for _ in 0..calls {
            scratch.store.append(outbox.by_ref().take(together as usize));
        }
    });
    let count = confirmed.0.load(Ordering::Relaxed) - before;
    if count != calls * together {
        return Err(format!("{count} of {} messages were confirmed", calls * together).into());
    }
    Ok(count)
}

fn index() -> Result<u64, Failure> {
    let scratch = Scratch::with_messages(TIMES / 10)?;
    scratch.store.index_step()?;
    let (topic, body, mut arena) = (Arc::from(TOPIC), body(), BytesMut::new());
    let drafts = (0..TIMES).map(|number| Draft::new(&message(number, &topic, &body), &mut arena));
    scratch.store.append_now(drafts.collect::<Result<Vec<_>, _>>()?)?;
    let mut outcome = Ok(());
    measured(&mut || outcome = scratch.store.index_step());
    outcome?;
    let found = scratch.store.query(TOPIC, "order-999", None, 1, 0, i64::MAX)?;
    if found.records.is_empty() {
        return Err("the index doesn't have the last message".into());
    }
    Ok(TIMES)
}

fn queue_range() -> Result<u64, Failure> {
    let scratch = Scratch::with_messages(100)?;
    let mut all = || {
        for number in 0..TIMES {
            black_box(scratch.store.queue_range(TOPIC, (number % 4) as i32));
        }
    };
    measured(&mut all);
    Ok(TIMES)
}

fn units() -> Result<u64, Failure> {
    let scratch = Scratch::with_messages(4_000)?;
    let mut all = || {
        for number in 0..TIMES {
            black_box(scratch.store.units(TOPIC, (number % 4) as i32, (number % 900) as i64, 32));
        }
    };
    measured(&mut all);
    Ok(TIMES)
}

fn pull() -> Result<u64, Failure> {
    let scratch = Scratch::with_messages(4_000)?;
    let times = TIMES / 10;
    scratch.pull(4, 32, &mut |_| true)?;
    let mut outcome = Ok(());
    measured(&mut || outcome = scratch.pull(times, 32, &mut |_| true));
    outcome.map(|()| times)
}
