//! A group that pops goes back to pulls. Its members know the retry topic by the older name alone: what failed is written there, and
//! so is what waits in the one of the newer name.

use apogee_wire::bodies::MessageRequestMode;
use bytes::BytesMut;

use super::again::Back;
use super::flight::{Begin, Delivery, Pop};
use super::handle::{Source, origin};
use super::{limits, write};
use crate::broker::Broker;

/// Messages that are written together.
const AT_ONCE: i64 = 256;

impl Broker {
    /// Whether an administrator has a group pull a topic, or the topic that a retry topic is of.
    pub(super) fn is_set_to_pull(&self, group: &str, topic: &str) -> bool {
        let own = origin(group, topic).unwrap_or(topic);
        let modes = self.request_modes.get();
        let set = modes.message_request_mode_map.get(own).and_then(|groups| groups.get(group));
        set.is_some_and(|set| set.mode == MessageRequestMode::Pull)
    }

    /// Writes what a group has not popped again to the retry topic that its members pull. On threads that may wait.
    pub(crate) fn leave_to_pulls(&self, group: &str, topic: &str) {
        let waits_in = Source::RetryV2.topic(group, topic);
        let queues = self.topics.get(&waits_in).map_or(0, |topic| topic.config.read_queue_nums);
        for queue in 0..queues {
            while self.move_some(group, &waits_in, queue) {}
        }
    }

    /// Moves some messages of a queue, as a pop would take them; says whether there may be more.
    fn move_some(&self, group: &str, topic: &str, queue: i32) -> bool {
        let Some((min, end)) = self.store.queue_range(topic, queue) else { return false };
        let now = self.now();
        let begin = {
            let mut flight = self.pop.flight(group, topic);
            let place = Delivery { group, topic, queue, offset: 0, pop_time: 0 };
            let committed = self.popped_to(place).unwrap_or_else(|| {
                self.offsets.commit(group, topic, queue, min);
                min
            });
            flight.begin(group, topic, queue, committed, end, now)
        };
        let Begin::From { lane, offset, but_for } = begin else { return false };
        let (mut next, mut drafts, mut arena) = (offset, Vec::new(), BytesMut::new());
        while next < end.min(offset + AT_ONCE) {
            // Nobody failed.
            let back = Back { group, topic, queue, offset: next, pop_time: now, suspend: true };
            if !but_for.contains(&next) {
                let Ok(draft) = self.given_back(back, &mut arena) else { break };
                drafts.extend(draft);
            }
            next += 1;
        }
        let is_written = !write(self, drafts).contains(&false);
        let next = if is_written { next } else { offset };
        let pop = Pop { now_ms: now, pop_time: now, invisible: 0, revive_queue: 0, suspend: true };
        let mut flight = self.pop.flight(group, topic);
        let taken = flight.took(lane, &[], next, pop, limits(&self.settings.load()));
        self.commit(taken.floor);
        offset < next && next < end
    }
}
