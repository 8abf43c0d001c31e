//! The broker's part in a group of replicas: as a master it sends its log to slaves, as a slave it copies its
//! master's (upstream `HAService`). What is concluded of what is said is in the crate `replication`; here are the
//! connections. They have a thread of their own: what a slave that is far behind needs has to be read from the disk,
//! and nobody else shall wait for that.
//!
//! | | file |
//! |---|---|
//! | what a broker is to be, and what it tells whoever runs it | `placement.rs` |
//! | listening to slaves, and who is waited for | `master.rs` |
//! | one slave's connection | `sending.rs` |
//! | following a master | `slave.rs` |
//! | whether two logs are of one origin | `origin.rs` |
//! | what can be seen of it | `status.rs` |

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use apogee_base::disk::Disk;
use apogee_replication::{Epoch, EpochFile, Epochs, Leader, Mastership, Rules};
use apogee_store::{ProgressListener, Store};
use tokio::sync::{Notify, mpsc, watch};

use crate::role::BrokerRole;
use crate::settings::BrokerSettings;

mod master;
mod origin;
mod pace;
mod placement;
mod running;
mod sending;
mod slave;
mod status;
#[cfg(test)]
mod tests;

pub use placement::{Elected, Follows, InSync, Placement, ReplicationEvent, Role, Standing};
pub(crate) use running::{listen, start};
pub(crate) use status::Copying;

/// Where a slave's master is, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MasterPlace {
    /// `host:port` that clients are told.
    pub broker: Option<String>,
    /// `host:port` that slaves copy from; none: the master is asked for it.
    pub ha: Option<String>,
}

/// What the broker is in its group.
pub(crate) struct Replication {
    role: Role,
    events: Option<mpsc::Sender<ReplicationEvent>>,
    /// Where a slave's master is.
    master: watch::Sender<MasterPlace>,
    /// Who has what of a master's log; none on a slave.
    leader: Option<Mutex<Leader>>,
    /// Which master wrote what, where a controller elects it.
    epochs: Option<KeptEpochs>,
    /// What a slave knows of its copy.
    copying: Mutex<Copying>,
    /// Of what stands in the log before this a controller's slave is not sure that it stays: it was there at the start,
    /// and may be what another master cuts off. 0: sure of all that it shows.
    unsure_to: AtomicI64,
    news: Arc<News>,
}

/// The epochs of the log, and their file.
struct KeptEpochs {
    file: EpochFile,
    epochs: Mutex<Arc<Epochs>>,
}

/// Wakes those who wait for the log to grow or to be durable.
#[derive(Default)]
struct News {
    written: Notify,
    flushed: Notify,
}

impl ProgressListener for News {
    fn written(&self, _: i64) {
        self.written.notify_waiters();
    }

    fn flushed(&self, _: i64) {
        self.flushed.notify_waiters();
    }
}

impl Replication {
    /// Takes up the role of a broker whose store was just opened. The text of an error says what to do.
    pub fn open(
        placement: Placement,
        settings: &BrokerSettings,
        disk: Arc<dyn Disk>,
        store: &Store,
        now_ms: i64,
    ) -> Result<Self, String> {
        let Placement { role, events, .. } = placement;
        let (begin, end) = (store.log_min_offset(), store.log_max_offset());
        let epochs = match &role {
            Role::AsSet => None,
            Role::Master(elected) => Some(KeptEpochs::open(disk, store.root(), begin, end, Some(elected.epoch))?),
            Role::Slave(_) => Some(KeptEpochs::open(disk, store.root(), begin, end, None)?),
        };
        let mastership = match (&role, &epochs) {
            (Role::Master(elected), Some(epochs)) => {
                let start = epochs.now().last().map_or(end, |epoch| epoch.start);
                let InSync { members, epoch } = elected.in_sync.clone();
                Some(Mastership::new(elected.broker_id, start, members, epoch))
            }
            _ => None,
        };
        let leads = !settings.broker_role.is_slave();
        let leader = leads.then(|| Mutex::new(Leader::new(rules(settings), mastership, end, now_ms)));
        let place = match &role {
            Role::Slave(follows) => MasterPlace { broker: follows.master.clone(), ha: None },
            Role::AsSet | Role::Master(_) => MasterPlace::default(),
        };
        let news = Arc::new(News::default());
        store.watch(Arc::clone(&news) as _);
        let (master, copying) = (watch::channel(place).0, Mutex::default());
        let unsure_to = AtomicI64::new(if matches!(role, Role::Slave(_)) { end } else { 0 });
        Ok(Self { role, events, master, leader, epochs, copying, unsure_to, news })
    }

