//! A slave that stands in for its master while that one is gone (upstream `enableSlaveActingMaster`): it serves the
//! master's readers and the locks of its queues. Clients find it where the master was, by the name servers
//! (`supportActingMaster`), which learn of a master's death within seconds since all brokers of such a group give a
//! sign of life each second.
//!
//! | step | file |
//! |---|---|
//! | who is up, and what follows from it | `group.rs` |
//! | signs of life, and asking who is up | `touch.rs` |

mod group;
mod touch;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::settings::BrokerSettings;

use group::{Group, Stand};

pub(crate) use touch::keep_in_touch;

/// What a broker knows of its group, and whether it stands in for its master.
pub(crate) struct Acting {
    state: Mutex<State>,
    /// A name server told of a change: all are asked at once.
    pub news: Notify,
}

struct State {
    group: Group,
    stand: Stand,
}

impl Acting {
    pub fn new(settings: &BrokerSettings) -> Self {
        let group = Group::new(settings.broker_id, settings.broker_not_active_timeout_millis);
        Self { state: Mutex::new(State { group, stand: Stand::Beside }), news: Notify::new() }
    }

    /// A name server said which brokers of this broker's name are up.
    pub fn heard(&self, name_server: &str, members: BTreeMap<i64, String>, now_ms: i64) {
        self.lock().group.heard(name_server, members, now_ms);
    }

    /// Looks at what is known, and says whether the broker stands in for its master now.
    pub fn look(&self, is_copying: bool, now_ms: i64) -> bool {
        let mut state = self.lock();
        let (before, now) = (state.stand, state.group.stand(is_copying, now_ms));
        state.stand = now;
        let lowest = state.group.lowest(now_ms).map(|(id, address)| format!("{id} at {address}"));
        drop(state);
        match (before, now) {
            (Stand::Beside, Stand::StandsIn) => tracing::warn!(
                "this slave stands in for its master: no name server knows one, it has the lowest id, and its copy of the \
                 log has stopped; it serves readers and locks, and takes no messages: start the master again"
            ),
            (Stand::StandsIn, Stand::Beside) => {
                tracing::info!(lowest, "this slave stands in for its master no longer");
            }
            _ => {}
        }
        now == Stand::StandsIn
    }

    /// Whether the broker stood in for its master at the last look.
    pub fn stands_in(&self) -> bool {
        self.lock().stand == Stand::StandsIn
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
