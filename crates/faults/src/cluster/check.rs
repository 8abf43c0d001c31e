//! The checker: a history of clients against what a machine has in the end. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::history::{Place, Sending};

/// What stands at an offset of a queue: the message, or `None` when the body is none that was sent.
pub type Found = (i64, Option<u64>);

/// What a machine shows of its queues, in the order in which it shows it.
pub type Log = BTreeMap<Place, Vec<Found>>;

/// What must not be.
#[derive(Debug, Clone, PartialEq)]
pub enum Violation {
    /// A promised message is not there.
    Lost {
        /// Which, where, and when it was promised.
        id: u64,
        place: Place,
        offset: i64,
        at: Duration,
    },
    /// A promised message is there at another offset than was told.
    Moved { id: u64, place: Place, told: i64, found: i64 },
    /// One offset was promised for two messages.
    PromisedTwice { place: Place, offset: i64, ids: [u64; 2] },
    /// A message is there more often than it was sent.
    Repeated { id: u64, copies: usize, sent: u32 },
    /// A message that nobody sent.
    Invented { id: u64, place: Place, offset: i64 },
    /// A message in a queue that it was not sent to.
    Strayed { id: u64, place: Place, offset: i64 },
    /// A body that nobody sent.
    Changed { place: Place, offset: i64 },
    /// `second` was sent after `first` had been promised, and stands before it.
    Reordered { place: Place, first: u64, second: u64 },
    /// Offsets that have no message between those that have.
    Hole { place: Place, from: i64, to: i64 },
    /// An offset that was shown out of turn.
    Disorder { place: Place, offset: i64 },
    /// A promised message that the group's consumers did not get.
    NotConsumed { id: u64, place: Place, offset: i64 },
}

/// What is allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowance {
    /// What was promised before that moment may be lost, if nothing that follows it in its queue and was promised
    /// before that moment is there: a tail that was not copied.
    pub tail_before: Option<Duration>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What must not be.
    pub violations: Vec<Violation>,
    /// Promised messages that are lost and may be.
    pub lost_tail: usize,
    /// When the first of them was promised.
    pub oldest_lost: Option<Duration>,
    /// Copies of messages beyond the first.
    pub duplicates: usize,
    /// Messages that are there without a promise.
    pub unpromised: usize,
    /// Messages in all.
    pub messages: usize,
}

/// Looks at the queues of one machine.
pub fn check(sends: &[Sending], log: &Log, allowed: Allowance) -> Verdict {
    let mut verdict = Verdict::default();
    let by_id: HashMap<u64, &Sending> = sends.iter().map(|sending| (sending.id, sending)).collect();
    let mut copies: HashMap<u64, usize> = HashMap::new();
    for (place, found) in log {
        order_of_offsets(place, found, &mut verdict);
        for &(offset, id) in found {
            verdict.messages += 1;
            let place = place.clone();
            let Some(id) = id else {
                verdict.violations.push(Violation::Changed { place, offset });
                continue;
            };
            *copies.entry(id).or_default() += 1;
            match by_id.get(&id) {
                None => verdict.violations.push(Violation::Invented { id, place, offset }),
                Some(sending) if sending.place.as_ref() != Some(&place) => {
                    verdict.violations.push(Violation::Strayed { id, place, offset });
                }
                Some(sending) => verdict.unpromised += usize::from(sending.acknowledged().is_none()),
            }
        }
    }
    for (id, copies) in copies {
        verdict.duplicates += copies - 1;
        let sent = by_id.get(&id).map_or(1, |sending| sending.copies);
        if copies > sent as usize {
            verdict.violations.push(Violation::Repeated { id, copies, sent });
        }
    }
    let mut promised: BTreeMap<Place, Vec<(i64, &Sending)>> = BTreeMap::new();
    for sending in sends {
        if let (Some(place), Some(offset)) = (&sending.place, sending.acknowledged()) {
            promised.entry(place.clone()).or_default().push((offset, sending));
        }
    }
    let nothing = Vec::new();
    for (place, mut promised) in promised {
        promised.sort_by_key(|(offset, _)| *offset);
        presence(&place, &promised, log.get(&place).unwrap_or(&nothing), allowed, &mut verdict);
        order_of_time(&place, &promised, &mut verdict);
    }
    verdict
}

