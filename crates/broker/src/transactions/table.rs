//! Which half messages are undecided, and what is still to be noted of those that are decided. Pure:
//! told the time, no I/O.
//!
//! A half message is known by its offset in the half queue. A check writes it again, to the end of
//! the queue, so that how often it was asked for survives and the queue's progress goes on: from then
//! on the copy stands for it, and whoever names the first is led to the copy.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Half offsets that one undecided message may hold up before it is written again: what a start reads.
const MOST_HELD: i64 = 1 << 17;
/// In place of an offset that there is not.
const NONE: i64 = -1;

/// What is undecided.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By half offset.
    halves: BTreeMap<i64, Half>,
    /// When to look at whom next. Not those who are looked at now or being decided.
    due: BTreeSet<(i64, i64)>,
    /// From a first half offset to the one that stands for it.
    renewed: HashMap<i64, i64>,
    /// Those whose commit is on its way into the log, and from where on in the log it is.
    deciding: HashMap<i64, i64>,
    /// Half offsets to be noted as done.
    done: Vec<i64>,
    /// Those of them that are being written.
    writing: Vec<i64>,
    /// When the first of `done` came.
    done_since_ms: i64,
    /// End of the half queue, as far as it is known here.
    end: i64,
    /// Op messages that may still matter: offset in their queue, and the highest half offset they note.
    ops: VecDeque<(i64, i64)>,
    op_end: i64,
}

/// One undecided half message.
#[derive(Debug)]
struct Half {
    first: i64,
    due_ms: i64,
    /// The copy that was written while the decision was on its way, or `NONE`.
    newer: i64,
}

/// Why a half message cannot be decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It was, or it was discarded.
    Decided,
    /// Another decision is on its way.
    Deciding,
}

impl Table {
    /// An empty one, for queues whose ends are known.
    pub fn new(end: i64, op_end: i64) -> Self {
        Self { end, op_end, ..Self::default() }
    }

    /// Half messages that are undecided.
    pub fn len(&self) -> usize {
        self.halves.len()
    }

    /// A half message came into the queue.
    pub fn arrived(&mut self, offset: i64, due_ms: i64) {
        self.end = self.end.max(offset + 1);
        self.insert(offset, offset, due_ms);
    }

    /// A half message is found in the queue at start; it may stand for an earlier one.
    pub fn restored(&mut self, first: i64, offset: i64, due_ms: i64, now_ms: i64) {
        if let Some(earlier) = self.current(first).filter(|earlier| *earlier != offset) {
            self.remove(earlier);
            self.note(earlier, now_ms);
        }
        self.insert(first, offset, due_ms);
    }

    /// The undecided ones: first offset, and that of the copy that stands for it.
    pub fn undecided(&self) -> impl Iterator<Item = (i64, i64)> {
        self.halves.iter().map(|(offset, half)| (half.first, *offset))
    }

    /// Takes the right to decide. `log_end`: the commit will be behind it.
    pub fn begin(&mut self, first: i64, log_end: i64) -> Result<(), Refused> {
        let offset = self.current(first).ok_or(Refused::Decided)?;
        if self.deciding.contains_key(&offset) {
            return Err(Refused::Deciding);
        }
        self.deciding.insert(offset, log_end);
        if let Some(half) = self.halves.get(&offset) {
            self.due.remove(&(half.due_ms, offset));
        }
        Ok(())
    }

    /// Ends what [`Table::begin`] began. Without success the message is undecided as before.
    pub fn end(&mut self, first: i64, success: bool, now_ms: i64) {
        let Some(offset) = self.current(first).filter(|offset| self.deciding.remove(offset).is_some()) else { return };
        let Some(half) = self.halves.get(&offset) else { return };
        let (due_ms, newer) = (half.due_ms, half.newer);
        if success || newer != NONE {
            self.remove(offset);
            self.note(offset, now_ms);
        }
        match (success, newer) {
            (true, NONE) => {}
            (true, newer) => {
                self.remove(newer);
                self.note(newer, now_ms);
            }
            (false, NONE) => {
                self.due.insert((due_ms, offset));
            }
            (false, newer) => self.insert(first, newer, due_ms),
        }
    }

