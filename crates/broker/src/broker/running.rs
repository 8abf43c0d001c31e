//! A broker's life from start to stop.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_message::{light, names};
use apogee_net::{Limits, Server, Workers};
use apogee_store::{ArrivalListener, StoreError};
use tokio::task::JoinHandle;

use crate::acting::{come_online, keep_in_touch, work_for_master};
use crate::background::{answer_expired, end_threads, keep_house, start_threads};
use crate::handlers::{pop, pull};
use crate::life::Stage;
use crate::longpoll::Parked;
use crate::metrics::Collector;
use crate::pop::waiting::Waiter;
use crate::registration::keep_registered;
use crate::replication::{self, InSync, MasterPlace, Placement};
use crate::serve::Requests;
use crate::settings::BrokerSettings;
use crate::slave::{follow_master, take_history};

use super::{Broker, StartError};

/// How long a stop waits for the name servers.
const LEAVING: Duration = Duration::from_secs(2);

/// How long connections may take for what is queued on them when the role changes.
const CUTTING_OFF: Duration = Duration::from_millis(100);

/// A broker that is up.
pub struct RunningBroker {
    broker: Arc<Broker>,
    server: Arc<Server>,
    /// Of upstream's second port for clients.
    fast: Option<Server>,
    collector: Arc<Collector>,
    threads: Vec<thread::JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    registrations: Vec<JoinHandle<()>>,
}

impl RunningBroker {
    /// Opens the store, takes the port, and serves, with the role that the settings say. Needs a tokio runtime around
    /// it. `memory` is how many bytes of memory the process may use.
    pub fn start(
        settings: BrokerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
    ) -> Result<Self, StartError> {
        Self::start_as(settings, Placement::default(), clock, disk, memory)
    }

    /// The same for a broker whose role is decided elsewhere.
    pub fn start_as(
        settings: BrokerSettings,
        placement: Placement,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
    ) -> Result<Self, StartError> {
        let idle = Duration::from_secs(settings.server_channel_max_idle_time_seconds);
        let limits = Limits { idle, ..Limits::default() };
        let server = Arc::new(Server::bind(&settings.bind_address, settings.listen_port, limits.clone())?);
        let fast = fast_server(&settings, limits);
        let slaves =
            replication::listen(&settings, &placement.role, server.local_addr()).map_err(StartError::Setting)?;
        let port = server.local_addr().port();
        let ha_port = slaves.as_ref().and_then(|listener| listener.local_addr().ok());
        let ha_port = ha_port.map_or(port.saturating_add(1), |address| address.port());
        let broker = Broker::open(settings, placement, clock, disk, memory, port, ha_port)?;
        let requests = Arc::new(Requests::new(Arc::clone(&broker)));
        let listener = Arc::new(Arrivals { broker: broker.me.clone() });
        broker.store.listen(listener);
        let no_thread = |source| StartError::System { action: "start a thread", source };
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = Workers::start(workers).map_err(no_thread)?;
        let collector = Collector::new(Arc::clone(&broker), workers.pulse()).map_err(StartError::Setting)?;
        let collector = Arc::new(collector);
        let mut threads = start_threads(&broker).map_err(no_thread)?;
        threads.push(replication::start(&broker, slaves).map_err(no_thread)?);
        let mut tasks =
            vec![tokio::spawn(answer_expired(Arc::clone(&broker))), tokio::spawn(keep_house(Arc::clone(&broker)))];
        if broker.role.is_slave() {
            tasks.push(tokio::spawn(follow_master(Arc::clone(&broker))));
            tasks.push(tokio::spawn(take_history(Arc::clone(&broker))));
            if broker.settings.load().enable_slave_acting_master {
                tasks.push(tokio::spawn(work_for_master(Arc::clone(&broker))));
            }
        } else {
            tasks.push(tokio::spawn(come_online(Arc::clone(&broker))));
        }
        server.start(requests.clone(), Some(workers));
        if let Some(fast) = &fast {
            fast.start(requests.clone(), None);
        }
        let addresses = broker.settings.load().namesrv_addr.clone();
        let addresses = addresses.split(';').map(str::trim).filter(|address| !address.is_empty());
        let register = |address: &str| {
            let changes = broker.changes.subscribe();
            tokio::spawn(keep_registered(Arc::clone(&broker), address.to_owned(), requests.clone(), changes))
        };
        let mut registrations: Vec<_> = addresses.clone().map(register).collect();
        if broker.settings.load().enable_slave_acting_master {
            let touch =
                |address: &str| tokio::spawn(keep_in_touch(Arc::clone(&broker), address.to_owned(), requests.clone()));
            registrations.extend(addresses.map(touch));
        }
        Ok(Self { broker: Arc::clone(&broker), server, fast, collector, threads, tasks, registrations })
    }

