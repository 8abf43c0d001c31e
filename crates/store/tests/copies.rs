//! A log on several machines: who waits for copies, who sees what, and the copy itself.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use apogee_base::clock::ManualClock;
use apogee_base::disk::SimDisk;
use apogee_base::rng::Rng;
use apogee_store::{
    Append, AppendDone, AppendError, Appended, CopyError, CopyOptions, ProgressListener, Store, StoreOptions,
};

use bytes::Bytes;

mod common;
use common::draft;

const FILE: u64 = 8 << 10;
const TIMEOUT: i64 = 3_000;

fn options() -> StoreOptions {
    StoreOptions {
        log_file_size: FILE,
        queue_file_size: 400,
        index_slots: 100,
        index_entries: 400,
        ..StoreOptions::default()
    }
}

fn waits(hides: bool) -> StoreOptions {
    StoreOptions { copies: Some(CopyOptions { timeout_ms: TIMEOUT, hides }), ..options() }
}

fn follows() -> StoreOptions {
    StoreOptions { follows: true, ..options() }
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, options: StoreOptions) -> Store {
    Store::open(Arc::new(disk.clone()), clock.clone(), PathBuf::from("/store"), options).unwrap()
}

fn new(options: StoreOptions) -> (Store, SimDisk, Arc<ManualClock>) {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(1_000_000)));
    (open(&disk, &clock, options), disk, clock)
}

/// Remembers what senders were told.
#[derive(Default)]
struct Told(Mutex<Vec<(u64, Result<Appended, AppendError>)>>);

impl Told {
    fn take(&self) -> Vec<(u64, Result<Appended, AppendError>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Who was told that there are, or are not, enough copies.
    fn copied(&self) -> Vec<(u64, bool)> {
        self.take().into_iter().map(|(token, result)| (token, result.unwrap().copied)).collect()
    }
}

impl AppendDone for Told {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        self.0.lock().unwrap().push((token, result.clone()));
    }
}

fn send(store: &Store, told: &Arc<Told>, token: u64, properties: &'static str) {
    let draft = draft("T", 0, vec![b'x'; 100], properties);
    store.append([Append { draft, done: told.clone(), token }]);
}

fn visible(store: &Store) -> i64 {
    store.queue_range("T", 0).map_or(0, |(_, end)| end)
}

#[test]
fn a_sender_is_told_once_its_message_is_flushed_and_copied_whichever_comes_last() {
    let (store, _, _) = new(waits(false));
    let told = Arc::new(Told::default());
    send(&store, &told, 1, "");
    store.flush_step().unwrap();
    assert_eq!(told.copied(), [], "flushed only");
    assert_eq!(visible(&store), 1, "a slave's pace does not keep consumers waiting");
    store.copied_to(store.log_max_offset() - 1);
    assert_eq!(told.copied(), [], "not all of it");
    store.copied_to(store.log_max_offset());
    assert_eq!(told.copied(), [(1, true)]);

    send(&store, &told, 2, "");
    store.copied_to(store.log_max_offset());
    assert_eq!(told.copied(), [], "copied only");
    store.flush_step().unwrap();
    assert_eq!(told.copied(), [(2, true)]);

    store.copied_to(i64::MAX);
    send(&store, &told, 3, "");
    store.flush_step().unwrap();
    assert_eq!(told.copied(), [(3, true)], "nobody needs to wait");
}

#[test]
fn who_waits_too_long_is_told_that_there_are_too_few_copies_and_who_does_not_wait_is_not_kept() {
    let (store, _, clock) = new(waits(false));
    let told = Arc::new(Told::default());
    send(&store, &told, 1, "");
    send(&store, &told, 2, "WAIT\u{1}false\u{2}");
    store.flush_step().unwrap();
    assert_eq!(told.copied(), [(2, true)]);
    clock.advance(TIMEOUT - 1);
    let next = store.copies_step();
    assert_eq!((told.copied(), next.as_millis()), (vec![], 1));
    clock.advance(1);
    store.copies_step();
    assert_eq!(told.copied(), [(1, false)]);
    store.copied_to(store.log_max_offset());
    assert_eq!(told.copied(), [], "nobody is told twice");

    send(&store, &told, 3, "");
    store.flush_step().unwrap();
    store.give_up_copies();
    send(&store, &told, 4, "");
    store.flush_step().unwrap();
    assert_eq!(told.copied(), [(3, false), (4, false)]);
    // Who promises nothing to anybody does not wait.
    assert!(store.append_each([draft("T", 0, "", "")])[0].is_ok());
}

