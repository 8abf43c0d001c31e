//! Runs one broker after the other, as a controller says: the hands of an [`Agent`].

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use apogee_net::{Conn, Service};
use apogee_store::StoreError;
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::BrokerHeartbeatRequestHeader;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Current;
use super::agent::{Act, Agent, Answer, Failure, Question, Rules};
use super::change::{Ground, Log};
use super::controllers::Controllers;
use super::identity::IdentityFile;
use super::wording::{self, Asker};
use crate::broker::RunningBroker;
use crate::replication::{Placement, ReplicationEvent, Role, Standing};

/// What others tell waits at most.
const WAITING: usize = 64;

/// The broker that runs.
struct Running {
    broker: RunningBroker,
    /// What it is, and where its master was last said to be.
    role: Role,
    events: mpsc::Receiver<ReplicationEvent>,
}

/// A change of role under way.
struct Change {
    to: Option<Role>,
    began: Instant,
    events: mpsc::Receiver<ReplicationEvent>,
    work: JoinHandle<Result<Option<RunningBroker>, String>>,
}

/// What an answer is to, and what it is.
type Outcome = (Question, Result<Answer, Failure>);

/// See the module.
pub(super) struct Supervisor {
    ground: Ground,
    current: Arc<Current>,
    agent: Agent,
    asker: Asker,
    rules: Rules,
    identity: IdentityFile,
    controllers: Controllers,
    notices: mpsc::Receiver<Standing>,
    outcomes: (mpsc::UnboundedSender<Outcome>, mpsc::UnboundedReceiver<Outcome>),
    began: Instant,
    running: Option<Running>,
    change: Option<Change>,
    /// The broker is to be started again in its role, with this done in between.
    again: Option<(Option<i64>, Log)>,
    /// Where the log ended, and up to where it was confirmed, when a broker last ran.
    log_end: (i64, i64),
}

impl Supervisor {
    pub fn new(
        ground: Ground,
        current: Arc<Current>,
        rules: Rules,
        asker: Asker,
        identity: IdentityFile,
        epoch: i32,
    ) -> Result<Self, String> {
        let (tell, notices) = mpsc::channel(WAITING);
        Ok(Self {
            agent: Agent::new(rules.clone(), identity.load()?, epoch, 0),
            ground,
            current,
            asker,
            rules,
            identity,
            controllers: Controllers::new(Arc::new(Notices(tell))),
            notices,
            outcomes: mpsc::unbounded_channel(),
            began: Instant::now(),
            running: None,
            change: None,
            again: None,
            log_end: (0, 0),
        })
    }

    /// Goes on until it is told to stop, with how long clients are waited for.
    pub async fn run(mut self, mut stop: oneshot::Receiver<Duration>) -> Result<(), StoreError> {
        self.current.pauses("no controller has said yet what this broker is; see whether most controllers are up");
        loop {
            self.agent.due(self.now());
            self.perform();
            self.change_if_wanted();
            let due = self.began + Duration::from_millis(self.agent.next_due().clamp(0, i64::from(u32::MAX)) as u64);
            let now = self.now();
            tokio::select! {
                patience = &mut stop => return self.stop(patience.unwrap_or_default()).await,
                () = tokio::time::sleep_until(due) => {}
                Some((question, outcome)) = self.outcomes.1.recv() => self.agent.answered(now, &question, outcome),
                Some(standing) = self.notices.recv() => self.agent.told(now, standing),
                event = heard(&mut self.running) => self.happened(event),
                done = finished(&mut self.change) => self.changed(done),
            }
        }
    }