    #[cfg(test)]
    pub(crate) fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.broker)
    }

    /// The address it listens on; its port is the real one when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The address that clients are told, `host:port`.
    pub fn advertised(&self) -> &str {
        &self.broker.advertised
    }

    /// Tells a slave where its master is now; `host:port` that clients are told, none while there is none.
    pub fn follow(&self, master: Option<String>) {
        self.broker.replication.follow(MasterPlace { broker: master, ha: None });
    }

    /// Tells a master what the controller says of the replicas in sync, as the answer to
    /// [`crate::replication::ReplicationEvent::InSyncWanted`] or at any other time.
    pub fn in_sync_is(&self, in_sync: InSync) {
        self.broker.replication.in_sync_is(in_sync);
    }

    /// What tells its metrics, and whether it is well.
    pub(crate) fn collector(&self) -> Arc<Collector> {
        Arc::clone(&self.collector)
    }

    /// Ends this role as quickly as can be, for another one to begin in this process: name servers hear of it from the
    /// next broker. What is under way is cut off, which tells clients no more than that they don't know. The store
    /// can be opened again once nobody has what is returned any more.
    pub(crate) async fn step_down(self) -> Result<Weak<Broker>, StoreError> {
        let Self { broker, server, fast, threads, tasks, registrations, collector } = self;
        drop(collector);
        broker.life.begin(Stage::Refusing);
        drop(broker.longpoll.take_all());
        drop(broker.pop.waiters.take_all());
        server.stop(CUTTING_OFF).await;
        if let Some(fast) = fast {
            fast.stop(CUTTING_OFF).await;
        }
        broker.life.begin(Stage::Ended);
        for task in registrations.into_iter().chain(tasks) {
            task.abort();
            // It was aborted, or panicked and said so.
            let _ = task.await;
        }
        ring(&broker);
        let gone = Arc::downgrade(&broker);
        let closing = tokio::task::spawn_blocking(move || {
            end_threads(&broker, threads);
            broker.compaction.close(&broker);
            broker.save_for_next();
            broker.store.close()
        });
        closing.await.unwrap_or(Ok(()))?;
        Ok(gone)
    }

    /// Leaves the name servers, answers who waits, closes the connections, and makes all durable. Waits
    /// for `patience` at most for answers to be ready, and as long for clients to take them.
    pub async fn stop(self, patience: Duration) -> Result<(), StoreError> {
        let broker = self.broker;
        broker.life.begin(Stage::Leaving);
        broker.topics_changed();
        let leaving = async {
            for registration in self.registrations {
                // A task that panicked said so.
                let _ = registration.await;
            }
        };
        // A name server that cannot be reached forgets the broker by itself.
        let _ = tokio::time::timeout(LEAVING, leaving).await;
        broker.life.begin(Stage::Refusing);
        for parked in broker.longpoll.take_all() {
            pull::pull_again(&broker, &Parked { deadline_ms: 0, ..parked });
        }
        for waiter in broker.pop.waiters.take_all() {
            pop::again(&broker, Waiter { deadline_ms: 0, ..waiter });
        }
        if tokio::time::timeout(patience, broker.life.sends_are_answered()).await.is_err() {
            tracing::warn!("stops with messages that the disk has not taken in time; their producers are not answered");
        }
        self.server.stop(patience).await;
        if let Some(fast) = self.fast {
            fast.stop(patience).await;
        }
        broker.life.begin(Stage::Ended);
        for task in self.tasks {
            task.abort();
        }
        // Nobody copies any more, nor tells those who wait for copies that there are none.
        broker.store.give_up_copies();
        ring(&broker);
        let closing = tokio::task::spawn_blocking(move || {
            end_threads(&broker, self.threads);
            if broker.role.delivers() {
                let rules = broker.transaction_rules();
                broker.transactions.write_ops(&broker.store, &broker.offsets, &rules, broker.now());
                broker.pop.close(&broker);
            }
            broker.compaction.close(&broker);
            broker.save_all();
            broker.store.close()
        });
        closing.await.unwrap_or(Ok(()))
    }
}

/// Wakes the threads: the broker's life has ended.
fn ring(broker: &Broker) {
    broker.transactions.bell.ring();
    broker.compaction.bell.ring();
    broker.schedule.bell.ring();
    broker.timer.bell.ring();
    broker.pop.bell.ring();
    broker.retention.bell.ring();
}

/// Upstream's port beside the one for clients, two below it: its slaves ask there for topics and timers. One that
/// cannot be had is missed by those only.
fn fast_server(settings: &BrokerSettings, limits: Limits) -> Option<Server> {
    let port = settings.listen_port.checked_sub(2).filter(|port| *port > 0)?;
    let server = Server::bind(&settings.bind_address, port, limits);
    let warn = |error: &apogee_net::BindError| {
        tracing::warn!(%error, "the port two below listenPort cannot be had; only slaves of Apache's need it");
    };
    server.inspect_err(warn).ok()
}

/// Wakes pulls, and the delivery of delayed messages; tells of half messages; puts topics back.
pub(super) struct Arrivals {
    pub(super) broker: Weak<Broker>,
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, topic: &str, queue_id: i32, queue_offset: i64, tag_code: i64) {
        let Some(broker) = self.broker.upgrade() else { return };
        match topic {
            names::SCHEDULE_TOPIC => broker.schedule.bell.ring(),
            names::WHEEL_TOPIC => broker.timer.bell.ring(),
            names::TRANS_HALF_TOPIC if queue_id == 0 && broker.role.delivers() => {
                broker.transactions.arrived(queue_offset, broker.now(), broker.settings.load().transaction_time_out);
            }
            // Created too shortly before a crash to be saved, by a message that waited since then.
            _ if queue_offset == 0
                && !broker.role.is_slave()
                && !light::is_light(topic)
                && broker.topics.get(topic).is_none() =>
            {
                broker.put_topic_back(topic, queue_id + 1);
            }
            _ => {}
        }
        if *topic == *broker.pop.revive_topic {
            broker.pop.bell.ring();
        }
        if light::is_light(topic) {
            broker.wake_lite(topic, None);
        }
        broker.wake(broker.longpoll.arrived(topic, queue_id, tag_code));
        pop::wake(&broker, broker.pop.waiters.arrived(topic, queue_id, tag_code));
    }
}