#[test]
fn what_is_hidden_is_seen_in_order_once_it_may_be() {
    for sync_flush in [true, false] {
        let (store, disk, clock) = new(StoreOptions { sync_flush, ..waits(true) });
        let told = Arc::new(Told::default());
        let mut ends = Vec::new();
        for token in 0..4 {
            send(&store, &told, token, "");
            ends.push(store.log_max_offset());
        }
        store.flush_step().unwrap();
        assert_eq!((visible(&store), told.copied()), (0, vec![]));
        store.show_to(ends[1]);
        store.show_to(ends[0]);
        assert_eq!(visible(&store), 2);
        store.copied_to(ends[1]);
        assert_eq!(told.copied(), [(0, true), (1, true)]);
        assert_eq!(store.confirmed_offset(), ends[1]);
        store.show_to(i64::MAX);
        send(&store, &told, 4, "");
        store.flush_step().unwrap();
        assert_eq!(visible(&store), 5);
        store.close().unwrap();
        drop(store);
        assert_eq!(visible(&open(&disk, &clock, options())), 5);
    }
}

#[test]
fn hidden_messages_are_there_after_a_clean_stop_and_after_a_kill() {
    for killed in [false, true] {
        let (store, disk, clock) = new(waits(true));
        let told = Arc::new(Told::default());
        (0..50).for_each(|token| send(&store, &told, token, ""));
        store.flush_step().unwrap();
        store.checkpoint_step().unwrap();
        if !killed {
            store.close().unwrap();
        }
        disk.kill_process();
        drop(store);
        assert_eq!(visible(&open(&disk, &clock, options())), 50);
    }
}

#[test]
fn messages_are_refused_while_too_few_machines_are_in_sync() {
    let (store, ..) = new(waits(false));
    let told = Arc::new(Told::default());
    store.refuse_for_copies(Some((1, 2)));
    send(&store, &told, 1, "");
    let refused = told.take();
    assert_eq!(refused, [(1, Err(AppendError::TooFewCopies { in_sync: 1, needed: 2 }))]);
    assert!(store.refusal().unwrap().contains("at least 2 must be"), "{:?}", store.refusal());
    store.refuse_for_copies(None);
    send(&store, &told, 2, "");
    store.copied_to(i64::MAX);
    store.flush_step().unwrap();
    assert_eq!(told.copied(), [(2, true)]);
}

#[test]
fn who_copies_hears_of_every_write_and_flush() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<(&'static str, i64)>>);
    impl ProgressListener for Heard {
        fn written(&self, end: i64) {
            self.0.lock().unwrap().push(("written", end));
        }
        fn flushed(&self, end: i64) {
            self.0.lock().unwrap().push(("flushed", end));
        }
    }
    let (store, ..) = new(options());
    let (heard, told) = (Arc::new(Heard::default()), Arc::new(Told::default()));
    store.watch(heard.clone());
    send(&store, &told, 1, "");
    let end = store.log_max_offset();
    assert_eq!(*heard.0.lock().unwrap(), [("written", end)]);
    assert_eq!(store.log_slice(0, usize::MAX).map(|bytes| bytes.len() as i64), Some(end), "it can be read at once");
    store.flush_step().unwrap();
    assert_eq!(*heard.0.lock().unwrap(), [("written", end), ("flushed", end)]);
}

/// Messages of some queues, of any length; some of them undecided.
fn fill(store: &Store, rng: &mut Rng, count: usize) {
    for _ in 0..count {
        let body = vec![b'a' + rng.below(26) as u8; rng.below(900) as usize];
        store.append_now([draft("T", rng.below(3) as i32, body, format!("KEYS\x01k{}\x02", rng.below(50)))]).unwrap();
    }
}

/// Copies what `to` lacks, in pieces cut anywhere.
fn copy(from: &Store, to: &Store, rng: &mut Rng, until: i64) {
    while to.log_max_offset() < until {
        let offset = to.log_max_offset();
        let most = (1 + rng.below(700) as usize).min((until - offset) as usize);
        let piece = from.log_slice(offset, most).unwrap();
        to.append_copy(offset, &piece).unwrap();
    }
}

