//! How brokers hand out messages. Apache's brokers answer; ours does not yet.

use std::collections::BTreeMap;
use std::time::SystemTime;

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ColdDataFlowCtrInfo, MessageRequestModeSerializeWrapper, SetMessageRequestModeRequestBody,
    TimerMetricsSerializeWrapper,
};
use apogee_wire::codes::request;

use super::{Admin, At, count, time};
use crate::Error;

pub use apogee_wire::bodies::MessageRequestMode as RequestMode;

/// How a group asks for the messages of a topic.
///
/// ```no_run
/// use apogee_client::admin::{GroupMode, RequestMode};
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let mode = GroupMode { group: "billing".into(), topic: "Orders".into(), mode: RequestMode::Pop, shared_by: 0 };
/// admin.set_request_mode(&mode).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMode {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// How its members ask that leave it to the broker.
    pub mode: RequestMode,
    /// How many members share a queue when they pop; 0: all.
    pub shared_by: u32,
}

/// How much groups have read that was not in memory.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// admin.set_cold_read_limit("billing", 4 << 20).await?;
/// for broker in admin.cold_reads().await? {
///     println!("{}: {} bytes", broker.address, broker.bytes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdReads {
    /// Bytes that all groups have read in this span of time.
    pub bytes: i64,
    /// How many bytes they may read in one.
    pub limit: i64,
    /// How many bytes a group may read in one that has no limit of its own.
    pub group_limit: i64,
    /// Limits of groups, in bytes.
    pub limits: BTreeMap<String, i64>,
    /// Groups that have read.
    pub groups: Vec<ColdReader>,
}

/// A group that has read what was not in memory; see [`ColdReads`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColdReader {
    /// The group.
    pub group: String,
    /// Bytes that it has read in this span of time.
    pub bytes: i64,
    /// When it first did.
    pub first: Option<SystemTime>,
    /// When it last did.
    pub last: Option<SystemTime>,
}

impl Admin {
    /// How groups ask for messages, where that was said, on each broker.
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn request_modes(&self) -> Result<Vec<At<GroupMode>>, Error> {
        let question = Command::request(request::GET_ALL_MESSAGE_REQUEST_MODE);
        let mut modes = Vec::new();
        for At { address, value } in self.all_bodies::<MessageRequestModeSerializeWrapper>(&question).await? {
            for (topic, groups) in value.message_request_mode_map {
                modes.extend(groups.into_iter().map(|(group, mode)| At {
                    address: address.clone(),
                    value: GroupMode {
                        group,
                        topic: topic.clone(),
                        mode: mode.mode,
                        shared_by: mode.pop_share_queue_num.max(0) as u32,
                    },
                }));
            }
        }
        Ok(modes)
    }

    /// Says how a group asks for the messages of a topic, on each broker.
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn set_request_mode(&self, mode: &GroupMode) -> Result<(), Error> {
        names::check_group(&mode.group)?;
        names::check_topic(&mode.topic)?;
        let body = SetMessageRequestModeRequestBody {
            consumer_group: Some(mode.group.clone()),
            mode: mode.mode,
            pop_share_queue_num: count(mode.shared_by),
            topic: Some(mode.topic.clone()),
        };
        let question = Command::request(request::SET_MESSAGE_REQUEST_MODE).with_body(body.encode());
        self.call_all(&question).await.map(drop)
    }

    /// How many messages wait for a time of their own, by topic, all brokers together.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for (topic, messages) in admin.waiting_for_their_time().await? {
    ///     println!("{topic}: {messages}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn waiting_for_their_time(&self) -> Result<BTreeMap<String, i64>, Error> {
        let question = Command::request(request::GET_TIMER_METRICS);
        let mut all: BTreeMap<String, i64> = BTreeMap::new();
        for said in self.all_bodies::<TimerMetricsSerializeWrapper>(&question).await? {
            for (topic, waiting) in said.value.timing_count {
                *all.entry(topic).or_default() += waiting.count;
            }
        }
        Ok(all)
    }

    /// How much groups have read that was not in memory, on each broker.
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn cold_reads(&self) -> Result<Vec<At<ColdReads>>, Error> {
        let question = Command::request(request::GET_COLD_DATA_FLOW_CTR_INFO);
        let all = self.all_bodies::<ColdDataFlowCtrInfo>(&question).await?;
        let reads = |said: At<ColdDataFlowCtrInfo>| {
            let groups = said.value.runtime_table.into_iter().map(|(group, read)| ColdReader {
                group,
                bytes: read.cold_acc,
                first: time(read.create_time_mills),
                last: time(read.last_cold_read_time_mills),
            });
            let value = ColdReads {
                bytes: said.value.global_acc,
                limit: said.value.global_cold_read_threshold,
                group_limit: said.value.cg_cold_read_threshold,
                groups: groups.collect(),
                limits: said.value.config_table,
            };
            At { address: said.address, value }
        };
        Ok(all.into_iter().map(reads).collect())
    }

    /// Says how many bytes a group may read in a span of time that are not in memory, on each broker.
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn set_cold_read_limit(&self, group: &str, bytes: u64) -> Result<(), Error> {
        names::check_group(group)?;
        let question = Command::request(request::UPDATE_COLD_DATA_FLOW_CTR_CONFIG);
        self.call_all(&question.with_body(format!("{group}={bytes}\n"))).await.map(drop)
    }

    /// Takes a group's own limit away, on each broker.
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn remove_cold_read_limit(&self, group: &str) -> Result<(), Error> {
        names::check_group(group)?;
        let question = Command::request(request::REMOVE_COLD_DATA_FLOW_CTR_CONFIG);
        self.call_all(&question.with_body(group.to_owned())).await.map(drop)
    }
}
