//! Clients that brokers know: members of groups, and producers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use apogee_message::ids::OffsetId;
use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Connection, ConsumeMessageDirectlyResult, ConsumerConnection, ConsumerRunningInfo, GetConsumerStatusBody,
    ProducerConnection, ProducerTableInfo, QuerySubscriptionResponseBody, SubscriptionData,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader, GetProducerConnectionListRequestHeader,
    QuerySubscriptionByConsumerRequestHeader, RpcFields,
};

use super::{Admin, QueueOffset, RELAYED, body, queue_of, time};
use crate::peers::{accepted, refused};
use crate::{Error, Queue, Received};

pub use apogee_wire::bodies::{CMResult as Outcome, ConsumeFromWhere, ConsumeType, MessageModel};

/// A connected client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientInfo {
    /// By which brokers tell clients apart.
    pub id: String,
    /// Where it is, as `host:port`.
    pub address: String,
    /// What it is written in, such as `JAVA`.
    pub language: String,
    /// Number of the protocol's version that it speaks.
    pub version: i32,
}

/// Who consumes in the name of a group, and what.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let members = admin.members("billing").await?;
/// for client in &members.clients {
///     println!("{} at {}", client.id, client.address);
/// }
/// for subscription in &members.subscriptions {
///     println!("{}: {}", subscription.topic, subscription.expression);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroupMembers {
    /// The members, by id; none when nobody is there.
    pub clients: Vec<ClientInfo>,
    /// What they subscribe to, by topic.
    pub subscriptions: Vec<Subscription>,
    /// How they get their messages.
    pub consume_type: Option<ConsumeType>,
    /// Whether they share them.
    pub model: Option<MessageModel>,
    /// Where they begin in a queue that the group was never in.
    pub from: Option<ConsumeFromWhere>,
}

/// What a group wants of a topic; see [`GroupMembers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// Tags, or a SQL92 expression.
    pub expression: String,
    /// `TAG` or `SQL92`.
    pub kind: String,
    /// The later of two has the greater one.
    pub version: i64,
}

/// A producer that a broker knows.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let producers = admin.producers().await?;
/// for producer in producers.iter().filter(|producer| producer.group == "orders") {
///     println!("{} at {}", producer.client.id, producer.client.address);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProducerInfo {
    /// Its group.
    pub group: String,
    /// The client.
    pub client: ClientInfo,
    /// When it last said that it is alive.
    pub last_heard: Option<SystemTime>,
}

/// What a member of a group tells of itself.
///
/// ```no_run
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// for client in admin.members("billing").await?.clients {
///     let state = admin.member_state("billing", &client.id, false).await?;
///     for queue in &state.queues {
///         println!("{} {}: {} waiting", client.id, queue.queue, queue.waiting);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemberState {
    /// The queues that it reads.
    pub queues: Vec<MemberQueue>,
    /// The queues that it pops from.
    pub popped: Vec<PoppedQueue>,
    /// What it subscribes to.
    pub subscriptions: Vec<Subscription>,
    /// Its rates, by topic.
    pub rates: BTreeMap<String, MemberRates>,
    /// Its settings, as it names them.
    pub settings: BTreeMap<String, String>,
    /// What the program tells of itself that it is in.
    pub told: BTreeMap<String, String>,
    /// What its threads do, if it was asked for and it has an answer.
    pub stacks: Option<String>,
}

/// A queue that a member pops from; see [`MemberState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoppedQueue {
    /// The queue.
    pub queue: Queue,
    /// Messages that it has and has not acknowledged.
    pub open: u32,
    /// It pops from the queue no more.
    pub dropped: bool,
    /// When it last asked for messages.
    pub last_pop: Option<SystemTime>,
}

