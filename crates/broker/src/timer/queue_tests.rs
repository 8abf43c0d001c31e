use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;

use apogee_base::disk::SimDisk;

use super::super::kept::State;
use super::super::mortal::Mortal;
use super::*;

const FOLDER: &str = "/t";

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn message(time: i64, offset: i64) -> Entry {
    Entry { time, offset, size: 100, kind: Kind::Message }
}

fn open(disk: &Arc<dyn Disk>, limit: usize) -> io::Result<(TimerQueue, i64)> {
    disk.create_folder(Path::new(FOLDER))?;
    let state = State::load(&**disk, Path::new(FOLDER))?.unwrap_or_default();
    let queue = TimerQueue::open(Arc::clone(disk), FOLDER.into(), limit, state.queue)?;
    Ok((queue, state.scanned))
}

fn keep(disk: &Arc<dyn Disk>, queue: &mut TimerQueue, scanned: i64) -> io::Result<()> {
    State { scanned, queue: queue.state(), ..State::default() }.save(&**disk, Path::new(FOLDER))?;
    let unused = queue.take_unused();
    queue.remove_files(&unused);
    Ok(())
}

/// Puts so many in at random times and takes them out again.
fn fill_and_drain(count: i64) {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (mut queue, _) = open(&disk, 1024).unwrap();
    let mut random = Random(7);
    for offset in 0..count {
        if queue.is_full() {
            queue.make_room().unwrap();
            queue.merge(4096).unwrap();
        }
        queue.push(message(random.below(1 << 40) as i64, offset));
    }
    assert_eq!(queue.len(), count as u64);
    assert!(queue.table.len() <= 1024);
    let tables = count as usize / 768 + 1;
    let most = (tables.ilog(FAN_IN) as usize + 1) * FAN_IN * 2;
    assert!(queue.runs.len() <= most, "{} runs, {most} at most", queue.runs.len());
    let mut last = message(-1, 0);
    for taken in 0..count {
        let entry = queue.pop_due(i64::MAX).unwrap().unwrap_or_else(|| panic!("only {taken}"));
        assert!(entry > last, "{entry:?} after {last:?}");
        last = entry;
        if taken % 512 == 0 {
            queue.merge(4096).unwrap();
        }
    }
    assert_eq!(queue.pop_due(i64::MAX).unwrap(), None);
    keep(&disk, &mut queue, 0).unwrap();
    while queue.merge(1 << 20).unwrap() {}
    keep(&disk, &mut queue, 0).unwrap();
    let left = disk.list(Path::new(FOLDER)).unwrap();
    assert!(left.iter().all(|name| run::id_of(name).is_none()), "{left:?}");
}

#[test]
fn a_million_come_out_in_order_from_bounded_memory() {
    fill_and_drain(1_000_000);
}

#[test]
fn nothing_is_taken_before_its_time() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (mut queue, _) = open(&disk, 4).unwrap();
    for offset in 0..100 {
        if queue.is_full() {
            queue.make_room().unwrap();
        }
        queue.push(message(1000 - offset, offset));
    }
    assert_eq!(queue.next_time(), Some(901));
    assert_eq!(queue.pop_due(900).unwrap(), None);
    assert_eq!(queue.pop_due(901).unwrap(), Some(message(901, 99)));
    // Back by an hour: nothing is due, and nothing comes twice.
    assert_eq!(queue.pop_due(-3_599_000).unwrap(), None);
    assert_eq!(queue.pop_due(902).unwrap(), Some(message(902, 98)));
    assert_eq!(queue.next_time(), Some(903));
}

