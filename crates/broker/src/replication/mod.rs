//! The broker's part in a group of replicas: as a master it sends its log to slaves, as a slave it copies its
//! master's (upstream `HAService`). What is concluded of what is said is in the crate `replication`.

mod placement;

use tokio::sync::{mpsc, watch};

pub use placement::{Elected, Follows, InSync, Placement, ReplicationEvent, Role, Standing};

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
    master: watch::Sender<MasterPlace>,
    in_sync: watch::Sender<InSync>,
}

impl Replication {
    pub fn new(role: Role, events: Option<mpsc::Sender<ReplicationEvent>>) -> Self {
        let in_sync = match &role {
            Role::Master(elected) => elected.in_sync.clone(),
            Role::AsSet | Role::Slave(_) => InSync::default(),
        };
        let place = match &role {
            Role::Slave(follows) => MasterPlace { broker: follows.master.clone(), ha: None },
            Role::AsSet | Role::Master(_) => MasterPlace::default(),
        };
        Self { role, events, master: watch::channel(place).0, in_sync: watch::channel(in_sync).0 }
    }

    /// What the broker was started as.
    pub fn role(&self) -> &Role {
        &self.role
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
        self.in_sync.send_if_modified(|known| {
            let is_news = in_sync.epoch > known.epoch;
            if is_news {
                *known = in_sync;
            }
            is_news
        });
    }

    /// Tells who runs the broker; false: not now, or nobody is there to hear it.
    pub fn tell(&self, event: ReplicationEvent) -> bool {
        self.events.as_ref().is_some_and(|events| events.try_send(event).is_ok())
    }
}
