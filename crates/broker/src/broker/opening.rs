//! Opening a broker's store and tables.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_message::{light, names};
use apogee_net::BindError;
use apogee_store::{CopyOptions, Store, StoreError, StoreOptions};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};

use crate::access::Access;
use crate::acting::{Acting, Ledger};
use crate::clients::{Consumers, Producers};
use crate::cold::ColdReads;
use crate::compaction::{self, Compaction};
use crate::config::{self, Config};
use crate::deduplication;
use crate::durable::DurableTable;
use crate::groups::GroupTable;
use crate::handlers::reply::Replies;
use crate::life::Life;
use crate::lite::Lite;
use crate::locks::QueueLocks;
use crate::longpoll::LongPolling;
use crate::metrics::Counters;
use crate::offsets;
use crate::persist::{JsonFile, PersistError};
use crate::pop::Pop;
use crate::pop::order_table::OrderTable;
use crate::replication::{MasterPlace, Placement, Replication, Role};
use crate::retention::Retention;
use crate::role::{self, BrokerRole};
use crate::routes::Routes;
use crate::schedule::{self, Schedule, parse_delays};
use crate::serve::MOST_COLD_READS;
use crate::settings::{BrokerSettings, FlushDiskType};
use crate::settled::Settled;
use crate::static_topics::StaticTopics;
use crate::stats::Stats;
use crate::table_file::TableFile;
use crate::timer::Timer;
use crate::topics::TopicTable;
use crate::transactions::{self, Transactions};

use super::{Broker, put_topic_back};

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

impl Broker {
    pub(super) fn open(
        mut settings: BrokerSettings,
        placement: Placement,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        memory: u64,
        port: u16,
        ha_port: u16,
    ) -> Result<Arc<Self>, StartError> {
        role::settle(&mut settings, &placement.role).map_err(StartError::Setting)?;
        let role = settings.broker_role;
        let root = PathBuf::from(&settings.store_path_root_dir);
        let folder = root.join("config");
        disk.create_folder(&folder)
            .map_err(|source| StartError::System { action: "create the folder of the configuration", source })?;
        let now = clock.now_ms();
        let kept = folder.join("broker.properties");
        config::read_kept(&*disk, &kept, &mut settings)?;
        let delays: Arc<[i64]> = parse_delays(&settings.message_delay_level).map_err(StartError::Setting)?.into();
        let host = settings.broker_ip1.clone();
        let store_host = resolve(&host, port)?;
        let advertised = advertised(&settings, port);
        let ha_host = if settings.broker_ip2.is_empty() { &host } else { &settings.broker_ip2 };
        let ha_address = format!("{}:{}", bracketed(ha_host), ha_port);
        let file = |name: &str| JsonFile::new(Arc::clone(&disk), folder.join(name));
        if placement.cut_at.is_some() {
            Settled::void(&file("settled.json"), &[schedule::FOLLOWER, transactions::FOLLOWER])?;
        }
        let options = StoreOptions { cut_at: placement.cut_at, ..options(&settings, &placement.role, &delays, memory) };
        let store = Store::open(Arc::clone(&disk), Arc::clone(&clock), root.clone(), options)?;
        let replication = Replication::open(placement, &settings, Arc::clone(&disk), &store, now);
        let replication = replication.map_err(StartError::Setting)?;
        let table = |name: &str| TableFile::new(Arc::clone(&disk), folder.join(name));
        let topics = TopicTable::open(table("topics.json"), &settings, now)?;
        // What a slave lacks, its master tells.
        if !role.is_slave() {
            if let Some(epoch) = replication.epochs().and_then(|epochs| epochs.last().map(|epoch| epoch.number)) {
                topics.begin_epoch(epoch, now);
            }
            recover_topics(&topics, &store, now);
        }
        deduplication::recall(&store, &topics.all(), now);
        let groups = GroupTable::open(table("subscriptionGroup.json"), now)?.with_light(settings.enable_lmq);
        let offsets = offsets::open(&table, settings.enable_lmq, now)?;
        if !role.is_slave() {
            if settings.enable_lmq {
                offsets.forget_topics(|topic| light::is_light(topic) && !store.has_queues(topic));
            }
            offsets.end_with(|topic, queue_id| store.queue_range(topic, queue_id).map_or(0, |(_, end)| end));
        }
        let orders = OrderTable::open(table("consumerOrderInfo.json"), now)?;
        let statics = StaticTopics::open(file("topicQueueMapping.json"), &settings.broker_name, now)?;
        let access = Access::open(file("access.json"))?;
        let cold = ColdReads::open(file("coldReadLimits.json"))?;
        let modes = "groups pull again: set the modes again where they shall not";
        let request_modes = DurableTable::open(file("messageRequestMode.json"), modes)?;
        let settled = Arc::new(Settled::open(file("settled.json"), &store, role.delivers())?);
        let schedule = Schedule::open(file("delayOffset.json"), Arc::clone(&delays), &store, Arc::clone(&settled))?;
        let transactions = if role.delivers() {
            let is_void = settled.is_void(transactions::FOLLOWER);
            let opened = Transactions::open(&store, &offsets, is_void, |place| settled.contains(place), now);
            let opened = opened
                .map_err(|source| StartError::System { action: "read which transactions are undecided", source })?;
            settled.mark(transactions::FOLLOWER, opened.settled_from());
            settled.save()?;
            opened
        } else {
            Transactions::idle()
        };
        let timer = Timer::open(Arc::clone(&disk), &root, &store, role.delivers());
        let timer = timer.map_err(|source| StartError::System { action: "use the files of the timer", source })?;
        let ledger = Ledger::open(Arc::clone(&disk), &folder);
        let ledger =
            ledger.map_err(|source| StartError::System { action: "read what was delivered for the master", source })?;
        let acts = settings.enable_slave_acting_master && *replication.role() == Role::AsSet;
        let is_online = role.is_slave() || !acts && ledger.len() == 0;
        let log_end_at_start = store.log_max_offset();
        if role.is_slave() && !settings.ha_master_address.is_empty() {
            replication.follow(MasterPlace { broker: None, ha: Some(settings.ha_master_address.clone()) });
        }
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            cluster: settings.broker_cluster_name.clone(),
            pop: Pop::new(&settings.broker_cluster_name, orders),
            region: settings.region_id.clone(),
            acting: Acting::new(&settings, is_online),
            routes: Arc::new(Routes::new(&settings.namesrv_addr)),
            ledger,
            compaction: Compaction::new(&settings, now),
            settings: Config::new(Arc::clone(&disk), kept, settings, now),
            role,
            clock,
            disk,
            store: Arc::new(store),
            topics,
            groups,
            offsets,
            statics,
            access,
            request_modes,
            consumers: Consumers::default(),
            producers: Producers::default(),
            locks: QueueLocks::default(),
            longpoll: LongPolling::default(),
            lite: Lite::default(),
            cold,
            cold_reads: Arc::new(Semaphore::new(MOST_COLD_READS)),
            settled,
            schedule,
            transactions,
            timer,
            retention: Retention::default(),
            replies: Replies::default(),
            replication,
            stats: Stats::default(),
            findings: ArcSwap::default(),
            counters: Counters::default(),
            delays,
            schedule_topic: names::SCHEDULE_TOPIC.into(),
            half_topic: names::TRANS_HALF_TOPIC.into(),
            wheel_topic: names::WHEEL_TOPIC.into(),
            advertised,
            ha_address,
            store_host,
            started_ms: now,
            log_end_at_start,
            memory,
            life: Life::default(),
            rotation: AtomicU32::new(0),
            changes: watch::channel(0).0,
            registered: watch::channel(None).0,
            deadline: Notify::new(),
        }))
    }
}