/// A queue that a member reads; see [`MemberState`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberQueue {
    /// The queue.
    pub queue: Queue,
    /// What it has committed.
    pub committed: i64,
    /// Messages that it has fetched and not consumed.
    pub waiting: u32,
    /// Their size in MiB, rounded down.
    pub waiting_mib: u32,
    /// Offset of the first of them.
    pub first_waiting: i64,
    /// Offset of the last of them.
    pub last_waiting: i64,
    /// Messages in transactions, with the offsets of the first and the last one.
    pub transactions: (u32, i64, i64),
    /// It has the queue to itself, to consume in order.
    pub locked: bool,
    /// When it last got the queue to itself.
    pub last_locked: Option<SystemTime>,
    /// How often it tried to give the queue away.
    pub unlock_attempts: i64,
    /// It reads the queue no more.
    pub dropped: bool,
    /// When it last asked for messages.
    pub last_fetch: Option<SystemTime>,
    /// When it last consumed one.
    pub last_consumed: Option<SystemTime>,
}

/// How fast a member consumes a topic; see [`MemberState`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemberRates {
    /// Messages fetched in a second.
    pub fetched_per_second: f64,
    /// Messages consumed in a second.
    pub consumed_per_second: f64,
    /// Messages in a second that could not be consumed.
    pub failed_per_second: f64,
    /// Messages of the last hour that could not be consumed.
    pub failed: i64,
    /// What one fetch took, in milliseconds.
    pub fetch_ms: f64,
    /// What consuming one message took, in milliseconds.
    pub consume_ms: f64,
}

/// What became of a message that a member was told to consume.
///
/// ```no_run
/// use apogee_client::admin::Outcome;
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let message = admin.message("7F00000100002A9F0000000000000000").await?;
/// let consumed = admin.consume_directly("billing", "10.0.0.7@4711", &message).await?;
/// assert_eq!(consumed.outcome, Some(Outcome::Success), "{:?}", consumed.remark);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// What its handler said; `None` when that is nothing that is known here.
    pub outcome: Option<Outcome>,
    /// The reason of a failure.
    pub remark: Option<String>,
    /// It consumes in order.
    pub ordered: bool,
    /// How long it took.
    pub took: Duration,
}

impl ClientInfo {
    fn of(connection: Connection) -> Self {
        Self {
            id: connection.client_id.unwrap_or_default(),
            address: connection.client_addr.unwrap_or_default(),
            language: connection.language.map_or("OTHER", |language| language.name()).to_owned(),
            version: connection.version,
        }
    }
}

impl Subscription {
    pub(super) fn of(subscription: SubscriptionData) -> Self {
        Self {
            topic: subscription.topic,
            expression: subscription.sub_string.unwrap_or_default(),
            kind: subscription.expression_type.unwrap_or_default(),
            version: subscription.sub_version,
        }
    }
}

impl MemberState {
    fn of(info: ConsumerRunningInfo) -> Self {
        let queues = info.mq_table.into_iter().map(|(queue, state)| MemberQueue {
            queue: queue_of(queue),
            committed: state.commit_offset,
            waiting: state.cached_msg_count.max(0) as u32,
            waiting_mib: state.cached_msg_size_in_mib.max(0) as u32,
            first_waiting: state.cached_msg_min_offset,
            last_waiting: state.cached_msg_max_offset,
            transactions: (
                state.transaction_msg_count.max(0) as u32,
                state.transaction_msg_min_offset,
                state.transaction_msg_max_offset,
            ),
            locked: state.locked,
            last_locked: time(state.last_lock_timestamp),
            unlock_attempts: state.try_unlock_times,
            dropped: state.droped,
            last_fetch: time(state.last_pull_timestamp),
            last_consumed: time(state.last_consume_timestamp),
        });
        let popped = info.mq_pop_table.into_iter().map(|(queue, state)| PoppedQueue {
            queue: queue_of(queue),
            open: state.wait_ack_count.max(0) as u32,
            dropped: state.droped,
            last_pop: time(state.last_pop_timestamp),
        });
        let rates = info.status_table.into_iter().map(|(topic, rates)| {
            let rates = MemberRates {
                fetched_per_second: rates.pull_tps,
                consumed_per_second: rates.consume_ok_tps,
                failed_per_second: rates.consume_failed_tps,
                failed: rates.consume_failed_msgs,
                fetch_ms: rates.pull_rt,
                consume_ms: rates.consume_rt,
            };
            (topic, rates)
        });
        Self {
            queues: queues.collect(),
            popped: popped.collect(),
            rates: rates.collect(),
            subscriptions: info.subscription_set.into_iter().map(Subscription::of).collect(),
            settings: info.properties,
            told: info.user_consumer_info,
            stacks: info.jstack,
        }
    }
}

