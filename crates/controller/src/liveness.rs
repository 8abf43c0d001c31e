//! Which brokers this controller hears from: told the time, without network.
//!
//! Brokers send a heartbeat to every controller each second, so each has a view of its own. Only what a controller
//! *knows* counts against a broker: a closed connection, or silence for all of its heartbeat timeout while this
//! controller was listening as the leader. After a start, a change of leader, a pause of the process or a step of
//! the clock it knows nothing yet, and waits.

use std::collections::{HashMap, HashSet};

use crate::election::{Alive, Group, Standing};

/// Milliseconds of silence after which a broker counts as gone when it doesn't say how many.
pub const DEFAULT_TIMEOUT_MS: i64 = 10_000;
/// The longest silence that a broker may ask for, in ms.
const MAX_TIMEOUT_MS: i64 = 600_000;
/// A look that comes later than this after the one before, in ms, shows that this process stood still, or the clock
/// was moved.
const MAX_GAP_MS: i64 = 2_000;

/// A sign of life.
#[derive(Debug, Clone)]
pub struct Beat {
    /// The broker's name.
    pub name: String,
    /// Its id.
    pub id: i64,
    /// What it says of itself.
    pub standing: Standing,
    /// Milliseconds of silence after which it counts as gone; `None`: as usual.
    pub timeout_ms: Option<i64>,
    /// The connection that it came by.
    pub conn: u64,
}

#[derive(Debug)]
struct Life {
    standing: Standing,
    heard_ms: i64,
    timeout_ms: i64,
    conn: u64,
    is_closed: bool,
}

/// What was heard, by broker name and id.
#[derive(Debug, Default)]
pub struct Liveness {
    lives: HashMap<String, HashMap<i64, Life>>,
    /// Silence before this moment says nothing.
    since_ms: i64,
    looked_ms: i64,
}

impl Liveness {
    /// Begins to listen.
    pub fn new(now_ms: i64) -> Self {
        Self { lives: HashMap::new(), since_ms: now_ms, looked_ms: now_ms }
    }

    /// A broker gave a sign of life.
    pub fn heard(&mut self, now_ms: i64, beat: Beat) {
        let Beat { name, id, standing, timeout_ms, conn } = beat;
        let timeout_ms = timeout_ms.filter(|ms| *ms > 0).unwrap_or(DEFAULT_TIMEOUT_MS).min(MAX_TIMEOUT_MS);
        let life = Life { standing, heard_ms: now_ms, timeout_ms, conn, is_closed: false };
        self.lives.entry(name).or_default().insert(id, life);
    }

    /// A connection is gone. True when a broker's last sign of life came by it.
    pub fn closed(&mut self, conn: u64) -> bool {
        let of_it = self.lives.values_mut().flat_map(HashMap::values_mut).filter(|life| life.conn == conn);
        let closed = of_it.map(|life| life.is_closed = true).count();
        closed > 0
    }

    /// This controller leads from now on: what it missed before says nothing.
    pub fn leads(&mut self, now_ms: i64) {
        self.since_ms = now_ms;
    }

    /// To be called at least each second, before anything is decided. True when time went on unseen, so that nothing
    /// is known of what is silent.
    pub fn look(&mut self, now_ms: i64) -> bool {
        let gap = now_ms - self.looked_ms;
        self.looked_ms = now_ms;
        let is_unseen = !(0..=MAX_GAP_MS).contains(&gap);
        if is_unseen {
            self.since_ms = now_ms;
            // The clock may have gone back.
            self.lives
                .values_mut()
                .flat_map(HashMap::values_mut)
                .for_each(|life| life.heard_ms = life.heard_ms.min(now_ms));
        }
        is_unseen
    }

    /// Brokers of a name that are not known to be gone, and were heard.
    pub fn alive(&self, name: &str, now_ms: i64) -> Alive {
        let lives = self.lives.get(name).into_iter().flatten();
        let alive = lives.filter(|(_, life)| self.is_alive(life, now_ms));
        alive.map(|(id, life)| (*id, life.standing.clone())).collect()
    }