/// All messages of all queues, by their sums.
fn contents(store: &Store) -> Vec<Vec<u32>> {
    let queue = |id| {
        let Some((from, to)) = store.queue_range("T", id) else { return Vec::new() };
        (from..to).map(|offset| message_at(store, id, offset).map_or(0, |bytes| crc32fast::hash(&bytes))).collect()
    };
    (0..3).map(queue).collect()
}

fn message_at(store: &Store, id: i32, offset: i64) -> Option<Bytes> {
    let unit = store.unit("T", id, offset)?;
    store.record_at(unit.physical_offset).filter(|record| record.len() == unit.size as usize)
}

fn log(store: &Store, from: i64) -> Vec<u8> {
    let (mut at, mut bytes) = (from, Vec::new());
    while let Some(piece) = store.log_slice(at, usize::MAX) {
        at += piece.len() as i64;
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[test]
fn a_copy_is_the_same_byte_for_byte_and_message_for_message_whatever_happens_to_it() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let (master, ..) = new(options());
        let (mut slave, disk, clock) = new(StoreOptions { sync_flush: rng.below(2) == 0, ..follows() });
        for _ in 0..6 {
            let count = rng.below(25) as usize;
            fill(&master, &mut rng, count);
            let behind = rng.below(300) as i64;
            copy(&master, &slave, &mut rng, master.log_max_offset() - behind);
            match rng.below(5) {
                0 => slave.flush_step().unwrap(),
                1 => slave.checkpoint_step().unwrap(),
                2 => {
                    disk.crash();
                    drop(slave);
                    slave = open(&disk, &clock, follows());
                }
                3 => {
                    slave.close().unwrap();
                    drop(slave);
                    slave = open(&disk, &clock, follows());
                }
                _ => {}
            }
        }
        copy(&master, &slave, &mut rng, master.log_max_offset());
        slave.flush_step().unwrap();
        assert_eq!(slave.flushed_offset(), master.log_max_offset(), "seed {seed}");
        assert_eq!(contents(&slave), contents(&master), "seed {seed}");
        assert!(log(&slave, 0) == log(&master, 0), "seed {seed}");
        // It goes on as a master where the other one would have.
        slave.close().unwrap();
        drop(slave);
        let promoted = open(&disk, &clock, options());
        let [one, other] = [&master, &promoted].map(|store| {
            let appended = store.append_now((0..3).map(|id| draft("T", id, "next", ""))).unwrap();
            appended.iter().map(|at| (at.queue_offset, at.physical_offset)).collect::<Vec<_>>()
        });
        assert_eq!(one, other, "seed {seed}");
    }
}

#[test]
fn a_log_that_was_cut_goes_on_as_another_one_whenever_the_power_goes() {
    for seed in 0..150 {
        let mut rng = Rng::new(seed);
        let (master, ..) = new(options());
        let (deposed, disk, clock) = new(options());
        let count = 1 + rng.below(30) as usize;
        fill(&master, &mut rng, count);
        // The same up to here.
        let common = master.log_max_offset();
        let again = &mut Rng::new(seed);
        let same = 1 + again.below(30) as usize;
        fill(&deposed, again, same);
        assert_eq!(deposed.log_max_offset(), common);
        let (own, others) = (rng.below(40) as usize, rng.below(40) as usize);
        fill(&deposed, &mut rng, own);
        fill(&master, &mut rng, others);
        match rng.below(3) {
            0 => deposed.checkpoint_step().unwrap(),
            1 => deposed.close().unwrap(),
            _ => {}
        }
        disk.crash();
        drop(deposed);
        // The power may go while it is cut; then it is cut again.
        let cut = StoreOptions { cut_at: Some(common), ..follows() };
        if rng.below(2) == 0 {
            let (options, root) = (cut.clone(), PathBuf::from("/store"));
            let syncs = Arc::new(AtomicI64::new(rng.below(10) as i64));
            let (crashing, left) = (disk.clone(), Arc::clone(&syncs));
            disk.slow_syncs(move || {
                if left.fetch_sub(1, Ordering::Relaxed) == 0 {
                    crashing.crash();
                }
            });
            drop(Store::open(Arc::new(disk.clone()), clock.clone(), root, options));
            syncs.store(-1, Ordering::Relaxed);
            disk.crash();
        }
        let slave = open(&disk, &clock, cut);
        assert_eq!(slave.log_max_offset(), common, "seed {seed}");
        copy(&master, &slave, &mut rng, master.log_max_offset());
        slave.flush_step().unwrap();
        slave.checkpoint_step().unwrap();
        assert_eq!(contents(&slave), contents(&master), "seed {seed}");
        disk.crash();
        drop(slave);
        assert_eq!(contents(&open(&disk, &clock, follows())), contents(&master), "seed {seed}");
    }
}