    /// Milliseconds since this began: no step of the machine's clock changes who is alive.
    fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn perform(&mut self) {
        for act in self.agent.acts() {
            match act {
                Act::Ask { to, question } => {
                    let command = self.asker.command(&question, self.ground.clock.now_ms());
                    let outcomes = self.outcomes.0.clone();
                    self.controllers.ask(&to, command, move |answer| {
                        let outcome = wording::outcome(&question, answer);
                        // Nobody listens any more at a stop.
                        let _ = outcomes.send((question, outcome));
                    });
                }
                Act::Beat => self.beat(),
                // Waits for the disk, twice in the life of a broker.
                Act::Keep(identity) => {
                    if let Err(error) = self.identity.keep(&identity) {
                        tracing::error!(%error, "cannot keep which broker this is; trying again: see to the disk");
                        self.agent.not_kept(self.now());
                    }
                }
                Act::Become { role, why } => {
                    let named = name(role.as_ref());
                    tracing::info!(role = named, reason = why, "the role of this broker changes");
                    if role.is_none() {
                        self.current.pauses(why);
                        // Those who count it as alive would elect it again.
                        self.controllers.leave();
                    }
                }
                Act::InSync(_) => self.pass_in_sync(),
                Act::Complain(text) => tracing::warn!("{text}"),
            }
        }
    }

    fn beat(&mut self) {
        if let Some(broker) = self.current.broker() {
            if let Some(reason) = broker.store.failure() {
                let why = format!("the store takes no messages any more: {reason}");
                return self.agent.failed(self.now(), &why);
            }
            self.agent.acknowledges_early(!broker.settings.load().all_ack_in_sync_state_set);
            self.log_end = (broker.store.log_max_offset(), broker.store.confirmed_offset());
        }
        let settings = &self.ground.settings;
        let header = BrokerHeartbeatRequestHeader {
            cluster_name: &self.asker.cluster,
            broker_addr: &self.asker.address,
            broker_name: &self.asker.group,
            broker_id: self.agent.id(),
            epoch: Some(self.agent.epoch()),
            max_offset: Some(self.log_end.0),
            confirm_offset: Some(self.log_end.1),
            heartbeat_timeout_mills: Some(self.rules.silence_ms),
            election_priority: Some(settings.broker_election_priority),
        };
        for controller in &self.rules.controllers {
            self.controllers.tell(controller, Command::request(code::BROKER_HEARTBEAT).with_header(&header));
        }
    }

    /// Begins what leads from the role that runs to the one that is wanted.
    fn change_if_wanted(&mut self) {
        if self.change.is_some() {
            return;
        }
        let wanted = self.agent.role().cloned();
        let (cut_at, log) = match (&mut self.running, &wanted) {
            (None, None) => return,
            (Some(running), Some(role)) if is_same(&running.role, role) => {
                if let (Role::Slave(now), Role::Slave(before)) = (role, &running.role)
                    && now.master != before.master
                {
                    running.broker.follow(now.master.clone());
                    running.role = role.clone();
                }
                match self.again.take() {
                    Some(again) => again,
                    None => return,
                }
            }
            _ => {
                self.again = None;
                (None, Log::Kept)
            }
        };
        let from = self.running.take().map(|running| running.broker);
        if from.is_some() {
            self.current.pauses("the role of this broker changes");
        }
        let (tell, events) = mpsc::channel(WAITING);
        let placement = wanted.clone().map(|role| Placement { role, cut_at, events: Some(tell) });
        let work = tokio::spawn(self.ground.clone().change(from, log, placement));
        self.change = Some(Change { to: wanted, began: Instant::now(), events, work });
    }

    fn changed(&mut self, done: Result<Option<RunningBroker>, String>) {
        let Some(Change { to, began, events, .. }) = self.change.take() else { return };
        match (done, to) {
            (Ok(Some(broker)), Some(role)) => {
                let (took_ms, epoch) = (began.elapsed().as_millis(), self.agent.epoch());
                tracing::info!(role = name(Some(&role)), epoch, took_ms, "the broker is up in its role");
                self.current.runs(broker.collector());
                self.running = Some(Running { broker, role, events });
                // It may have changed meanwhile.
                self.pass_in_sync();
            }
            (Ok(_), _) => {}
            (Err(error), to) => {
                let role = name(to.as_ref());
                tracing::error!(
                    role,
                    error,
                    "the broker cannot start in its role; it leaves it to others and tries again: see to the reason"
                );
                self.agent.failed(self.now(), &error);
            }
        }
    }

