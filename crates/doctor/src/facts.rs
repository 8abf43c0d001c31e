//! What is known of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use apogee_message::names;
use apogee_wire::bodies::Finding;

/// What is known of a cluster at one time. What nobody could tell is in `unknown`.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Those that were asked.
    pub name_servers: Vec<NameServer>,
    /// Those that any name server knows.
    pub brokers: Vec<Broker>,
    /// Those that have members, or messages to read.
    pub groups: Vec<Group>,
    /// Producers, by version and language; see [`Member::version`].
    pub producers: Vec<Producer>,
    /// Topics with messages that matter to a check.
    pub topics: Vec<Topic>,
    /// Topics that somebody wants, and no broker has.
    pub missing: Vec<Missing>,
    /// Masters and their slaves, by the brokers' name.
    pub replicas: Vec<Replicas>,
    /// Controllers, which elect masters; none where brokers have none.
    pub controllers: Option<Controllers>,
    /// Half messages that wait for a decision, by broker.
    pub halves: Vec<Halves>,
    /// The machine of a broker, where it is known.
    pub machine: Option<Machine>,
    /// What brokers found themselves, and nobody else can.
    pub told: Vec<Finding>,
    /// After how long without progress a queue is stuck.
    pub stuck_after: Duration,
    /// What could not be found out.
    pub unknown: Vec<Unknown>,
}

/// A name server.
#[derive(Debug, Clone)]
pub struct NameServer {
    /// `host:port`.
    pub address: String,
    /// Addresses of the brokers that it knows, by their names; or why it did not answer.
    pub brokers: Result<BTreeMap<String, BTreeSet<String>>, String>,
}

/// A broker.
#[derive(Debug, Clone)]
pub struct Broker {
    /// The name that a master shares with its slaves.
    pub name: String,
    /// Where clients are told to reach it, as `host:port`.
    pub address: String,
    /// How it is, or why it did not answer.
    pub state: Result<BrokerState, String>,
}

/// How a broker is.
#[derive(Debug, Clone, Default)]
pub struct BrokerState {
    /// It takes messages.
    pub active: bool,
    /// It copies a master, and takes none.
    pub is_slave: bool,
    /// How full the disk of its log is, from 0 to 1.
    pub disk_usage: f64,
    /// From where on expired messages are removed at any hour, from 0 to 1.
    pub disk_cleans_at: f64,
    /// From where on messages are refused, from 0 to 1.
    pub disk_refuses_at: f64,
    /// How far its clock is ahead of this one's, in seconds, and by how much that may be wrong.
    pub clock_ahead: Option<(i64, Duration)>,
    /// Whether it creates topics when they are first sent to.
    pub creates_topics: Option<bool>,
}

/// A master and its slaves.
#[derive(Debug, Clone, Default)]
pub struct Replicas {
    /// The name that they share.
    pub name: String,
    /// Where name servers say that the brokers are, by id. More than one address under an id is one too many.
    pub members: BTreeMap<i64, BTreeSet<String>>,
    /// What the master says of its slaves; `None` when there is no master, or it does not tell.
    pub master: Option<MasterState>,
}

/// What a master says of its slaves.
#[derive(Debug, Clone, Default)]
pub struct MasterState {
    /// Where it is.
    pub address: String,
    /// Senders wait for slaves.
    pub is_waited_for: bool,
    /// Brokers that must be in step for messages to be taken, the master counted.
    pub least_in_step: u32,
    /// Brokers that are in step, the master counted.
    pub in_step: u32,
    /// Its slaves.
    pub slaves: Vec<SlaveState>,
}

/// A slave, as its master sees it.
#[derive(Debug, Clone, Default)]
pub struct SlaveState {
    /// Where it connects from.
    pub address: String,
    /// Bytes of the log that it lacks.
    pub behind: i64,
    /// Bytes that it gets in a second.
    pub rate: i64,
    /// It is not too far behind.
    pub in_step: bool,
}

/// What controllers say of themselves.
#[derive(Debug, Clone)]
pub struct Controllers {
    /// Their addresses, as brokers have them.
    pub addresses: String,
    /// Where the leader is; or why nobody tells.
    pub leader: Result<Option<String>, String>,
}

/// A consumer group.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Each member gets all messages and keeps its own offsets.
    pub broadcasts: bool,
    /// Those who are connected.
    pub members: Vec<Member>,
    /// Queues in which it has something to read.
    pub queues: Vec<Unread>,
}

