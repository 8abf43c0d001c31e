//! The broker: what handlers are given.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use apogee_base::clock::Clock;
use apogee_base::disk::Disk;
use apogee_message::names;
use apogee_store::Store;
use apogee_wire::bodies::Finding;
use apogee_wire::bodies::MessageRequestModeSerializeWrapper;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};

use crate::access::Access;
use crate::acting::{Acting, Ledger};
use crate::clients::{Consumers, Producers};
use crate::cold::ColdReads;
use crate::compaction::Compaction;
use crate::config::Config;
use crate::durable::DurableTable;
use crate::groups::GroupTable;
use crate::handlers::client::ClientDesk;
use crate::handlers::pull;
use crate::handlers::reply::Replies;
use crate::life::Life;
use crate::lite::Lite;
use crate::locks::QueueLocks;
use crate::longpoll::{LongPolling, Parked};
use crate::message_type::MessageType;
use crate::metrics::Counters;
use crate::offsets::OffsetTable;
use crate::persist::PersistError;
use crate::pop::Pop;
use crate::replication::{Replication, Role};
use crate::retention::Retention;
use crate::role::BrokerRole;
use crate::routes::Routes;
use crate::schedule::Schedule;
use crate::settings::BrokerSettings;
use crate::settled::Settled;
use crate::static_topics::StaticTopics;
use crate::stats::{Kind, Stats};
use crate::timer::Timer;
use crate::topics::{Topic, TopicTable, perm};
use crate::transactions::{self, Rules, Transactions};

mod opening;
#[cfg(test)]
mod promotion;
mod running;
#[cfg(test)]
mod tests;

pub use opening::StartError;
pub(crate) use opening::advertised;
pub use running::RunningBroker;

/// How long an administrator waits for the name servers.
const REGISTRATION: Duration = Duration::from_secs(1);

/// All state of a broker; each table has its own file. Handlers get it by reference.
pub struct Broker {
    me: Weak<Broker>,
    pub(crate) settings: Config,
    pub(crate) role: BrokerRole,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store: Arc<Store>,
    pub(crate) topics: TopicTable,
    pub(crate) groups: GroupTable,
    pub(crate) offsets: OffsetTable,
    pub(crate) statics: StaticTopics,
    pub(crate) access: Access,
    /// How groups ask for messages, where an administrator said so.
    pub(crate) request_modes: DurableTable<MessageRequestModeSerializeWrapper>,
    /// Where other brokers have topics.
    pub(crate) routes: Arc<Routes>,
    pub(crate) consumers: Consumers,
    pub(crate) producers: Producers,
    pub(crate) locks: QueueLocks,
    pub(crate) longpoll: LongPolling,
    pub(crate) lite: Lite,
    pub(crate) pop: Pop,
    pub(crate) cold: ColdReads,
    /// Turns of the reads that wait for the disk.
    pub(crate) cold_reads: Arc<Semaphore>,
    pub(crate) settled: Arc<Settled>,
    pub(crate) schedule: Schedule,
    pub(crate) transactions: Transactions,
    pub(crate) timer: Timer,
    pub(crate) retention: Retention,
    pub(crate) compaction: Compaction,
    pub(crate) replies: Replies,
    pub(crate) replication: Replication,
    pub(crate) acting: Acting,
    /// What this broker delivered for its master while it stood in for it.
    pub(crate) ledger: Ledger,
    pub(crate) stats: Stats,
    /// What was last found wrong.
    pub(crate) findings: ArcSwap<Vec<Finding>>,
    pub(crate) counters: Counters,
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
    /// End of the log when the broker started.
    pub(crate) log_end_at_start: i64,
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

impl Broker {
    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The broker as those keep it who outlive a request.
    pub(crate) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    /// Tells the parts that have settings of their own what changed.
    pub(crate) fn apply_settings(&self) {
        self.store.set_read_ahead(self.settings.load().data_read_ahead_enable);
    }

    /// Whether name servers tell this slave where its master is; to others a controller does.
    pub(crate) fn looks_for_master(&self) -> bool {
        self.role.is_slave() && *self.replication.role() == Role::AsSet
    }

    /// Whether a name server knows the broker.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered.borrow().is_some()
    }

    /// Waits until a name server knows the broker.
    pub(crate) async fn wait_registered(&self) {
        // Fails only if the sender were gone, which is part of this broker.
        let _ = self.registered.subscribe().wait_for(Option::is_some).await;
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
            tracing::warn!(
                "topics changed, and no name server has taken them yet; clients learn of them later: see whether the name servers are up"
            );
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

    /// A message of a delay level was delivered: it is taken out of the schedule topic and put to its own.
    pub(crate) fn count_delivery(&self, topic: &str, bytes: u64) {
        // As upstream calls itself.
        let key = format!("{}@SCHEDULE_CONSUMER", names::SCHEDULE_TOPIC);
        self.stats.add(Kind::GroupGetNums, &key, 1);
        self.stats.add(Kind::GroupGetSize, &key, bytes);
        self.stats.add_put(topic, Some(MessageType::Delay), 1, bytes);
        self.stats.add(Kind::BrokerPutNums, &self.cluster, 1);
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
        drop(self.pop.waiters.closed(connection));
        self.clients(&self.settings.load()).closed(connection);
    }

    /// Makes changes of topics and groups durable; a failure is told and tried again.
    pub(crate) fn save_tables(&self) {
        for saved in [self.topics.save(), self.groups.save()] {
            if let Err(error) = saved {
                tracing::error!(%error, "topics or groups cannot be saved; trying again: see whether the disk is full or failed");
            }
        }
    }

    /// Writes the progress of delayed messages. That of a slave is its master's.
    pub(crate) fn save_delays(&self) -> Result<(), PersistError> {
        if !self.role.delivers() {
            return Ok(());
        }
        self.schedule.save(&self.store)?;
        self.settled.mark(transactions::FOLLOWER, self.transactions.settled_from());
        self.settled.save()
    }

    /// Makes durable what the next broker of this process takes up.
    fn save_for_next(&self) {
        let orders = self.pop.orders.save(&self.offsets, self.now());
        let mut saved = vec![self.topics.save(), self.groups.save(), self.offsets.save(self.now()), orders];
        // Others may have elected a master without the end of this log: what rests on that is not waited for.
        if self.store.confirmed_offset() >= self.store.log_max_offset() {
            saved.push(self.save_delays());
            self.timer.save_step(&self.store, self.now());
        }
        for error in saved.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "a file of the broker's state cannot be saved, and the next role begins with an older one: see to the disk");
        }
    }

    /// Leaves the files as upstream's broker reads them. One that cannot be written holds up no other.
    fn save_all(&self) {
        let orders = self.pop.orders.close(&self.offsets, self.now());
        let offsets = self.offsets.close(self.now());
        for saved in [self.topics.close(), self.groups.close(), offsets, orders, self.save_delays()] {
            if let Err(error) = saved {
                tracing::error!(%error, "a file of the broker's state cannot be saved, and the next start reads an older one: see to the disk before it");
            }
        }
        if !self.role.delivers() {
            return;
        }
        if let Err(error) = self.timer.hand_over(&self.store, self.store.root(), self.now()) {
            tracing::error!(%error, "the timer's state cannot be saved; the next start makes it from the log: see to the disk before it");
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