/// Offsets begin with 0 and grow by one.
fn order_of_offsets(place: &Place, found: &[Found], verdict: &mut Verdict) {
    let mut next = 0;
    for &(offset, _) in found {
        if offset > next {
            verdict.violations.push(Violation::Hole { place: place.clone(), from: next, to: offset });
        } else if offset < next {
            verdict.violations.push(Violation::Disorder { place: place.clone(), offset });
        }
        next = next.max(offset + 1);
    }
}

/// Each promised message of a queue, in order of the offsets told, is where it was told.
fn presence(place: &Place, promised: &[(i64, &Sending)], found: &[Found], allowed: Allowance, verdict: &mut Verdict) {
    let offsets: HashMap<i64, u64> = found.iter().filter_map(|(offset, id)| Some((*offset, (*id)?))).collect();
    let ids: HashMap<u64, i64> = offsets.iter().map(|(offset, id)| (*id, *offset)).collect();
    let in_tail = |sending: &Sending| allowed.tail_before.is_some_and(|moment| sending.ended <= moment);
    // Where the tail begins: behind the last one that is there.
    let kept = promised.iter().rfind(|(_, sending)| in_tail(sending) && ids.contains_key(&sending.id));
    let tail = kept.map_or(0, |(offset, _)| offset + 1);
    for (nth, &(offset, sending)) in promised.iter().enumerate() {
        if let Some((_, other)) = promised.get(nth + 1).filter(|(next, _)| *next == offset) {
            // One of the two may be of a tail that was cut off.
            if !(in_tail(sending) != in_tail(other) && offset >= tail) {
                let ids = [sending.id, other.id];
                verdict.violations.push(Violation::PromisedTwice { place: place.clone(), offset, ids });
            }
        }
        if offsets.get(&offset) == Some(&sending.id) {
            continue;
        }
        let (id, place) = (sending.id, place.clone());
        let mut lose = || {
            verdict.lost_tail += 1;
            verdict.oldest_lost = Some(verdict.oldest_lost.map_or(sending.ended, |oldest| oldest.min(sending.ended)));
        };
        match ids.get(&id) {
            // A copy of it that was sent before or after the one that was promised.
            Some(&found) if found < offset && in_tail(sending) && offset >= tail => lose(),
            Some(&found) => verdict.violations.push(Violation::Moved { id, place, told: offset, found }),
            None if in_tail(sending) && offset >= tail => lose(),
            None => verdict.violations.push(Violation::Lost { id, place, offset, at: sending.ended }),
        }
    }
}

/// What was sent after another one was promised stands behind it: also what one producer sends, which waits for each
/// promise.
fn order_of_time(place: &Place, promised: &[(i64, &Sending)], verdict: &mut Verdict) {
    let mut earliest: Option<&Sending> = None;
    for &(_, sending) in promised.iter().rev() {
        match earliest {
            Some(later) if later.ended < sending.invoked => {
                let (first, second) = (later.id, sending.id);
                verdict.violations.push(Violation::Reordered { place: place.clone(), first, second });
            }
            Some(later) if later.ended <= sending.ended => {}
            _ => earliest = Some(sending),
        }
    }
}

