//! A slave that stands in for its master while that one is gone (upstream `enableSlaveActingMaster`): it serves the
//! master's readers and the locks of its queues, and with `enableRemoteEscape` delivers what comes due through other
//! brokers. Clients find it where the master was, by the name servers (`supportActingMaster`), which learn of a master's
//! death within seconds since all brokers of such a group give a sign of life each second.
//!
//! | step | file |
//! |---|---|
//! | who is up, and what follows from it | `group.rs` |
//! | signs of life, and asking who is up | `touch.rs` |
//! | a slave's work for its master | `duty.rs` |
//! | what comes due there | `due.rs` |
//! | where it is sent | `elsewhere.rs` |
//! | what was delivered, in a file of the slave's own | `ledger.rs` |
//! | a master that comes back, before it is available again | `online.rs` |
//! | it notes what was delivered in its place | `settle.rs` |
//!
//! Each message is delivered at least once, and once where nothing else fails: a slave that is asked to stand down ends
//! what is under way, and hands its ledger over before the master delivers anything.

mod due;
mod duty;
mod elsewhere;
mod group;
mod ledger;
mod online;
mod settle;
#[cfg(test)]
mod tests;
mod touch;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use crate::settings::BrokerSettings;

use group::{Group, Stand};

pub(crate) use duty::work_for_master;
pub(crate) use ledger::{Delivered, Ledger};
pub(crate) use online::{come_online, master_is_back};
pub(crate) use settle::take_over;
pub(crate) use touch::keep_in_touch;

/// What a broker knows of its group, and whether it stands in for its master.
pub(crate) struct Acting {
    state: Mutex<State>,
    /// Milliseconds after which what is known is too old.
    patience_ms: i64,
    /// A name server told of a change: all are asked at once.
    pub news: Notify,
    /// The broker begins or ends to stand in.
    changed: Notify,
    /// The one turn of who delivers for the master, or sees to it that nobody does.
    turn: Semaphore,
    /// Whether the broker is available; a master that comes back is not at once.
    online: watch::Sender<bool>,
    /// What was noted last of what a slave delivered: it tells again what it got no answer to.
    noted: Mutex<Vec<Delivered>>,
}

struct State {
    group: Group,
    stand: Stand,
    /// Until then the master has the word, whoever else is known.
    yields_until: i64,
}

impl Acting {
    /// `is_online`: it is available at once.
    pub fn new(settings: &BrokerSettings, is_online: bool) -> Self {
        let patience_ms = settings.broker_not_active_timeout_millis;
        let group = Group::new(settings.broker_id, patience_ms);
        Self {
            state: Mutex::new(State { group, stand: Stand::Beside, yields_until: i64::MIN }),
            patience_ms,
            news: Notify::new(),
            changed: Notify::new(),
            turn: Semaphore::new(1),
            online: watch::channel(is_online).0,
            noted: Mutex::default(),
        }
    }

    /// A name server said which brokers of this broker's name are up.
    pub fn heard(&self, name_server: &str, members: BTreeMap<i64, String>, now_ms: i64) {
        self.lock().group.heard(name_server, members, now_ms);
    }

    /// Looks at what is known, and says whether the broker stands in for its master now.
    pub fn look(&self, is_copying: bool, now_ms: i64) -> bool {
        let mut state = self.lock();
        let is_served = is_copying || now_ms < state.yields_until;
        let (before, now) = (state.stand, state.group.stand(is_served, now_ms));
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
        if before != now {
            self.changed.notify_one();
        }
        now == Stand::StandsIn
    }

    /// The master says that it is back: nobody stands in for it, at least until it had time to be heard of.
    fn yields(&self, now_ms: i64) {
        self.lock().yields_until = now_ms.saturating_add(self.patience_ms);
        self.look(false, now_ms);
    }

    /// The others of its name that are up, by id. `None`: no name server has told, or with `all` not all have.
    fn others(&self, name_servers: usize, all: bool, now_ms: i64) -> Option<BTreeMap<i64, String>> {
        let (others, told) = self.lock().group.others(now_ms);
        (told > 0 && (told >= name_servers || !all)).then_some(others)
    }

    /// Whether the broker stood in for its master at the last look.
    pub fn stands_in(&self) -> bool {
        self.lock().stand == Stand::StandsIn
    }

    /// Whether the broker is available: only then it registers, and delivers.
    pub fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    /// Waits until the broker is available.
    pub async fn wait_online(&self) {
        // Fails only if the sender were gone, which is part of this.
        let _ = self.online.subscribe().wait_for(|online| *online).await;
    }

    /// Waits until nobody delivers for the master, or tells it what was delivered; nobody does while it is held.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Fails only if it were closed, which it never is.
        self.turn.acquire().await.ok()
    }

    /// Those that were not among the last that were noted.
    fn not_noted(&self, delivered: &[Delivered]) -> Vec<Delivered> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let known: HashSet<i64> = noted.iter().map(|one| one.offset).collect();
        delivered.iter().filter(|one| !known.contains(&one.offset)).copied().collect()
    }

    /// These are noted.
    fn noted(&self, delivered: &[Delivered]) {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = delivered.to_vec();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
