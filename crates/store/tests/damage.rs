//! Single flipped bits anywhere in a store's files, and files that are gone: at most the damaged record
//! is lost, nothing wrong is served, and everything behind it stays readable.
//!
//! `STORE_SEED=<n>` runs one seed alone, `STORE_SEEDS=<n>` sets how many run.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::clock::ManualClock;
use apogee_base::disk::{Disk, SimDisk};
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_store::{Offline, ReadLimits, Store, StoreOptions};
use bytes::BytesMut;

const ALL: ReadLimits = ReadLimits { messages: 32, bytes: 1 << 20, cold_messages: 32, cold_bytes: 1 << 20 };
const QUEUES: i32 = 3;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        log_file_size: 8192,
        queue_file_size: 400,
        index_slots: 16,
        index_entries: 40,
        // Queues' own files are written at each checkpoint.
        kept_units: 0,
        ..StoreOptions::default()
    }
}

fn open(disk: &SimDisk) -> Store {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    Store::open(Arc::new(disk.clone()), clock, PathBuf::from("/store"), options()).unwrap()
}

fn draft(number: usize) -> Draft {
    let message = NewMessage {
        queue_id: number as i32 % QUEUES,
        properties: format!("KEYS\u{1}k{number}\u{2}").into(),
        ..NewMessage::own("T", format!("{number:09}").repeat(1 + number % 20), ([127, 0, 0, 1], 1), 1)
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

fn fill(store: &Store, numbers: std::ops::Range<usize>) {
    store.append_now(numbers.map(draft)).unwrap();
    store.flush_step().unwrap();
}

/// Numbers of the messages that can be read, each checked to be whole and at its place.
fn readable(store: &Store, of: &str) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for queue in 0..QUEUES {
        let Some((min, _)) = store.queue_range("T", queue) else { continue };
        let mut offset = min;
        loop {
            let read = store.read("T", queue, offset, ALL, &mut |_: i64| true);
            for record in read.slices.iter().flat_map(|slice| apogee_message::record::iter(slice)) {
                let record = record.unwrap();
                let number: usize = std::str::from_utf8(&record.body[..9]).unwrap().parse().unwrap();
                let expected = format!("{number:09}").repeat(1 + number % 20);
                assert_eq!(std::str::from_utf8(record.body).unwrap(), expected, "{of}: wrong bytes were served");
                assert_eq!((record.topic, record.queue_id), ("T", queue), "{of}");
                assert_eq!(record.sent_properties(), format!("KEYS\u{1}k{number}\u{2}").as_bytes(), "{of}");
                assert_eq!(record.queue_offset, (number as i64) / i64::from(QUEUES), "{of}");
                numbers.insert(number);
            }
            if read.next_offset <= offset {
                break;
            }
            offset = read.next_offset;
        }
    }
    numbers
}

fn files(disk: &SimDisk, folder: &Path, found: &mut Vec<PathBuf>) {
    for name in disk.list(folder).unwrap() {
        let path = folder.join(name);
        match disk.open(&path, false) {
            Ok(_) => found.push(path),
            Err(_) => files(disk, &path, found),
        }
    }
}

/// Flips one bit of a file, where something is written. Says where.
fn flip(disk: &SimDisk, random: &mut Random, path: &Path) -> u64 {
    let content = apogee_base::disk::read(disk, path).unwrap();
    let written = content.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = random.below(written as u64);
    let byte = content[at as usize] ^ (1 << random.below(8));
    let file = disk.open(path, false).unwrap();
    file.write_at(&mut [IoSlice::new(&[byte])], at).unwrap();
    file.sync().unwrap();
    at
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("STORE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_SEEDS").unwrap_or(150),
    }
}

/// A store of 150 messages, the last 50 after the checkpoint; left in order, or as by a kill.
fn filled(seed: u64, clean: bool) -> SimDisk {
    let disk = SimDisk::new(seed);
    let store = open(&disk);
    fill(&store, 0..100);
    store.index_step().unwrap();
    store.checkpoint_step().unwrap();
    fill(&store, 100..150);
    store.queues_step().unwrap();
    if clean {
        store.close().unwrap();
    } else {
        disk.kill_process();
    }
    disk
}