impl Admin {
    /// Who consumes in the name of a group, on all brokers together.
    ///
    /// # Errors
    /// When the name is none, or a broker refuses or doesn't answer.
    pub async fn members(&self, group: &str) -> Result<GroupMembers, Error> {
        names::check_group(group)?;
        let header = GetConsumerConnectionListRequestHeader { consumer_group: group, rpc: RpcFields::default() };
        let question = Command::request(request::GET_CONSUMER_CONNECTION_LIST).with_header(&header);
        let (mut members, mut subscriptions) = (GroupMembers::default(), BTreeMap::new());
        for address in self.masters().await? {
            let answer = self.ask(&address, &question).await?;
            if answer.code == response::CONSUMER_NOT_ONLINE {
                continue;
            }
            let said: ConsumerConnection = body(&address, &accepted(&address, answer)?)?;
            members.clients.extend(said.connection_set.into_iter().map(ClientInfo::of));
            // They say the same to all brokers.
            subscriptions.extend(said.subscription_table);
            members.consume_type = said.consume_type.or(members.consume_type);
            members.model = said.message_model.or(members.model);
            members.from = said.consume_from_where.or(members.from);
        }
        members.clients.sort_unstable();
        members.clients.dedup_by(|next, first| next.id == first.id);
        members.subscriptions = subscriptions.into_values().map(Subscription::of).collect();
        Ok(members)
    }

    /// What a group wants of a topic; `None` when brokers don't know. Apache's broker tells what members wanted that
    /// are gone.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// if let Some(subscription) = admin.subscription("billing", "Orders").await? {
    ///     println!("{} {}", subscription.kind, subscription.expression);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name is none, or a broker refuses or doesn't answer.
    pub async fn subscription(&self, group: &str, topic: &str) -> Result<Option<Subscription>, Error> {
        names::check_group(group)?;
        let header = QuerySubscriptionByConsumerRequestHeader { group, topic: Some(topic), rpc: RpcFields::default() };
        let question = Command::request(request::QUERY_SUBSCRIPTION_BY_CONSUMER).with_header(&header);
        let said = self.all_bodies::<QuerySubscriptionResponseBody>(&question).await?;
        Ok(said.into_iter().find_map(|said| said.value.subscription_data).map(Subscription::of))
    }

