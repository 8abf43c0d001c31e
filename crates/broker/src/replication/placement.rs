//! What a broker is in its group for the life of a [`crate::RunningBroker`], and what it tells of it to whoever
//! runs it.

use std::collections::BTreeSet;

use tokio::sync::mpsc;

/// What a broker is to be, and where its log is to end first.
#[derive(Debug, Default)]
pub struct Placement {
    /// Master or slave.
    pub role: Role,
    /// Where the log is cut before it is opened, as [`ReplicationEvent::CutTo`] asked for; a record begins there.
    pub cut_at: Option<i64>,
    /// Who is told what only he can do. An event that finds no room is told again later.
    pub events: Option<mpsc::Sender<ReplicationEvent>>,
}

/// What a broker is in its group. It stays that until it is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// As `brokerRole` says; a slave learns from name servers where its master is.
    #[default]
    AsSet,
    /// Master by the word of a controller (upstream `enableControllerMode`).
    Master(Elected),
    /// Slave by the word of a controller.
    Slave(Follows),
}

/// What a controller said of this broker when it became the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elected {
    /// The number of this broker that the controller knows, 1 and above.
    pub broker_id: i64,
    /// Epoch of its time as a master: each new master's is higher.
    pub epoch: i32,
    /// Who has all that was acknowledged.
    pub in_sync: InSync,
}

/// What a controller said of this broker when it became a slave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follows {
    /// The number of this broker that the controller knows, 1 and above.
    pub broker_id: i64,
    /// The master, as far as there is one: `host:port` that clients are told.
    pub master: Option<String>,
}

/// The set of replicas that have all that was acknowledged, as the controller knows it
/// (upstream `SyncStateSet`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InSync {
    /// Numbers of brokers, the master's among them.
    pub members: BTreeSet<i64>,
    /// Counts the changes of the set.
    pub epoch: i32,
}

/// How a group stands, by the word of a controller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Number and address of the master.
    pub master: Option<(i64, String)>,
    /// Epoch of the last election.
    pub epoch: i32,
    /// Who has all that was acknowledged.
    pub in_sync: InSync,
}

/// What happened that only who runs the broker can deal with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicationEvent {
    /// A slave has records that its master has not, and that nobody was promised: it is to be stopped, and started
    /// with [`Placement::cut_at`] at this offset. It copies nothing until then.
    CutTo(i64),
    /// Nothing that a slave has is in its master's log as it is now: it is older than what the master still keeps, or
    /// was never promised to anybody. The slave is to be stopped, its store set aside, and started with an empty one.
    /// It copies nothing until then.
    BeginAnew,
    /// A slave and its master cannot work together, for the reason told. It was logged, is tried again from time to
    /// time, and somebody has to do something about it.
    Refused(String),
    /// A controller told this broker how its group stands (upstream `NOTIFY_BROKER_ROLE_CHANGED`).
    Told(Standing),
    /// A master wants the controller to agree to another set of replicas (upstream `ALTER_SYNC_STATE_SET`). Until it
    /// hears what became of it, it waits for the copies of both. Told again each 5 s while there is no answer.
    InSyncWanted {
        /// Numbers of brokers, the master's among them.
        members: BTreeSet<i64>,
        /// Epoch of the set that it is to replace.
        replaces: i32,
    },
}
