//! Locks of queues for orderly consumers (upstream `RebalanceLockManager`): one client of a group
//! at a time consumes a queue.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use apogee_wire::bodies::MessageQueue;

/// Milliseconds that a lock lives unless its holder renews it; clients renew every 20 seconds.
pub const LOCK_LIFE_MS: i64 = 60_000;

/// Who holds which queue, by group.
#[derive(Default)]
pub struct QueueLocks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    groups: HashMap<String, Held>,
    /// The time when it was last asked for.
    seen_ms: i64,
}

type Held = HashMap<MessageQueue, Lock>;

struct Lock {
    client_id: String,
    renewed_ms: i64,
}

impl State {
    /// Takes note of the time. The locks are looked through more often than one lives, so a longer
    /// pause, or one backwards, is a clock that was set: no lock is older for it, nor younger.
    fn at(&mut self, now_ms: i64) -> &mut HashMap<String, Held> {
        let passed = now_ms.saturating_sub(std::mem::replace(&mut self.seen_ms, now_ms));
        if !(0..=LOCK_LIFE_MS).contains(&passed) {
            let locks = self.groups.values_mut().flat_map(HashMap::values_mut);
            locks.for_each(|lock| lock.renewed_ms = lock.renewed_ms.saturating_add(passed));
        }
        &mut self.groups
    }
}

impl Lock {
    fn is_expired(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) > LOCK_LIFE_MS
    }
}

impl QueueLocks {
    /// Locks for a client those of the queues that no other client holds, and renews what it holds
    /// already. Returns the queues it holds now, in the order asked for.
    pub fn try_lock(&self, group: &str, client_id: &str, queues: Vec<MessageQueue>, now_ms: i64) -> Vec<MessageQueue> {
        if queues.is_empty() {
            return queues;
        }
        let mut state = self.lock();
        let held = state.at(now_ms).entry(group.to_owned()).or_default();
        held.retain(|_, lock| !lock.is_expired(now_ms));
        let mut locked = queues;
        locked.retain(|queue| match held.get_mut(queue) {
            Some(lock) if lock.client_id == client_id => {
                lock.renewed_ms = now_ms;
                true
            }
            Some(_) => false,
            None => {
                held.insert(queue.clone(), Lock { client_id: client_id.to_owned(), renewed_ms: now_ms });
                true
            }
        });
        locked
    }

    /// Releases those of the queues that the client holds.
    pub fn unlock(&self, group: &str, client_id: &str, queues: &[MessageQueue]) {
        let mut state = self.lock();
        let groups = &mut state.groups;
        let Some(held) = groups.get_mut(group) else { return };
        for queue in queues {
            if held.get(queue).is_some_and(|lock| lock.client_id == client_id) {
                held.remove(queue);
            }
        }
        if held.is_empty() {
            groups.remove(group);
        }
    }

    /// Whether any queue of the group is held: its consumers are orderly ones.
    pub fn is_group_locked(&self, group: &str, now_ms: i64) -> bool {
        self.lock().at(now_ms).get(group).is_some_and(|held| held.values().any(|lock| !lock.is_expired(now_ms)))
    }

    /// Forgets the locks that nobody renewed.
    pub fn expire(&self, now_ms: i64) {
        self.lock().at(now_ms).retain(|_, held| {
            held.retain(|_, lock| !lock.is_expired(now_ms));
            !held.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in here leaves single entries whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("T", "broker-a", id)
    }

    #[test]
    fn a_queue_is_held_by_one_client_of_a_group() {
        let locks = QueueLocks::default();
        assert_eq!(locks.try_lock("g", "a", vec![queue(0), queue(1)], 0), [queue(0), queue(1)]);
        assert_eq!(locks.try_lock("g", "b", vec![queue(2), queue(1)], 0), [queue(2)]);
        assert_eq!(locks.try_lock("other", "b", vec![queue(1)], 0), [queue(1)], "groups do not meet");
    }

    #[test]
    fn only_the_holder_unlocks() {
        let locks = QueueLocks::default();
        locks.try_lock("g", "a", vec![queue(0)], 0);
        locks.unlock("g", "b", &[queue(0)]);
        locks.unlock("other", "a", &[queue(0)]);
        assert!(locks.try_lock("g", "b", vec![queue(0)], 0).is_empty());
        locks.unlock("g", "a", &[queue(0)]);
        assert!(!locks.is_group_locked("g", 0));
        assert_eq!(locks.try_lock("g", "b", vec![queue(0)], 0), [queue(0)]);
    }

    #[test]
    fn a_lock_that_is_not_renewed_ends_after_a_minute() {
        let locks = QueueLocks::default();
        locks.try_lock("g", "a", vec![queue(0)], 0);
        locks.try_lock("g", "a", vec![queue(0)], 40_000);
        assert!(locks.try_lock("g", "b", vec![queue(0)], 100_000).is_empty(), "renewed at 40 s");
        assert!(locks.is_group_locked("g", 100_000));
        assert!(!locks.is_group_locked("g", 100_001));
        assert_eq!(locks.try_lock("g", "b", vec![queue(0)], 100_001), [queue(0)]);
        assert!(locks.try_lock("g", "a", vec![queue(0)], 100_002).is_empty(), "b has it now");
    }

    #[test]
    fn a_clock_that_is_set_changes_no_lock() {
        const HOUR: i64 = 3_600_000;
        for step in [HOUR, -HOUR] {
            let locks = QueueLocks::default();
            let now = 10 * HOUR;
            locks.try_lock("g", "a", vec![queue(0)], now);
            locks.expire(now + step + 10_000);
            assert!(locks.try_lock("g", "b", vec![queue(0)], now + step + 40_000).is_empty(), "a may live");
            assert_eq!(locks.try_lock("g", "b", vec![queue(0)], now + step + 80_000), [queue(0)], "a is dead");
        }
    }

    #[test]
    fn expired_locks_take_no_memory() {
        let locks = QueueLocks::default();
        locks.try_lock("g", "a", vec![queue(0)], 0);
        locks.try_lock("h", "a", vec![queue(0)], 50_000);
        locks.try_lock("i", "a", Vec::new(), 50_000);
        locks.expire(60_001);
        assert_eq!(locks.lock().groups.keys().collect::<Vec<_>>(), ["h"]);
    }
}