    /// Whether a broker is known to be gone, not just not heard yet.
    pub fn is_gone(&self, name: &str, id: i64, now_ms: i64) -> bool {
        match self.lives.get(name).and_then(|lives| lives.get(&id)) {
            Some(life) => !self.is_alive(life, now_ms),
            None => now_ms - self.since_ms > DEFAULT_TIMEOUT_MS,
        }
    }

    /// Forgets what is not a replica of these groups.
    pub fn keep<'g>(&mut self, groups: impl Iterator<Item = &'g Group>) {
        let known: HashMap<&str, HashSet<i64>> =
            groups.map(|group| (group.name(), group.replicas().map(|(id, _)| id).collect())).collect();
        self.lives.retain(|name, lives| match known.get(&**name) {
            Some(ids) => {
                lives.retain(|id, _| ids.contains(id));
                true
            }
            None => false,
        });
    }

    fn is_alive(&self, life: &Life, now_ms: i64) -> bool {
        !life.is_closed && now_ms - life.heard_ms.max(self.since_ms) <= life.timeout_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(id: i64, conn: u64, timeout_ms: i64) -> Beat {
        let standing = Standing { address: "a:1".into(), epoch: 1, max_offset: 0, priority: 0 };
        Beat { name: "b".into(), id, standing, timeout_ms: Some(timeout_ms), conn }
    }

    fn look_until(liveness: &mut Liveness, from: i64, to: i64) {
        (from..=to).step_by(1_000).for_each(|now| assert!(!liveness.look(now)));
    }

    #[test]
    fn silence_and_closed_connections_count() {
        let mut liveness = Liveness::new(0);
        liveness.heard(0, beat(1, 7, 3_000));
        liveness.heard(0, beat(2, 8, 0));
        assert_eq!(liveness.alive("b", 3_000).len(), 2);
        assert_eq!(liveness.alive("b", 3_001).into_keys().collect::<Vec<_>>(), [2]);
        assert!(liveness.is_gone("b", 1, 3_001) && !liveness.is_gone("b", 2, 10_000));
        assert!(liveness.closed(8) && !liveness.closed(9));
        assert!(liveness.is_gone("b", 2, 3_001));
        // It is back, by another connection; the old one's end came late.
        liveness.heard(4_000, beat(2, 10, 0));
        assert!(!liveness.closed(8) && !liveness.is_gone("b", 2, 4_000));
    }

    #[test]
    fn who_was_never_heard_is_unknown_at_first_and_gone_later() {
        let mut liveness = Liveness::new(0);
        assert!(!liveness.is_gone("b", 1, DEFAULT_TIMEOUT_MS) && liveness.is_gone("b", 1, DEFAULT_TIMEOUT_MS + 1));
        assert!(liveness.alive("b", 0).is_empty());
        liveness.leads(60_000);
        assert!(!liveness.is_gone("b", 1, 60_000 + DEFAULT_TIMEOUT_MS));
    }

    #[test]
    fn a_new_leader_does_not_take_its_own_deafness_for_silence() {
        let mut liveness = Liveness::new(0);
        liveness.heard(0, beat(1, 7, 3_000));
        liveness.heard(0, beat(2, 8, 3_000));
        liveness.closed(8);
        look_until(&mut liveness, 1_000, 20_000);
        assert!(liveness.is_gone("b", 1, 20_000));
        liveness.leads(20_000);
        assert!(!liveness.is_gone("b", 1, 23_000) && liveness.is_gone("b", 1, 23_001));
        // What it knows, it knows.
        assert!(liveness.is_gone("b", 2, 20_000));
    }

    #[test]
    fn a_pause_or_a_moved_clock_is_no_silence() {
        for now in [3_600_000, -3_600_000] {
            let mut liveness = Liveness::new(0);
            liveness.heard(0, beat(1, 7, 3_000));
            assert!(liveness.look(now));
            assert!(!liveness.is_gone("b", 1, now + 3_000), "{now}");
            assert!(!liveness.look(now + 1_000));
            assert!(liveness.is_gone("b", 1, now + 3_001), "{now}");
        }
    }

    #[test]
    fn only_replicas_of_groups_are_remembered() {
        let mut liveness = Liveness::new(0);
        liveness.heard(0, beat(1, 7, 0));
        liveness.keep(std::iter::empty());
        assert!(liveness.lives.is_empty());
    }
}
