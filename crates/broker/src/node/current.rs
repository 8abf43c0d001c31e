//! The broker that runs now: what others hold on to while one broker ends and the next one starts.

use std::sync::Arc;
use std::time::Duration;

use apogee_telemetry::{Health, Metrics, Scope};
use tokio::sync::watch;

use crate::broker::Broker;
use crate::metrics::Collector;
use crate::replication::Role;
use crate::settings::BrokerSettings;

/// What runs.
enum State {
    /// Nothing, for the moment; why.
    Between(String),
    /// A broker.
    Running(Arc<Collector>),
    /// Nothing, and nothing will.
    Ended,
}

/// The broker that runs now, if one does.
pub(crate) struct Current {
    /// As at the start: for the times between two brokers.
    settings: BrokerSettings,
    state: watch::Sender<State>,
}

impl Current {
    pub fn new(settings: BrokerSettings) -> Arc<Self> {
        Arc::new(Self { settings, state: watch::channel(State::Between("the broker starts".to_owned())).0 })
    }

    /// A broker is up.
    pub fn runs(&self, collector: Arc<Collector>) {
        self.state.send_replace(State::Running(collector));
    }

    /// The broker is about to end, and another one to come; `why`, for people.
    pub fn pauses(&self, why: impl Into<String>) {
        self.state.send_replace(State::Between(why.into()));
    }

    /// There will be no broker any more.
    pub fn ends(&self) {
        self.state.send_replace(State::Ended);
    }

    /// The broker, if one runs.
    pub fn broker(&self) -> Option<Arc<Broker>> {
        self.collector().map(|collector| collector.broker())
    }

    /// The role that a controller gave to the broker that runs, in a word.
    pub fn role(&self) -> &'static str {
        match self.broker().as_deref().map(|broker| broker.replication.role()) {
            Some(Role::Master(_)) => "master",
            Some(Role::Slave(_)) => "slave",
            Some(Role::AsSet) | None => "no role yet",
        }
    }

    /// There will be no broker any more.
    pub fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended)
    }

    /// The settings of the broker that runs, or those of the start.
    pub fn settings(&self) -> BrokerSettings {
        match self.broker() {
            Some(broker) => BrokerSettings::clone(&broker.settings.load()),
            None => self.settings.clone(),
        }
    }

    /// Waits until a name server knows a broker that runs, or for `patience`. Says whether one does.
    pub async fn wait_registered(&self, patience: Duration) -> bool {
        let mut states = self.state.subscribe();
        let registered = async {
            while states.wait_for(|state| !matches!(state, State::Between(_))).await.is_ok() {
                let Some(broker) = self.broker() else { continue };
                tokio::select! {
                    () = broker.wait_registered() => return true,
                    // It is another one's turn.
                    changed = states.changed() => if changed.is_err() { break },
                }
            }
            false
        };
        tokio::time::timeout(patience, registered).await.unwrap_or(false)
    }

    fn collector(&self) -> Option<Arc<Collector>> {
        match &*self.state.borrow() {
            State::Running(collector) => Some(Arc::clone(collector)),
            State::Between(_) | State::Ended => None,
        }
    }
}

impl Metrics for Current {
    fn scopes(&self) -> Vec<Scope> {
        self.collector().map(|collector| collector.scopes()).unwrap_or_default()
    }

    fn exporter_scopes(&self) -> Vec<Scope> {
        self.collector().map(|collector| collector.exporter_scopes()).unwrap_or_default()
    }
}

impl Health for Current {
    fn live(&self) -> Result<(), String> {
        self.collector().map_or(Ok(()), |collector| collector.live())
    }

    fn ready(&self) -> Result<(), String> {
        match &*self.state.borrow() {
            State::Running(collector) => collector.ready(),
            State::Between(why) => Err(why.clone()),
            State::Ended => Err("the broker has stopped".to_owned()),
        }
    }
}
