//! How the queues of a topic are shared among the members of a group. All members must share them alike: each
//! takes its part without asking the others.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use apogee_wire::allocation::{Allocation, Shared};

use crate::Queue;

/// How queues are shared (upstream `AllocateMessageQueueStrategy`). All members of a group must use the same; those of
/// other languages the one of the same name.
///
/// ```
/// use apogee_client::Balance;
///
/// // Queues of brokers named like `north@broker-a` are for members in the north; all others are nobody's.
/// let north = Balance::MachineRooms(["north".to_owned()].into());
///
/// // A strategy of one's own: the first member gets all, the others stand by.
/// let first = Balance::by(|member, members, queues| {
///     if members.first().is_some_and(|first| first == member) { queues.to_vec() } else { Vec::new() }
/// });
/// ```
#[derive(Clone, Default)]
pub enum Balance {
    /// Each gets as many in a row; the first ones get one more where it doesn't come out even (upstream `AVG`, the
    /// default of all clients).
    #[default]
    Average,
    /// One after the other, in a circle (upstream `AVG_BY_CIRCLE`).
    Circle,
    /// By a ring of hashes, on which few queues move when a member comes or goes (upstream `CONSISTENT_HASH`, with its
    /// 10 places for each member).
    ConsistentHash,
    /// Only queues of brokers whose name begins with one of these and `@`, each as many in a row, and the first ones one
    /// more of the last ones (upstream `MACHINE_ROOM`).
    MachineRooms(BTreeSet<String>),
    /// This member gets these, as far as they are there (upstream `CONFIG`).
    Configured(Vec<Queue>),
    /// By a function of one's own, see [`Balance::by`].
    Custom(Arc<Allocate>),
}

/// Chooses the part of a member: of the first argument, given the ids of all members, itself included, and all queues
/// of a topic. Both are in order.
pub type Allocate = dyn Fn(&str, &[String], &[Queue]) -> Vec<Queue> + Send + Sync;

impl Balance {
    /// By a function of one's own: see [`Allocate`]. It must not block. What it returns must be nobody
    /// else's; queues that the topic has not are passed over.
    pub fn by(allocate: impl Fn(&str, &[String], &[Queue]) -> Vec<Queue> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(allocate))
    }

    /// The part of one member. `members` and `queues` are in order; who is no member gets nothing. It is public so that
    /// strategies of one's own can stand on others, such as one that prefers what is near (upstream
    /// `MACHINE_ROOM_NEARBY`):
    ///
    /// ```
    /// use apogee_client::{Balance, Queue};
    ///
    /// # fn room_of(name: &str) -> &str { name.split('@').next().unwrap_or_default() }
    /// let nearby = Balance::by(|member, members, queues| {
    ///     let near: Vec<_> = members.iter().filter(|other| room_of(other) == room_of(member)).cloned().collect();
    ///     let (ours, others): (Vec<Queue>, _) =
    ///         queues.iter().cloned().partition(|queue| room_of(&queue.broker) == room_of(member));
    ///     // All share the queues of rooms that have no member.
    ///     let has_member = |queue: &Queue| members.iter().any(|other| room_of(other) == room_of(&queue.broker));
    ///     let free: Vec<_> = others.into_iter().filter(|queue| !has_member(queue)).collect();
    ///     [Balance::Average.part_of(member, &near, &ours), Balance::Average.part_of(member, members, &free)].concat()
    /// });
    /// let members = ["east@1".to_owned(), "east@2".to_owned()];
    /// let queues: Vec<_> =
    ///     ["east", "west"].map(|room| Queue { topic: "T".into(), broker: format!("{room}@b").into(), id: 0 }).into();
    /// assert_eq!(nearby.part_of("east@1", &members, &queues).len(), 2);
    /// ```
    pub fn part_of(&self, member: &str, members: &[String], queues: &[Queue]) -> Vec<Queue> {
        let Some(place) = members.iter().position(|other| other == member) else { return Vec::new() };
        match self {
            Self::Average => Allocation::Average.part_of(member, members, queues),
            Self::Circle => Allocation::Circle.part_of(member, members, queues),
            Self::ConsistentHash => Allocation::ConsistentHash.part_of(member, members, queues),
            Self::MachineRooms(rooms) => {
                let is_near = |queue: &&Queue| {
                    let mut parts = queue.broker.split('@');
                    let (room, name, more) = (parts.next(), parts.next(), parts.next());
                    more.is_none()
                        && name.is_some_and(|name| !name.is_empty())
                        && room.is_some_and(|room| rooms.contains(room))
                };
                let near: Vec<_> = queues.iter().filter(is_near).cloned().collect();
                let each = near.len() / members.len();
                let (rows, rest) = near.split_at(each * members.len());
                rows[place * each..][..each].iter().chain(rest.get(place)).cloned().collect()
            }
            Self::Configured(part) => part.iter().filter(|queue| queues.contains(queue)).cloned().collect(),
            Self::Custom(allocate) => {
                let mut part = allocate(member, members, queues);
                part.retain(|queue| queues.contains(queue));
                part
            }
        }
    }
}

