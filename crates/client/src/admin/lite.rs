//! Lite topics, of which a parent topic has many (upstream 5.5.0). Brokers that have none answer with nothing, or
//! refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use apogee_message::names;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, GetBrokerLiteInfoResponseBody, GetLiteClientInfoResponseBody, GetLiteGroupInfoResponseBody,
    GetLiteTopicInfoResponseBody, GetParentTopicInfoResponseBody, LiteLagInfo,
};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    GetLiteClientInfoRequestHeader, GetLiteGroupInfoRequestHeader, GetLiteTopicInfoRequestHeader,
    GetParentTopicInfoRequestHeader, TriggerLiteDispatchRequestHeader,
};

use super::{Admin, At, count, time};
use crate::Error;

/// How many lite topics of a client are told at most.
const MOST_TOPICS: i32 = 1000;

/// What a broker has of lite topics, altogether.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteState {
    /// Kind of its store: `default` or `defaultRocksDB`.
    pub store: String,
    /// Light queues that it may have.
    pub max_queues: i32,
    /// Light queues that it has.
    pub queues: i32,
    /// Subscriptions of clients to lite topics.
    pub subscriptions: i32,
    /// Groups and topics whose order it keeps.
    pub ordered: i32,
    /// Entries of its table of queues.
    pub queue_table: i32,
    /// Entries of its table of offsets.
    pub offset_table: i32,
    /// Clients for which something waits.
    pub events: i32,
    /// For how many minutes lite topics live without use, by parent topic; -1: forever.
    pub parents: BTreeMap<String, i32>,
    /// Groups by parent topic.
    pub groups: BTreeMap<String, BTreeSet<String>>,
}

/// What a broker has of the lite topics of a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteParent {
    /// For how many minutes they live without use; -1: forever.
    pub minutes_to_live: i32,
    /// How many there are.
    pub topics: i32,
    /// Light queues that the broker has, those of other parents, too.
    pub queues: i32,
    /// Groups that read them.
    pub groups: Option<BTreeSet<String>>,
}

/// What a broker has of a lite topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteTopic {
    /// Offset of its oldest message.
    pub first: i64,
    /// Offset that its next message gets.
    pub end: i64,
    /// When its newest message was stored.
    pub last_stored: Option<SystemTime>,
    /// The broker is the one that has it.
    pub is_here: bool,
    /// Clients that subscribe to it, and their groups.
    pub subscribers: Vec<(String, String)>,
}

/// What a broker has of a client's lite topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteClient {
    /// How many it subscribes to; -1: the broker doesn't know the client.
    pub topics: i32,
    /// Those, at most a thousand.
    pub names: Option<BTreeSet<String>>,
    /// When it was last heard of.
    pub last_heard: Option<SystemTime>,
    /// When it last consumed.
    pub last_consumed: Option<SystemTime>,
}

/// How far a group is behind in lite topics, on one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteProgress {
    /// Messages that it has not consumed, in all of them.
    pub lag: i64,
    /// When the oldest of those was stored.
    pub oldest: Option<SystemTime>,
    /// The one that was asked for: where it ends, where the group is, and when the last message was stored that it
    /// consumed.
    pub topic: Option<(i64, i64, Option<SystemTime>)>,
    /// Those that it is furthest behind in, by messages.
    pub most: Vec<LiteLag>,
    /// Those that it is furthest behind in, by time.
    pub longest: Vec<LiteLag>,
}

/// How far a group is behind in a lite topic; see [`LiteProgress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteLag {
    /// The lite topic.
    pub topic: String,
    /// Messages that it has not consumed.
    pub lag: i64,
    /// When the oldest of those was stored.
    pub oldest: Option<SystemTime>,
}

impl LiteLag {
    fn all(list: Option<Vec<LiteLagInfo>>) -> Vec<Self> {
        let lag = |lag: LiteLagInfo| Self {
            topic: lag.lite_topic.unwrap_or_default(),
            lag: lag.lag_count,
            oldest: time(lag.earliest_unconsumed_timestamp),
        };
        list.unwrap_or_default().into_iter().map(lag).collect()
    }
}

impl Admin {
    /// What each broker has of lite topics, altogether.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for broker in admin.lite_states().await? {
    ///     println!("{}: {} of {}", broker.address, broker.queues, broker.max_queues);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a broker refuses or doesn't answer.
    pub async fn lite_states(&self) -> Result<Vec<At<LiteState>>, Error> {
        let question = Command::request(request::GET_BROKER_LITE_INFO);
        let all = self.all_bodies::<GetBrokerLiteInfoResponseBody>(&question).await?;
        let state = |At { address, value }: At<GetBrokerLiteInfoResponseBody>| At {
            address,
            value: LiteState {
                store: value.store_type.unwrap_or_default(),
                max_queues: value.max_lmq_num,
                queues: value.current_lmq_num,
                subscriptions: value.lite_subscription_count,
                ordered: value.order_info_count,
                queue_table: value.cq_table_size,
                offset_table: value.offset_table_size,
                events: value.event_map_size,
                parents: value.topic_meta,
                groups: value.group_meta,
            },
        };
        Ok(all.into_iter().map(state).collect())
    }

