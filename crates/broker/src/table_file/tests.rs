use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;

use apogee_base::disk::{self, SimDisk};
use apogee_wire::bodies::KVTable;

use super::*;

const PATH: &str = "/c/t.json";

/// The least table there can be.
struct Table {
    file: TableFile,
    content: RefCell<BTreeMap<String, String>>,
    unsaved: RefCell<BTreeSet<String>>,
}

impl Table {
    fn open(disk: &SimDisk) -> Self {
        disk.create_folder(Path::new("/c")).unwrap();
        let file = TableFile::new(Arc::new(disk.clone()), PATH.into());
        let loaded = file.load::<KVTable>().unwrap();
        let mut content = loaded.table.unwrap_or_default().table;
        for Change { removed, put } in loaded.changes {
            content.retain(|name, _| !removed.contains(name));
            content.extend(put.table);
        }
        Self { file, content: content.into(), unsaved: RefCell::default() }
    }

    fn put(&self, name: &str, value: impl ToString) {
        self.content.borrow_mut().insert(name.to_owned(), value.to_string());
        self.unsaved.borrow_mut().insert(name.to_owned());
    }

    fn remove(&self, name: &str) {
        self.content.borrow_mut().remove(name);
        self.unsaved.borrow_mut().insert(name.to_owned());
    }

    fn get(&self, name: &str) -> Option<String> {
        self.content.borrow().get(name).cloned()
    }

    fn change(&self) -> Option<Change<KVTable>> {
        let mut change = Change::<KVTable>::default();
        for name in self.unsaved.take() {
            match self.get(&name) {
                Some(value) => drop(change.put.table.insert(name, value)),
                None => change.removed.push(name),
            }
        }
        (change != Change::default()).then_some(change)
    }

    fn whole(&self) -> KVTable {
        KVTable { table: self.content.borrow().clone() }
    }

    fn save(&self) -> Result<(), PersistError> {
        self.file.save(|| self.change(), || self.whole())
    }

    fn close(&self) -> Result<(), PersistError> {
        self.file.close(|| self.change(), || self.whole())
    }
}

fn json(disk: &SimDisk) -> BTreeMap<String, String> {
    KVTable::decode(&disk::read(disk, Path::new(PATH)).unwrap()).unwrap().table
}

fn flip(disk: &SimDisk, path: &str, at: u64) {
    let file = disk.open(Path::new(path), false).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, at).unwrap();
    file.write_at(&mut [IoSlice::new(&[byte[0] ^ 0x80])], at).unwrap();
}

#[test]
fn changes_go_to_the_journal_and_a_clean_stop_writes_them_to_the_file() {
    let disk = SimDisk::new(1);
    let table = Table::open(&disk);
    table.put("a", 1);
    table.save().unwrap();
    let first = json(&disk);
    table.put("b", 2);
    table.remove("a");
    table.save().unwrap();
    assert_eq!(json(&disk), first, "a change does not write the table");
    disk.crash();
    let table = Table::open(&disk);
    assert_eq!((table.get("a"), table.get("b")), (None, Some("2".to_owned())));
    table.close().unwrap();
    assert_eq!(json(&disk), table.content.take(), "who knows no journals finds all of it");
    assert_eq!(Table::open(&disk).get("b"), Some("2".to_owned()));
}

#[test]
fn many_changes_cost_what_they_are_large() {
    let disk = SimDisk::new(1);
    let table = Table::open(&disk);
    let rewritten = Cell::new(0);
    let mut written = 0;
    for number in 0..3_000 {
        let (name, value) = (format!("topic-{number}"), "x".repeat(1_000));
        written += name.len() + value.len();
        table.put(&name, value);
        table.file.save(|| table.change(), || table.whole()).unwrap();
        let whole = || {
            rewritten.set(rewritten.get() + disk::read(&disk, Path::new(PATH)).unwrap().len());
        };
        if disk::read(&disk, Path::new("/c/t.json.journal")).unwrap().len() < 100 {
            whole();
        }
    }
    assert!(rewritten.get() < 3 * written, "{} bytes of the table for {written} of changes", rewritten.get());
}

#[test]
fn a_file_that_another_broker_wrote_gets_no_changes_of_before() {
    let disk = SimDisk::new(1);
    let table = Table::open(&disk);
    table.put("a", 1);
    table.save().unwrap();
    table.put("a", 2);
    table.save().unwrap();
    disk.kill_process();
    let theirs = KVTable { table: [("a".to_owned(), "7".to_owned())].into() };
    disk::replace(&disk, Path::new(PATH), &theirs.encode_pretty()).unwrap();
    let table = Table::open(&disk);
    assert_eq!(table.get("a"), Some("7".to_owned()));
    table.put("b", 1);
    table.save().unwrap();
    assert_eq!(Table::open(&disk).content.take().len(), 2);
}

