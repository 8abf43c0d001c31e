//! What must hold whatever comes in which order: pops, acknowledgements, changes, the clock, and crashes between any two
//! steps; and what a consumer sees of it.

use std::collections::{BTreeMap, BTreeSet};

use apogee_base::rng::Rng;
use apogee_wire::bodies::{Body, OrderInfo};

use super::*;

const PLACE: Place<'static> = Place { group: "G", topic: "T", queue: 0 };

fn at(now_ms: i64) -> Pop<'static> {
    Pop { now_ms, pop_time: now_ms, invisible: 100, attempt: None }
}

fn new() -> Ordered {
    Ordered::new(ConsumerOrderInfo::default(), std::iter::empty(), 0)
}

/// Pops up to `most` of a queue without gaps that ends at `end`.
fn pop(ordered: &mut Ordered, committed: i64, end: i64, most: usize, pop: Pop<'_>) -> Option<(Vec<i64>, Taken)> {
    let Begin::From { offset, most: limit, but_for } = ordered.begin(PLACE, committed, end, pop) else { return None };
    let offsets: Vec<i64> = (offset..end).filter(|offset| !but_for.contains(offset)).take(most.min(limit)).collect();
    let next = offsets.last().map_or(end, |last| last + 1);
    let taken = ordered.took(PLACE, &offsets, next, pop);
    Some((offsets, taken))
}

fn ack(ordered: &mut Ordered, offset: i64, pop_time: i64, committed: i64, now_ms: i64) -> Acked {
    let delivery = Delivery { offset, end: offset + 1, pop_time, due: pop_time + 100 };
    ordered.ack(PLACE, delivery, Some(committed), now_ms)
}

fn offsets(popped: Option<(Vec<i64>, Taken)>) -> Vec<i64> {
    popped.map(|(offsets, _)| offsets).unwrap_or_default()
}

#[test]
fn nobody_gets_what_is_behind_a_batch_until_all_of_it_is_acknowledged() {
    let mut ordered = new();
    assert_eq!(offsets(pop(&mut ordered, 0, 9, 3, at(10))), [0, 1, 2]);
    assert_eq!(ordered.begin(PLACE, 0, 9, at(20)), Begin::Blocked);
    assert_eq!(ack(&mut ordered, 1, 10, 0, 20), Acked::Done { floor: 0, is_free: false });
    assert_eq!(ack(&mut ordered, 1, 10, 0, 20), Acked::Before);
    assert_eq!(ack(&mut ordered, 0, 10, 0, 20), Acked::Done { floor: 2, is_free: false });
    assert_eq!(ack(&mut ordered, 0, 10, 2, 20), Acked::Before);
    assert_eq!(ack(&mut ordered, 3, 10, 2, 20), Acked::Never);
    assert_eq!(ack(&mut ordered, 2, 11, 2, 20), Acked::Again);
    assert_eq!(ack(&mut ordered, 2, 10, 2, 20), Acked::Done { floor: 3, is_free: true });
    assert_eq!(offsets(pop(&mut ordered, 3, 9, 3, at(21))), [3, 4, 5]);
}

#[test]
fn what_is_not_acknowledged_in_time_comes_again_and_is_counted() {
    let mut ordered = new();
    pop(&mut ordered, 0, 9, 3, at(0));
    ack(&mut ordered, 1, 0, 0, 1);
    assert_eq!(ordered.begin(PLACE, 0, 9, at(99)), Begin::Blocked);
    let (again, taken) = pop(&mut ordered, 0, 9, 3, at(100)).unwrap();
    assert_eq!((again, taken.times), (vec![0, 2, 3], vec![(0, 1), (2, 1)]), "but for what is acknowledged");
    let (again, taken) = pop(&mut ordered, 0, 9, 3, at(200)).unwrap();
    assert_eq!((again, taken.times), (vec![0, 2, 3], vec![(0, 2), (2, 2), (3, 1)]), "which stays so");
    // One that asks for less leaves what the others have been through.
    let (again, taken) = pop(&mut ordered, 0, 9, 1, at(300)).unwrap();
    assert_eq!((again, taken.times), (vec![0], vec![(0, 3)]));
    assert_eq!(ack(&mut ordered, 0, 300, 0, 301), Acked::Done { floor: 1, is_free: true });
    let (again, taken) = pop(&mut ordered, 1, 9, 3, at(302)).unwrap();
    assert_eq!((again, taken.times), (vec![1, 2, 3], vec![(2, 3), (3, 2)]));
}