    /// The clients that produce in the name of a group, as far as brokers know them that have a topic.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the topic, and when none of them knows the group or one doesn't answer.
    pub async fn producers_of(&self, group: &str, topic: &str) -> Result<Vec<ClientInfo>, Error> {
        let header = GetProducerConnectionListRequestHeader { producer_group: group, rpc: RpcFields::default() };
        let question = Command::request(request::GET_PRODUCER_CONNECTION_LIST).with_header(&header);
        let (mut clients, mut refusal) = (Vec::new(), None);
        for address in self.readers_of(topic).await? {
            // A client is connected to those brokers that it needs.
            match self.body::<ProducerConnection>(&address, &question).await {
                Ok(said) => clients.extend(said.connection_set.into_iter().map(ClientInfo::of)),
                Err(error @ Error::Refused { .. }) => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(refusal) = refusal.filter(|_| clients.is_empty()) {
            return Err(refusal);
        }
        clients.sort_unstable();
        clients.dedup_by(|next, first| next.id == first.id);
        Ok(clients)
    }

    /// The producers of all groups, in order of group and id.
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn producers(&self) -> Result<Vec<ProducerInfo>, Error> {
        let mut producers = Vec::new();
        for said in self.all_bodies::<ProducerTableInfo>(&Command::request(request::GET_ALL_PRODUCER_INFO)).await? {
            for (group, of_group) in said.value.data {
                producers.extend(of_group.into_iter().map(|producer| ProducerInfo {
                    group: group.clone(),
                    client: ClientInfo {
                        id: producer.client_id.unwrap_or_default(),
                        address: producer.remote_ip.unwrap_or_default(),
                        language: producer.language.map_or("OTHER", |language| language.name()).to_owned(),
                        version: producer.version,
                    },
                    last_heard: time(producer.last_update_timestamp),
                }));
            }
        }
        producers.sort_unstable();
        producers.dedup_by(|next, first| (&next.group, &next.client.id) == (&first.group, &first.client.id));
        Ok(producers)
    }

    /// What a member of a group tells of itself, with what its threads do if that is wanted.
    ///
    /// # Errors
    /// When it is not there, does not answer, or a broker doesn't.
    pub async fn member_state(&self, group: &str, client_id: &str, with_stacks: bool) -> Result<MemberState, Error> {
        let header = GetConsumerRunningInfoRequestHeader {
            consumer_group: group,
            client_id,
            jstack_enable: Some(with_stacks),
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::GET_CONSUMER_RUNNING_INFO).with_header(&header);
        let mut absent = Error::Argument(format!("{client_id} is no member of group {group}: there is no broker"));
        // A client is connected to those brokers that it needs.
        for address in self.masters().await? {
            let answer = self.ask_for(&address, &question, self.timeout + RELAYED).await?;
            match answer.code {
                response::CONSUMER_NOT_ONLINE => absent = refused(&address, answer.code, answer),
                _ => return Ok(MemberState::of(body(&address, &accepted(&address, answer)?)?)),
            }
        }
        Err(absent)
    }

    /// Offsets as the members of a group have them, by id of the client. Brokers wait for members that don't answer.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for (client, offsets) in admin.member_offsets("billing", "Orders").await? {
    ///     println!("{client}: {offsets:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the topic, and when a broker refuses or doesn't answer.
    pub async fn member_offsets(&self, group: &str, topic: &str) -> Result<BTreeMap<String, Vec<QueueOffset>>, Error> {
        names::check_group(group)?;
        let header = GetConsumerStatusRequestHeader { topic, group, client_addr: None, rpc: RpcFields::default() };
        let question = Command::request(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS).with_header(&header);
        let mut all: BTreeMap<String, Vec<QueueOffset>> = BTreeMap::new();
        for address in self.readers_of(topic).await? {
            let answer = self.ask_for(&address, &question, self.timeout + RELAYED).await?;
            if answer.code == response::CONSUMER_NOT_ONLINE {
                continue;
            }
            let said: GetConsumerStatusBody = body(&address, &accepted(&address, answer)?)?;
            for (client, offsets) in said.consumer_table {
                let of_client = all.entry(client).or_default();
                let offsets = offsets.into_iter().map(|(queue, offset)| QueueOffset { queue: queue_of(queue), offset });
                of_client.extend(offsets);
                of_client.sort_unstable();
                of_client.dedup();
            }
        }
        Ok(all)
    }

    /// Has a member of a group consume a message at once, whatever the group's offsets; nothing is committed.
    ///
    /// # Errors
    /// When the member is not there or takes over 10 s, or the broker that has the message refuses or doesn't answer.
    pub async fn consume_directly(&self, group: &str, client_id: &str, message: &Received) -> Result<Consumed, Error> {
        let id = OffsetId { host: message.store_host, offset: message.physical_offset };
        let (msg_id, address) = (id.to_string(), id.host.to_string());
        let header = ConsumeMessageDirectlyResultRequestHeader {
            consumer_group: group,
            client_id: Some(client_id),
            msg_id: Some(&msg_id),
            broker_name: Some(&message.queue.broker),
            topic: Some(&message.queue.topic),
            topic_sys_flag: None,
            group_sys_flag: None,
            rpc: RpcFields::default(),
        };
        let question = Command::request(request::CONSUME_MESSAGE_DIRECTLY).with_header(&header);
        let answer = self.ask_for(&address, &question, self.timeout + RELAYED).await?;
        let said: ConsumeMessageDirectlyResult = body(&address, &accepted(&address, answer)?)?;
        Ok(Consumed {
            outcome: said.consume_result,
            remark: said.remark,
            ordered: said.order,
            took: Duration::from_millis(said.spent_time_mills.max(0) as u64),
        })
    }
}
