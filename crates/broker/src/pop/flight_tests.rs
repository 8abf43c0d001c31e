//! What must hold whatever comes in which order: pops, acknowledgements, changes, time, and crashes between any two steps.

use std::collections::{BTreeMap, BTreeSet};

use apogee_base::rng::Rng;

use super::flight::*;

const LIMITS: Limits = Limits { stay_ms: 100, soon_ms: 30, batches: 1_000 };
const QUEUES: i32 = 2;

/// What survives a crash, and what the world knows of the messages.
#[derive(Default)]
struct World {
    flight: Flight,
    now: i64,
    /// Messages of each queue.
    ends: BTreeMap<i32, i64>,
    /// Committed offsets: as they are, and as they were last saved.
    committed: BTreeMap<i32, i64>,
    saved: BTreeMap<i32, i64>,
    /// Deliveries that somebody may acknowledge, and when their time is up.
    handles: Vec<(i32, i64, i64, i64)>,
    /// Notes in the log that are not acknowledged: queue, offset, pop time.
    noted: BTreeSet<(i32, i64, i64)>,
    /// Messages by queue and offset.
    acked: BTreeSet<(i32, i64)>,
    revived: BTreeSet<(i32, i64)>,
    leaving: Vec<Leaving>,
}

impl World {
    fn commit(&mut self, floor: Option<Floor>) {
        if let Some(floor) = floor {
            let before = self.committed.insert(floor.queue, floor.offset);
            assert!(before <= Some(floor.offset), "a floor goes back from {before:?} to {}", floor.offset);
        }
    }

    fn committed(&self, queue: i32) -> i64 {
        self.committed.get(&queue).copied().unwrap_or(0)
    }

    fn pop(&mut self, rng: &mut Rng) {
        let queue = rng.below(QUEUES as u64) as i32;
        let (committed, end) = (self.committed(queue), self.ends[&queue]);
        self.committed.entry(queue).or_insert(0);
        match self.flight.begin("G", "T", queue, committed, end, self.now) {
            Begin::Empty | Begin::Busy => {}
            Begin::From { lane, offset, but_for } => {
                assert_eq!(self.flight.begin("G", "T", queue, committed, end, self.now), Begin::Busy);
                let next = end.min(offset + 1 + rng.below(8) as i64);
                // Some don't match; that is as good as acknowledged.
                let mut wanted = Vec::new();
                for offset in offset..next {
                    if rng.chance(10) {
                        self.acked.insert((queue, offset));
                    } else if !but_for.contains(&offset) {
                        wanted.push(offset);
                    }
                }
                let invisible = [20, 60, 300, 5_000][rng.below(4) as usize];
                let pop = Pop { now_ms: self.now, pop_time: self.now, invisible, revive_queue: 0, suspend: false };
                let taken = self.flight.took(lane, &wanted, next, pop, LIMITS);
                assert!(taken.is_wanted);
                self.commit(taken.floor);
                self.handles.extend(wanted.iter().map(|offset| (queue, *offset, self.now, self.now + invisible)));
            }
        }
    }

    fn handle(&mut self, rng: &mut Rng) -> Option<(i32, i64, i64, i64)> {
        let count = self.handles.len() as u64;
        let place = if count > 0 { rng.below(count) as usize } else { return None };
        // Most are used once, some again and again.
        Some(if rng.chance(80) { self.handles.swap_remove(place) } else { self.handles[place] })
    }

    fn ack(&mut self, rng: &mut Rng) {
        let Some((queue, offset, pop_time, due)) = self.handle(rng) else { return };
        let delivery = Delivery { group: "G", topic: "T", queue, offset, pop_time };
        let committed = self.committed.get(&queue).copied();
        match self.flight.ack(delivery, committed, due, self.now) {
            Acked::Done { floor, is_noted } => {
                self.commit(floor);
                self.acked.insert((queue, offset));
                if is_noted {
                    self.noted.remove(&(queue, offset, pop_time));
                }
            }
            Acked::Before => {}
            Acked::Elsewhere => {
                // The note, if there is one, is known to be settled.
                if self.noted.remove(&(queue, offset, pop_time)) {
                    self.acked.insert((queue, offset));
                }
            }
            Acked::Revived | Acked::Again | Acked::Never => {}
        }
    }

