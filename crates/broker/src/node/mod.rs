//! What outlives a role. A [`RunningBroker`] is what it is from its start to its stop; a [`Node`] runs one at a
//! time, and starts another one when its role changes. What others hold of it, to look at it or to measure it,
//! stays valid meanwhile.
//!
//! | what | where |
//! |---|---|
//! | decisions, by the word of a controller: pure | `agent/` |
//! | doing them | `supervisor.rs` |
//! | the protocol of controllers | `wording.rs`, `controllers.rs` |
//! | one broker's end and the next one's start | `change.rs` |
//! | which broker this is | `identity.rs` |
//! | what others hold | `current.rs` |

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_net::{Limits, Server};
use apogee_replication::EpochFile;
use apogee_store::StoreError;
use apogee_telemetry::{Health, Metrics};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::broker::{RunningBroker, StartError, advertised};
use crate::look::Observer;
use crate::settings::BrokerSettings;

mod agent;
mod change;
mod controllers;
mod current;
mod identity;
mod supervisor;
mod wording;

use agent::Rules;
use change::Ground;
use identity::IdentityFile;
use supervisor::Supervisor;
use wording::Asker;

pub(crate) use current::Current;
pub(crate) use wording::notice;

/// A broker of this process, whatever role it has.
pub struct Node {
    current: Arc<Current>,
    local: SocketAddr,
    advertised: String,
    runs: Runs,
}

/// Who runs the broker.
enum Runs {
    /// Nobody has to: its role is that of the settings.
    Alone(Box<RunningBroker>),
    /// A supervisor; it stops when it is told how long it may wait for clients.
    Supervised(oneshot::Sender<Duration>, JoinHandle<Result<(), StoreError>>),
}

impl Node {
    /// Starts a broker whose role is that of the settings; or, with `enableControllerMode`, one that serves as soon as
    /// a controller said what it is. Needs a tokio runtime around it. `memory` is how many bytes of memory the process
    /// may use.
    pub fn start(
        settings: BrokerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
    ) -> Result<Self, StartError> {
        let ground = Ground { settings, clock, disk, memory };
        if ground.settings.enable_controller_mode { Self::supervised(ground) } else { Self::alone(ground) }
    }

    fn alone(ground: Ground) -> Result<Self, StartError> {
        let current = Current::new(ground.settings.clone());
        let Ground { settings, clock, disk, memory } = ground;
        let broker = RunningBroker::start(settings, clock, disk, memory)?;
        current.runs(broker.collector());
        let (local, advertised) = (broker.local_addr(), broker.advertised().to_owned());
        Ok(Self { current, local, advertised, runs: Runs::Alone(Box::new(broker)) })
    }

    fn supervised(mut ground: Ground) -> Result<Self, StartError> {
        let settings = &mut ground.settings;
        let local = free_address(settings)?;
        settings.listen_port = local.port();
        let address = advertised(settings, local.port());
        let root = PathBuf::from(&settings.store_path_root_dir);
        ground
            .disk
            .create_folder(&root)
            .map_err(|source| StartError::System { action: "create the folder of the store", source })?;
        let path = match &*settings.store_path_broker_identity {
            "" => root.join("brokerIdentity"),
            path => Path::new(path).to_owned(),
        };
        let (cluster, group) = (settings.broker_cluster_name.clone(), settings.broker_name.clone());
        let identity = IdentityFile::new(Arc::clone(&ground.disk), path, &cluster, &group);
        let epochs = EpochFile::of(Arc::clone(&ground.disk), &root).read();
        let epochs = epochs.map_err(|error| StartError::Setting(error.to_string()))?;
        let rules = rules(settings, address.clone(), ground.clock.now_ms())?;
        let asker = Asker { cluster, group, address: address.clone() };
        let current = Current::new(settings.clone());
        let epoch = epochs.last().map_or(0, |epoch| epoch.number);
        let supervisor = Supervisor::new(ground, Arc::clone(&current), rules, asker, identity, epoch);
        let supervisor = supervisor.map_err(StartError::Setting)?;
        let (stop, stopped) = oneshot::channel();
        let runs = Runs::Supervised(stop, tokio::spawn(supervisor.run(stopped)));
        Ok(Self { current, local, advertised: address, runs })
    }

    /// The address it listens on; its port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address that clients are told, `host:port`.
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// What a controller made of this broker, in a word; none where its role is that of the settings.
    pub fn role(&self) -> Option<&'static str> {
        match self.runs {
            Runs::Alone(_) => None,
            Runs::Supervised(..) => Some(self.current.role()),
        }
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

    /// Stops the broker as [`RunningBroker::stop`] does, and leaves the controllers.
    pub async fn stop(self, patience: Duration) -> Result<(), StoreError> {
        match self.runs {
            Runs::Alone(broker) => {
                self.current.ends();
                broker.stop(patience).await
            }
            Runs::Supervised(stop, supervisor) => {
                // Fails only if the supervisor is gone, which its end says.
                let _ = stop.send(patience);
                supervisor.await.unwrap_or(Ok(()))
            }
        }
    }
}

/// The address that each broker of a node will listen on: its port can be had now, and is the same for all of them.
fn free_address(settings: &BrokerSettings) -> Result<SocketAddr, StartError> {
    Ok(Server::bind(&settings.bind_address, settings.listen_port, Limits::default())?.local_addr())
}

fn rules(settings: &BrokerSettings, address: String, now_ms: i64) -> Result<Rules, StartError> {
    let controllers = settings.controller_addr.split(';').map(str::trim).filter(|address| !address.is_empty());
    let controllers: Vec<String> = controllers.map(str::to_owned).collect();
    if controllers.is_empty() {
        return Err(StartError::Setting(
            "enableControllerMode=true without controllerAddr: set it to the controllers' addresses, \
             host:port;host:port;host:port"
                .to_owned(),
        ));
    }
    Ok(Rules {
        check_code: format!("{address};{now_ms}"),
        address,
        controllers,
        look_ms: settings.sync_broker_metadata_period as i64,
        beat_ms: settings.broker_heartbeat_interval as i64,
        silence_ms: settings.controller_heart_beat_timeout_mills as i64,
        acknowledges_early: !settings.all_ack_in_sync_state_set,
    })
}