#[test]
fn a_flipped_bit_costs_at_most_the_message_it_is_in() {
    for seed in seeds() {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let disk = filled(seed, seed % 2 == 0);
        let mut all = Vec::new();
        files(&disk, Path::new("/store"), &mut all);
        all.retain(|path| !path.ends_with("lock") && !path.ends_with("abort"));
        all.retain(|path| !apogee_base::disk::read(&disk, path).unwrap().is_empty());
        let path = all[random.below(all.len() as u64) as usize].clone();
        let at = flip(&disk, &mut random, &path);
        let of = format!("seed {seed}: {} byte {at}", path.display());

        let store = open(&disk);
        let numbers = readable(&store, &of);
        let lost: Vec<_> = (0..150).filter(|number| !numbers.contains(number)).collect();
        let in_log = path.starts_with("/store/commitlog");
        assert!(lost.len() <= usize::from(in_log), "{of}: lost {lost:?}");

        // It goes on: no place is given twice, and the next start finds all of it.
        let appended = store.append_now((150..160).map(draft)).unwrap();
        if lost.iter().all(|number| *number < 149 - QUEUES as usize) {
            for (number, appended) in (150_i64..).zip(&appended) {
                assert_eq!(appended.queue_offset, number / i64::from(QUEUES), "{of}");
            }
            assert_eq!(readable(&store, &of).len(), 160 - lost.len(), "{of}");
            store.close().unwrap();
            drop(store);
            let again = readable(&open(&disk), &of);
            assert_eq!(again.len(), 160 - lost.len(), "{of}, after another start");
        }
    }
}

#[test]
fn what_was_deleted_between_two_runs_is_made_anew_from_the_log() {
    for (seed, clean) in [(1, true), (2, false)] {
        let queue = "/store/consumequeue/T/1";
        for gone in ["/store/consumequeue", "/store/consumequeue/T", queue, "/store/index", "/store/checkpoint"] {
            let of = format!("{gone}, clean: {clean}");
            let disk = filled(seed, clean);
            match gone {
                "/store/checkpoint" => disk.remove(Path::new(gone)).unwrap(),
                _ => disk.remove_folder(Path::new(gone)).unwrap(),
            }
            let store = open(&disk);
            assert_eq!(readable(&store, &of).len(), 150, "{of}");
            for number in 0..150 {
                let found = store.query("T", &format!("k{number}"), None, 8, 0, i64::MAX).unwrap();
                let offsets = found.records.iter().map(|bytes| Record::read(bytes).unwrap().queue_offset);
                assert_eq!(offsets.collect::<Vec<_>>(), [number / i64::from(QUEUES)], "{of}: key of {number}");
            }
        }
    }
}

#[test]
fn a_topic_that_was_deleted_does_not_count_as_lost() {
    let disk = filled(1, true);
    let store = open(&disk);
    store.delete_topic("T").unwrap();
    disk.kill_process();
    drop(store);
    let store = open(&disk);
    assert!(readable(&store, "deleted").is_empty(), "it came back");
    // Not even when all queues are made anew, or a queue of the topic that was made again.
    let appended = store.append_now((0..3).map(draft)).unwrap();
    assert!(appended.iter().all(|appended| appended.queue_offset == 0), "{appended:?}");
    store.close().unwrap();
    drop(store);
    for gone in ["/store/checkpoint", "/store/consumequeue/T/0/00000000000000000000"] {
        disk.remove(Path::new(gone)).unwrap();
        let store = open(&disk);
        assert_eq!(readable(&store, gone), (0..3).collect(), "without {gone}");
        store.close().unwrap();
    }
}

/// Every file of a queue, of several queues and of all, is gone, or cut short, once each.
#[test]
fn files_of_queues_that_are_gone_or_cut_short_are_made_anew() {
    for (seed, clean) in [(1, true), (2, false)] {
        let whole = filled(seed, clean);
        let mut queue_files = Vec::new();
        files(&whole, Path::new("/store/consumequeue"), &mut queue_files);
        assert_eq!(queue_files.len(), 9, "each queue has several files");
        let sets = queue_files.iter().map(|path| vec![path.clone()]);
        let of_queue = |id: &str| queue_files.iter().filter(|path| path.starts_with(id)).cloned().collect::<Vec<_>>();
        let queues = ["/store/consumequeue/T/0", "/store/consumequeue/T/1", "/store/consumequeue/T/2"];
        let sets = sets.chain(queues.iter().map(|queue| of_queue(queue)));
        let sets = sets.chain(queues.iter().map(|queue| of_queue(queue)[1..].to_vec()));
        let sets = sets.chain(queues.iter().map(|queue| of_queue(queue)[..2].to_vec())).chain([queue_files.clone()]);
        for (gone, length) in
            sets.flat_map(|gone| [None, Some(0), Some(200), Some(30)].map(|length| (gone.clone(), length)))
        {
            let of = format!("{gone:?} cut to {length:?}, clean: {clean}");
            let disk = filled(seed, clean);
            for path in &gone {
                match length {
                    None => disk.remove(path).unwrap(),
                    Some(length) => disk.open(path, false).unwrap().set_len(length).unwrap(),
                }
            }
            let store = open(&disk);
            assert_eq!(readable(&store, &of).len(), 150, "{of}");
            let appended = store.append_now((150..153).map(draft)).unwrap();
            assert!(appended.iter().all(|appended| appended.queue_offset == 50), "{of}: {appended:?}");
            store.close().unwrap();
            drop(store);
            assert_eq!(readable(&open(&disk), &of).len(), 153, "{of}, after another start");
        }
    }
}