    fn pass_in_sync(&self) {
        if let (Some(running), Some(Role::Master(elected))) = (&self.running, self.agent.role())
            && matches!(&running.role, Role::Master(as_started) if as_started.epoch == elected.epoch)
        {
            running.broker.in_sync_is(elected.in_sync.clone());
        }
    }

    fn happened(&mut self, event: ReplicationEvent) {
        let now = self.now();
        match event {
            ReplicationEvent::CutTo(offset) => self.again = Some((Some(offset), Log::Kept)),
            ReplicationEvent::BeginAnew => self.again = Some((None, Log::SetAside)),
            ReplicationEvent::Told(standing) => self.agent.told(now, standing),
            ReplicationEvent::InSyncWanted { members, replaces } => self.wanted(now, members, replaces),
            // It was logged where it happened.
            ReplicationEvent::Refused(_) => {}
        }
    }

    fn wanted(&mut self, now: i64, members: BTreeSet<i64>, replaces: i32) {
        tracing::info!(?members, replaces, "other replicas are in sync; the controller is asked to agree");
        self.agent.wants(now, members, replaces);
    }

    async fn stop(mut self, patience: Duration) -> Result<(), StoreError> {
        if let Some(change) = self.change.take()
            && let Ok(Ok(Some(broker))) = change.work.await
            && let Some(role) = change.to
        {
            self.running = Some(Running { broker, role, events: change.events });
        }
        self.current.ends();
        let stopped = match self.running.take() {
            Some(running) => running.broker.stop(patience).await,
            None => Ok(()),
        };
        // Not before: another master is elected once they are gone.
        self.controllers.leave();
        stopped
    }
}

/// The next event of the broker that runs.
async fn heard(running: &mut Option<Running>) -> ReplicationEvent {
    match running {
        Some(running) => match running.events.recv().await {
            Some(event) => event,
            None => pending().await,
        },
        None => pending().await,
    }
}

/// The end of the change under way.
async fn finished(change: &mut Option<Change>) -> Result<Option<RunningBroker>, String> {
    match change {
        Some(change) => {
            (&mut change.work).await.unwrap_or_else(|error| Err(format!("a change of role failed by a bug: {error}")))
        }
        None => pending().await,
    }
}

/// Whether a broker in one role can go on in the other without a start.
fn is_same(one: &Role, other: &Role) -> bool {
    match (one, other) {
        (Role::Master(one), Role::Master(other)) => one.epoch == other.epoch,
        (Role::Slave(_), Role::Slave(_)) => true,
        _ => false,
    }
}

fn name(role: Option<&Role>) -> &'static str {
    match role {
        Some(Role::Master(_)) => "master",
        Some(Role::Slave(_)) => "slave",
        Some(Role::AsSet) => "as set",
        None => "none",
    }
}

/// Takes what controllers say on our connections to them.
struct Notices(mpsc::Sender<Standing>);

impl Service for Notices {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        let answer = match request.code {
            code::NOTIFY_BROKER_ROLE_CHANGED => match wording::notice(request) {
                Ok(standing) => {
                    // One that finds no room is heard of when the group is looked at.
                    let _ = self.0.try_send(standing);
                    Command::response_to(request, response::SUCCESS)
                }
                Err(error) => Command::response_to(request, response::INVALID_PARAMETER).with_remark(error),
            },
            other => Command::response_to(request, response::REQUEST_CODE_NOT_SUPPORTED)
                .with_remark(format!(" request type {other} not supported")),
        };
        if !request.is_oneway() {
            conn.reply(&answer);
        }
    }
}