#[test]
fn those_that_delete_come_first_and_what_is_settled_does_not_come() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (mut queue, _) = open(&disk, 4).unwrap();
    let delete = Entry { kind: Kind::Delete, ..message(5, 9) };
    let settled = |entry: Entry| Entry { kind: Kind::Settled, ..entry };
    let entries = [message(5, 1), delete, message(5, 2), settled(message(5, 2)), settled(message(5, 3)), message(6, 3)];
    for order in 0..entries.len() {
        // Together and in runs of their own, it is the same.
        for alone in [false, true] {
            for at in 0..entries.len() {
                queue.push(entries[(at + order) % entries.len()]);
                if alone {
                    queue.make_room().unwrap();
                }
            }
            let mut taken = Vec::new();
            while let Some(entry) = queue.pop_due(9).unwrap() {
                taken.push(entry);
            }
            assert_eq!(taken, [delete, message(5, 1), message(6, 3)]);
        }
    }
}

#[test]
fn a_damaged_run_is_noticed() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let (mut queue, _) = open(&disk, 4).unwrap();
    (0..8).for_each(|offset| queue.push(message(offset, offset)));
    queue.make_room().unwrap();
    keep(&disk, &mut queue, 0).unwrap();
    let file = disk.open(&run::path(Path::new(FOLDER), 0), false).unwrap();
    file.write_at(&mut [IoSlice::new(b"x")], 30).unwrap();
    let Err(error) = open(&disk, 4) else { panic!("opened") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

/// A model: what waits, and what was there when the state was kept. Crashes at a disk operation after
/// the other; each time the queue must be as it was kept last, or as it was about to be.
#[test]
fn a_crash_at_any_disk_operation_loses_nothing_that_was_kept() {
    for seed in 1..=150 {
        let sim = SimDisk::new(seed);
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut kept: Vec<BTreeSet<Entry>> = vec![BTreeSet::new()];
        let mut offset = 0;
        for life in 0..4 {
            let operations = random.below(60) as i64 + i64::from(life == 3) * 1_000_000;
            let disk: Arc<dyn Disk> = Arc::new(Mortal::new(&sim, operations));
            // Whatever happens in it, a life ends with a crash.
            let mut live = || -> io::Result<()> {
                let (mut queue, at) = open(&disk, 8)?;
                let mut model =
                    kept.iter().find(|kept| kept_scanned(kept) == at).expect("a state that was kept").clone();
                let (mut steps, mut clock) = (0, 0);
                while steps < 300 {
                    steps += 1;
                    match random.below(10) {
                        0..5 => {
                            if queue.is_full() {
                                queue.make_room()?;
                            }
                            offset += 1;
                            let entry = message(clock + random.below(100) as i64, offset);
                            queue.push(entry);
                            model.insert(entry);
                        }
                        5..7 => {
                            clock += random.below(30) as i64;
                            while let Some(entry) = queue.pop_due(clock)? {
                                assert_eq!(model.pop_first(), Some(entry), "seed {seed}");
                            }
                            assert!(model.first().is_none_or(|entry| entry.time > clock), "seed {seed}");
                        }
                        7..9 => drop(queue.merge(random.below(20) as usize)?),
                        _ => {
                            // A marker that tells which model this state is of.
                            offset += 1;
                            let marker = Entry { kind: Kind::Delete, ..message(1 << 50, offset) };
                            queue.push(marker);
                            model.insert(marker);
                            kept.push(model.clone());
                            keep(&disk, &mut queue, kept_scanned(&model))?;
                        }
                    }
                    assert_eq!(queue.len(), model.len() as u64, "seed {seed}");
                }
                while let Some(entry) = queue.pop_due(i64::MAX)? {
                    assert_eq!(model.pop_first(), Some(entry), "seed {seed}");
                }
                assert!(model.is_empty(), "seed {seed}");
                Ok(())
            };
            if life == 3 {
                live().unwrap();
            } else if live().is_ok() {
                sim.crash();
            }
        }
    }
}

fn kept_scanned(model: &BTreeSet<Entry>) -> i64 {
    model.iter().filter(|entry| entry.kind == Kind::Delete).map(|entry| entry.offset).max().unwrap_or(0)
}