#[test]
fn a_copy_begins_where_a_file_begins_and_one_with_nothing_in_common_begins_anew() {
    let (master, ..) = new(options());
    let (slave, disk, clock) = new(options());
    fill(&slave, &mut Rng::new(5), 30);
    fill(&master, &mut Rng::new(6), 60);
    slave.close().unwrap();
    drop(slave);
    let slave = open(&disk, &clock, StoreOptions { cut_at: Some(0), ..follows() });
    assert_eq!((slave.log_max_offset(), slave.topics().len()), (0, 0));
    let begin = FILE as i64 * 2;
    let outside = slave.append_copy(begin + 1, b"x").unwrap_err();
    assert_eq!(outside, CopyError::NotABeginning { offset: begin + 1, file_size: FILE });
    slave.append_copy(begin, &master.log_slice(begin, 100).unwrap()).unwrap();
    copy(&master, &slave, &mut Rng::new(7), master.log_max_offset());
    slave.flush_step().unwrap();
    assert_eq!(slave.log_min_offset(), begin);
    let all = contents(&master);
    for (part, all) in contents(&slave).iter().zip(&all) {
        assert!(!part.is_empty() && all.ends_with(part));
    }
}

#[test]
fn bytes_that_do_not_belong_at_the_end_are_refused_and_change_nothing() {
    let (master, ..) = new(options());
    let (slave, ..) = new(follows());
    fill(&master, &mut Rng::new(1), 5);
    copy(&master, &slave, &mut Rng::new(2), master.log_max_offset());
    let before = log(&slave, 0);
    let end = slave.log_max_offset();
    for offset in [0, end - 1, end + 1, i64::MAX] {
        assert_eq!(slave.append_copy(offset, b"xyz"), Err(CopyError::NotTheEnd { offset, end }));
    }
    assert_eq!(log(&slave, 0), before);
    assert_eq!(slave.append_now([draft("T", 0, "", "")]), Err(AppendError::Follows));
    assert_eq!(master.append_copy(end, b"x"), Err(CopyError::NoCopy));
}

#[test]
fn a_full_disk_stops_a_copy_that_goes_on_when_there_is_room_and_a_broken_one_ends_it() {
    let (master, ..) = new(options());
    let (slave, disk, _) = new(follows());
    fill(&master, &mut Rng::new(1), 20);
    let piece = master.log_slice(0, 1_000).unwrap();
    disk.set_room(Some(0));
    assert_eq!(slave.append_copy(0, &piece), Err(CopyError::Write(AppendError::DiskFull)));
    disk.set_room(None);
    copy(&master, &slave, &mut Rng::new(2), master.log_max_offset());
    slave.flush_step().unwrap();
    assert_eq!(contents(&slave), contents(&master));

    fill(&master, &mut Rng::new(3), 3);
    disk.fail_writes(true);
    let end = slave.log_max_offset();
    let failed = slave.append_copy(end, &master.log_slice(end, 100).unwrap());
    assert!(matches!(failed, Err(CopyError::Write(AppendError::Failed(_)))), "{failed:?}");
    disk.fail_writes(false);
    assert!(slave.append_copy(end, &master.log_slice(end, 100).unwrap()).is_err(), "no write is tried again");
}

#[test]
fn a_damaged_record_is_passed_over_and_those_behind_it_come() {
    let (master, ..) = new(options());
    let (slave, ..) = new(follows());
    for _ in 0..3 {
        master.append_now([draft("T", 0, vec![b'z'; 200], "")]).unwrap();
    }
    let mut bytes = log(&master, 0);
    let size = bytes.len() / 3;
    bytes[size + 100] ^= 1;
    slave.append_copy(0, &bytes[..size + 90]).unwrap();
    slave.append_copy(size as i64 + 90, &bytes[size + 90..]).unwrap();
    slave.flush_step().unwrap();
    assert_eq!(slave.queue_range("T", 0), Some((0, 3)));
    assert!(message_at(&slave, 0, 1).is_none());
    assert!(message_at(&slave, 0, 2).is_some());
}