#[test]
fn a_file_that_is_damaged_or_gone_loses_nothing() {
    for is_gone in [false, true] {
        let disk = SimDisk::new(1);
        let table = Table::open(&disk);
        table.put("a", 1);
        table.save().unwrap();
        table.put("b", 1);
        table.save().unwrap();
        table.close().unwrap();
        table.put("c", 1);
        table.save().unwrap();
        if is_gone {
            disk.remove(Path::new(PATH)).unwrap();
        } else {
            flip(&disk, PATH, 0);
        }
        for round in 0..2 {
            let table = Table::open(&disk);
            assert_eq!(table.content.borrow().len(), 3, "gone: {is_gone}, round {round}");
            table.save().unwrap();
        }
        assert_eq!(disk.exists(Path::new("/c/t.json.damaged")), !is_gone, "it is kept for whoever wants to look at it");
    }
}

#[test]
fn a_file_without_a_good_copy_is_an_error_that_names_it_or_set_aside() {
    let disk = SimDisk::new(1);
    let table = Table::open(&disk);
    table.put("a", 1);
    table.save().unwrap();
    table.put("b", 2);
    table.save().unwrap();
    flip(&disk, PATH, 0);
    flip(&disk, "/c/t.json.copy", 0);
    let error = table.file.load::<KVTable>().map(drop).unwrap_err().to_string();
    assert!(error.starts_with("/c/t.json cannot be understood"), "{error}");
    let loaded = table.file.load_or_begin::<KVTable>("it begins anew").unwrap();
    assert_eq!((loaded.table.is_none(), loaded.changes.count()), (true, 1), "what the journal has is kept");
    assert!(disk.exists(Path::new("/c/t.json.damaged")));
}

#[test]
fn a_flipped_bit_anywhere_costs_at_most_the_change_it_is_in() {
    let filled = || {
        let disk = SimDisk::new(1);
        let table = Table::open(&disk);
        table.put("first", 1_000);
        table.save().unwrap();
        for number in 0..3 {
            table.put(&format!("n{number}"), number);
            table.save().unwrap();
        }
        disk
    };
    let whole = Table::open(&filled()).content.take();
    for (path, may_lose) in [(PATH, 0), ("/c/t.json.copy", 0), ("/c/t.json.journal", 1)] {
        for bit in 0..filled().open(Path::new(path), false).unwrap().length().unwrap() * 8 {
            let disk = filled();
            let mut byte = [0];
            let file = disk.open(Path::new(path), false).unwrap();
            file.read_at(&mut byte, bit / 8).unwrap();
            file.write_at(&mut [IoSlice::new(&[byte[0] ^ 1 << (bit % 8)])], bit / 8).unwrap();
            let found = Table::open(&disk).content.take();
            assert!(found.iter().all(|(name, value)| whole.get(name) == Some(value)), "bit {bit} of {path}: {found:?}");
            assert!(found.len() + may_lose >= whole.len(), "bit {bit} of {path}: {found:?}");
        }
    }
}

/// Random changes, saves, stops, crashes and failures: what is found after a crash is what it was at
/// the last save that succeeded, or at one that was tried since.
#[test]
fn what_was_saved_is_there_after_any_crash() {
    for seed in 0..600_u64 {
        let disk = SimDisk::new(seed);
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let mut table = Table::open(&disk);
        let mut candidates = vec![BTreeMap::new()];
        for step in 0..60 {
            match next(12) {
                0..4 => table.put(&format!("n{}", next(6)), step),
                4 => table.remove(&format!("n{}", next(6))),
                5 => disk.fail_syncs(next(3) == 0),
                6 => disk.fail_writes(next(3) == 0),
                7 => disk.set_room((next(3) == 0).then(|| next(400))),
                8 => {
                    disk.fail_syncs(false);
                    disk.fail_writes(false);
                    disk.set_room(None);
                    disk.crash();
                    table = Table::open(&disk);
                    let found = table.content.borrow().clone();
                    assert!(
                        candidates.contains(&found),
                        "seed {seed}, step {step}: {found:?} is none of {candidates:?}"
                    );
                    candidates = vec![found];
                }
                kind => {
                    candidates.push(table.content.borrow().clone());
                    let saved = if kind == 9 { table.close() } else { table.save() };
                    if saved.is_ok() {
                        candidates.drain(..candidates.len() - 1);
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_seen_after_a_failed_sync_and_a_start_stays_once_it_is_saved() {
    let disk = SimDisk::new(1);
    let table = Table::open(&disk);
    table.put("a", 1);
    table.save().unwrap();
    table.put("b", 2);
    disk.fail_syncs(true);
    assert!(table.save().is_err());
    disk.fail_syncs(false);
    disk.kill_process();
    let table = Table::open(&disk);
    assert_eq!(table.get("b"), Some("2".to_owned()), "the system shows what it could not write");
    table.save().unwrap();
    disk.crash();
    assert_eq!(Table::open(&disk).get("b"), Some("2".to_owned()));
}
