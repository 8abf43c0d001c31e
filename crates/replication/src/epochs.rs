//! Which master wrote what of the log (upstream `EpochFileCache`).

/// From where on a master wrote the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number: each master's is higher than those before.
    pub number: i32,
    /// Where the log ended when it became the master.
    pub start: i64,
}

/// Epochs that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("epoch {} from {} on cannot follow epoch {} from {} on", .next.number, .next.start, .last.number, .last.start)]
pub struct EpochError {
    /// The last one known.
    pub last: Epoch,
    /// The one that should follow.
    pub next: Epoch,
}

/// The epochs of a log, as they follow one another. Each ends where the next begins, the last with the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs(Vec<Epoch>);

impl Epochs {
    /// Those, if they can follow one another.
    pub fn of(entries: impl IntoIterator<Item = Epoch>) -> Result<Self, EpochError> {
        let mut epochs = Self::default();
        entries.into_iter().try_for_each(|entry| epochs.push(entry))?;
        Ok(epochs)
    }

    /// In order.
    pub fn entries(&self) -> &[Epoch] {
        &self.0
    }

    /// The newest.
    pub fn last(&self) -> Option<Epoch> {
        self.0.last().copied()
    }

    /// A new master's.
    pub fn push(&mut self, next: Epoch) -> Result<(), EpochError> {
        if let Some(last) = self.last()
            && (next.number <= last.number || next.start < last.start)
        {
            return Err(EpochError { last, next });
        }
        self.0.push(next);
        Ok(())
    }

    /// The epoch that a byte of the log was written in. Before all epochs, the log counts for the first one.
    pub fn at(&self, offset: i64) -> Option<Epoch> {
        let after = self.0.partition_point(|epoch| epoch.start <= offset);
        self.0.get(after.saturating_sub(1)).copied()
    }

    /// Where the epoch ends that a byte was written in; `None` while it goes on.
    pub fn end_at(&self, offset: i64) -> Option<i64> {
        self.0.get(self.0.partition_point(|epoch| epoch.start <= offset).max(1)).map(|next| next.start)
    }

    /// The log ends here: epochs that began behind are forgotten. Says whether there were any.
    pub fn end_with(&mut self, end: i64) -> bool {
        let kept = self.0.partition_point(|epoch| epoch.start <= end);
        let forgets = kept < self.0.len();
        self.0.truncate(kept);
        forgets
    }

    /// The log is cut here: epochs are forgotten that nothing is left of. Says whether there were any.
    pub fn cut(&mut self, end: i64) -> bool {
        let kept = self.0.partition_point(|epoch| epoch.start < end);
        let forgets = kept < self.0.len();
        self.0.truncate(kept);
        forgets
    }

    /// The log begins here: epochs are forgotten that ended before. Says whether there were any.
    pub fn begin_with(&mut self, begin: i64) -> bool {
        let gone = self.0.partition_point(|epoch| epoch.start <= begin).saturating_sub(1);
        self.0.drain(..gone);
        gone > 0
    }

    /// Up to where two logs are the same, by the newest epoch that both have; `None` when they have none in common.
    pub fn common_end(&self, end: i64, other: &Self, other_end: i64) -> Option<i64> {
        self.0.iter().enumerate().rev().find_map(|(at, epoch)| {
            let at_other = other.0.iter().position(|theirs| theirs == epoch)?;
            let ends = |epochs: &[Epoch], at: usize, end: i64| epochs.get(at + 1).map_or(end, |next| next.start);
            Some(ends(&self.0, at, end).min(ends(&other.0, at_other, other_end)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        Epochs::of(entries.iter().map(|&(number, start)| Epoch { number, start })).unwrap()
    }

    #[test]
    fn logs_part_where_the_newest_common_epoch_ends_in_either() {
        let ours = epochs(&[(1, 0), (2, 500), (5, 900)]);
        // The other was elected after 2, and went on elsewhere.
        assert_eq!(ours.common_end(1_000, &epochs(&[(1, 0), (2, 500), (6, 700)]), 2_000), Some(700));
        assert_eq!(ours.common_end(1_000, &epochs(&[(1, 0), (2, 500), (6, 950)]), 2_000), Some(900));
        // It goes on in the epoch that we know, or ends in it.
        assert_eq!(ours.common_end(1_000, &epochs(&[(2, 500), (5, 900)]), 3_000), Some(1_000));
        assert_eq!(ours.common_end(1_000, &epochs(&[(2, 500), (5, 900)]), 950), Some(950));
        // The same number of another master is another epoch.
        assert_eq!(ours.common_end(1_000, &epochs(&[(1, 0), (2, 501)]), 3_000), Some(500));
        assert_eq!(ours.common_end(1_000, &epochs(&[(3, 0)]), 3_000), None);
        assert_eq!(Epochs::default().common_end(0, &ours, 1_000), None);
    }

    #[test]
    fn an_epoch_that_was_is_refused() {
        let mut ours = epochs(&[(1, 0), (3, 500)]);
        for next in [(3, 600), (2, 600), (4, 499)].map(|(number, start)| Epoch { number, start }) {
            let last = Epoch { number: 3, start: 500 };
            assert_eq!(ours.push(next), Err(EpochError { last, next }));
        }
        ours.push(Epoch { number: 4, start: 500 }).unwrap();
        assert_eq!(ours, epochs(&[(1, 0), (3, 500), (4, 500)]));
    }

    #[test]
    fn each_byte_has_its_epoch_and_cuts_take_those_that_nothing_is_left_of() {
        let mut ours = epochs(&[(1, 100), (3, 500), (4, 900)]);
        let at = |epochs: &Epochs, offset| (epochs.at(offset).map(|epoch| epoch.number), epochs.end_at(offset));
        assert_eq!(at(&ours, 0), (Some(1), Some(500)));
        assert_eq!(at(&ours, 499), (Some(1), Some(500)));
        assert_eq!(at(&ours, 500), (Some(3), Some(900)));
        assert_eq!(at(&ours, 5_000), (Some(4), None));
        assert_eq!(at(&Epochs::default(), 0), (None, None));
        assert!(!ours.end_with(900), "the last one has written nothing yet");
        assert!(ours.cut(900));
        assert_eq!(ours, epochs(&[(1, 100), (3, 500)]));
        assert!(!ours.begin_with(499) && ours.begin_with(500));
        assert_eq!(ours, epochs(&[(3, 500)]));
    }
}