    fn change(&mut self, rng: &mut Rng) {
        let Some((queue, offset, pop_time, due)) = self.handle(rng) else { return };
        let delivery = Delivery { group: "G", topic: "T", queue, offset, pop_time };
        let invisible = [0, 50, 1_000][rng.below(3) as usize];
        let pop = Pop { now_ms: self.now, pop_time: self.now, invisible, revive_queue: 0, suspend: false };
        let committed = self.committed.get(&queue).copied();
        if let Changed::Done { pop_time: renewed, .. } = self.flight.change(delivery, committed, due, pop, LIMITS) {
            assert!(renewed > pop_time, "two deliveries of a message have the same time");
            self.handles.push((queue, offset, renewed, renewed + invisible));
        }
    }

    /// Batches begin to leave, or those that began end it, or fail.
    fn let_go(&mut self, rng: &mut Rng) {
        if self.leaving.is_empty() {
            self.leaving = self.flight.leaving(self.now, LIMITS, 4);
            return;
        }
        for leaving in std::mem::take(&mut self.leaving) {
            if rng.chance(20) {
                self.flight.stays(&leaving, self.now + 10);
                continue;
            }
            for offset in &leaving.offsets {
                let place = (leaving.queue, *offset);
                match leaving.way {
                    // What is acknowledged meanwhile is noted as such after it.
                    Way::Noted if self.acked.contains(&place) => {}
                    Way::Noted => drop(self.noted.insert((leaving.queue, *offset, leaving.pop_time))),
                    Way::Revived => drop(self.revived.insert(place)),
                }
            }
            let floor = self.flight.left(&leaving);
            self.commit(floor);
        }
    }

    fn crash(&mut self) {
        self.flight = Flight::default();
        self.leaving.clear();
        self.committed = self.saved.clone();
        self.now += 1;
    }

    fn check(&self) {
        for (queue, committed) in &self.committed {
            for offset in 0..*committed {
                let place = (*queue, offset);
                let is_noted = self.noted.range((*queue, offset, 0)..=(*queue, offset, i64::MAX)).next().is_some();
                let is_kept = self.acked.contains(&place) || self.revived.contains(&place) || is_noted;
                assert!(is_kept, "message {offset} of queue {queue} is lost; committed is {committed}");
            }
        }
    }
}

#[test]
fn no_message_is_lost_or_stuck() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut world = World { now: 1_000, ends: (0..QUEUES).map(|queue| (queue, 0)).collect(), ..World::default() };
        for _ in 0..400 {
            match rng.below(100) {
                0..20 => *world.ends.get_mut(&(rng.below(QUEUES as u64) as i32)).unwrap() += rng.below(6) as i64,
                20..45 => world.pop(&mut rng),
                45..65 => world.ack(&mut rng),
                65..72 => world.change(&mut rng),
                72..88 => world.let_go(&mut rng),
                88..90 => world.saved = world.committed.clone(),
                90..91 => world.crash(),
                // Clocks are put back, too.
                91..92 => world.now -= rng.below(50) as i64,
                _ => world.now += rng.below(60) as i64,
            }
            world.check();
        }
        // Now nobody acknowledges anything any more.
        let mut rounds = 0;
        let is_done = |world: &World| world.committed.iter().all(|(queue, offset)| world.ends[queue] == *offset);
        while world.flight.messages() > 0 || world.committed.len() < QUEUES as usize || !is_done(&world) {
            world.pop(&mut rng);
            world.now += 100;
            world.let_go(&mut rng);
            world.check();
            rounds += 1;
            assert!(rounds < 10_000, "seed {seed}: {} messages are stuck", world.flight.messages());
        }
        assert_eq!(
            (world.flight.batches(), world.flight.next_look()),
            (0, None),
            "seed {seed}: nothing is left behind"
        );
    }
}

fn pop(now_ms: i64, invisible: i64) -> Pop {
    Pop { now_ms, pop_time: now_ms, invisible, revive_queue: 0, suspend: false }
}

/// Pops all up to `end`.
fn take(flight: &mut Flight, committed: i64, end: i64, pop: Pop) -> Vec<i64> {
    let Begin::From { lane, offset, but_for } = flight.begin("G", "T", 0, committed, end, pop.now_ms) else {
        return Vec::new();
    };
    let offsets: Vec<i64> = (offset..end).filter(|offset| !but_for.contains(offset)).collect();
    flight.took(lane, &offsets, end, pop, LIMITS);
    offsets
}