    /// What each broker that has a parent topic has of its lite topics.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has it, and when one refuses or doesn't answer.
    pub async fn lite_parents(&self, parent: &str) -> Result<Vec<At<LiteParent>>, Error> {
        let question = Command::request(request::GET_PARENT_TOPIC_INFO)
            .with_header(&GetParentTopicInfoRequestHeader { topic: parent });
        let read = |body: GetParentTopicInfoResponseBody| LiteParent {
            minutes_to_live: body.ttl,
            topics: body.lite_topic_count,
            queues: body.lmq_num,
            groups: body.groups,
        };
        self.of_parent(parent, &question, read).await
    }

    /// What each broker that has the parent topic has of a lite topic.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the parent, and when one refuses or doesn't answer.
    pub async fn lite_topics(&self, parent: &str, topic: &str) -> Result<Vec<At<LiteTopic>>, Error> {
        let header = GetLiteTopicInfoRequestHeader { parent_topic: Some(parent), lite_topic: Some(topic) };
        let question = Command::request(request::GET_LITE_TOPIC_INFO).with_header(&header);
        let read = |body: GetLiteTopicInfoResponseBody| {
            let range = body.topic_offset.unwrap_or_default();
            let subscribers = body.subscriber.unwrap_or_default().into_iter();
            LiteTopic {
                first: range.min_offset,
                end: range.max_offset,
                last_stored: time(range.last_update_timestamp),
                is_here: body.sharding_to_broker,
                subscribers: subscribers
                    .map(|one| (one.client_id.unwrap_or_default(), one.group.unwrap_or_default()))
                    .collect(),
            }
        };
        self.of_parent(parent, &question, read).await
    }

    /// What each broker that has the parent topic has of a client's lite topics.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the parent, and when one refuses or doesn't answer.
    pub async fn lite_clients(&self, parent: &str, group: &str, client: &str) -> Result<Vec<At<LiteClient>>, Error> {
        let header = GetLiteClientInfoRequestHeader {
            parent_topic: Some(parent),
            group: Some(group),
            client_id: Some(client),
            max_count: Some(MOST_TOPICS),
        };
        let question = Command::request(request::GET_LITE_CLIENT_INFO).with_header(&header);
        let read = |body: GetLiteClientInfoResponseBody| LiteClient {
            topics: body.lite_topic_count,
            names: body.lite_topic_set,
            last_heard: time(body.last_access_time),
            last_consumed: time(body.last_consume_time),
        };
        self.of_parent(parent, &question, read).await
    }

    /// How far a group is behind in the lite topics of a parent, with the worst of them, and one that is named.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the parent, and when one refuses or doesn't answer.
    pub async fn lite_progress(
        &self,
        parent: &str,
        group: &str,
        topic: Option<&str>,
        worst: u32,
    ) -> Result<Vec<At<LiteProgress>>, Error> {
        let header = GetLiteGroupInfoRequestHeader { group, lite_topic: topic, top_k: Some(count(worst)) };
        let question = Command::request(request::GET_LITE_GROUP_INFO).with_header(&header);
        let read = |body: GetLiteGroupInfoResponseBody| LiteProgress {
            lag: body.total_lag_count.max(0),
            oldest: time(body.earliest_unconsumed_timestamp),
            topic: body
                .lite_topic_offset_wrapper
                .map(|at| (at.broker_offset, at.consumer_offset, time(at.last_timestamp))),
            most: LiteLag::all(body.lag_count_top_k),
            longest: LiteLag::all(body.lag_timestamp_top_k),
        };
        self.of_parent(parent, &question, read).await
    }

    /// Has the brokers that have a parent topic look again for what they have for the clients of a group, or for one
    /// of them.
    ///
    /// # Errors
    /// [`Error::NoTopic`] when no broker has the parent, and when one refuses or doesn't answer.
    pub async fn trigger_lite_dispatch(&self, parent: &str, group: &str, client: Option<&str>) -> Result<(), Error> {
        let header = TriggerLiteDispatchRequestHeader { group, client_id: client };
        let question = Command::request(request::TRIGGER_LITE_DISPATCH).with_header(&header);
        names::check_group(group)?;
        for address in self.readers_of(parent).await? {
            self.call(&address, &question).await?;
        }
        Ok(())
    }

    async fn of_parent<B: Body, T>(
        &self,
        parent: &str,
        question: &Command,
        read: impl Fn(B) -> T,
    ) -> Result<Vec<At<T>>, Error> {
        names::check_topic(parent)?;
        let mut all = Vec::new();
        for address in self.readers_of(parent).await? {
            let value = read(self.body(&address, question).await?);
            all.push(At { address, value });
        }
        Ok(all)
    }
}
