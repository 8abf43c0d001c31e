//! Asynchronous flush: what a power cut takes of that which was acknowledged, on disks of all speeds.

use std::sync::{Arc, Mutex};

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::SimDisk;
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_store::{Append, AppendDone, AppendError, Appended, Store, StoreOptions};
use bytes::BytesMut;

use crate::world::{ROOT, Random, START};

/// Milliseconds that are promised.
const WINDOW: i64 = 50;

/// How long the disk's syncs take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    Quick,
    /// Never more than half the window.
    Usual,
    Slow,
    /// Quick, and now and then it hangs.
    Sudden,
}

impl Pace {
    fn next(self, random: &mut Random) -> u64 {
        match self {
            Self::Quick => random.below(5),
            Self::Usual => random.below(WINDOW as u64 / 2 + 1),
            Self::Slow => 60 + random.below(300),
            Self::Sudden if random.one_in(8) => 100 + random.below(2_500),
            Self::Sudden => random.below(5),
        }
    }
}

/// One life of a store, in steps of a millisecond.
struct Life {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    /// Gone once the power is.
    store: Mutex<Option<Arc<Store>>>,
    random: Mutex<Random>,
    pace: Pace,
    cut_at: i64,
    sent_at: Mutex<Vec<i64>>,
    answers: Mutex<Vec<Answer>>,
}

struct Answer {
    token: u64,
    at: i64,
    /// Where it is, unless it was refused.
    appended: Option<Appended>,
}

/// Notes answers, and when they came.
struct Ear(Arc<Life>);

impl AppendDone for Ear {
    fn done(&self, token: u64, result: &Result<Appended, AppendError>) {
        self.0.answers.lock().unwrap().push(Answer { token, at: self.0.clock.now_ms(), appended: result.clone().ok() });
    }
}

impl Life {
    fn open(&self) -> Store {
        let options =
            StoreOptions { log_file_size: 1 << 20, index: false, sync_flush: false, ..StoreOptions::default() };
        Store::open(Arc::new(self.disk.clone()), self.clock.clone(), ROOT.into(), options).unwrap()
    }

    fn store(&self) -> Option<Arc<Store>> {
        self.store.lock().unwrap().clone()
    }

    /// A millisecond goes by: messages come, or the power goes.
    fn tick(self: &Arc<Self>) {
        let Some(store) = self.store() else { return };
        self.clock.advance(1);
        if self.clock.now_ms() >= self.cut_at {
            self.disk.crash();
            *self.store.lock().unwrap() = None;
            return;
        }
        let count = self.random.lock().unwrap().below(3);
        for _ in 0..count {
            let mut sent_at = self.sent_at.lock().unwrap();
            let token = sent_at.len() as u64;
            sent_at.push(self.clock.now_ms());
            drop(sent_at);
            store.append([Append { draft: draft(token), done: Arc::new(Ear(self.clone())), token }]);
        }
    }

    /// What the flushing thread does, until the power goes.
    fn live(self: &Arc<Self>) {
        let mut slept = 0;
        while let Some(store) = self.store() {
            self.tick();
            slept += 1;
            if slept >= WINDOW / 2 || store.wait_for_flush_work(std::time::Duration::ZERO) {
                let _ = store.flush_step();
                slept = 0;
            }
        }
    }
}

fn draft(number: u64) -> Draft {
    let message = NewMessage::own("T", number.to_be_bytes().to_vec(), ([127, 0, 0, 1], 1), START);
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}

fn lives(pace: Pace, seed: u64) -> Arc<Life> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let cut_at = START + 100 + random.below(1_500) as i64;
    let life = Arc::new(Life {
        disk: SimDisk::new(seed),
        clock: Arc::new(ManualClock::new(START)),
        store: Mutex::default(),
        random: Mutex::new(random),
        pace,
        cut_at,
        sent_at: Mutex::default(),
        answers: Mutex::default(),
    });
    *life.store.lock().unwrap() = Some(Arc::new(life.open()));
    let meanwhile = Arc::downgrade(&life);
    life.disk.slow_syncs(move || {
        let Some(life) = meanwhile.upgrade() else { return };
        let takes = life.pace.next(&mut life.random.lock().unwrap());
        (0..takes).for_each(|_| life.tick());
    });
    life.live();
    life
}

#[test]
fn a_power_cut_takes_at_most_the_last_moment_of_what_was_acknowledged() {
    let mut lost_some = 0;
    for pace in [Pace::Quick, Pace::Usual, Pace::Slow, Pace::Sudden] {
        for seed in crate::seeds(20) {
            let life = lives(pace, seed);
            let store = life.open();
            let answers = life.answers.lock().unwrap();
            let (mut oldest_lost, mut last) = (i64::MAX, i64::MIN);
            for Answer { token, at, appended } in answers.iter() {
                let Some(appended) = appended else { continue };
                last = last.max(*at);
                let kept = store.record_at(appended.physical_offset).is_some_and(|bytes| {
                    Record::read(&bytes).is_ok_and(|record| record.body[..] == token.to_be_bytes())
                });
                if !kept {
                    oldest_lost = oldest_lost.min(*at);
                }
            }
            if oldest_lost == i64::MAX {
                continue;
            }
            lost_some += 1;
            assert!(last - oldest_lost <= WINDOW, "{pace:?}, seed {seed}: {} ms are lost", last - oldest_lost);
            if matches!(pace, Pace::Quick | Pace::Usual) {
                let age = life.cut_at - oldest_lost;
                assert!(age <= WINDOW, "{pace:?}, seed {seed}: lost what was acknowledged {age} ms before the cut");
            }
        }
    }
    assert!(lost_some > 20, "only {lost_some} cuts took anything");
}

#[test]
fn on_a_quick_disk_nobody_waits_for_the_flush_and_on_a_slow_one_all_are_told() {
    for seed in crate::seeds(10) {
        let waited = |life: &Life| {
            let (answers, sent_at) = (life.answers.lock().unwrap(), life.sent_at.lock().unwrap());
            answers.iter().map(|answer| answer.at - sent_at[answer.token as usize]).max().unwrap()
        };
        assert_eq!(waited(&lives(Pace::Quick, seed)), 0, "seed {seed}");
        let slow = lives(Pace::Slow, seed);
        assert!(waited(&slow) > 0, "seed {seed}");
        // Two flushes at most: the one under way, and the next.
        assert!(waited(&slow) <= 2 * 360, "seed {seed}: {}", waited(&slow));
    }
}

#[test]
fn who_promises_nothing_does_not_wait_for_a_slow_disk() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::new(START)));
    let options = StoreOptions { log_file_size: 1 << 20, index: false, sync_flush: false, ..StoreOptions::default() };
    let store = Store::open(Arc::new(disk.clone()), clock.clone(), ROOT.into(), options).unwrap();
    let time = Arc::clone(&clock);
    disk.slow_syncs(move || time.advance(WINDOW));
    store.append_now([draft(0)]).unwrap();
    store.flush_step().unwrap();
    let began = clock.now_ms();
    assert!(store.append_each([draft(1), draft(2)]).iter().all(Result::is_ok));
    assert_eq!(clock.now_ms(), began, "it is told at once");
    store.append_now([draft(3)]).unwrap();
    assert_eq!(clock.now_ms(), began + WINDOW, "a promise waits for a flush, which makes all durable");
}
