//! Which lite topics have something for whom: told when a message comes, or messages that were out are settled or their time
//! is up, and from time to time for all, as offsets may be moved by others.

use std::sync::Arc;

use apogee_message::light;

use crate::broker::Broker;
use crate::handlers::pop;
use crate::lite::subscriptions::{Member, Taken};
use crate::pop::ordered::Place;

use super::{is_wild, parts};

/// Lite topics that a pop takes to look into at a time.
const AT_ONCE: usize = 64;

impl Broker {
    /// A lite topic may have something for its readers, of one group or of all.
    pub(crate) fn wake_lite(&self, queue: &str, group: Option<&str>) {
        if self.lite.is_idle() {
            return;
        }
        let Some((parent, _)) = parts(queue) else { return };
        for (group, key) in self.lite.with(|all| all.offer(parent, queue, group)) {
            pop::wake(self, self.pop.waiters.next_in_order(&group, &key, -1));
        }
    }

    /// Wakes the pop of a client that waits longest, or of its group.
    pub(crate) fn wake_member(&self, member: &Member) {
        if let Some(key) = self.lite.with(|all| all.waits_for(member)) {
            pop::wake(self, self.pop.waiters.next_in_order(&member.group, &key, -1));
        }
    }

    /// Takes lite topics that have something for a client, as far as is known; `None`: it reads none.
    pub(crate) fn take_lite(&self, member: &Member, attempt: Option<&str>) -> Option<(Arc<str>, Vec<Arc<str>>)> {
        loop {
            let Taken { key, mut queues, is_all, has_missed } =
                self.lite.with(|all| all.take(member, attempt, AT_ONCE))?;
            queues.retain(|queue| self.has_lite(&member.group, queue, attempt));
            let has_more = !is_all || has_missed && self.look_for(member);
            if !queues.is_empty() || !has_more {
                return Some((key, queues));
            }
        }
    }

    /// Gives those back that have something still.
    pub(crate) fn give_lite_back(&self, member: &Member, queues: &[Arc<str>]) {
        let left: Vec<_> = queues.iter().filter(|queue| self.has_lite(&member.group, queue, None)).cloned().collect();
        if !left.is_empty() {
            self.lite.with(|all| all.offer_to(member, left));
        }
    }

    /// Looks at all that a client reads, or its group. Says whether there is something.
    pub(crate) fn look_for(&self, member: &Member) -> bool {
        let Some((parent, queues)) = self.lite.with(|all| {
            let reader = all.get(member)?;
            Some((Arc::clone(&reader.parent), reader.queues.iter().cloned().collect::<Vec<_>>()))
        }) else {
            return false;
        };
        let reads_all = self.groups.get(&member.group).is_some_and(|group| is_wild(&group));
        let queues = if reads_all { self.lite_queues(&parent) } else { queues };
        let some: Vec<_> = queues.into_iter().filter(|queue| self.has_lite(&member.group, queue, None)).collect();
        let has_some = !some.is_empty();
        self.lite.with(|all| all.offer_to(member, some));
        has_some
    }

    /// Looks for everybody.
    pub(crate) fn look_for_all(&self) {
        if self.lite.is_idle() {
            return;
        }
        let mut members: Vec<Member> = self.lite.with(|all| all.all().map(|(member, _)| member.clone()).collect());
        members.sort_unstable();
        let reads_all = |group: &str| self.groups.get(group).is_some_and(|group| is_wild(&group));
        // What is there for one client of such a group is there for all.
        members.dedup_by(|one, other| one.group == other.group && reads_all(&one.group));
        for member in members {
            if self.look_for(&member) {
                self.wake_member(&member);
            }
        }
    }

    /// Whether a lite topic has something for a group, or for an attempt of it.
    fn has_lite(&self, group: &str, queue: &str, attempt: Option<&str>) -> bool {
        let Some((min, end)) = self.store.queue_range(queue, light::QUEUE) else { return false };
        let committed = self.offsets.query(group, queue, light::QUEUE).unwrap_or(min);
        let place = Place { group, topic: queue, queue: light::QUEUE };
        self.pop.orders.lock().open(place, committed, attempt, self.now()).is_some_and(|offset| offset < end)
    }
}
