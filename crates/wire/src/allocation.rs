//! How the queues of a topic are shared among the members of a group (upstream `AllocateMessageQueueStrategy`). Whoever
//! does it, each member for itself or a broker for all, must do it alike.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use crate::bodies::MessageQueue;

/// Places of a member on the ring.
const PLACES: usize = 10;

/// A way of sharing that needs to know nothing but the members and the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Each gets as many in a row; the first ones get one more where it doesn't come out even.
    Average,
    /// One after the other, in a circle.
    Circle,
    /// By a ring of hashes, on which few queues move when a member comes or goes; 10 places for each member.
    ConsistentHash,
}

/// A queue that can be shared.
pub trait Shared: Clone {
    /// Topic, broker and number.
    fn place(&self) -> (&str, &str, i32);
}

impl Shared for MessageQueue {
    fn place(&self) -> (&str, &str, i32) {
        (&self.topic, &self.broker_name, self.queue_id)
    }
}

impl Allocation {
    /// By the name that clients give it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "AVG" => Some(Self::Average),
            "AVG_BY_CIRCLE" => Some(Self::Circle),
            "CONSISTENT_HASH" => Some(Self::ConsistentHash),
            _ => None,
        }
    }

    /// The part of one member. `members` and `queues` are in order; who is no member gets nothing.
    pub fn part_of<Q: Shared>(self, member: &str, members: &[impl AsRef<str>], queues: &[Q]) -> Vec<Q> {
        let Some(place) = members.iter().position(|other| other.as_ref() == member) else { return Vec::new() };
        match self {
            Self::Average => {
                let (each, more) = (queues.len() / members.len(), queues.len() % members.len());
                let start = place * each + place.min(more);
                queues[start..start + each + usize::from(place < more)].to_vec()
            }
            Self::Circle => queues.iter().skip(place).step_by(members.len()).cloned().collect(),
            Self::ConsistentHash => {
                let ring = ring(members);
                queues.iter().filter(|queue| owner(&ring, *queue) == Some(member)).cloned().collect()
            }
        }
    }
}

/// Members by their places. The hashes are those of the Java client.
fn ring(members: &[impl AsRef<str>]) -> BTreeMap<u32, &str> {
    let places = |member| (0..PLACES).map(move |place| (hash(&format!("{member}-{place}")), member));
    members.iter().map(AsRef::as_ref).flat_map(places).collect()
}

/// Whose place comes next on the ring.
fn owner<'m>(ring: &BTreeMap<u32, &'m str>, queue: &impl Shared) -> Option<&'m str> {
    let (topic, broker, id) = queue.place();
    let place = hash(&format!("MessageQueue [topic={topic}, brokerName={broker}, queueId={id}]"));
    ring.range(place..).chain(ring).next().map(|(_, member)| *member)
}

fn hash(text: &str) -> u32 {
    let [first, second, third, fourth, ..] = <[u8; 16]>::from(Md5::digest(text));
    u32::from_be_bytes([first, second, third, fourth])
}
