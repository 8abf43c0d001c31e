//! Counting what a filter lets pass, as far as there is something to spend.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_message::record::Record;
use apogee_message::tag::java_hash;
use apogee_store::{Filter, Matching, Spend, Store, StoreOptions, Verdict};

mod common;

const ALL: Spend = Spend { units: usize::MAX, records: usize::MAX };

/// A hundred messages, of which every fourth has the tag `a`; their bodies are their offsets.
fn store() -> Store {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let options = StoreOptions { log_file_size: 1 << 18, queue_file_size: 20_000, ..StoreOptions::default() };
    let store = Store::open(Arc::new(SimDisk::new(1)), clock, PathBuf::from("/s"), options).unwrap();
    for at in 0..100 {
        let tag = if at % 4 == 0 { "a" } else { "b" };
        store.append_now([common::draft("T", 0, at.to_string(), format!("TAGS\x01{tag}\x02"))]).unwrap();
    }
    store
}

/// Those with the tag whose body is less than a number.
struct Less(i64);

impl Filter for Less {
    fn by_unit(&mut self, tag_code: i64) -> bool {
        tag_code == i64::from(java_hash("a"))
    }

    fn by_record(&mut self, record: &Record<'_>) -> Verdict {
        let number: i64 = String::from_utf8_lossy(record.body).parse().unwrap();
        if number < self.0 { Verdict::Take } else { Verdict::Skip }
    }
}

#[test]
fn what_matches_is_counted_by_units_or_by_records() {
    let store = store();
    let count = |from, to, by_records| store.count_matching("T", 0, from..to, &mut Less(40), by_records, &mut { ALL });
    let exactly = |number| Matching { least: number, most: number };
    assert_eq!(count(0, 100, false), exactly(25));
    assert_eq!(count(0, 100, true), exactly(10));
    assert_eq!(count(1, 41, true), exactly(9));
    // Offsets that are not there are nothing to count.
    assert_eq!((count(-5, 1_000, false), count(100, 100, false)), (exactly(25), exactly(0)));
    assert_eq!(store.count_matching("U", 0, 0..9, &mut Less(40), true, &mut { ALL }), exactly(0));
}

#[test]
fn what_was_not_looked_at_may_match() {
    let store = store();
    let mut spend = Spend { units: 50, records: 4 };
    let first = store.count_matching("T", 0, 0..100, &mut Less(40), true, &mut spend);
    // Four records were looked at, and nine more of the first fifty have the tag; nothing is known of the others.
    assert_eq!(first, Matching { least: 4, most: 4 + 9 + 50 });
    assert_eq!((spend.units, spend.records), (0, 0));
    let rest = store.count_matching("T", 0, 90..100, &mut Less(40), true, &mut spend);
    assert_eq!(rest, Matching { least: 0, most: 10 });
}
