//! The broker: what handlers are given, and its life from start to stop.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_base::settings::Live;
use apogee_message::names;
use apogee_net::{BindError, Limits, Server, Workers};
use apogee_store::{ArrivalListener, Store, StoreError, StoreOptions};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::background::{answer_expired, end_threads, keep_house, start_threads};
use crate::clients::{Consumers, Producers};
use crate::config::KeptSettings;
use crate::deduplication;
use crate::groups::GroupTable;
use crate::handlers::client::ClientDesk;
use crate::handlers::pull;
use crate::handlers::reply::Replies;
use crate::life::{Life, Stage};
use crate::locks::QueueLocks;
use crate::longpoll::{LongPolling, Parked};
use crate::offsets::OffsetTable;
use crate::persist::{JsonFile, PersistError};
use crate::registration::keep_registered;
use crate::retention::Retention;
use crate::schedule::{Schedule, parse_delays};
use crate::serve::{MOST_COLD_READS, Requests};
use crate::settings::{BrokerSettings, FlushDiskType};
use crate::settled::Settled;
use crate::stats::Stats;
use crate::table_file::TableFile;
use crate::timer::Timer;
use crate::topics::{Topic, TopicTable, perm};
use crate::transactions::{self, Rules, Transactions};

#[cfg(test)]
mod tests;

/// How long an administrator waits for the name servers.
const REGISTRATION: Duration = Duration::from_secs(1);

