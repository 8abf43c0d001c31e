//! What a doctor remembers from one look to the next.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::{Facts, Finding};

/// Since when groups have been where they are.
#[derive(Debug, Default)]
pub struct History {
    /// By group, topic, broker and queue: the offset, and when it was first seen.
    seen: HashMap<(String, String, String, i32), (i64, Instant)>,
}

impl History {
    /// Notes where groups are, and says of each queue for how long the group has not come on.
    pub fn note(&mut self, facts: &mut Facts, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for group in &mut facts.groups {
            for queue in &mut group.queues {
                let key = (group.name.clone(), queue.topic.clone(), queue.broker.clone(), queue.id);
                let since = match before.remove(&key) {
                    Some((committed, since)) if committed == queue.committed => since,
                    _ => now,
                };
                queue.still = Some(now.saturating_duration_since(since));
                self.seen.insert(key, (queue.committed, since));
            }
        }
    }
}

/// Which findings were told of.
#[derive(Debug, Default)]
pub struct Diary {
    told: BTreeSet<(String, String)>,
}

impl Diary {
    /// Those that are new, and the checks and subjects of those that are no more.
    pub fn note<'f>(&mut self, findings: &'f [Finding]) -> (Vec<&'f Finding>, Vec<(String, String)>) {
        let key = |finding: &Finding| (finding.check.clone(), finding.subject.clone());
        let now: BTreeSet<_> = findings.iter().map(key).collect();
        let new = findings.iter().filter(|finding| !self.told.contains(&key(finding))).collect();
        let gone = self.told.difference(&now).cloned().collect();
        self.told = now;
        (new, gone)
    }
}

/// How long one look may take when it goes out to others.
pub const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Group, Unread};

    fn facts(committed: i64) -> Facts {
        let queue = Unread { topic: "T".into(), committed, end: 9, ..Unread::default() };
        let group = Group { name: "G".into(), queues: vec![queue], ..Group::default() };
        Facts { groups: vec![group], ..Facts::default() }
    }

    #[test]
    fn a_queue_is_still_as_long_as_the_group_does_not_come_on() {
        let (mut history, begun) = (History::default(), Instant::now());
        let mut still = |committed, seconds| {
            let mut facts = facts(committed);
            history.note(&mut facts, begun + Duration::from_secs(seconds));
            facts.groups[0].queues[0].still.expect("known").as_secs()
        };
        assert_eq!([still(1, 0), still(1, 60), still(2, 120), still(2, 180), still(2, 240)], [0, 60, 0, 60, 120]);
        // Read, and then behind at the same place again.
        history.note(&mut Facts::default(), begun);
        let mut facts = facts(2);
        history.note(&mut facts, begun + Duration::from_secs(300));
        assert_eq!(facts.groups[0].queues[0].still, Some(Duration::ZERO));
    }

    #[test]
    fn a_finding_is_told_when_it_comes_and_when_it_goes() {
        let finding = |subject: &str| Finding { check: "c".into(), subject: subject.into(), ..Finding::default() };
        let mut diary = Diary::default();
        let both = [finding("a"), finding("b")];
        assert_eq!(diary.note(&both).0.len(), 2);
        let left = [Finding { what: "else".into(), ..finding("a") }];
        let (new, gone) = diary.note(&left);
        assert_eq!((new.len(), gone), (0, vec![("c".to_owned(), "b".to_owned())]));
        assert_eq!(diary.note(&both).0, [&both[1]]);
    }
}