/// Any file of the log is gone, and put back before a later start.
#[test]
fn a_missing_file_of_the_log_costs_what_is_in_it_until_it_is_put_back() {
    for (seed, clean) in [(1, true), (2, false)] {
        let log = Path::new("/store/commitlog");
        let names = filled(seed, clean).list(log).unwrap();
        // After a kill nothing but the last file knows which offsets were given last.
        for name in &names[..names.len() - usize::from(!clean)] {
            let of = format!("{name}, clean: {clean}");
            let disk = filled(seed, clean);
            let before = readable(&open(&disk), &of);
            disk.kill_process();
            let path = log.join(name);
            let content = apogee_base::disk::read(&disk, &path).unwrap();
            disk.remove(&path).unwrap();
            let is_inside = |number: &usize| {
                let key = format!("KEYS\u{1}k{number}\u{2}");
                content.windows(key.len()).any(|bytes| bytes == key.as_bytes())
            };
            let gone: BTreeSet<usize> = before.iter().copied().filter(is_inside).collect();
            assert!(!gone.is_empty(), "{of}");
            if *name != names[0] && Some(name) != names.last() {
                let offline = Offline::open(Arc::new(disk.clone()), "/store".into(), None, (16, 40)).unwrap();
                let report = offline.check(&mut |_, _| {}).unwrap();
                assert!(report.problems.iter().any(|problem| problem.file == path), "{of}: {report:?}");
            }

            let store = open(&disk);
            let left: BTreeSet<usize> = before.difference(&gone).copied().collect();
            assert_eq!(readable(&store, &of), left, "{of}");
            let appended = store.append_now((150..153).map(draft)).unwrap();
            assert!(appended.iter().all(|appended| appended.queue_offset == 50), "{of}: {appended:?}");
            assert_eq!(readable(&store, &of).len(), left.len() + 3, "{of}");
            store.close().unwrap();
            drop(store);
            assert_eq!(readable(&open(&disk), &of).len(), left.len() + 3, "{of}, after another start");
            disk.kill_process();

            let file = disk.open(&path, true).unwrap();
            file.write_at(&mut [IoSlice::new(&content)], 0).unwrap();
            file.sync().unwrap();
            let store = open(&disk);
            assert_eq!(readable(&store, &of).len(), 153, "{of}, after it was put back");
        }
    }
}

/// However often the process is killed, each key is in the index once, and no file is wasted.
#[test]
fn kills_leave_no_key_in_the_index_twice() {
    for seed in 1..15_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let disk = SimDisk::new(seed);
        let mut next = 0;
        for round in 0..12 {
            let store = open(&disk);
            for _ in 0..4 {
                let count = random.below(12) as usize;
                fill(&store, next..next + count);
                next += count;
                match random.below(4) {
                    0 => store.checkpoint_step().unwrap(),
                    1 => {}
                    _ => store.index_step().unwrap(),
                }
            }
            match random.below(4) {
                0 => store.close().unwrap(),
                1 => disk.crash(),
                _ => disk.kill_process(),
            }
            drop(store);
            let store = open(&disk);
            for number in 0..next {
                let found = store.query("T", &format!("k{number}"), None, 8, 0, i64::MAX).unwrap();
                assert_eq!(found.records.len(), 1, "seed {seed}, round {round}: key of {number}");
            }
            store.close().unwrap();
            drop(store);
            let offline = Offline::open(Arc::new(disk.clone()), "/store".into(), None, (16, 40)).unwrap();
            let entries =
                offline.index_files().unwrap().iter().map(|path| offline.entries(path).unwrap().count()).sum::<usize>();
            assert_eq!(entries, next, "seed {seed}, round {round}: one entry a key");
            assert_eq!(offline.index_files().unwrap().len(), next.div_ceil(39), "seed {seed}, round {round}");
        }
    }
}