impl Shared for Queue {
    fn place(&self) -> (&str, &str, i32) {
        (&self.topic, &self.broker, self.id)
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Average => f.write_str("Average"),
            Self::Circle => f.write_str("Circle"),
            Self::ConsistentHash => f.write_str("ConsistentHash"),
            Self::MachineRooms(rooms) => f.debug_tuple("MachineRooms").field(rooms).finish(),
            Self::Configured(queues) => f.debug_tuple("Configured").field(queues).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(brokers: &[&str], each: i32) -> Vec<Queue> {
        let of = |broker: &&str| {
            let broker: Arc<str> = (*broker).into();
            (0..each).map(move |id| Queue::new("T", &broker, id)).collect::<Vec<_>>()
        };
        brokers.iter().flat_map(of).collect()
    }

    fn members(count: usize) -> Vec<String> {
        (0..count).map(|member| format!("m{member}")).collect()
    }

    fn parts(balance: &Balance, count: usize, queues: i32) -> Vec<Vec<i32>> {
        let (members, queues) = (members(count), self::queues(&["b"], queues));
        let ids = |part: Vec<Queue>| part.into_iter().map(|queue| queue.id).collect();
        members.iter().map(|member| ids(balance.part_of(member, &members, &queues))).collect()
    }

    #[test]
    fn parts_are_those_of_the_java_client() {
        // AllocateMessageQueueAveragely, AllocateMessageQueueAveragelyByCircle and AllocateMessageQueueConsistentHash of
        // 5.5.0.
        assert_eq!(parts(&Balance::Average, 3, 8), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(parts(&Balance::Average, 3, 2), [vec![0], vec![1], vec![]]);
        assert_eq!(parts(&Balance::Circle, 3, 8), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert_eq!(parts(&Balance::ConsistentHash, 3, 8), [vec![1, 5], vec![2, 6, 7], vec![0, 3, 4]]);
    }

    #[test]
    fn each_queue_has_one_member() {
        for balance in [Balance::Average, Balance::Circle, Balance::ConsistentHash] {
            for (members, queues) in (1..8).flat_map(|members| (0..20).map(move |queues| (members, queues))) {
                let mut all = parts(&balance, members, queues).concat();
                all.sort_unstable();
                assert_eq!(all, (0..queues).collect::<Vec<_>>(), "{balance:?} {members}");
            }
        }
        assert!(Balance::Average.part_of("other", &members(1), &[]).is_empty());
    }

    #[test]
    fn a_ring_moves_only_the_queues_of_a_member_that_goes() {
        let (all, queues) = (members(5), queues(&["a", "b"], 50));
        let part = |member: &str, members: &[String]| Balance::ConsistentHash.part_of(member, members, &queues);
        for member in &all[..4] {
            let after = part(member, &all[..4]);
            assert!(part(member, &all).iter().all(|queue| after.contains(queue)), "{member} lost a queue");
        }
    }

    #[test]
    fn other_parts_are_as_they_are_told() {
        let (members, queues) = (members(3), queues(&["b", "east@a", "west@b", "west@c"], 4));
        let part = |balance: Balance, member: &str| -> Vec<String> {
            let part = balance.part_of(member, &members, &queues);
            part.iter().map(|queue| format!("{}:{}", queue.broker, queue.id)).collect()
        };
        // As AllocateMessageQueueByMachineRoom of 5.5.0.
        let west = || Balance::MachineRooms(["west".to_owned()].into());
        assert_eq!(part(west(), "m0"), ["west@b:0", "west@b:1", "west@c:2"]);
        assert_eq!(part(west(), "m1"), ["west@b:2", "west@b:3", "west@c:3"]);
        assert_eq!(part(west(), "m2"), ["west@c:0", "west@c:1"]);
        let gone = Queue::new("T", &"gone".into(), 0);
        let configured = || Balance::Configured(vec![queues[6].clone(), gone.clone()]);
        assert_eq!(part(configured(), "m1"), ["east@a:2"]);
        let gone = gone.clone();
        let own = Balance::by(move |member, members, queues| match member == members[1] {
            true => vec![queues[5].clone(), gone.clone()],
            false => Vec::new(),
        });
        assert_eq!(part(own.clone(), "m1"), ["east@a:1"]);
        assert!(part(own, "m0").is_empty());
    }
}
