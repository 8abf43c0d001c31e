//! Which commands there are.

use clap::Subcommand;

use crate::commands::{
    access, broker, client, engine, export, group, lite, message, monitor, namesrv, offset, replica, topic,
};
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

#[cfg(test)]
mod tests;

/// What a command does to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it can be watched.
    Read,
    /// It changes something, or sends messages.
    Change,
}

/// Commands that belong together, for help.
pub struct Group {
    /// What they are about.
    pub name: &'static str,
    /// Each with what it does, and what that is to the cluster.
    pub commands: &'static [(&'static str, &'static str, Kind)],
}

/// Each command: upstream's name, its flags, what it is to the cluster, and what runs it.
macro_rules! commands {
    ($($group:literal { $(
        $(#[doc = $about:literal])+
        $kind:ident $name:literal $(/ $alias:literal)? $variant:ident($flags:ty) => $run:expr;
    )+ })+) => {
        /// What to do.
        #[derive(Subcommand, Debug)]
        #[allow(clippy::large_enum_variant)] // There is one of them.
        pub enum Command {
            $($(
                $(#[doc = $about])+
                #[command(name = $name $(, alias = $alias)?)]
                $variant($flags),
            )+)+
        }

        impl Command {
            /// What it does to the cluster.
            pub fn kind(&self) -> Kind {
                match self {
                    $($(Self::$variant(_) => Kind::$kind,)+)+
                }
            }

            /// Does it once.
            pub async fn run(&self, context: &Context) -> Result<Report, CliError> {
                match self {
                    $($(Self::$variant(flags) => ($run)(context, flags).await,)+)+
                }
            }
        }

        /// All commands by what they are about.
        pub const GROUPS: &[Group] = &[
            $(Group { name: $group, commands: &[$(($name, concat!($($about),+), Kind::$kind),)+] },)+
        ];
    };
}

commands! {
    "Topics" {
        /// Create a topic, or change it
        Change "updateTopic" UpdateTopic(topic::change::Update) => topic::change::update;
        /// Create or change the topics of a file
        Change "updateTopicList" UpdateTopicList(topic::list::List) => topic::list::run;
        /// Remove a topic from a cluster and the name servers
        Change "deleteTopic" DeleteTopic(topic::change::Delete) => topic::change::delete;
        /// Change a topic's permission
        Change "updateTopicPerm" UpdateTopicPerm(topic::change::Permit) => topic::change::permit;
        /// How many queues brokers have for a topic in order
        Change "updateOrderConf" UpdateOrderConf(topic::order::Order) => topic::order::run;
        /// Create a static topic, or give it more queues
        Change "updateStaticTopic" UpdateStaticTopic(topic::fixed::Update) => topic::fixed::update;
        /// Move queues of a static topic to other brokers
        Change "remappingStaticTopic" RemappingStaticTopic(topic::fixed::Remap) => topic::fixed::remap;
        /// Names of all topics
        Read "topicList" TopicList(topic::show::List) => topic::show::list;
        /// Which brokers have a topic
        Read "topicRoute" TopicRoute(topic::show::Route) => topic::show::route;
        /// Offsets of a topic's queues
        Read "topicStatus" TopicStatus(topic::show::Status) => topic::show::status;
        /// Clusters that a topic is in
        Read "topicClusterList" TopicClusterList(topic::show::Clusters) => topic::show::clusters;
    }
    "Messages" {
        /// Send a message
        Change "sendMessage" SendMessage(message::send::Send) => message::send::send;
        /// Read some messages, and leave offsets alone
        Read "consumeMessage" ConsumeMessage(message::print::Consume) => message::print::consume;
        /// Print the messages of a topic
        Read "printMsg" PrintMsg(message::print::Topic) => message::print::topic;
        /// Print the messages of a queue, or count them by tag
        Read "printMsgByQueue" PrintMsgByQueue(message::print::ByQueue) => message::print::by_queue;
        /// Show the message with an id, send it again, or have a member consume it
        Read "queryMsgById" QueryMsgById(message::query::ById) => message::query::by_id;
        /// Show the messages with a key
        Read "queryMsgByKey" QueryMsgByKey(message::query::ByKey) => message::query::by_key;
        /// Show the message with an id of its producer
        Read "queryMsgByUniqueKey" QueryMsgByUniqueKey(message::query::ByUniqueKey) => message::query::by_unique_key;
        /// Show the message at a place of a queue
        Read "queryMsgByOffset" QueryMsgByOffset(message::query::ByOffset) => message::query::by_offset;
        /// Show what happened to a message
        Read "queryMsgTraceById" / "QueryMsgTraceById" QueryMsgTraceById(message::trace::Trace) => message::trace::run;
        /// Show what a queue has of its messages
        Read "queryCq" QueryCq(message::queue::Units) => message::queue::run;
        /// Send messages to a broker for a test
        Change "sendMsgStatus" SendMsgStatus(message::probe::Status) => message::probe::status;
        /// How long sending to a topic takes
        Change "checkMsgSendRT" CheckMsgSendRt(message::probe::Check) => message::probe::check;
        /// How long sending to each broker takes, again and again
        Change "clusterRT" ClusterRt(message::probe::Cluster) => message::probe::cluster;
    }
    "Groups" {
        /// Create a subscription group, or change it
        Change "updateSubGroup" UpdateSubGroup(group::change::Update) => group::change::update;
        /// Create or change the groups of a file
        Change "updateSubGroupList" UpdateSubGroupList(group::many::List) => group::many::run;
        /// Remove a subscription group
        Change "deleteSubGroup" DeleteSubGroup(group::change::Delete) => group::change::delete;
        /// A group as brokers have it
        Read "getConsumerConfig" GetConsumerConfig(group::show::Config) => group::show::config;
        /// How a group asks for the messages of a topic
        Change "setConsumeMode" SetConsumeMode(group::mode::Mode) => group::mode::set;
    }
    "Clients" {
        /// Clients and subscriptions of a consumer group
        Read "consumerConnection" ConsumerConnection(client::connections::Consumers) => client::connections::consumers;
        /// What the clients of a consumer group do
        Read "consumerStatus" ConsumerStatus(client::status::Status) => client::status::run;
        /// Clients of a producer group
        Read "producerConnection" ProducerConnection(client::connections::Producers) => client::connections::producers;
        /// All producers that a broker knows
        Read "producer" Producer(client::connections::AllProducers) => client::connections::all_producers;
    }
    "Offsets" {
        /// How far a consumer group is behind, or all of them
        Read "consumerProgress" ConsumerProgress(offset::progress::Progress) => offset::progress::run;
        /// How far all groups are in the queues of a broker
        Read "brokerConsumeStats" BrokerConsumeStats(offset::lag::Stats) => offset::lag::run;
        /// Who would get which queues of a topic
        Read "allocateMQ" AllocateMq(offset::allocate::Allocate) => offset::allocate::run;
        /// Move a consumer group to a time
        Change "resetOffsetByTime" ResetOffsetByTime(offset::reset::Reset) => offset::reset::by_time;
        /// Move a consumer group to the end
        Change "skipAccumulatedMessage" SkipAccumulatedMessage(offset::reset::Skip) => offset::reset::skip;
        /// Let a consumer group begin where another is
        Change "cloneGroupOffset" CloneGroupOffset(offset::reset::Copy) => offset::reset::copy;
    }
    "Users" {
        /// Create a user
        Change "createUser" CreateUser(access::user_change::Create) => access::user_change::create;
        /// Change a user
        Change "updateUser" UpdateUser(access::user_change::Update) => access::user_change::update;
        /// Remove a user
        Change "deleteUser" DeleteUser(access::user_change::Delete) => access::user_change::delete;
        /// A user
        Read "getUser" GetUser(access::user::Get) => access::user::get;
        /// Users
        Read "listUser" ListUser(access::user::List) => access::user::list;
        /// Copy users from a broker to another
        Change "copyUser" CopyUser(access::user_change::Copy) => access::user_change::copy;
        /// Say what a subject may do that has no rules yet
        Change "createAcl" CreateAcl(access::acl_change::Put) => access::acl_change::create;
        /// Change what a subject may do
        Change "updateAcl" UpdateAcl(access::acl_change::Put) => access::acl_change::update;
        /// Remove rules of a subject
        Change "deleteAcl" DeleteAcl(access::acl_change::Delete) => access::acl_change::delete;
        /// What a subject may do
        Read "getAcl" GetAcl(access::acl::Get) => access::acl::get;
        /// What subjects may do
        Read "listAcl" ListAcl(access::acl::List) => access::acl::list;
        /// Copy rules from a broker to another
        Change "copyAcl" CopyAcl(access::acl_change::Copy) => access::acl_change::copy;
    }
    "Replicas" {
        /// How far slaves have their master's log
        Read "haStatus" HaStatus(replica::ha::Status) => replica::ha::status;
        /// Which replicas have all that was acknowledged
        Read "getSyncStateSet" GetSyncStateSet(replica::set::SyncStateSet) => replica::set::show;
        /// Which masters wrote which parts of the logs
        Read "getBrokerEpoch" GetBrokerEpoch(replica::epoch::Epochs) => replica::epoch::show;
        /// Tell a slave up to where its master's log is on disk
        Change "resetMasterFlushOffset" ResetMasterFlushOffset(replica::epoch::Reset) => replica::epoch::reset;
        /// Who leads the controllers, and who they are
        Read "getControllerMetaData" GetControllerMetaData(replica::controller::Addresses) => replica::controller::state;
        /// Settings of controllers
        Read "getControllerConfig" GetControllerConfig(replica::controller::Addresses) => replica::controller::settings;
        /// Change a setting of controllers
        Change "updateControllerConfig" UpdateControllerConfig(replica::controller::Update) => replica::controller::update;
        /// Make a broker the master of its name
        Change "electMaster" ElectMaster(replica::controller::Elect) => replica::controller::elect;
        /// Have controllers forget replicas
        Change "cleanBrokerMetadata" CleanBrokerMetadata(replica::controller::Clean) => replica::controller::clean;
        /// Start a broker in a container of Apache's
        Change "addBroker" AddBroker(replica::container::Add) => replica::container::add;
        /// Stop a broker in a container of Apache's
        Change "removeBroker" RemoveBroker(replica::container::Remove) => replica::container::remove;
    }
    "Parts of brokers" {
        /// How much groups have read that was not in memory
        Read "getColdDataFlowCtrInfo" GetColdDataFlowCtrInfo(engine::cold::Reads) => engine::cold::reads;
        /// Limit a group's reads of what is not in memory
        Change "updateColdDataFlowCtrGroupConfig" UpdateColdDataFlowCtrGroupConfig(engine::cold::Limit) => engine::cold::limit;
        /// Take a group's own limit away
        Change "removeColdDataFlowCtrGroupConfig" RemoveColdDataFlowCtrGroupConfig(engine::cold::Unlimit) => engine::cold::unlimit;
        /// Say how brokers read their logs
        Change "setCommitLogReadAheadMode" SetCommitLogReadAheadMode(engine::cold::Ahead) => engine::cold::ahead;
        /// Say with what brokers keep messages that wait for their time
        Change "switchTimerEngine" SwitchTimerEngine(engine::switch::Timer) => engine::switch::timer;
        /// Give records of POP in RocksDB back to topics
        Change "exportPopRecord" ExportPopRecord(engine::switch::PopRecords) => engine::switch::pop_records;
        /// Have brokers write what they keep in RocksDB as JSON
        Change "rocksDBConfigToJson" RocksDbConfigToJson(engine::rocksdb::ToJson) => engine::rocksdb::to_json;
        /// Have brokers compare queues in RocksDB with those in files
        Read "checkRocksdbCqWriteProgress" CheckRocksdbCqWriteProgress(engine::rocksdb::Check) => engine::rocksdb::check;
        /// What a folder of RocksDB has, and how to get at it
        Read "exportMetadataInRocksDB" ExportMetadataInRocksDb(engine::rocksdb::Export) => engine::rocksdb::export;
        /// The records of a compacted log's file
        Read "dumpCompactionLog" DumpCompactionLog(engine::compaction::Dump) => engine::compaction::dump;
    }
    "Lite topics" {
        /// What brokers have of lite topics
        Read "getBrokerLiteInfo" GetBrokerLiteInfo(lite::broker::Info) => lite::broker::run;
        /// What brokers have of the lite topics of a parent
        Read "getParentTopicInfo" GetParentTopicInfo(lite::topic::Parent) => lite::topic::parent;
        /// What brokers have of a lite topic
        Read "getLiteTopicInfo" GetLiteTopicInfo(lite::topic::Lite) => lite::topic::lite;
        /// The lite topics of a client
        Read "getLiteClientInfo" GetLiteClientInfo(lite::client::Info) => lite::client::run;
        /// How far a group is behind in lite topics
        Read "getLiteGroupInfo" GetLiteGroupInfo(lite::group::Info) => lite::group::info;
        /// Have brokers look again for what they have for a group
        Change "triggerLiteDispatch" TriggerLiteDispatch(lite::group::Trigger) => lite::group::trigger;
    }
    "Brokers" {
        /// Clusters, their brokers and how busy they are
        Read "clusterList" ClusterList(broker::clusters::List) => broker::clusters::list;
        /// Figures of a broker
        Read "brokerStatus" BrokerStatus(broker::status::Status) => broker::status::status;
        /// How much comes to topics and goes to groups
        Read "statsAll" StatsAll(broker::stats::All) => broker::stats::all;
        /// Lag of all groups, and what is wrong with their members, every minute
        Change "startMonitoring" StartMonitoring(monitor::Monitor) => monitor::run;
        /// Settings of a broker
        Read "getBrokerConfig" GetBrokerConfig(broker::settings::Get) => broker::settings::get;
        /// Change a setting of a broker while it runs
        Change "updateBrokerConfig" UpdateBrokerConfig(broker::settings::Update) => broker::settings::update;
        /// Remove files of queues whose messages are gone
        Change "cleanExpiredCQ" CleanExpiredCq(broker::clean::Clean) => broker::clean::queues;
        /// Remove files of the log that are old enough
        Change "deleteExpiredCommitLog" DeleteExpiredCommitLog(broker::clean::Clean) => broker::clean::log;
        /// Remove queues whose topic is gone
        Change "cleanUnusedTopic" CleanUnusedTopic(broker::clean::Clean) => broker::clean::topics;
    }
    "Files" {
        /// Topics and groups of a broker or a cluster to a file
        Read "exportMetadata" ExportMetadata(export::metadata::Metadata) => export::metadata::run;
        /// Settings of a cluster to a file
        Read "exportConfigs" ExportConfigs(export::configs::Configs) => export::configs::run;
        /// How busy a cluster is, and its clients, to a file
        Read "exportMetrics" ExportMetrics(export::metrics::Metrics) => export::metrics::run;
    }
    "Name servers" {
        /// Settings of the name servers
        Read "getNamesrvConfig" GetNamesrvConfig(namesrv::Settings) => namesrv::settings;
        /// Change a setting of the name servers while they run
        Change "updateNamesrvConfig" UpdateNamesrvConfig(namesrv::Update) => namesrv::update;
        /// Set a value in the name servers
        Change "updateKvConfig" UpdateKvConfig(namesrv::Put) => namesrv::put;
        /// Remove a value from the name servers
        Change "deleteKvConfig" DeleteKvConfig(namesrv::Delete) => namesrv::delete;
        /// Take the write permission from a broker's topics
        Change "wipeWritePerm" WipeWritePerm(namesrv::WritePerm) => namesrv::wipe;
        /// Give the write permission back to a broker's topics
        Change "addWritePerm" AddWritePerm(namesrv::WritePerm) => namesrv::give_back;
    }
}

impl Command {
    /// Every how many seconds it is to be done again, where it has an option of its own for that.
    pub fn interval(&self) -> Option<u32> {
        match self {
            Self::ClusterList(flags) => flags.again.interval,
            Self::HaStatus(flags) => flags.again.interval,
            Self::GetSyncStateSet(flags) => flags.again.interval,
            Self::GetBrokerEpoch(flags) => flags.again.interval,
            _ => None,
        }
    }
}

/// All commands, by what they are about.
pub fn help() -> String {
    let mut text = String::new();
    for group in GROUPS {
        text.push_str(&format!("{}:\n", group.name));
        for (name, about, _) in group.commands {
            text.push_str(&format!("  {name:<34}{}\n", about.trim()));
        }
        text.push('\n');
    }
    text
}