/// What the consumers of a group lack of what was promised. `lost`: what no machine has need not be consumed.
pub fn check_consumed(sends: &[Sending], given: &HashMap<u64, u32>, log: &Log) -> Vec<Violation> {
    let there: HashSet<u64> = log.values().flatten().filter_map(|(_, id)| *id).collect();
    let missing = sends.iter().filter(|sending| there.contains(&sending.id) && !given.contains_key(&sending.id));
    missing
        .filter_map(|sending| {
            let (place, offset) = (sending.place.clone()?, sending.acknowledged()?);
            Some(Violation::NotConsumed { id: sending.id, place, offset })
        })
        .collect()
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |place: &Place| format!("topic {} queue {}", place.0, place.1);
        match self {
            Self::Lost { id, place, offset, at } => write!(
                f,
                "{}: message {id:x}, promised at {} ms for offset {offset}, is lost",
                show(place),
                at.as_millis()
            ),
            Self::Moved { id, place, told, found } => {
                write!(f, "{}: message {id:x} was promised for offset {told} and is at {found}", show(place))
            }
            Self::PromisedTwice { place, offset, ids: [one, other] } => {
                write!(f, "{}: offset {offset} was promised for messages {one:x} and {other:x}", show(place))
            }
            Self::Repeated { id, copies, sent } => {
                write!(f, "message {id:x} is there {copies} times; it was sent {sent} times at most")
            }
            Self::Invented { id, place, offset } => {
                write!(f, "{}: offset {offset} holds message {id:x}, which nobody sent", show(place))
            }
            Self::Strayed { id, place, offset } => {
                write!(f, "{}: offset {offset} holds message {id:x}, which was sent elsewhere", show(place))
            }
            Self::Changed { place, offset } => {
                write!(f, "{}: offset {offset} holds a body that nobody sent", show(place))
            }
            Self::Reordered { place, first, second } => write!(
                f,
                "{}: message {second:x} was sent when {first:x} had been promised, and stands before it",
                show(place)
            ),
            Self::Hole { place, from, to } => write!(f, "{}: nothing is at offsets {from} to {}", show(place), to - 1),
            Self::Disorder { place, offset } => write!(f, "{}: offset {offset} was shown out of turn", show(place)),
            Self::NotConsumed { id, place, offset } => {
                write!(f, "{}: message {id:x} at offset {offset} was not given to the consumers", show(place))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::Outcome;
    use super::*;

    fn place() -> Place {
        ("T".to_owned(), 0)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Message `id`, sent at `10 * id` ms and answered 5 ms later.
    fn sending(id: u64, offset: Option<i64>) -> Sending {
        let outcome = match offset {
            Some(offset) => Outcome::Acknowledged { offset, by: [10, 0, 0, 1].into() },
            None => Outcome::Unknown("no answer".to_owned()),
        };
        let (invoked, ended) = (ms(10 * id), ms(10 * id + 5));
        Sending { id, place: Some(place()), copies: 1, invoked, ended, outcome }
    }

    fn promised(count: u64) -> Vec<Sending> {
        (0..count).map(|id| sending(id, Some(id as i64))).collect()
    }

    fn log(ids: &[u64]) -> Log {
        let found = ids.iter().enumerate().map(|(offset, id)| (offset as i64, Some(*id))).collect();
        [(place(), found)].into()
    }

    fn violations(sends: &[Sending], log: &Log) -> Vec<Violation> {
        check(sends, log, Allowance::default()).violations
    }

    #[test]
    fn what_was_promised_and_is_there_is_right() {
        assert_eq!(violations(&promised(3), &log(&[0, 1, 2])), []);
    }

    #[test]
    fn what_was_not_promised_may_be_there_or_not() {
        let mut sends = promised(2);
        sends.push(sending(2, None));
        let verdict = check(&sends, &log(&[0, 1, 2]), Allowance::default());
        assert_eq!((verdict.violations, verdict.unpromised), (vec![], 1));
        assert_eq!(violations(&sends, &log(&[0, 1])), []);
    }

    #[test]
    fn a_lost_message_is_found() {
        let lost = Violation::Lost { id: 2, place: place(), offset: 2, at: ms(25) };
        assert_eq!(violations(&promised(3), &log(&[0, 1])), std::slice::from_ref(&lost));
        // Of a queue that is not there at all, too.
        assert_eq!(violations(&promised(3), &Log::new()).len(), 3);
        assert!(violations(&promised(3), &Log::new()).contains(&lost));
    }

    #[test]
    fn a_message_at_another_offset_is_found() {
        let found = violations(&promised(2), &log(&[1, 0]));
        assert!(found.contains(&Violation::Moved { id: 0, place: place(), told: 0, found: 1 }), "{found:?}");
        assert!(found.contains(&Violation::Moved { id: 1, place: place(), told: 1, found: 0 }), "{found:?}");
    }

    #[test]
    fn an_offset_that_was_promised_twice_is_found() {
        let sends = [sending(0, Some(0)), sending(1, Some(0))];
        let found = violations(&sends, &log(&[0]));
        assert!(found.contains(&Violation::PromisedTwice { place: place(), offset: 0, ids: [0, 1] }), "{found:?}");
    }

    #[test]
    fn more_copies_than_were_sent_are_found() {
        let mut sends = promised(2);
        let again = log(&[0, 1, 1]);
        assert_eq!(violations(&sends, &again), [Violation::Repeated { id: 1, copies: 2, sent: 1 }]);
        sends[1].copies = 2;
        let verdict = check(&sends, &again, Allowance::default());
        assert_eq!((verdict.violations, verdict.duplicates), (vec![], 1));
    }

    #[test]
    fn a_message_that_nobody_sent_is_found() {
        let invented = Violation::Invented { id: 7, place: place(), offset: 2 };
        assert_eq!(violations(&promised(2), &log(&[0, 1, 7])), [invented]);
    }

    #[test]
    fn a_message_in_the_wrong_queue_is_found() {
        let mut sends = promised(2);
        sends.push(Sending { place: Some(("T".to_owned(), 1)), ..sending(2, None) });
        let strayed = Violation::Strayed { id: 2, place: place(), offset: 2 };
        assert_eq!(violations(&sends, &log(&[0, 1, 2])), [strayed]);
    }

    #[test]
    fn a_changed_body_is_found() {
        let changed = [(place(), vec![(0, Some(0)), (1, None)])].into();
        let found = violations(&promised(2), &changed);
        assert!(found.contains(&Violation::Changed { place: place(), offset: 1 }), "{found:?}");
    }

    #[test]
    fn what_stands_before_what_was_promised_before_it_was_sent_is_found() {
        // 1 was sent when 0 had been promised.
        let sends = [sending(0, Some(1)), sending(1, Some(0))];
        let reordered = Violation::Reordered { place: place(), first: 0, second: 1 };
        assert_eq!(violations(&sends, &log(&[1, 0])), [reordered]);
        // At the same time, any order is right.
        let together = [Sending { ended: ms(30), ..sends[0].clone() }, sends[1].clone()];
        assert_eq!(violations(&together, &log(&[1, 0])), []);
    }

    #[test]
    fn holes_and_disorder_are_found() {
        let hole: Log = [(place(), vec![(0, Some(0)), (2, Some(2))])].into();
        let mut sends = promised(3);
        sends[1] = sending(1, None);
        assert_eq!(violations(&sends, &hole), [Violation::Hole { place: place(), from: 1, to: 2 }]);
        let back: Log = [(place(), vec![(0, Some(0)), (1, Some(1)), (0, Some(0))])].into();
        assert!(violations(&promised(2), &back).contains(&Violation::Disorder { place: place(), offset: 0 }));
    }

    #[test]
    fn only_the_tail_may_be_lost_where_a_tail_may_be() {
        let tail = Allowance { tail_before: Some(ms(1_000)) };
        let verdict = check(&promised(4), &log(&[0, 1]), tail);
        assert_eq!((verdict.violations, verdict.lost_tail), (vec![], 2));
        // Not one from the middle.
        let middle: Log = [(place(), vec![(0, Some(0)), (1, Some(9)), (2, Some(2))])].into();
        let found = check(&promised(3), &middle, tail).violations;
        assert!(found.contains(&Violation::Lost { id: 1, place: place(), offset: 1, at: ms(15) }), "{found:?}");
        // Not what was promised later.
        let early = Allowance { tail_before: Some(ms(20)) };
        let lost = Violation::Lost { id: 3, place: place(), offset: 3, at: ms(35) };
        assert_eq!(check(&promised(4), &log(&[0, 1, 2]), early).violations, [lost]);
        // The offsets of a tail that was cut off are given again.
        let again = [sending(0, Some(0)), sending(1, Some(1)), sending(2, Some(1))];
        let cut = Allowance { tail_before: Some(ms(16)) };
        let verdict = check(&again, &log(&[0, 2]), cut);
        assert_eq!((verdict.violations, verdict.lost_tail), (vec![], 1));
    }

    #[test]
    fn what_the_consumers_lack_is_found() {
        let (sends, log) = (promised(2), log(&[0, 1]));
        let missing = Violation::NotConsumed { id: 1, place: place(), offset: 1 };
        assert_eq!(check_consumed(&sends, &[(0, 1)].into(), &log), [missing]);
        assert_eq!(check_consumed(&sends, &[(0, 1), (1, 3)].into(), &log), []);
    }
}