    /// Takes messages to be looked at, each as first offset and present one; each is given back by one
    /// of the next methods.
    pub fn take_due(&mut self, now_ms: i64, most: usize) -> Vec<(i64, i64)> {
        let due: Vec<_> = self.due.range(..=(now_ms, i64::MAX)).take(most).copied().collect();
        for one in &due {
            self.due.remove(one);
        }
        let halves = due.iter().filter_map(|(_, offset)| Some((self.halves.get(offset)?.first, *offset)));
        halves.collect()
    }

    /// All that waits is due: the clock was put back.
    pub fn look_at_all(&mut self, now_ms: i64) {
        self.due = std::mem::take(&mut self.due).into_iter().map(|(_, offset)| (now_ms, offset)).collect();
        self.halves.values_mut().for_each(|half| half.due_ms = now_ms);
    }

    /// Takes messages that hold the queue's progress up, so that they are written again.
    pub fn take_holders(&mut self, most: usize) -> Vec<(i64, i64)> {
        let limit = MOST_HELD + 2 * self.halves.len() as i64;
        let behind = self.halves.iter().take_while(|(offset, _)| self.end - **offset > limit).take(most);
        let taken: Vec<_> = behind.map(|(offset, half)| (*offset, half.due_ms)).collect();
        // Those being decided are gone soon.
        taken.into_iter().filter(|(offset, due_ms)| self.due.remove(&(*due_ms, *offset))).collect()
    }

    /// Look again later.
    pub fn postponed(&mut self, offset: i64, due_ms: i64) {
        let deciding = self.deciding.contains_key(&offset);
        if let Some(half) = self.halves.get_mut(&offset) {
            self.due.remove(&(half.due_ms, offset));
            half.due_ms = due_ms;
            if !deciding {
                self.due.insert((due_ms, offset));
            }
        }
    }

    /// It was written again. Says whether it is undecided still.
    pub fn renewed(&mut self, offset: i64, newer: i64, due_ms: i64, now_ms: i64) -> bool {
        self.end = self.end.max(newer + 1);
        // The copy's arrival made it one of its own.
        self.remove(newer);
        let Some(half) = self.halves.get_mut(&offset) else {
            // Decided meanwhile.
            self.note(newer, now_ms);
            return false;
        };
        let first = half.first;
        if self.deciding.contains_key(&offset) {
            (half.newer, half.due_ms) = (newer, due_ms);
            // Holds the progress until the decision is made.
            self.halves.insert(newer, Half { first, due_ms, newer: NONE });
            return false;
        }
        self.remove(offset);
        self.note(offset, now_ms);
        self.insert(first, newer, due_ms);
        true
    }

    /// A copy was found that stands for a message, or for one that is decided.
    pub fn adopted(&mut self, first: i64, copy: i64, due_ms: i64, now_ms: i64) {
        match self.current(first).filter(|offset| *offset != copy) {
            Some(offset) => {
                self.renewed(offset, copy, due_ms, now_ms);
            }
            None => self.dropped(copy, now_ms),
        }
    }

    /// It is no longer of interest: discarded, gone from the log, or a copy that stands for nothing.
    pub fn dropped(&mut self, offset: i64, now_ms: i64) {
        if !self.deciding.contains_key(&offset) && self.remove(offset) {
            self.note(offset, now_ms);
        }
    }

    /// When to look at the next.
    pub fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// How many half offsets wait to be noted, and since when.
    pub fn waiting(&self) -> (usize, i64) {
        (self.done.len(), self.done_since_ms)
    }

    /// Takes the half offsets to be noted, and the place in the log before which no decision is left
    /// out once they are. `log_end` is asked after everything that could add to them is shut out.
    pub fn take_done(&mut self, log_end: impl FnOnce() -> i64) -> (Vec<i64>, i64) {
        self.writing = std::mem::take(&mut self.done);
        (self.writing.clone(), self.decided_from(log_end()))
    }

