//! Looks after the groups: who leads the controllers elects where a master is gone, and tells the brokers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_net::{OwnedConn, Unasked};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, SyncStateSet};
use apogee_wire::codes::request;
use apogee_wire::headers::NotifyBrokerRoleChangedRequestHeader;

use crate::election::{self, Alive, Candidate, Done, Elected, Group, Standing, View};
use crate::raft::Undecided;
use crate::server::Shared;

/// A look is not later than this after the one before: see [`crate::liveness::Liveness::look`].
const LATEST_LOOK: Duration = Duration::from_secs(1);
/// How long a broker may take to accept a connection for news of its group.
const DIAL: Duration = Duration::from_secs(3);
/// How often a broker is called that cannot be reached; it asks by itself some seconds later.
const CALLS: u32 = 3;
/// Pause between two calls.
const PAUSE: Duration = Duration::from_millis(500);

/// Until the task is ended.
pub(crate) async fn forever(shared: Arc<Shared>) {
    let electing = Arc::new(Mutex::new(HashSet::new()));
    let mut led = false;
    loop {
        let pause = Duration::from_millis(shared.settings.load().scan_not_active_broker_interval).min(LATEST_LOOK);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.look.notified() => {}
            () = shared.consensus.changes() => {}
        }
        let leads = shared.consensus.is_leader();
        if leads != led {
            tracing::info!(id = %shared.peers.own(), leads, "who leads the controllers has changed");
            led = leads;
        }
        for (cluster, name) in wanting(&shared, leads) {
            if lock(&electing).insert(name.clone()) {
                let (shared, electing) = (Arc::clone(&shared), Arc::clone(&electing));
                tokio::spawn(async move {
                    elect(&shared, cluster, &name).await;
                    lock(&electing).remove(&name);
                });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cluster and name of groups that need another master; none while this controller doesn't lead.
fn wanting(shared: &Shared, leads: bool) -> Vec<(String, String)> {
    let (now_ms, unclean) = (shared.clock.now_ms(), shared.settings.load().enable_elect_unclean_master);
    let groups = shared.state.read();
    let mut liveness = shared.liveness();
    let is_unseen = liveness.look(now_ms);
    if !leads {
        // It knows nothing of the time before it leads.
        liveness.leads(now_ms);
    } else if is_unseen {
        tracing::warn!("this process stood still, or the clock was moved: brokers get their whole time again");
    }
    liveness.keep(groups.iter());
    if !leads {
        return Vec::new();
    }
    let wanting = groups.iter().filter(|group| group.wants_election(unclean, &presumed(&liveness, group, now_ms)));
    wanting.map(|group| (group.cluster().to_owned(), group.name().to_owned())).collect()
}

/// Brokers of a group that are alive; the master also as long as it isn't known to be gone.
fn presumed(liveness: &crate::liveness::Liveness, group: &Group, now_ms: i64) -> Alive {
    let mut alive = liveness.alive(group.name(), now_ms);
    if let Some(master) = group.master().filter(|master| !liveness.is_gone(group.name(), *master, now_ms)) {
        let address = group.address(master).unwrap_or_default().to_owned();
        let unheard = || Standing { address, epoch: -1, max_offset: -1, priority: i32::MAX };
        alive.entry(master).or_insert_with(unheard);
    }
    alive
}

impl Shared {
    /// Brokers of a name that are alive; the master also as long as it isn't known to be gone.
    pub fn presumed_alive(&self, name: &str) -> Alive {
        let now_ms = self.clock.now_ms();
        let groups = self.state.read();
        groups.get(name).map(|group| presumed(&self.liveness(), group, now_ms)).unwrap_or_default()
    }

    /// Brokers of a name that were heard and are alive.
    pub fn heard_alive(&self, name: &str) -> Alive {
        self.liveness().alive(name, self.clock.now_ms())
    }

    /// Has a master elected, and tells the brokers. `reason` is for the log.
    ///
    /// # Errors
    /// As [`crate::raft::Consensus::decide`].
    pub async fn elect(
        self: &Arc<Self>,
        cluster: Option<String>,
        name: &str,
        candidate: Candidate,
        reason: &str,
    ) -> Result<Elected, Undecided> {
        let (unclean, alive) = (self.settings.load().enable_elect_unclean_master, self.presumed_alive(name));
        let command = election::Command::Elect { cluster, name: name.to_owned(), candidate, unclean, alive };
        let Done::Elected(elected) = self.consensus.decide(command).await? else {
            return Err(Undecided::Stopped("an election came to something else".to_owned()));
        };
        let View { master, master_epoch, in_sync, .. } = &elected.view;
        let (before, epoch) = (elected.before, master_epoch);
        if let Some(master) = master {
            self.count_election();
            tracing::info!(broker = name, master, before, epoch, reason, "a master was elected");
        } else {
            tracing::warn!(
                broker = name,
                before,
                epoch,
                ?in_sync,
                reason,
                "a group has no master: start one of the brokers that have all acknowledged messages (in_sync), or give \
                 those messages up with enableElectUncleanMaster=true"
            );
        }
        if self.settings.load().notify_broker_role_changed {
            self.tell(&elected);
        }
        Ok(*elected)
    }

    /// Tells the brokers of a group that are alive who is its master now.
    fn tell(self: &Arc<Self>, elected: &Elected) {
        let view = &elected.view;
        let header = NotifyBrokerRoleChangedRequestHeader {
            master_address: view.master_address.as_deref(),
            master_epoch: Some(view.master_epoch),
            sync_state_set_epoch: Some(view.in_sync_epoch),
            master_broker_id: view.master,
        };
        let body = SyncStateSet { sync_state_set: view.in_sync.clone(), sync_state_set_epoch: view.in_sync_epoch };
        let news = Command::request(request::NOTIFY_BROKER_ROLE_CHANGED).with_header(&header).with_body(body.encode());
        for standing in self.heard_alive(&view.name).into_values() {
            let (shared, news) = (Arc::clone(self), news.clone());
            tokio::spawn(async move { call(&shared, &standing.address, news).await });
        }
    }
}

async fn elect(shared: &Arc<Shared>, cluster: String, name: &str) {
    let elected = shared.elect(Some(cluster), name, Candidate::Any, "its master is gone").await;
    match elected {
        Ok(_) => {}
        // It came back, or somebody else was quicker.
        Err(Undecided::Refused(refused)) => tracing::debug!(broker = name, %refused, "no election"),
        Err(error) => tracing::warn!(broker = name, %error, "no election; it is tried again"),
    }
}

/// Sends news to a broker's own port, as upstream does.
async fn call(shared: &Shared, address: &str, news: Command) {
    for call in 1..=CALLS {
        match OwnedConn::connect(&*shared.dial, address, Arc::new(Unasked), DIAL).await {
            Ok(conn) => return conn.send_oneway(news),
            Err(error) if call == CALLS => {
                tracing::info!(%error, "a broker cannot be told of its group's master; it learns it when it asks");
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
