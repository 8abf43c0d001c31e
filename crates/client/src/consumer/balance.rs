//! How the queues of a topic are shared among the members of a group. All members must share them alike: each
//! takes its part without asking the others.

use crate::Queue;

/// How queues are shared (upstream `AllocateMessageQueueStrategy`). Members of other languages in the group must
/// use the strategy of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// Each gets as many in a row; the first ones get one more where it doesn't come out even (upstream `AVG`, the
    /// default of all clients).
    #[default]
    Average,
    /// One after the other, in a circle (upstream `AVG_BY_CIRCLE`).
    Circle,
}

impl Balance {
    /// The part of one member. `members` and `queues` are in order; who is no member gets nothing.
    pub(crate) fn part_of(self, member: &str, members: &[String], queues: &[Queue]) -> Vec<Queue> {
        let Some(place) = members.iter().position(|other| other == member) else { return Vec::new() };
        match self {
            Self::Average => {
                let (each, more) = (queues.len() / members.len(), queues.len() % members.len());
                let start = place * each + place.min(more);
                queues[start..start + each + usize::from(place < more)].to_vec()
            }
            Self::Circle => queues.iter().skip(place).step_by(members.len()).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn parts(balance: Balance, members: usize, queues: i32) -> Vec<Vec<i32>> {
        let broker: Arc<str> = "b".into();
        let queues: Vec<_> = (0..queues).map(|id| Queue::new("T", &broker, id)).collect();
        let members: Vec<_> = (0..members).map(|member| format!("m{member}")).collect();
        let ids = |part: Vec<Queue>| part.into_iter().map(|queue| queue.id).collect();
        members.iter().map(|member| ids(balance.part_of(member, &members, &queues))).collect()
    }

    #[test]
    fn parts_are_those_of_the_java_client() {
        // AllocateMessageQueueAveragely and AllocateMessageQueueAveragelyByCircle of 5.5.0.
        assert_eq!(parts(Balance::Average, 3, 8), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(parts(Balance::Average, 3, 2), [vec![0], vec![1], vec![]]);
        assert_eq!(parts(Balance::Circle, 3, 8), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
    }

    #[test]
    fn each_queue_has_one_member() {
        for balance in [Balance::Average, Balance::Circle] {
            for (members, queues) in (1..8).flat_map(|members| (0..20).map(move |queues| (members, queues))) {
                let mut all = parts(balance, members, queues).concat();
                all.sort_unstable();
                assert_eq!(all, (0..queues).collect::<Vec<_>>(), "{balance:?} {members}");
            }
        }
        assert!(Balance::Average.part_of("other", &["m0".to_owned()], &[]).is_empty());
    }
}