/// A member of a group.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// By which brokers tell clients apart.
    pub id: String,
    /// Where it is, as `host:port`.
    pub address: String,
    /// What it is written in, such as `JAVA`.
    pub language: String,
    /// Number of the protocol's version that it speaks.
    pub version: i32,
    /// What it wants, by topic: the kind and the expression. `None` when it is not known.
    pub wants: Option<BTreeMap<String, String>>,
}

/// A queue in which a group has messages to read.
#[derive(Debug, Clone, Default)]
pub struct Unread {
    /// Its topic.
    pub topic: String,
    /// Its broker.
    pub broker: String,
    /// Its number.
    pub id: i32,
    /// Offset of the first message that the group has not consumed.
    pub committed: i64,
    /// Offset of the queue's oldest message, where it is known.
    pub first: Option<i64>,
    /// Offset that the next message will get.
    pub end: i64,
    /// For how long the group has not come on; `None` when that is not known.
    pub still: Option<Duration>,
    /// Who reads it.
    pub holder: Holder,
}

/// Who reads a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Holder {
    /// It is not known.
    #[default]
    Unknown,
    /// No member of the group.
    Nobody,
    /// A member.
    Member {
        /// Its id.
        id: String,
        /// For how long it has consumed nothing of the queue, where it tells.
        idle: Option<Duration>,
        /// Messages that it has fetched and not consumed, where it tells.
        waiting: Option<u32>,
    },
}

/// A producer.
#[derive(Debug, Clone)]
pub struct Producer {
    /// Its group.
    pub group: String,
    /// What else is known of it.
    pub client: Member,
}

/// A topic.
#[derive(Debug, Clone, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Messages in it, on all brokers together.
    pub messages: i64,
    /// For how long it has got none.
    pub idle: Option<Duration>,
    /// A group has offsets in it, or a member subscribes to it. `None` when it is not known.
    pub is_read: Option<bool>,
}

/// A topic that somebody wants, and no broker has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Its name.
    pub topic: String,
    /// Who wants it: a group that subscribes to it.
    pub group: Option<String>,
    /// Who asked for it last, and how often clients asked in the last while.
    pub asked: Option<(SocketAddr, u64)>,
}

/// Half messages of a broker.
#[derive(Debug, Clone)]
pub struct Halves {
    /// The broker's name.
    pub broker: String,
    /// How many are undecided, where that is known.
    pub undecided: Option<u64>,
    /// For how long the oldest of them has been waiting.
    pub oldest: Duration,
}

/// The machine of a broker, and the broker's process. `None`: the system does not tell.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The broker.
    pub broker: String,
    /// Files that the process may have open, and those that it has.
    pub files: Option<(u64, u64)>,
    /// Mappings that the process may have (`vm.max_map_count`), and those that it has.
    pub maps: Option<(u64, u64)>,
    /// Bytes of the process that are swapped out.
    pub swapped: Option<u64>,
    /// Bytes of swap that the machine has.
    pub swap: Option<u64>,
    /// `vm.swappiness`.
    pub swappiness: Option<u64>,
    /// `vm.dirty_ratio`, in percent; none when a number of bytes is set instead.
    pub dirty_ratio: Option<u64>,
}

/// Something that could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unknown {
    /// The check that lacks it.
    pub check: &'static str,
    /// Why it is not known.
    pub why: String,
}

impl Group {
    /// It belongs to the system, or to a tool: what it does not read is nobody's trouble.
    pub fn is_of_system(&self) -> bool {
        is_group_of_system(&self.name)
    }
}

/// See [`Group::is_of_system`].
pub fn is_group_of_system(group: &str) -> bool {
    const TOOLS: [&str; 6] = [
        "TOOLS_CONSUMER",
        "FILTERSRV_CONSUMER",
        "SELF_TEST_C_GROUP",
        "__MONITOR_CONSUMER",
        "CLIENT_INNER_PRODUCER",
        "DEFAULT_CONSUMER",
    ];
    names::is_system_group(group) || TOOLS.contains(&group)
}

impl Facts {
    /// Notes what could not be found out.
    pub fn lacks(&mut self, check: &'static str, why: impl Into<String>) {
        self.unknown.push(Unknown { check, why: why.into() });
    }
}