#[test]
fn an_attempt_gets_what_it_has_again_and_nothing_more() {
    let mut ordered = new();
    let of = |now, attempt| Pop { attempt: Some(attempt), ..at(now) };
    assert_eq!(offsets(pop(&mut ordered, 0, 9, 2, of(0, "a"))), [0, 1]);
    assert_eq!(ordered.begin(PLACE, 0, 9, of(1, "b")), Begin::Blocked);
    let (again, taken) = pop(&mut ordered, 0, 9, 9, of(2, "a")).unwrap();
    assert_eq!((again, taken.times), (vec![0, 1], vec![]), "its answer was lost: that is no failed delivery");
    assert_eq!(ack(&mut ordered, 0, 0, 0, 3), Acked::Again, "the first handle is void");
    ack(&mut ordered, 0, 2, 0, 3);
    assert!(ordered.is_of(PLACE, Some("a")) && !ordered.is_of(PLACE, Some("b")) && !ordered.is_of(PLACE, None));
    assert_eq!(offsets(pop(&mut ordered, 1, 9, 9, of(4, "a"))), [1], "what is acknowledged does not come again");
    ack(&mut ordered, 1, 4, 1, 5);
    assert_eq!(offsets(pop(&mut ordered, 2, 9, 2, of(6, "a"))), [2, 3], "and when all is, it goes on");
}

#[test]
fn another_time_holds_up_the_queue_for_longer_or_frees_it() {
    let mut ordered = new();
    pop(&mut ordered, 0, 9, 2, at(0));
    let delivery = |offset| Delivery { offset, end: offset + 1, pop_time: 0, due: 100 };
    assert_eq!(ordered.change(PLACE, delivery(0), Some(0), (500, false), 50), Ok(550));
    assert_eq!(ordered.freed(549), []);
    assert_eq!(ordered.begin(PLACE, 0, 9, at(549)), Begin::Blocked);
    assert_eq!(ordered.change(PLACE, delivery(0), Some(0), (0, true), 549), Ok(549));
    assert_eq!(ordered.freed(549).len(), 1);
    let (again, taken) = pop(&mut ordered, 0, 9, 2, at(549)).unwrap();
    assert_eq!((again, taken.times), (vec![0, 1], vec![(1, 1)]), "a suspended delivery did not fail");
    assert_eq!(ordered.change(PLACE, delivery(0), Some(0), (9, false), 550), Err(Acked::Again));
}

#[test]
fn what_was_given_back_without_a_failure_is_known_after_a_start() {
    let mut ordered = new();
    pop(&mut ordered, 0, 9, 3, at(0));
    let delivery = |offset| Delivery { offset, end: offset + 1, pop_time: 0, due: 100 };
    assert_eq!(ordered.change(PLACE, delivery(1), Some(0), (50, true), 10), Ok(60));
    let kept = ConsumerOrderInfo::decode(&ordered.snapshot().encode()).unwrap();
    let mut ordered = Ordered::new(kept, std::iter::empty(), 20);
    let (again, taken) = pop(&mut ordered, 0, 9, 3, at(100)).unwrap();
    assert_eq!((again, taken.times), (vec![0, 1, 2], vec![(0, 1), (2, 1)]));
}

