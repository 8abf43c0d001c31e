//! What was promised, and whether it holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use apogee_message::record::Record;
use apogee_store::{AppendDone, AppendError, Appended, Store};

/// What senders were told, of all masters.
#[derive(Default)]
pub struct Told(Mutex<Vec<(u64, Appended)>>);

impl AppendDone for Told {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        if let Ok(appended) = result
            && appended.copied
        {
            self.0.lock().unwrap().push((token, *appended));
        }
    }
}

/// What every replica must have in the end.
#[derive(Default)]
pub struct History {
    pub told: Arc<Told>,
    /// Sums of records that a master said all replicas in sync have, by where they stand.
    confirmed: BTreeMap<i64, u32>,
    confirmed_to: i64,
    pub sent: u64,
}

impl History {
    /// How many messages were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.told.0.lock().unwrap().len()
    }

    /// A master says that the log is confirmed up to here.
    pub fn confirmed(&mut self, store: &Store, end: i64, seed: u64) {
        for (offset, sum) in records(store, self.confirmed_to).filter(|(offset, _)| *offset < end) {
            let known = *self.confirmed.entry(offset).or_insert(sum);
            assert_eq!(known, sum, "seed {seed}: another record is confirmed at {offset}");
        }
        self.confirmed_to = self.confirmed_to.max(end);
    }

    /// All that was promised is there.
    pub fn check(&self, store: &Store, seed: u64, id: i64) {
        let all: BTreeMap<i64, u32> = records(store, store.log_min_offset()).collect();
        for (offset, sum) in self.confirmed.range(store.log_min_offset()..) {
            assert_eq!(all.get(offset), Some(sum), "seed {seed}: broker {id} lacks what was confirmed at {offset}");
        }
        for (token, appended) in self.told.0.lock().unwrap().iter() {
            let bytes = store.record_at(appended.physical_offset);
            let bytes = bytes.unwrap_or_else(|| panic!("seed {seed}: broker {id} lost message {token}"));
            let record = Record::read(&bytes).unwrap();
            assert_eq!(record.body, token.to_be_bytes(), "seed {seed}: broker {id} has another message than {token}");
            let unit = store.unit("T", appended.queue_id, appended.queue_offset).unwrap();
            assert_eq!(unit.physical_offset, appended.physical_offset, "seed {seed}: broker {id}, message {token}");
        }
    }
}

fn records(store: &Store, from: i64) -> impl Iterator<Item = (i64, u32)> {
    store.records(from).map(|bytes| (Record::read(&bytes).unwrap().physical_offset, crc32fast::hash(&bytes)))
}