fn delivery(offset: i64, pop_time: i64) -> Delivery<'static> {
    Delivery { group: "G", topic: "T", queue: 0, offset, pop_time }
}

#[test]
fn who_is_moved_goes_on_there() {
    let mut flight = Flight::default();
    assert_eq!(take(&mut flight, 0, 10, pop(1_000, 60)), (0..10).collect::<Vec<_>>());
    assert_eq!(take(&mut flight, 5, 10, pop(1_010, 60)), (5..10).collect::<Vec<_>>());
    assert_eq!(flight.messages(), 5);
    assert_eq!(flight.ack(delivery(7, 1_000), Some(5), 1_060, 1_020), Acked::Again);
    assert_eq!(flight.ack(delivery(3, 1_000), Some(5), 1_060, 1_020), Acked::Before);
    assert_eq!(flight.ack(delivery(12, 1_010), Some(5), 1_070, 1_020), Acked::Never);
}

#[test]
fn what_an_earlier_run_gave_out_can_be_acknowledged() {
    let mut flight = Flight::default();
    let done = Acked::Done { floor: None, is_noted: false };
    assert_eq!(flight.ack(delivery(2, 900), Some(0), 1_500, 1_000), done);
    assert_eq!(flight.ack(delivery(3, 900), Some(0), 950, 1_000), Acked::Never, "its time is up");
    let renewed = flight.change(delivery(4, 900), Some(0), 1_500, pop(1_000, 60), LIMITS);
    assert!(matches!(renewed, Changed::Done { pop_time: 1_000, .. }), "{renewed:?}");
    assert_eq!(take(&mut flight, 0, 6, pop(1_010, 60)), [0, 1, 3, 5]);
    assert_eq!(flight.ack(delivery(4, 1_000), Some(0), 1_060, 1_020), done);
}

#[test]
fn so_many_batches_are_in_memory_and_no_more() {
    let mut flight = Flight::default();
    let limits = Limits { batches: 10, ..LIMITS };
    for offset in 0..25 {
        let Begin::From { lane, .. } = flight.begin("G", "T", 0, 0, 25, 1_000) else { panic!("{offset}") };
        flight.took(lane, &[offset], offset + 1, pop(1_000, 60_000), limits);
    }
    let leaving = flight.leaving(1_001, limits, 100);
    assert_eq!(leaving.iter().map(|leaving| leaving.start).collect::<Vec<_>>(), (0..15).collect::<Vec<_>>());
    assert!(leaving.iter().all(|leaving| leaving.way == Way::Noted));
    let floor = leaving.iter().filter_map(|leaving| flight.left(leaving)).last();
    assert_eq!(floor.map(|floor| floor.offset), Some(15));
    assert_eq!((flight.batches(), flight.messages()), (10, 10));
}

#[test]
fn many_messages_leave_nothing_behind() {
    let mut flight = Flight::default();
    for offset in 0..100_000 {
        let Begin::From { lane, .. } = flight.begin("G", "T", 0, 0, 100_000, 1_000) else { panic!("{offset}") };
        flight.took(lane, &[offset], offset + 1, pop(1_000, 60_000), LIMITS);
    }
    for offset in (0..100_000).rev() {
        let acked = flight.ack(delivery(offset, 1_000), Some(0), 61_000, 1_001);
        assert!(matches!(acked, Acked::Done { .. }), "{offset}: {acked:?}");
    }
    assert_eq!((flight.batches(), flight.messages(), flight.next_look()), (0, 0, None));
}

#[test]
fn what_is_forgotten_leaves_nothing_behind() {
    let mut flight = Flight::default();
    take(&mut flight, 0, 10, pop(1_000, 60));
    let leaving = flight.leaving(2_000, LIMITS, 10);
    flight.forget(|_, topic| topic == "T");
    assert_eq!((flight.batches(), flight.messages(), flight.next_look()), (0, 0, None));
    assert_eq!(flight.left(&leaving[0]), None);
    assert_eq!(take(&mut flight, 3, 5, pop(3_000, 60)), [3, 4]);
}
