//! Offsets by time and messages by time, at the edges and over clocks that are put back.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_message::record::Record;
use apogee_store::{Boundary, Store, StoreOptions};

mod common;

const START: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

struct World {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    store: Store,
}

impl World {
    fn new() -> Self {
        let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(START)));
        let store = open(&disk, &clock);
        Self { disk, clock, store }
    }

    fn reopen(self) -> Self {
        self.store.close().unwrap();
        let Self { disk, clock, store } = self;
        drop(store);
        let store = open(&disk, &clock);
        Self { disk, clock, store }
    }

    /// Stores a message at a time.
    fn put(&self, time: i64) {
        self.clock.set(time);
        let draft = common::draft("T", 0, time.to_string(), "KEYS\x01k\x02");
        self.store.append_now([draft]).unwrap();
    }

    fn lower(&self, time: i64) -> i64 {
        self.store.offset_by_time("T", 0, time, Boundary::Lower).unwrap()
    }

    fn upper(&self, time: i64) -> i64 {
        self.store.offset_by_time("T", 0, time, Boundary::Upper).unwrap()
    }

    /// Store times of what a query finds.
    fn found(&self, begin: i64, end: i64) -> Vec<i64> {
        let records = self.store.query("T", "k", None, 64, begin, end).unwrap().records;
        records.iter().map(|bytes| Record::read(bytes).unwrap().store_timestamp).collect()
    }
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> Store {
    let options = StoreOptions {
        log_file_size: 1 << 18,
        queue_file_size: 20_000,
        index_slots: 16,
        index_entries: 64,
        ..StoreOptions::default()
    };
    Store::open(Arc::new(disk.clone()), clock.clone(), PathBuf::from("/s"), options).unwrap()
}

#[test]
fn many_messages_of_one_millisecond_have_a_first_and_a_last() {
    let world = World::new();
    for time in [0, 5, 5, 5, 5, 5, 5, 6, 9, 9] {
        world.put(START + time);
    }
    let both = |time| (world.lower(START + time), world.upper(START + time));
    assert_eq!(both(-1), (0, 0), "before the first");
    assert_eq!(both(0), (0, 0), "the first");
    assert_eq!(both(1), (1, 0), "between");
    assert_eq!(both(5), (1, 6), "many");
    assert_eq!(both(6), (7, 7), "one");
    assert_eq!(both(7), (8, 7), "between");
    assert_eq!(both(9), (8, 9), "the last ones");
    assert_eq!(both(10), (10, 9), "after the last");
    assert_eq!((world.lower(i64::MIN), world.upper(i64::MAX)), (0, 9));
    assert_eq!(world.store.offset_by_time("None", 0, START, Boundary::Lower), None);
}

#[test]
fn every_time_finds_its_message_among_many() {
    let world = World::new();
    // Some milliseconds without a message, some with up to four.
    let mut times: Vec<i64> = (0..500).map(|number| START + number * number % 7 + number / 4 * 3).collect();
    times.sort_unstable();
    times.iter().for_each(|time| world.put(*time));
    for time in START - 2..START + 400 {
        let first = times.iter().position(|stored| *stored >= time).unwrap_or(times.len());
        assert_eq!(world.lower(time), first as i64, "{time}");
        let last = times.iter().rposition(|stored| *stored <= time).unwrap_or(0);
        assert_eq!(world.upper(time), last as i64, "{time}");
    }
}

#[test]
fn a_clock_that_is_put_back_an_hour_ends_no_search() {
    let world = World::new();
    let minutes = |from: i64, count: i64| (0..count).map(move |minute| from + minute * 60_000);
    let times: Vec<i64> = minutes(START, 30).chain(minutes(START + 30 * 60_000 - HOUR, 100)).collect();
    times.iter().for_each(|time| world.put(*time));
    let end = times.len() as i64;
    for time in minutes(START - 2 * HOUR, 400).flat_map(|time| [time - 1, time, time + 1]) {
        let found = world.lower(time);
        // A place where what is later than the time begins: some place, as there are several.
        let stored = |offset: i64| usize::try_from(offset).ok().and_then(|offset| times.get(offset).copied());
        assert!(stored(found).is_none_or(|stored| stored >= time), "{time}: {found}");
        assert!(stored(found - 1).is_none_or(|stored| stored < time), "{time}: {found}");
        assert!((0..=end).contains(&world.upper(time)));
    }
    assert_eq!((world.lower(START - 3 * HOUR), world.lower(START + 3 * HOUR)), (0, end));
}

#[test]
fn a_query_by_key_has_the_messages_at_both_ends_of_its_time() {
    let world = World::new();
    let times = [START + 900, START + 10_300, START + 10_999, START + 50_000];
    times.iter().for_each(|time| world.put(*time));
    assert_eq!(world.found(0, i64::MAX), times);
    for time in times {
        assert!(world.found(time, time).contains(&time), "{time}");
    }
    assert_eq!(world.found(START, START + 899), [0; 0]);
    assert_eq!(world.found(START + 900, START + 10_300)[..2], times[..2]);
    // Upstream's index knows seconds: what is further away is never found.
    assert_eq!(world.found(START + 12_000, START + 48_999), [0; 0]);
    assert_eq!(world.found(START + 52_000, i64::MAX), [0; 0]);
    assert_eq!(world.found(START + 50_000, START), [0; 0], "an end before the begin");
    let world = world.reopen();
    assert_eq!(world.found(START + 49_500, START + 50_000), [START + 50_000]);
}

#[test]
fn a_clock_that_is_put_back_an_hour_hides_no_message_from_a_query() {
    let mut world = World::new();
    world.put(START);
    world.put(START + 60_000);
    world.put(START + 60_000 - HOUR);
    for _ in 0..2 {
        assert_eq!(world.found(START + 59_000, START + 61_000), [START + 60_000]);
        assert_eq!(world.found(0, i64::MAX).len(), 3);
        world = world.reopen();
    }
}