    /// The place in the log before which there is no decision that is still on its way.
    fn decided_from(&self, log_end: i64) -> i64 {
        self.deciding.values().copied().fold(log_end, i64::min)
    }

    /// The same when all that is decided is noted; `None` when it isn't.
    pub fn all_noted_to(&self, log_end: impl FnOnce() -> i64) -> Option<i64> {
        (self.done.is_empty() && self.writing.is_empty()).then(|| self.decided_from(log_end()))
    }

    /// They could not be written.
    pub fn put_back(&mut self) {
        let mut done = std::mem::take(&mut self.writing);
        done.append(&mut self.done);
        self.done = done;
    }

    /// An op message was written, or read at start.
    pub fn noted(&mut self, op_offset: i64, highest: i64) {
        self.ops.push_back((op_offset, highest));
        self.op_end = self.op_end.max(op_offset + 1);
    }

    /// All that was taken is written.
    pub fn written(&mut self) {
        self.writing.clear();
    }

    /// Progress of the half queue and of the op queue: before them all is decided and noted, and what
    /// is noted before the second is before the first.
    pub fn progress(&mut self) -> (i64, i64) {
        let unnoted = self.done.iter().chain(&self.writing).copied().min();
        let undecided = self.halves.first_key_value().map(|(offset, _)| *offset);
        let half = [unnoted, undecided].into_iter().flatten().fold(self.end, i64::min);
        while self.ops.front().is_some_and(|(_, highest)| *highest < half) {
            self.ops.pop_front();
        }
        (half, self.ops.front().map_or(self.op_end, |(offset, _)| *offset))
    }

    /// The offset that stands for a first one.
    fn current(&self, first: i64) -> Option<i64> {
        let offset = self.renewed.get(&first).copied().unwrap_or(first);
        self.halves.contains_key(&offset).then_some(offset)
    }

    fn insert(&mut self, first: i64, offset: i64, due_ms: i64) {
        if first != offset {
            self.renewed.insert(first, offset);
        }
        self.halves.insert(offset, Half { first, due_ms, newer: NONE });
        self.due.insert((due_ms, offset));
    }

    fn remove(&mut self, offset: i64) -> bool {
        let Some(half) = self.halves.remove(&offset) else { return false };
        self.due.remove(&(half.due_ms, offset));
        if self.renewed.get(&half.first) == Some(&offset) {
            self.renewed.remove(&half.first);
        }
        true
    }

