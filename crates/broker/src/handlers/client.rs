//! Heartbeats, memberships and queue locks of clients, and what administrators ask about them.

use std::collections::BTreeSet;
use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CheckClientRequestBody, ConsumerData, GetConsumerListByGroupResponseBody, GroupList, HeartbeatData,
    LockBatchRequestBody, LockBatchResponseBody, ProducerConnection, ProducerTableInfo, QuerySubscriptionResponseBody,
    UnlockBatchRequestBody,
};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{
    GetConsumerConnectionListRequestHeader, GetConsumerListByGroupRequestHeader,
    GetProducerConnectionListRequestHeader, HeaderError, NotifyConsumerIdsChangedRequestHeader,
    QuerySubscriptionByConsumerRequestHeader, QueryTopicConsumeByWhoRequestHeader, UnregisterClientRequestHeader,
};

use crate::BrokerError;
use crate::clients::{Change, Channel, Client, Complaint, Conflict, Consumers, Heartbeat, Producers, Subscription};
use crate::groups::GroupTable;
use crate::locks::QueueLocks;
use crate::offsets::OffsetTable;
use crate::settings::BrokerSettings;
use crate::topics::TopicTable;

type Answer = Result<Command, BrokerError>;

/// Bytes of a client's request: some thousands of subscriptions or queues. Read as JSON, a body can
/// grow a hundred times.
const MAX_BODY: usize = 1 << 20;

/// The part of the broker that deals with clients, at one moment.
pub(crate) struct ClientDesk<'b, C = Conn> {
    pub now_ms: i64,
    pub settings: &'b BrokerSettings,
    pub topics: &'b TopicTable,
    pub groups: &'b GroupTable,
    pub offsets: &'b OffsetTable,
    pub consumers: &'b Consumers<C>,
    pub producers: &'b Producers<C>,
    pub locks: &'b QueueLocks,
}