#[test]
fn what_a_group_holds_is_told_until_its_time_is_up() {
    let mut ordered = new();
    pop(&mut ordered, 4, 9, 3, at(0));
    let held = |ordered: &Ordered, committed, now| ordered.outstanding(PLACE, committed, now);
    assert_eq!(held(&ordered, 4, 99), Some((Outstanding { floor: 4, end: 7, is_due: false }, vec![4, 5, 6])));
    ack(&mut ordered, 5, 0, 4, 1);
    assert_eq!(held(&ordered, 4, 100), Some((Outstanding { floor: 4, end: 7, is_due: true }, vec![4, 6])));
    // A batch that is one record, of three messages.
    let last = Delivery { offset: 6, end: 9, pop_time: 0, due: 100 };
    assert_eq!(ordered.ack(PLACE, last, Some(4), 2), Acked::Done { floor: 4, is_free: false });
    assert_eq!(held(&ordered, 4, 3), Some((Outstanding { floor: 4, end: 9, is_due: false }, vec![4])));
    assert_eq!(ack(&mut ordered, 4, 0, 4, 3), Acked::Done { floor: 9, is_free: true });
    assert_eq!(held(&ordered, 9, 3), None);
}

#[test]
fn a_clock_that_is_put_back_holds_up_nothing() {
    let mut ordered = new();
    let late = 1_000_000;
    pop(&mut ordered, 0, 9, 2, at(late));
    assert_eq!(ordered.freed(late), []);
    assert_eq!(ordered.freed(50), []);
    assert_eq!(ordered.freed(150), [Freed { group: "G".into(), topic: "T".into(), queue: 0 }]);
    let pop_time = ordered.pop_time([PLACE].into_iter(), 150);
    assert_eq!(offsets(pop(&mut ordered, 0, 9, 2, Pop { pop_time, ..at(150) })), [0, 1]);
    assert_eq!(ack(&mut ordered, 0, late, 0, 151), Acked::Again, "two deliveries are never the same");
    assert_eq!(ack(&mut ordered, 0, pop_time, 0, 151), Acked::Done { floor: 1, is_free: false });
}

#[test]
fn a_group_that_was_moved_goes_on_there() {
    let mut ordered = new();
    pop(&mut ordered, 4, 9, 3, at(0));
    assert_eq!(ordered.open(PLACE, 4, None, 1), None);
    assert_eq!(ordered.open(PLACE, 2, None, 1), Some(2));
    assert_eq!(offsets(pop(&mut ordered, 2, 9, 2, at(1))), [2, 3]);
    assert_eq!(ordered.begin(PLACE, 3, 9, at(2)), Begin::Blocked, "what is passed counts as acknowledged");
    assert_eq!(offsets(pop(&mut ordered, 8, 9, 2, at(3))), [8]);
}

