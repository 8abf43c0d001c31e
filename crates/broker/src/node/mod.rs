//! What outlives a role. A [`RunningBroker`] is what it is from its start to its stop; a [`Node`] runs one at a
//! time, and starts another one when its role changes. What others hold of it, to look at it or to measure it,
//! stays valid meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_store::StoreError;
use apogee_telemetry::{Health, Metrics};

use crate::broker::{RunningBroker, StartError};
use crate::look::Observer;
use crate::settings::BrokerSettings;

mod current;

pub(crate) use current::Current;

/// A broker of this process, whatever role it has.
pub struct Node {
    current: Arc<Current>,
    running: RunningBroker,
}

impl Node {
    /// Opens the store, takes the port, and serves. Needs a tokio runtime around it. `memory` is how many bytes of
    /// memory the process may use.
    pub fn start(
        settings: BrokerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
    ) -> Result<Self, StartError> {
        let current = Current::new(settings.clone());
        let running = RunningBroker::start(settings, clock, disk, memory)?;
        current.runs(running.collector());
        Ok(Self { current, running })
    }

    /// The address it listens on; its port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    /// The address that clients are told, `host:port`.
    pub fn advertised(&self) -> &str {
        self.running.advertised()
    }

    /// For those who look at it from time to time.
    pub fn observer(&self) -> Observer {
        Observer::new(Arc::clone(&self.current))
    }

    /// What tells its metrics.
    pub fn metrics(&self) -> Arc<dyn Metrics> {
        Arc::clone(&self.current) as _
    }

    /// What tells whether it is well.
    pub fn health(&self) -> Arc<dyn Health> {
        Arc::clone(&self.current) as _
    }

    /// Its settings as they are now.
    pub fn settings(&self) -> BrokerSettings {
        self.current.settings()
    }

    /// Waits until a name server knows the broker, or for `patience`. Says whether one does.
    pub async fn wait_registered(&self, patience: Duration) -> bool {
        self.current.wait_registered(patience).await
    }

    /// Stops the broker as [`RunningBroker::stop`] does.
    pub async fn stop(self, patience: Duration) -> Result<(), StoreError> {
        self.current.ends();
        self.running.stop(patience).await
    }
}