/// How long a stop waits for the name servers.
const LEAVING: Duration = Duration::from_secs(2);

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// The address that clients are told cannot be resolved.
    #[error("brokerIP1={host} cannot be resolved: {source}")]
    Advertised {
        /// As set.
        host: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of topics, groups or offsets cannot be read.
    #[error(transparent)]
    State(#[from] PersistError),
    /// The system refused a folder or a thread.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

/// All state of a broker; each table has its own file. Handlers get it by reference.
pub struct Broker {
    me: Weak<Broker>,
    pub(crate) settings: Live<BrokerSettings>,
    pub(crate) config: KeptSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store: Arc<Store>,
    pub(crate) topics: TopicTable,
    pub(crate) groups: GroupTable,
    pub(crate) offsets: OffsetTable,
    pub(crate) consumers: Consumers,
    pub(crate) producers: Producers,
    pub(crate) locks: QueueLocks,
    pub(crate) longpoll: LongPolling,
    /// Turns of the reads that wait for the disk.
    pub(crate) cold_reads: Arc<Semaphore>,
    pub(crate) settled: Arc<Settled>,
    pub(crate) schedule: Schedule,
    pub(crate) transactions: Transactions,
    pub(crate) timer: Timer,
    pub(crate) retention: Retention,
    pub(crate) replies: Replies,
    pub(crate) stats: Stats,
    /// Milliseconds of the delay levels.
    pub(crate) delays: Arc<[i64]>,
    pub(crate) schedule_topic: Arc<str>,
    pub(crate) half_topic: Arc<str>,
    pub(crate) wheel_topic: Arc<str>,
    pub(crate) cluster: String,
    pub(crate) region: String,
    /// The address clients are told, `host:port`.
    pub(crate) advertised: String,
    /// The address slaves are told, `host:port`.
    pub(crate) ha_address: String,
    /// The address that message ids hold.
    pub(crate) store_host: SocketAddr,
    pub(crate) started_ms: i64,
    /// Bytes of memory of the machine, as far as this process may use it.
    memory: u64,
    pub(crate) life: Life,
    /// Spreads messages over queues where the producer leaves the choice.
    rotation: AtomicU32,
    /// Counts changes of the topics.
    changes: watch::Sender<u64>,
    /// How many changes of the topics a name server knows; none before the first registration.
    registered: watch::Sender<Option<u64>>,
    pub(crate) deadline: Notify,
}

/// A broker that is up.
pub struct RunningBroker {
    broker: Arc<Broker>,
    server: Arc<Server>,
    threads: Vec<thread::JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    registrations: Vec<JoinHandle<()>>,
}

impl RunningBroker {
    /// Opens the store, takes the port, and serves. Needs a tokio runtime around it. `memory` is
    /// how many bytes of memory the process may use.
    pub fn start(
        settings: BrokerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
    ) -> Result<Self, StartError> {
        let ip = settings.bind_address.parse();
        let ip =
            ip.map_err(|_| StartError::Setting(format!("bindAddress={} is not an IP address", settings.bind_address)))?;
        let idle = Duration::from_secs(settings.server_channel_max_idle_time_seconds);
        let server = Server::bind(SocketAddr::new(ip, settings.listen_port), Limits { idle, ..Limits::default() })?;
        let server = Arc::new(server);
        let broker = Broker::open(settings, clock, disk, memory, server.local_addr().port())?;
        let requests = Arc::new(Requests::new(Arc::clone(&broker)));
        let listener = Arc::new(Arrivals { broker: broker.me.clone() });
        broker.store.listen(listener);
        let no_thread = |source| StartError::System { action: "start a thread", source };
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = Workers::start(workers).map_err(no_thread)?;
        let threads = start_threads(&broker).map_err(no_thread)?;
        let tasks =
            vec![tokio::spawn(answer_expired(Arc::clone(&broker))), tokio::spawn(keep_house(Arc::clone(&broker)))];
        server.start(requests.clone(), Some(workers));
        let addresses = broker.settings.load().namesrv_addr.clone();
        let addresses = addresses.split(';').map(str::trim).filter(|address| !address.is_empty());
        let register = |address: &str| {
            let changes = broker.changes.subscribe();
            tokio::spawn(keep_registered(Arc::clone(&broker), address.to_owned(), requests.clone(), changes))
        };
        let registrations = addresses.map(register).collect();
        Ok(Self { broker: Arc::clone(&broker), server, threads, tasks, registrations })
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

    /// Waits until a name server knows the broker, or for `patience`. Says whether one does.
    pub async fn wait_registered(&self, patience: Duration) -> bool {
        let mut registered = self.broker.registered.subscribe();
        let waiting = registered.wait_for(Option::is_some);
        matches!(tokio::time::timeout(patience, waiting).await, Ok(Ok(_)))
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
        if tokio::time::timeout(patience, broker.life.sends_are_answered()).await.is_err() {
            tracing::warn!("stops with messages that the disk has not taken in time; their producers are not answered");
        }
        self.server.stop(patience).await;
        broker.life.begin(Stage::Ended);
        for task in self.tasks {
            task.abort();
        }
        broker.transactions.bell.ring();
        broker.schedule.bell.ring();
        broker.timer.bell.ring();
        broker.retention.bell.ring();
        let closing = tokio::task::spawn_blocking(move || {
            end_threads(&broker, self.threads);
            broker.transactions.write_ops(&broker.store, &broker.offsets, &broker.transaction_rules(), broker.now());
            broker.save_all();
            broker.store.close()
        });
        closing.await.unwrap_or(Ok(()))
    }
}

impl Broker {
    fn open(
        mut settings: BrokerSettings,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
        port: u16,
    ) -> Result<Arc<Self>, StartError> {
        let root = PathBuf::from(&settings.store_path_root_dir);
        let folder = root.join("config");
        disk.create_folder(&folder)
            .map_err(|source| StartError::System { action: "create the folder of the configuration", source })?;
        let now = clock.now_ms();
        let kept = folder.join("broker.properties");
        let config = KeptSettings::open(Arc::clone(&disk), kept, &mut settings, now)?;
        let delays: Arc<[i64]> = parse_delays(&settings.message_delay_level).map_err(StartError::Setting)?.into();
        let host = settings.broker_ip1.clone();
        let store_host = resolve(&host, port)?;
        let advertised = format!("{}:{port}", bracketed(&host));
        let ha_host = if settings.broker_ip2.is_empty() { &host } else { &settings.broker_ip2 };
        let ha_address = format!("{}:{}", bracketed(ha_host), port.saturating_add(1));
        let store =
            Store::open(Arc::clone(&disk), Arc::clone(&clock), root.clone(), options(&settings, &delays, memory))?;
        let file = |name: &str| JsonFile::new(Arc::clone(&disk), folder.join(name));
        let table = |name: &str| TableFile::new(Arc::clone(&disk), folder.join(name));
        let topics = TopicTable::open(table("topics.json"), &settings, now)?;
        recover_topics(&topics, &store, now);
        deduplication::recall(&store, &topics.all(), now);
        let groups = GroupTable::open(table("subscriptionGroup.json"), now)?;
        let offsets = OffsetTable::open(table("consumerOffset.json"), now)?;
        let settled = Arc::new(Settled::open(file("settled.json"), &store)?);
        let schedule = Schedule::open(file("delayOffset.json"), Arc::clone(&delays), &store, Arc::clone(&settled))?;
        let transactions = Transactions::open(&store, &offsets, |place| settled.contains(place), now);
        let transactions = transactions
            .map_err(|source| StartError::System { action: "read which transactions are undecided", source })?;
        settled.mark(transactions::FOLLOWER, transactions.settled_from());
        settled.save()?;
        let timer = Timer::open(Arc::clone(&disk), &root, &store);
        let timer = timer.map_err(|source| StartError::System { action: "use the files of the timer", source })?;
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            cluster: settings.broker_cluster_name.clone(),
            region: settings.region_id.clone(),
            settings: Live::new(settings),
            config,
            clock,
            disk,
            store: Arc::new(store),
            topics,
            groups,
            offsets,
            consumers: Consumers::default(),
            producers: Producers::default(),
            locks: QueueLocks::default(),
            longpoll: LongPolling::default(),
            cold_reads: Arc::new(Semaphore::new(MOST_COLD_READS)),
            settled,
            schedule,
            transactions,
            timer,
            retention: Retention::default(),
            replies: Replies::default(),
            stats: Stats::default(),
            delays,
            schedule_topic: names::SCHEDULE_TOPIC.into(),
            half_topic: names::TRANS_HALF_TOPIC.into(),
            wheel_topic: names::WHEEL_TOPIC.into(),
            advertised,
            ha_address,
            store_host,
            started_ms: now,
            memory,
            life: Life::default(),
            rotation: AtomicU32::new(0),
            changes: watch::channel(0).0,
            registered: watch::channel(None).0,
            deadline: Notify::new(),
        }))
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The broker as those keep it who outlive a request.
    pub(crate) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    /// Whether clients are told that traces are wanted.
    pub(crate) fn trace_on(&self) -> bool {
        self.settings.load().trace_on
    }

    /// The name servers shall learn soon that the topics changed.
    pub(crate) fn topics_changed(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Waits until a name server knows the topics as they are, so that whoever is answered after it
    /// finds their routes. Not long: a name server may be down. On threads that may wait.
    pub(crate) fn register_topics(&self) {
        self.topics_changed();
        let wanted = *self.changes.borrow();
        if self.settings.load().namesrv_addr.is_empty() {
            return;
        }
        let mut registered = self.registered.subscribe();
        let known = registered.wait_for(|known| known.is_some_and(|known| known >= wanted));
        let waited = tokio::runtime::Handle::current().block_on(tokio::time::timeout(REGISTRATION, known));
        if waited.is_err() {
            tracing::warn!("topics changed, and no name server has taken them yet; clients learn of them later");
        }
    }

    /// A name server knows this broker and so many changes of its topics.
    pub(crate) fn registered(&self, changes: u64) {
        self.registered.send_modify(|known| *known = Some(known.map_or(changes, |known| known.max(changes))));
    }

    /// A topic of the system's own making.
    pub(crate) fn ensure_topic(&self, name: &str, queues: i32, permission: i32) -> Arc<Topic> {
        self.topics.get(name).unwrap_or_else(|| {
            let topic = self.topics.ensure(name, queues, permission, self.now());
            self.topics_changed();
            topic
        })
    }

    /// A topic that was there before a crash, with at least so many queues.
    pub(crate) fn put_topic_back(&self, name: &str, queues: i32) -> Arc<Topic> {
        let topic = put_topic_back(&self.topics, name, queues, self.now());
        self.topics_changed();
        topic
    }

    /// The retry topic of a group.
    pub(crate) fn ensure_retry_topic(&self, group: &str, queues: i32) -> Arc<Topic> {
        let permission = perm::READ | perm::WRITE;
        self.ensure_topic(&names::retry_topic(group), queues.max(1), permission)
    }

    /// One of a topic's queues, each in turn.
    pub(crate) fn next_queue(&self, queues: i32) -> i32 {
        (self.rotation.fetch_add(1, Ordering::Relaxed) % queues.max(1) as u32) as i32
    }

    /// Bytes of the log that are expected to be in memory.
    pub(crate) fn memory_bytes(&self, settings: &BrokerSettings) -> i64 {
        (self.memory / 100 * settings.access_message_in_memory_max_ratio) as i64
    }

    /// What is set about transactions at this moment.
    pub(crate) fn transaction_rules(&self) -> Rules {
        Rules::of(&self.settings.load(), self.store_host)
    }

    /// Somebody who had the right to decide on a half message has done so, or could not.
    pub(crate) fn end_transaction(&self, first: i64, success: bool) {
        self.transactions.end(first, success, self.now(), self.settings.load().transaction_op_msg_max_size);
    }

    /// Runs pulls again that waited: each on its connection's task, which sends what it brings.
    pub(crate) fn wake(&self, parked: Vec<Parked>) {
        for parked in parked {
            let (me, conn) = (self.weak(), Arc::clone(&parked.conn));
            conn.run(move || {
                if let Some(broker) = me.upgrade() {
                    pull::pull_again(&broker, &parked);
                }
            });
        }
    }

    /// A pull was parked whose deadline is the next.
    pub(crate) fn deadline_set(&self) {
        self.deadline.notify_one();
    }

    /// What deals with clients, at this moment.
    pub(crate) fn clients<'b>(&'b self, settings: &'b BrokerSettings) -> ClientDesk<'b> {
        ClientDesk {
            now_ms: self.now(),
            settings,
            topics: &self.topics,
            groups: &self.groups,
            offsets: &self.offsets,
            consumers: &self.consumers,
            producers: &self.producers,
            locks: &self.locks,
        }
    }

    /// A connection is gone, and with it the clients and the pulls on it.
    pub(crate) fn closed(&self, connection: u64) {
        drop(self.longpoll.closed(connection));
        self.clients(&self.settings.load()).closed(connection);
    }

    /// Makes changes of topics and groups durable; a failure is told and tried again.
    pub(crate) fn save_tables(&self) {
        for saved in [self.topics.save(), self.groups.save()] {
            if let Err(error) = saved {
                tracing::error!(%error, "topics or groups cannot be saved; trying again");
            }
        }
    }

    /// Writes the progress of delayed messages.
    pub(crate) fn save_delays(&self) -> Result<(), PersistError> {
        self.schedule.save(&self.store)?;
        self.settled.mark(transactions::FOLLOWER, self.transactions.settled_from());
        self.settled.save()
    }

    /// Leaves the files as upstream's broker reads them. One that cannot be written holds up no other.
    fn save_all(&self) {
        let offsets = self.offsets.close(self.now());
        for saved in [self.topics.close(), self.groups.close(), offsets, self.save_delays()] {
            if let Err(error) = saved {
                tracing::error!(%error, "a file of the broker's state cannot be saved");
            }
        }
        if let Err(error) = self.timer.hand_over(&self.store, self.store.root(), self.now()) {
            tracing::error!(%error, "the timer's state cannot be saved");
        }
    }
}

/// Wakes pulls, and the delivery of delayed messages; tells of half messages; puts topics back.
struct Arrivals {
    broker: Weak<Broker>,
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, topic: &str, queue_id: i32, queue_offset: i64, tag_code: i64) {
        let Some(broker) = self.broker.upgrade() else { return };
        match topic {
            names::SCHEDULE_TOPIC => broker.schedule.bell.ring(),
            names::WHEEL_TOPIC => broker.timer.bell.ring(),
            names::TRANS_HALF_TOPIC if queue_id == 0 => {
                broker.transactions.arrived(queue_offset, broker.now(), broker.settings.load().transaction_time_out);
            }
            // Created too shortly before a crash to be saved, by a message that waited since then.
            _ if queue_offset == 0 && broker.topics.get(topic).is_none() && !topic.starts_with(names::LMQ_PREFIX) => {
                broker.put_topic_back(topic, queue_id + 1);
            }
            _ => {}
        }
        broker.wake(broker.longpoll.arrived(topic, queue_id, tag_code));
    }
}

/// Puts topics back that have messages but were created too shortly before a crash to be saved.
fn recover_topics(topics: &TopicTable, store: &Store, now_ms: i64) {
    for (name, queues) in store.topics() {
        // Light queues, as upstream's broker may have left them, are queues without a topic.
        if topics.get(&name).is_none() && !name.starts_with(names::LMQ_PREFIX) {
            put_topic_back(topics, &name, queues.iter().max().map_or(1, |id| id + 1), now_ms);
        }
    }
}

fn put_topic_back(topics: &TopicTable, name: &str, needed: i32, now_ms: i64) -> Arc<Topic> {
    /// What producers ask for when they create a topic by sending to it.
    const USUAL_QUEUES: i32 = 4;
    let of_group = name.starts_with(names::RETRY_PREFIX) || name.starts_with(names::DLQ_PREFIX);
    let queues = if of_group { needed } else { needed.max(USUAL_QUEUES) };
    tracing::warn!(topic = name, queues, "a topic with messages was not in the table of topics; put back");
    topics.ensure(name, queues, perm::READ | perm::WRITE, now_ms)
}

fn options(settings: &BrokerSettings, delays: &[i64], memory: u64) -> StoreOptions {
    let folder = &settings.store_path_commit_log;
    StoreOptions {
        log_folder: (!folder.is_empty()).then(|| Path::new(folder).to_owned()),
        log_file_size: settings.mapped_file_size_commit_log,
        queue_file_size: settings.mapped_file_size_consume_queue,
        sync_flush: settings.flush_disk_type == FlushDiskType::Sync,
        flush_window_ms: settings.flush_interval_commit_log as i64,
        stall_ms: settings.sync_flush_timeout,
        check_crc_on_recover: settings.check_crc_on_recover,
        record_sums: settings.enabled_append_prop_crc,
        require_sums: settings.force_verify_prop_crc,
        index: settings.message_index_enable,
        index_slots: settings.max_hash_slot_num,
        index_entries: settings.max_index_num,
        delays: delays.to_vec(),
        hot_bytes: memory / 100 * settings.access_message_in_memory_max_ratio,
        ..StoreOptions::default()
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, StartError> {
    let error = |source| StartError::Advertised { host: host.to_owned(), source };
    let mut addresses = (host, port).to_socket_addrs().map_err(error)?;
    addresses.next().ok_or_else(|| error(io::ErrorKind::NotFound.into()))
}

/// An IPv6 address stands in brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}