impl<C: Channel> ClientDesk<'_, C> {
    /// Answers a request of a client; None if it is for somebody else.
    pub fn serve(&self, channel: &Arc<C>, request: &Command) -> Option<Answer> {
        if request.body.len() > MAX_BODY {
            let remark =
                format!("the body of {} bytes is over the limit of {MAX_BODY} for this request", request.body.len());
            return Some(Err(BrokerError::new(response::INVALID_PARAMETER, remark)));
        }
        Some(match request.code {
            code::HEART_BEAT => self.heartbeat(channel, request),
            code::UNREGISTER_CLIENT => self.unregister(request),
            code::GET_CONSUMER_LIST_BY_GROUP => self.consumer_ids(request),
            code::CHECK_CLIENT_CONFIG => self.check_config(request),
            code::LOCK_BATCH_MQ => self.lock(request),
            code::UNLOCK_BATCH_MQ => self.unlock(request),
            code::GET_CONSUMER_CONNECTION_LIST => self.consumer_connections(request),
            code::GET_PRODUCER_CONNECTION_LIST => self.producer_connections(request),
            code::GET_ALL_PRODUCER_INFO => self.all_producers(request),
            code::QUERY_TOPIC_CONSUME_BY_WHO => self.groups_of_topic(request),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => self.subscription(request),
            _ => return None,
        })
    }

    /// Notes who is alive and what they subscribe to (code 34).
    fn heartbeat(&self, channel: &Arc<C>, request: &Command) -> Answer {
        let heartbeat = HeartbeatData::decode(&request.body)?;
        if heartbeat.client_id.is_empty() {
            return Err(invalid("the heartbeat has no clientID"));
        }
        let id = Arc::from(heartbeat.client_id.as_str());
        let client = Client { id, language: request.language, version: request.version };
        let mut wants_subscriptions = false;
        for data in &heartbeat.consumer_data_set {
            let of_group = Heartbeat {
                data,
                fingerprint: heartbeat.heartbeat_fingerprint,
                without_subscriptions: heartbeat.without_sub,
            };
            wants_subscriptions |= self.consumer_heartbeat(channel, &client, of_group);
        }
        for data in heartbeat.producer_data_set.iter().filter(|data| !data.group_name.is_empty()) {
            self.producers.heartbeat(self.now_ms, channel, &client, &data.group_name);
        }
        let mut answer = success(request);
        answer.fields.set_str("IS_SUPPORT_HEART_BEAT_V2", "true");
        // A client that knows no fingerprints is always told to send everything.
        answer.fields.set("IS_SUB_CHANGE", wants_subscriptions || heartbeat.heartbeat_fingerprint == 0);
        Ok(answer)
    }

    /// Returns whether the client must send its subscriptions.
    fn consumer_heartbeat(&self, channel: &Arc<C>, client: &Client, heartbeat: Heartbeat<'_>) -> bool {
        let ConsumerData { group_name: group, .. } = heartbeat.data;
        let (is_slave, creates) = (self.settings.broker_role.is_slave(), self.settings.auto_create_subscription_group);
        let config = match is_slave {
            true => self.groups.get_or_default(group, creates),
            false => self.groups.get_or_create(group, creates, self.now_ms),
        };
        let config = match config {
            Ok(config) => config,
            // The client's other groups are fine; this one learns of it when it pulls.
            Err(error) => {
                tracing::debug!(client = &*client.id, group, %error, "ignored a consumer");
                return false;
            }
        };
        if !is_slave {
            self.topics.ensure_retry(group, config.retry_queue_nums, self.now_ms);
        }
        let noted = self.consumers.heartbeat(self.now_ms, channel, client, heartbeat);
        noted.conflicts.iter().for_each(warn);
        for Complaint { topic, expression, what } in &noted.complaints {
            tracing::warn!(client = &*client.id, group, topic, expression, "a filter expression needs a look: {what}");
        }
        if let Some(change) = noted.change {
            self.notify(&change);
        }
        noted.wants_subscriptions
    }

    /// A client leaves groups (code 35).
    fn unregister(&self, request: &Command) -> Answer {
        let header: UnregisterClientRequestHeader<'_> = request.header()?;
        if let Some(group) = header.producer_group {
            self.producers.unregister(header.client_id, group);
        }
        if let Some(change) = header.consumer_group.and_then(|group| self.consumers.unregister(header.client_id, group))
        {
            self.notify(&change);
        }
        Ok(success(request))
    }

    /// A connection ended: its clients leave at once, and the others take over their queues.
    pub fn closed(&self, connection: u64) {
        self.producers.closed(connection);
        self.consumers.closed(connection).iter().for_each(|change| self.notify(change));
    }

    /// Forgets clients that have been silent for too long, and locks that nobody renewed.
    pub fn expire(&self) {
        let timeout_ms = i64::try_from(self.settings.channel_expired_timeout).unwrap_or(i64::MAX);
        self.producers.expire(self.now_ms, timeout_ms);
        for change in self.consumers.expire(self.now_ms, timeout_ms) {
            tracing::info!(group = &*change.group, timeout_ms, "a consumer sent no heartbeat and counts as gone");
            self.notify(&change);
        }
        self.locks.expire(self.now_ms);
    }

    /// What each member of a group reads, and how, may be another from now on.
    pub fn shares_anew(&self, group: &str) {
        self.notify(&Change { group: group.into(), notify: self.consumers.channels(group) });
    }

    /// Tells the members of a group that they must share the queues anew (code 40).
    fn notify(&self, change: &Change<C>) {
        let wanted_by_group =
            || self.groups.get(&change.group).is_none_or(|config| config.notify_consumer_ids_changed_enable);
        if !self.settings.notify_consumer_ids_changed_enable || !wanted_by_group() {
            return;
        }
        let header = NotifyConsumerIdsChangedRequestHeader { consumer_group: &change.group, rpc: Default::default() };
        for channel in &change.notify {
            channel.send_oneway(Command::request(code::NOTIFY_CONSUMER_IDS_CHANGED).with_header(&header));
        }
    }

    /// The clients of a group (code 38); they share the queues among themselves.
    fn consumer_ids(&self, request: &Command) -> Answer {
        let group = request.header::<GetConsumerListByGroupRequestHeader<'_>>()?.consumer_group;
        let ids = self.consumers.client_ids(group);
        if ids.is_empty() {
            let remark = format!("no consumer for this group, {group}");
            return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
        }
        let consumer_id_list = ids.iter().map(|id| id.to_string()).collect();
        Ok(success(request).with_body(GetConsumerListByGroupResponseBody { consumer_id_list }.encode()))
    }

    /// Whether the broker can evaluate a client's filter expression (code 46).
    fn check_config(&self, request: &Command) -> Answer {
        let subscription = CheckClientRequestBody::decode(&request.body)?.subscription_data.map(Subscription::new);
        let checked = subscription.map_or(Ok(()), |wanted| wanted.check(self.settings.enable_property_filter));
        checked.map_err(|error| BrokerError::unusable(&error, response::SUBSCRIPTION_PARSE_FAILED, ""))?;
        Ok(success(request))
    }

    /// Locks queues for an orderly consumer (code 41). There are no replicas to ask, whatever the
    /// request says of them.
    fn lock(&self, request: &Command) -> Answer {
        let body = LockBatchRequestBody::decode(&request.body)?;
        let (group, client_id) = holder(body.consumer_group, body.client_id)?;
        let lock_ok_mq_set = self.locks.try_lock(&group, &client_id, body.mq_set, self.now_ms);
        Ok(success(request).with_body(LockBatchResponseBody { lock_ok_mq_set }.encode()))
    }

    /// Releases queues (code 42).
    fn unlock(&self, request: &Command) -> Answer {
        let body = UnlockBatchRequestBody::decode(&request.body)?;
        let (group, client_id) = holder(body.consumer_group, body.client_id)?;
        self.locks.unlock(&group, &client_id, &body.mq_set);
        Ok(success(request))
    }

    /// A group's consumers and subscriptions (code 203).
    fn consumer_connections(&self, request: &Command) -> Answer {
        let group = request.header::<GetConsumerConnectionListRequestHeader<'_>>()?.consumer_group;
        let Some(connection) = self.consumers.connection(group) else {
            let remark = format!("the consumer group[{group}] not online");
            return Err(BrokerError::new(response::CONSUMER_NOT_ONLINE, remark));
        };
        Ok(success(request).with_body(connection.encode()))
    }

    /// A group's producers (code 204).
    fn producer_connections(&self, request: &Command) -> Answer {
        let group = request.header::<GetProducerConnectionListRequestHeader<'_>>()?.producer_group;
        let Some(connection_set) = self.producers.connections(group) else {
            let remark = format!("the producer group[{group}] not exist");
            return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
        };
        Ok(success(request).with_body(ProducerConnection { connection_set }.encode()))
    }

    /// All producers (code 328).
    fn all_producers(&self, request: &Command) -> Answer {
        Ok(success(request).with_body(ProducerTableInfo { data: self.producers.infos() }.encode()))
    }

    /// Groups that consume a topic now or did so before (code 300).
    fn groups_of_topic(&self, request: &Command) -> Answer {
        let topic = request.header::<QueryTopicConsumeByWhoRequestHeader<'_>>()?.topic;
        let mut group_list: BTreeSet<String> = self.offsets.groups_of(topic);
        group_list.extend(self.consumers.groups_of(topic).iter().map(|group| group.to_string()));
        Ok(success(request).with_body(GroupList { group_list }.encode()))
    }

    /// A group's newest subscription to a topic (code 345).
    fn subscription(&self, request: &Command) -> Answer {
        let header: QuerySubscriptionByConsumerRequestHeader<'_> = request.header()?;
        let topic = header.topic.ok_or(HeaderError::Missing("topic"))?;
        let subscription = self.consumers.newest_subscription(header.group, topic);
        let body = QuerySubscriptionResponseBody {
            group: Some(header.group.to_owned()),
            topic: Some(topic.to_owned()),
            subscription_data: subscription.map(|subscription| subscription.data().clone()),
        };
        Ok(success(request).with_body(body.encode()))
    }
}

fn warn(conflict: &Conflict) {
    let Conflict { group, topic, newcomer, other } = conflict;
    tracing::warn!(
        group = &**group,
        topic,
        client = &*newcomer.0,
        expression = newcomer.1,
        other_client = &*other.0,
        other_expression = other.1,
        "clients of one group subscribe to a topic with different expressions: each misses messages that \
         the other one is given; use one expression, or a group for each"
    );
}

/// The group and client that lock or unlock.
fn holder(group: Option<String>, client_id: Option<String>) -> Result<(String, String), BrokerError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let group = given(group).ok_or_else(|| invalid("the request's body has no consumerGroup"))?;
    let client_id = given(client_id).ok_or_else(|| invalid("the request's body has no clientId"))?;
    Ok((group, client_id))
}

fn invalid(remark: &'static str) -> BrokerError {
    BrokerError::new(response::INVALID_PARAMETER, remark)
}

fn success(request: &Command) -> Command {
    Command::response_to(request, response::SUCCESS)
}

#[cfg(test)]
mod tests;