    /// Whether all that is shown stays. A reader of what is cut off would pass over what comes in its place.
    pub fn is_sure(&self) -> bool {
        self.unsure_to.load(Ordering::Relaxed) == 0
    }

    /// A slave's log up to here is confirmed.
    fn confirmed_to(&self, end: i64) {
        if end >= self.unsure_to.load(Ordering::Relaxed) {
            self.unsure_to.store(0, Ordering::Relaxed);
        }
    }

    /// Where the master is; none known when this broker is one.
    pub fn master(&self) -> watch::Receiver<MasterPlace> {
        self.master.subscribe()
    }

    /// A slave learned where its master is.
    pub fn follow(&self, place: MasterPlace) {
        self.master.send_if_modified(|known| {
            let is_news = *known != place;
            *known = place;
            is_news
        });
    }

    /// The controller told of the set of replicas in sync. An older one than is known changes nothing.
    pub fn in_sync_is(&self, in_sync: InSync) {
        if let Some(mut leader) = self.leader() {
            leader.in_sync_is(in_sync.members, in_sync.epoch);
        }
    }

    /// The number that the controller knows this broker by; none without a controller.
    pub fn id(&self) -> Option<i64> {
        match &self.role {
            Role::AsSet => None,
            Role::Master(elected) => Some(elected.broker_id),
            Role::Slave(follows) => Some(follows.broker_id),
        }
    }

    /// The epochs of the log; none without a controller.
    pub fn epochs(&self) -> Option<Arc<Epochs>> {
        self.epochs.as_ref().map(KeptEpochs::now)
    }

    /// What the broker was started as.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Tells who runs the broker; false: not now, or nobody is there to hear it.
    pub fn tell(&self, event: ReplicationEvent) -> bool {
        self.events.as_ref().is_some_and(|events| events.try_send(event).is_ok())
    }

    fn leader(&self) -> Option<MutexGuard<'_, Leader>> {
        self.leader.as_ref().map(|leader| leader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn copying(&self) -> MutexGuard<'_, Copying> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptEpochs {
    /// Reads them, and forgets those that nothing of the log is left of. With `elected` this broker is the master from
    /// now on.
    fn open(disk: Arc<dyn Disk>, root: &Path, begin: i64, end: i64, elected: Option<i32>) -> Result<Self, String> {
        let file = EpochFile::of(disk, root);
        let mut epochs = file.read().map_err(|error| error.to_string())?;
        // Both are to be looked for.
        let mut changed = epochs.end_with(end) | epochs.begin_with(begin);
        let last = epochs.last();
        match elected {
            Some(number) if last.is_none_or(|last| last.number != number) => {
                // The first master has the log from before there were any.
                let start = if last.is_none() { begin } else { end };
                epochs.push(Epoch { number, start }).map_err(|error| {
                    format!(
                        "the controller made this broker the master of an epoch that its log is past: {error}; is it the controller of this group, and has it lost its data?"
                    )
                })?;
                changed = true;
            }
            _ => {}
        }
        let kept = Self { file, epochs: Mutex::default() };
        if changed {
            kept.keep(epochs).map(|()| kept)
        } else {
            Ok(Self { epochs: Mutex::new(Arc::new(epochs)), ..kept })
        }
    }

    fn now(&self) -> Arc<Epochs> {
        Arc::clone(&self.epochs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps them durably, then lets them be seen. One caller at a time.
    fn keep(&self, epochs: Epochs) -> Result<(), String> {
        self.file.write(&epochs).map_err(|error| error.to_string())?;
        *self.epochs.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(epochs);
        Ok(())
    }
}

/// What is set about copies.
fn rules(settings: &BrokerSettings) -> Rules {
    let in_sync_replicas = match settings.broker_role {
        BrokerRole::AsyncMaster => 1,
        _ => settings.in_sync_replicas,
    };
    Rules {
        in_sync_replicas,
        min_in_sync_replicas: settings.min_in_sync_replicas,
        auto: settings.enable_auto_in_sync_replicas && settings.broker_role == BrokerRole::SyncMaster,
        all_in_sync: settings.all_ack_in_sync_state_set,
        most_gap: settings.ha_max_gap_not_in_sync,
        most_lag_ms: settings.ha_max_time_slave_not_catchup,
        silence_ms: settings.ha_send_heartbeat_interval.saturating_mul(2) as i64,
    }
}