    fn note(&mut self, offset: i64, now_ms: i64) {
        if self.done.is_empty() {
            self.done_since_ms = now_ms;
        }
        self.done.push(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(offsets: std::ops::Range<i64>) -> Table {
        let mut table = Table::default();
        offsets.for_each(|offset| table.arrived(offset, 100 + offset));
        table
    }

    fn decide(table: &mut Table, first: i64) {
        table.begin(first, 0).unwrap();
        table.end(first, true, 0);
    }

    /// Writes what waits as one op message.
    fn note(table: &mut Table, op_offset: i64) -> Vec<i64> {
        let (done, _) = table.take_done(|| 0);
        table.noted(op_offset, done.iter().copied().max().unwrap());
        table.written();
        done
    }

    #[test]
    fn one_of_two_decisions_wins() {
        let mut table = table(0..1);
        assert_eq!(table.begin(0, 0), Ok(()));
        assert_eq!(table.begin(0, 0), Err(Refused::Deciding));
        table.end(0, false, 0);
        assert_eq!(table.begin(0, 0), Ok(()));
        table.end(0, true, 0);
        assert_eq!(table.begin(0, 0), Err(Refused::Decided));
        assert_eq!(table.begin(7, 0), Err(Refused::Decided));
    }

    #[test]
    fn progress_stays_before_what_is_undecided_or_not_noted() {
        let mut table = table(0..4);
        assert_eq!(table.progress(), (0, 0));
        decide(&mut table, 0);
        decide(&mut table, 2);
        assert_eq!(table.progress(), (0, 0));
        note(&mut table, 0);
        assert_eq!(table.progress(), (1, 0), "the op message names one that is not behind the progress");
        decide(&mut table, 1);
        note(&mut table, 1);
        assert_eq!(table.progress(), (3, 2));
        decide(&mut table, 3);
        table.take_done(|| 0);
        assert_eq!(table.progress(), (3, 2), "being written is not written");
        table.put_back();
        assert_eq!(note(&mut table, 2), [3]);
        assert_eq!(table.progress(), (4, 3));
    }

    #[test]
    fn the_due_are_taken_in_order_and_once() {
        let mut table = table(0..5);
        decide(&mut table, 1);
        assert_eq!(table.next_due(), Some(100));
        assert_eq!(table.take_due(102, 9), [(0, 0), (2, 2)]);
        assert_eq!(table.take_due(102, 9), []);
        table.postponed(2, 101);
        assert_eq!(table.take_due(110, 2), [(2, 2), (3, 3)]);
        assert_eq!(table.next_due(), Some(104));
    }

    #[test]
    fn a_copy_stands_for_the_first() {
        let mut table = table(0..2);
        assert_eq!(table.take_due(100, 1), [(0, 0)]);
        table.arrived(2, 500);
        table.renewed(0, 2, 200, 0);
        assert_eq!(table.undecided().collect::<Vec<_>>(), [(1, 1), (0, 2)]);
        decide(&mut table, 0);
        assert_eq!(note(&mut table, 0), [0, 2]);
        assert_eq!(table.undecided().collect::<Vec<_>>(), [(1, 1)]);
        assert_eq!(table.begin(2, 0), Err(Refused::Decided));
        assert_eq!(table.take_due(i64::MAX, 9), [(1, 1)], "the copy is not looked at");
    }

    #[test]
    fn a_decision_made_during_a_check_counts() {
        for success in [true, false] {
            let mut table = table(0..1);
            assert_eq!(table.take_due(100, 1), [(0, 0)]);
            table.begin(0, 77).unwrap();
            table.arrived(1, 500);
            table.renewed(0, 1, 200, 0);
            assert_eq!(table.progress().0, 0);
            assert_eq!(table.take_done(|| 99), (vec![], 77), "the decision may be behind 77");
            table.end(0, success, 0);
            assert_eq!(note(&mut table, 0), if success { vec![0, 1] } else { vec![0] });
            assert_eq!(table.take_due(i64::MAX, 9), if success { vec![] } else { vec![(0, 1)] });
        }
        let mut table = table(0..1);
        assert_eq!(table.take_due(100, 1), [(0, 0)]);
        decide(&mut table, 0);
        table.arrived(1, 500);
        table.renewed(0, 1, 200, 0);
        assert_eq!(note(&mut table, 0), [0, 1]);
        assert_eq!((table.len(), table.next_due()), (0, None));
    }

    #[test]
    fn the_later_of_two_found_at_start_counts() {
        let mut table = Table::new(10, 3);
        table.restored(4, 4, 100, 0);
        table.restored(4, 9, 200, 0);
        table.restored(2, 8, 300, 0);
        assert_eq!(table.undecided().collect::<Vec<_>>(), [(2, 8), (4, 9)]);
        assert_eq!(note(&mut table, 3), [4]);
        assert_eq!(table.progress(), (8, 4));
    }

    #[test]
    fn who_holds_many_up_is_written_again() {
        let mut table = table(0..1);
        for offset in 1..MOST_HELD + 2 {
            table.arrived(offset, 1);
            decide(&mut table, offset);
        }
        assert_eq!(table.take_holders(9), []);
        table.arrived(MOST_HELD + 2, 1);
        table.arrived(MOST_HELD + 3, 1);
        assert_eq!(table.take_holders(9), []);
        for offset in MOST_HELD + 4..MOST_HELD + 9 {
            table.arrived(offset, 1);
            decide(&mut table, offset);
        }
        assert_eq!(table.take_holders(9), [(0, 100)]);
        assert_eq!(table.take_holders(9), []);
        table.arrived(MOST_HELD + 9, 1);
        table.renewed(0, MOST_HELD + 9, 100, 0);
        assert_eq!(table.begin(0, 0), Ok(()));
    }
}