/// Puts topics back that have messages but were created too shortly before a crash to be saved.
fn recover_topics(topics: &TopicTable, store: &Store, now_ms: i64) {
    for (name, queues) in store.topics() {
        // Light queues are queues without a topic.
        if !light::is_light(&name) && topics.get(&name).is_none() {
            put_topic_back(topics, &name, queues.iter().max().map_or(1, |id| id + 1), now_ms);
        }
    }
}

fn options(settings: &BrokerSettings, role: &Role, delays: &[i64], memory: u64) -> StoreOptions {
    let folder = &settings.store_path_commit_log;
    // What a new master might not have is seen by nobody, where there may be one any time.
    let hides = *role != Role::AsSet;
    let copies = hides || settings.broker_role == BrokerRole::SyncMaster;
    StoreOptions {
        log_folder: (!folder.is_empty()).then(|| Path::new(folder).to_owned()),
        log_file_size: settings.mapped_file_size_commit_log,
        queue_file_size: settings.mapped_file_size_consume_queue,
        batch_queue_file_size: settings.mapper_file_size_batch_consume_queue,
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
        read_ahead: settings.data_read_ahead_enable,
        light_queues: settings.enable_lmq && settings.enable_multi_dispatch,
        compaction: compaction::options(settings),
        copies: copies.then_some(CopyOptions { timeout_ms: settings.slave_timeout, hides }),
        follows: settings.broker_role.is_slave(),
        ..StoreOptions::default()
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, StartError> {
    let error = |source| StartError::Advertised { host: host.to_owned(), source };
    let mut addresses = (host, port).to_socket_addrs().map_err(error)?;
    addresses.next().ok_or_else(|| error(io::ErrorKind::NotFound.into()))
}

/// The address that clients are told, `host:port`.
pub(crate) fn advertised(settings: &BrokerSettings, port: u16) -> String {
    format!("{}:{port}", bracketed(&settings.broker_ip1))
}

/// An IPv6 address stands in brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}