#[test]
fn the_file_is_upstreams() {
    let text = r#"{"orderInfoCount":1,"orderedConsumptionLevel":"QUEUE","table":{"T@G":{0:{"cm":1,"i":20000,"l":1795230128739,"o":[5,1,4],"ot":{6:1795230131427},"popTime":1795230128737}}}}"#;
    let now = 1_795_230_130_000;
    let read = |text: &str| Ordered::new(ConsumerOrderInfo::decode(text.as_bytes()).unwrap(), std::iter::empty(), now);
    let mut ordered = read(text);
    assert_eq!(ordered.open(PLACE, 6, None, now), None, "it holds 6 and 9");
    let written = String::from_utf8(ordered.snapshot().encode()).unwrap();
    let same = text.replace(r#""orderInfoCount":1,"orderedConsumptionLevel":"QUEUE","#, "");
    assert_eq!(written, same);
    assert_eq!(ordered.take_unsaved(), None);
    let due = ordered.next_look().unwrap();
    assert_eq!(due, 1_795_230_148_737);
    assert_eq!(ordered.open(PLACE, 6, None, due), Some(6));
    for wrong in [r#""o":[-1]"#, r#""o":[]"#, r#""o":[0,2,1]"#, r#""o":[0,9223372036854775807,1]"#] {
        let mut ordered = read(&text.replace(r#""o":[5,1,4]"#, wrong));
        assert_eq!(offsets(pop(&mut ordered, 0, 9, 2, at(now))), [0, 1], "{wrong} holds up nothing");
    }
}

#[test]
fn what_changed_is_taken_once_and_leads_to_the_same_state() {
    let mut ordered = new();
    pop(&mut ordered, 0, 9, 2, at(0));
    let first = ordered.take_unsaved().unwrap();
    assert_eq!(ordered.take_unsaved(), None);
    ack(&mut ordered, 0, 0, 0, 1);
    ack(&mut ordered, 1, 0, 1, 1);
    let second = ordered.take_unsaved().unwrap();
    assert_eq!(second.removed, ["T@G"], "what is over is not kept");
    let again = Ordered::new(ConsumerOrderInfo::default(), [first, second].into_iter(), 2);
    assert_eq!(again.snapshot(), ConsumerOrderInfo::default());
}

const QUEUES: i32 = 2;

/// Messages that are out, by queue: offset, pop time, when they are visible.
type Held = BTreeMap<i32, (Option<&'static str>, BTreeMap<i64, i64>)>;

/// What survives a crash.
#[derive(Default)]
struct Kept {
    committed: BTreeMap<i32, i64>,
    table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
    held: Held,
}

/// A group that reads in order, and what the world knows of its messages.
struct World {
    ordered: Ordered,
    now: i64,
    ends: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
    held: Held,
    /// Deliveries that somebody may acknowledge: queue, offset, pop time.
    handles: Vec<(i32, i64, i64)>,
    /// As it was saved last.
    kept: Kept,
    acked: BTreeSet<(i32, i64)>,
}

/// Whether a group wants a message.
fn is_wanted(offset: i64) -> bool {
    offset % 7 != 3
}

impl World {
    fn place(queue: i32) -> Place<'static> {
        Place { queue, ..PLACE }
    }

    fn commit(&mut self, queue: i32, floor: Option<i64>) {
        let Some(floor) = floor else { return };
        for offset in 0..floor {
            assert!(!is_wanted(offset) || self.acked.contains(&(queue, offset)), "{offset} of queue {queue} is lost");
        }
        let before = self.committed.insert(queue, floor);
        assert!(before <= Some(floor), "queue {queue} goes back from {before:?} to {floor}");
    }

    fn pop(&mut self, rng: &mut Rng) {
        let queue = rng.below(QUEUES as u64) as i32;
        let place = Self::place(queue);
        let attempt = [None, Some("a"), Some("b")][rng.below(3) as usize];
        let invisible = [20, 60, 300][rng.below(3) as usize];
        let pop_time = self.ordered.pop_time([place].into_iter(), self.now);
        let pop = Pop { now_ms: self.now, pop_time, invisible, attempt };
        let (committed, end) = (self.committed[&queue], self.ends[&queue]);
        let is_open = self.ordered.open(place, committed, attempt, self.now).is_some();
        let begin = self.ordered.begin(place, committed, end, pop);
        assert_eq!(is_open, begin != Begin::Blocked);
        let Begin::From { offset, most, but_for } = begin else { return };
        let (of, held) = self.held.get(&queue).cloned().unwrap_or_default();
        let out: Vec<i64> = held.iter().filter(|(at, _)| **at >= committed).map(|(at, _)| *at).collect();
        let is_again = attempt.is_some() && of == attempt && !out.is_empty();
        if !is_again {
            let blocks = out.iter().find(|at| held[at] > self.now);
            assert_eq!(blocks, None, "somebody has it at {}", self.now);
        }
        assert_eq!(self.ordered.begin(place, committed, end, pop), Begin::Busy);
        assert_eq!(self.ordered.open(place, committed, attempt, self.now), None);
        // It may end before it has all, as reads do.
        let most = most.min(1 + rng.below(6) as usize);
        let matching = (offset..end).filter(|at| is_wanted(*at) && !but_for.contains(at));
        let offsets: Vec<i64> = if rng.chance(5) { Vec::new() } else { matching.take(most).collect() };
        let next = match offsets.last() {
            Some(last) => last + 1,
            None => (offset..end).find(|at| is_wanted(*at) && !but_for.contains(at)).unwrap_or(end),
        };
        let taken = self.ordered.took(place, &offsets, next, pop);
        assert!(taken.is_wanted);
        self.commit(queue, taken.floor);
        if offsets.is_empty() {
            return;
        }
        if is_again {
            assert!(offsets.iter().all(|at| out.contains(at)), "{offsets:?} of {out:?}");
        }
        for earlier in 0..offsets[offsets.len() - 1] {
            let is_settled = !is_wanted(earlier) || self.acked.contains(&(queue, earlier));
            assert!(is_settled || offsets.contains(&earlier), "{earlier} is passed by {offsets:?}");
        }
        let visible_at = self.now + invisible;
        self.held.insert(queue, (attempt, offsets.iter().map(|at| (*at, visible_at)).collect()));
        self.handles.extend(offsets.iter().map(|at| (queue, *at, pop_time)));
    }

    fn handle(&mut self, rng: &mut Rng) -> Option<(i32, Delivery)> {
        let count = self.handles.len() as u64;
        let place = if count > 0 { rng.below(count) as usize } else { return None };
        let (queue, offset, pop_time) =
            if rng.chance(70) { self.handles.swap_remove(place) } else { self.handles[place] };
        Some((queue, Delivery { offset, end: offset + 1, pop_time, due: pop_time + 300 }))
    }

    fn ack(&mut self, rng: &mut Rng) {
        let Some((queue, delivery)) = self.handle(rng) else { return };
        let committed = self.committed.get(&queue).copied();
        // Whatever becomes of it: the consumer is done with the message.
        let acked = self.ordered.ack(Self::place(queue), delivery, committed, self.now);
        if let Acked::Done { floor, .. } = acked {
            self.acked.insert((queue, delivery.offset));
            if let Some((_, held)) = self.held.get_mut(&queue) {
                held.remove(&delivery.offset);
            }
            self.commit(queue, Some(floor));
        }
    }

    fn change(&mut self, rng: &mut Rng) {
        let Some((queue, delivery)) = self.handle(rng) else { return };
        let committed = self.committed.get(&queue).copied();
        let invisible = [0, 20, 300][rng.below(3) as usize];
        if let Ok(visible_at) =
            self.ordered.change(Self::place(queue), delivery, committed, (invisible, rng.chance(50)), self.now)
        {
            assert_eq!(visible_at, self.now + invisible);
            if let Some((_, held)) = self.held.get_mut(&queue) {
                held.insert(delivery.offset, visible_at);
            }
            self.handles.push((queue, delivery.offset, delivery.pop_time));
        }
    }

    /// The table, and then the offsets, which may be newer.
    fn save(&mut self, rng: &mut Rng) {
        self.kept.held = self.held.clone();
        match rng.chance(50) {
            true => self.kept.table = self.ordered.snapshot().table,
            false => {
                let Change { removed, put } = self.ordered.take_unsaved().unwrap_or_default();
                removed.iter().for_each(|key| drop(self.kept.table.remove(key)));
                self.kept.table.extend(put.table);
            }
        }
        for _ in 0..rng.below(3) {
            self.ack(rng);
        }
        self.kept.committed = self.committed.clone();
    }

    fn crash(&mut self) {
        let kept = ConsumerOrderInfo { table: self.kept.table.clone() };
        let kept = ConsumerOrderInfo::decode(&kept.encode()).unwrap();
        self.ordered = Ordered::new(kept, std::iter::empty(), self.now);
        self.committed = self.kept.committed.clone();
        self.held = self.kept.held.clone();
    }

    fn clock(&mut self, to: i64) {
        if to < self.now {
            for (_, held) in self.held.values_mut() {
                held.values_mut().for_each(|visible_at| *visible_at = (*visible_at).min(to));
            }
            for (_, held) in self.kept.held.values_mut() {
                held.values_mut().for_each(|visible_at| *visible_at = (*visible_at).min(to));
            }
        }
        self.now = to;
        self.ordered.freed(to);
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.below(100) {
            0..35 => self.pop(rng),
            35..70 => self.ack(rng),
            70..78 => self.change(rng),
            78..84 => self.save(rng),
            84..86 => self.crash(),
            86..88 => self.clock((self.now - rng.below(2_000) as i64).max(1)),
            88..90 => self.clock(self.now + rng.below(2_000) as i64),
            90..94 => *self.ends.entry(rng.below(QUEUES as u64) as i32).or_default() += rng.below(10) as i64,
            _ => self.clock(self.now + rng.below(40) as i64),
        }
    }

    /// All that is out comes again at its time, and all comes to an end.
    fn finish(&mut self) {
        for _ in 0..100 {
            self.clock(self.now + 301);
            for queue in 0..QUEUES {
                let place = Self::place(queue);
                let pop_time = self.ordered.pop_time([place].into_iter(), self.now);
                let pop = Pop { now_ms: self.now, pop_time, invisible: 20, attempt: None };
                let (committed, end) = (self.committed[&queue], self.ends[&queue]);
                let Begin::From { offset, but_for, .. } = self.ordered.begin(place, committed, end, pop) else {
                    continue;
                };
                let matching = (offset..end).filter(|at| is_wanted(*at) && !but_for.contains(at));
                let offsets: Vec<i64> = matching.take(8).collect();
                let next = offsets.last().map_or(end, |last| last + 1);
                let taken = self.ordered.took(place, &offsets, next, pop);
                self.commit(queue, taken.floor);
                for offset in offsets {
                    let delivery = Delivery { offset, end: offset + 1, pop_time, due: pop_time + 20 };
                    let Acked::Done { floor, .. } =
                        self.ordered.ack(place, delivery, Some(self.committed[&queue]), self.now)
                    else {
                        panic!("{offset} of queue {queue} cannot be acknowledged")
                    };
                    self.acked.insert((queue, offset));
                    self.commit(queue, Some(floor));
                }
            }
        }
        for queue in 0..QUEUES {
            let (committed, end) = (self.committed[&queue], self.ends[&queue]);
            assert!(
                (committed..end).all(|offset| !is_wanted(offset) || self.acked.contains(&(queue, offset))),
                "queue {queue} is stuck at {committed} of {end}"
            );
        }
        assert!(self.ordered.snapshot().table.is_empty(), "nothing is left: {:?}", self.ordered.snapshot());
    }
}

#[test]
fn nothing_is_lost_or_passed_or_stuck_whatever_happens() {
    let seeds =
        std::env::var("APOGEE_SEED").ok().and_then(|seed| seed.parse().ok()).map_or(0..200, |seed| seed..seed + 1);
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut rng = Rng::new(seed);
            let begin: BTreeMap<i32, i64> = (0..QUEUES).map(|queue| (queue, 0)).collect();
            let mut world = World {
                ordered: Ordered::new(ConsumerOrderInfo::default(), std::iter::empty(), 10_000),
                now: 10_000,
                ends: (0..QUEUES).map(|queue| (queue, 10)).collect(),
                committed: begin.clone(),
                held: Held::new(),
                handles: Vec::new(),
                kept: Kept { committed: begin, ..Kept::default() },
                acked: BTreeSet::new(),
            };
            for _ in 0..300 {
                world.step(&mut rng);
            }
            world.finish();
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
