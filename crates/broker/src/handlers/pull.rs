//! Pulling: `PULL_MESSAGE`, `LITE_PULL_MESSAGE` (upstream `PullMessageProcessor`).
//!
//! What is found goes out as slices of the mapped log. A pull that finds nothing is parked in
//! [`LongPolling`](crate::longpoll::LongPolling) and run again when a message for it arrives.

use std::sync::Arc;

use apogee_base::settings::Current;
use apogee_message::light;
use apogee_net::Conn;
use apogee_store::{ReadLimits, ReadResult, ReadStatus};
use apogee_wire::Command;
use apogee_wire::bodies::MessageModel;
use apogee_wire::codes::response;
use apogee_wire::headers::{PullMessageRequestHeader, PullMessageResponseHeader};

use super::answer;
use super::parking::{self, count, reply};
use crate::broker::Broker;
use crate::clients::{ALL, Subscription, TAG};
use crate::error::BrokerError;
use crate::lite;
use crate::longpoll::Parked;
use crate::metrics::requests::Begun;
use crate::serve::{hold, spawn_cold};
use crate::settings::BrokerSettings;
use crate::stats::Kind;
use crate::topics::{Topic, perm};

#[cfg(test)]
mod tests;

const COMMIT_OFFSET: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;
/// The id of a master.
const MASTER: i64 = 0;

/// Runs a pull: answers it, or parks it.
pub(crate) fn pull(broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command) {
    // Its answer is all that a pull is for.
    if request.is_oneway() {
        return;
    }
    match Wanted::check(broker, conn, request, None) {
        Ok(Wanted { header: PullMessageRequestHeader { topic, lite_topic: Some(name), .. }, .. })
            if !name.is_empty() =>
        {
            match lite::pull_of(request, topic, name) {
                Ok(of_queue) => pull(broker, conn, &of_queue),
                Err(error) => reply(broker, conn, &error.response_to(request), Begun::now(request.code)),
            }
        }
        Ok(wanted) => {
            // What the pull brings is of when it came: while it waits the group goes on.
            wanted.commit(broker);
            wanted.run(broker, conn, request, None, false);
        }
        Err(error) => reply(broker, conn, &error.response_to(request), Begun::now(request.code)),
    }
}

/// Runs a pull that was parked.
pub(crate) fn pull_again(broker: &Arc<Broker>, parked: &Parked) {
    let Parked { conn, request, .. } = parked;
    match Wanted::check(broker, conn, request, Some(parked)) {
        Ok(wanted) => wanted.run(broker, conn, request, Some(parked), false),
        Err(error) => reply(broker, conn, &error.response_to(request), parked.begun),
    }
}

/// A pull that may be answered.
struct Wanted<'r> {
    header: PullMessageRequestHeader<'r>,
    /// Where to read: where the client asked for, or past what was found not to match since.
    offset: i64,
    settings: Current<BrokerSettings>,
    topic: Arc<Topic>,
    subscription: Arc<Subscription>,
    /// What the group's settings say of slow consumers.
    slow_broker_id: i64,
    broker_id: i64,
    begun: Begun,
}

impl<'r> Wanted<'r> {
    fn check(broker: &Broker, conn: &Conn, request: &'r Command, parked: Option<&Parked>) -> Result<Self, BrokerError> {
        let header: PullMessageRequestHeader<'r> = request.header()?;
        let settings = broker.settings.load();
        let (group, topic_name) = (header.consumer_group, header.topic);
        let forbidden = |remark: String| BrokerError::new(response::NO_PERMISSION, remark);
        if settings.broker_permission & perm::READ == 0 {
            return Err(forbidden(format!(
                "the broker[{}] pulling message is forbidden (brokerPermission)",
                settings.broker_name
            )));
        }
        let creates = settings.auto_create_subscription_group;
        let config = match broker.role.is_slave() {
            true => broker.groups.get_or_default(group, creates)?,
            false => broker.groups.get_or_create(group, creates, broker.now())?,
        };
        if !config.consume_enable {
            return Err(forbidden(format!("subscription group no permission, {group}")));
        }
        let topic = broker.topics.get(topic_name).ok_or_else(|| BrokerError::no_topic(topic_name))?;
        if !topic.allows(perm::READ) {
            return Err(forbidden(format!("the topic[{topic_name}] pulling message is forbidden")));
        }
        if !broker.groups.may_read(group, topic_name) {
            return Err(forbidden(format!("the consumer group[{group}] is forbidden to read topic[{topic_name}]")));
        }
        let queues = topic.config.read_queue_nums;
        if !(0..queues).contains(&header.queue_id) {
            let remark = format!(
                "queueId[{}] is illegal, topic:[{topic_name}] topicConfig.readQueueNums:[{queues}]",
                header.queue_id
            );
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        let subscription = match parked {
            _ if header.sys_flag & SUBSCRIPTION == 0 => broker.subscribed(conn, &header)?,
            Some(parked) => Arc::clone(&parked.subscription),
            None => broker.subscription_in(conn, &header)?,
        };
        if !config.consume_broadcast_enable && broker.consumers.message_model(group) == Some(MessageModel::Broadcasting)
        {
            return Err(forbidden(format!("the consumer group[{group}] can not consume by broadcast way")));
        }
        let (slow_broker_id, broker_id) = match settings.slave_read_enable {
            true => (config.which_broker_when_consume_slowly, config.broker_id),
            false => (MASTER, MASTER),
        };
        let offset = parked.map_or(header.queue_offset, |parked| parked.offset);
        let begun = parked.map_or_else(|| Begun::now(request.code), |parked| parked.begun);
        Ok(Self { header, offset, settings, topic, subscription, slow_broker_id, broker_id, begun })
    }

    /// `was_held`: until its group might read cold messages again.
    fn run(&self, broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, parked: Option<&Parked>, was_held: bool) {
        let header = &self.header;
        if !broker.store.may_wait(&self.topic.name, header.queue_id, self.offset) {
            return self.serve(broker, conn, request, parked, |_| {});
        }
        let most = i64::try_from(self.settings.max_transfer_bytes_on_message_in_disk).unwrap_or(i64::MAX);
        let parked = parked.cloned();
        match broker.cold.begin(header.consumer_group, most, &self.settings, broker.now()) {
            // The disk may take its time: not on a thread that serves others.
            Ok(()) => spawn_cold(broker, conn, request, move |broker, conn, request| {
                let parked = parked.as_ref();
                let wanted = Wanted::check(broker, conn, request, parked)?;
                wanted.serve(broker, conn, request, parked, |read| {
                    answer::touch(&read.slices);
                    broker.cold.end(wanted.header.consumer_group, read.bytes as i64 - most, broker.now());
                });
                Ok(None)
            }),
            Err(_) if was_held => self.try_again(broker, conn, request),
            Err(wait) => hold(broker, conn, request, wait, move |broker, conn, request| {
                match Wanted::check(broker, conn, request, parked.as_ref()) {
                    Ok(wanted) => wanted.run(broker, conn, request, parked.as_ref(), true),
                    Err(error) => reply(broker, conn, &error.response_to(request), Begun::now(request.code)),
                }
            }),
        }
    }

    /// Answers with nothing, and the same place to go on at.
    fn try_again(&self, broker: &Broker, conn: &Conn, request: &Command) {
        let (min, max) = broker.store.queue_range(self.header.topic, self.header.queue_id).unwrap_or_default();
        let answer = Command::response_to(request, response::PULL_RETRY_IMMEDIATELY)
            .with_remark("the consumer group has read as many cold messages as it may at this time");
        let head = self.head(self.offset, min, max, self.broker_id);
        reply(broker, conn, &answer.with_header(&head), self.begun);
    }

    /// Notes how far the group has consumed, where the pull says so.
    fn commit(&self, broker: &Broker) {
        let header = &self.header;
        // On a slave clients commit by itself, and only when there is no master.
        if !broker.role.is_slave() && header.sys_flag & COMMIT_OFFSET != 0 && header.commit_offset >= 0 {
            broker.offsets.commit(header.consumer_group, header.topic, header.queue_id, header.commit_offset);
        }
    }

    /// Answers or parks. `warm` gets what was read before it is sent.
    fn serve(
        &self,
        broker: &Broker,
        conn: &Arc<Conn>,
        request: &Command,
        parked: Option<&Parked>,
        warm: impl FnOnce(&ReadResult),
    ) {
        if let Some(offset) = self.reset(broker) {
            return self.move_to(broker, conn, request, offset);
        }
        let read = self.read(broker);
        warm(&read);
        if parked.is_none() && read.status != ReadStatus::Found {
            broker.stats.add(Kind::BrokerMisses, &broker.cluster, 1);
        }
        match self.wait_until(broker, &read, parked) {
            Some(deadline_ms) => self.park(broker, conn, request, deadline_ms, &read),
            None => self.answer(broker, conn, request, read),
        }
    }

    fn read(&self, broker: &Broker) -> ReadResult {
        let wanted = usize::try_from(self.header.max_msg_nums).unwrap_or(1).max(1);
        let bytes = self.header.max_msg_bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        let settings = &self.settings;
        let limits = ReadLimits {
            messages: wanted.min(settings.max_transfer_count_on_message_in_memory),
            bytes: bytes.unwrap_or(usize::MAX).min(settings.max_transfer_bytes_on_message_in_memory),
            cold_messages: wanted.min(settings.max_transfer_count_on_message_in_disk),
            cold_bytes: settings.max_transfer_bytes_on_message_in_disk,
        };
        let (topic, queue_id) = (&self.topic.name, self.header.queue_id);
        let read = broker.store.read(topic, queue_id, self.offset, limits, &mut self.subscription.picker());
        if broker.role.is_slave() && !settings.offset_check_in_slave { self.or_later(read) } else { read }
    }

    /// What a slave does not have, the master may have, or the slave soon: the group is not moved for it.
    fn or_later(&self, read: ReadResult) -> ReadResult {
        match code_of(&read, self.offset) {
            response::PULL_OFFSET_MOVED => {
                ReadResult { status: ReadStatus::OffsetOverflowOne, next_offset: self.offset, ..read }
            }
            _ => read,
        }
    }

    /// Where an administrator moved the group, if it doesn't know yet.
    fn reset(&self, broker: &Broker) -> Option<i64> {
        let header = &self.header;
        let taken = || broker.offsets.take_reset(header.consumer_group, header.topic, header.queue_id);
        self.settings.use_server_side_reset_offset.then(taken).flatten()
    }

    /// Tells the client to go on elsewhere.
    fn move_to(&self, broker: &Broker, conn: &Conn, request: &Command, offset: i64) {
        let (min, max) = broker.store.queue_range(self.header.topic, self.header.queue_id).unwrap_or_default();
        let header = self.head(offset, min, max, self.broker_id);
        let answer = Command::response_to(request, response::PULL_OFFSET_MOVED).with_remark("OFFSET_RESET");
        reply(broker, conn, &answer.with_header(&header), self.begun);
    }

    fn head(&self, next: i64, min: i64, max: i64, suggested_broker: i64) -> PullMessageResponseHeader {
        PullMessageResponseHeader {
            suggest_which_broker_id: suggested_broker,
            next_begin_offset: next,
            min_offset: min,
            max_offset: max,
            offset_delta: None,
            topic_sys_flag: Some(self.topic.config.topic_sys_flag),
            group_sys_flag: Some(0),
            forbidden_type: None,
        }
    }

    /// Until when the pull may wait for messages, if it may.
    fn wait_until(&self, broker: &Broker, read: &ReadResult, parked: Option<&Parked>) -> Option<i64> {
        // Whoever waited already and was woken by what does not match goes on waiting.
        let may_wait = match code_of(read, self.offset) {
            response::PULL_NOT_FOUND => true,
            response::PULL_RETRY_IMMEDIATELY => parked.is_some() && read.next_offset >= read.max_offset,
            _ => false,
        };
        if !may_wait || self.header.sys_flag & SUSPEND == 0 {
            return None;
        }
        let wait = match self.settings.long_polling_enable {
            true => self.header.suspend_timeout_millis,
            false => self.settings.short_polling_time_mills as i64,
        };
        let deadline = parking::deadline(broker, wait, parked.map(|parked| parked.deadline_ms));
        parking::may_wait(broker, deadline).then_some(deadline)
    }

    fn park(&self, broker: &Broker, conn: &Arc<Conn>, request: &Command, deadline_ms: i64, read: &ReadResult) {
        let (topic, queue_id) = (&self.topic.name, self.header.queue_id);
        let parked = Parked {
            conn: Arc::clone(conn),
            request: request.clone(),
            subscription: Arc::clone(&self.subscription),
            // What is before does not match.
            offset: read.next_offset,
            deadline_ms,
            begun: self.begun.parked(),
        };
        match broker.longpoll.park(topic, queue_id, parked) {
            Ok(true) => broker.deadline_set(),
            Ok(false) => {}
            Err(parked) => {
                let read = self.read(broker);
                return self.answer(broker, &parked.conn, &parked.request, read);
            }
        }
        // A message may have come between the read, when the queue ended there, and the parking.
        if broker.store.queue_range(topic, queue_id).is_some_and(|(_, max)| max > read.max_offset) {
            broker.wake(broker.longpoll.take_queue(topic, queue_id));
        }
    }

    fn answer(&self, broker: &Broker, conn: &Conn, request: &Command, read: ReadResult) {
        let header = &self.header;
        let far_behind = read.behind_bytes > broker.memory_bytes(&self.settings);
        let suggested = if far_behind { self.slow_broker_id } else { self.broker_id };
        let answer = Command::response_to(request, code_of(&read, self.offset))
            .with_remark(read.status.name())
            .with_header(&self.head(read.next_offset, read.min_offset, read.max_offset, suggested));
        if read.status == ReadStatus::Found {
            broker.count_pull(header.consumer_group, header.topic, read.messages as u64, read.bytes as u64);
            count(broker, conn, &answer, self.begun);
            conn.reply_parts(&answer, read.slices);
        } else {
            reply(broker, conn, &answer, self.begun);
        }
    }
}

/// The response code of a read's outcome.
fn code_of(read: &ReadResult, offset: i64) -> i32 {
    match read.status {
        ReadStatus::Found => response::SUCCESS,
        ReadStatus::NoMatchedMessage | ReadStatus::MessageWasRemoving => response::PULL_RETRY_IMMEDIATELY,
        ReadStatus::OffsetFoundNull | ReadStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        ReadStatus::NoMessageInQueue | ReadStatus::NoMatchedLogicQueue if offset == 0 => response::PULL_NOT_FOUND,
        ReadStatus::NoMessageInQueue
        | ReadStatus::NoMatchedLogicQueue
        | ReadStatus::OffsetOverflowBadly
        | ReadStatus::OffsetTooSmall => response::PULL_OFFSET_MOVED,
    }
}

impl Broker {
    /// What the client, or at least its group, subscribes to.
    fn subscribed(&self, conn: &Conn, header: &PullMessageRequestHeader<'_>) -> Result<Arc<Subscription>, BrokerError> {
        let (group, topic) = (header.consumer_group, header.topic);
        let subscription = self.consumers.subscription(group, conn.id(), topic).ok_or_else(|| {
            let remark = format!("the consumer's subscription not exist, group {group}, topic {topic}");
            BrokerError::new(response::SUBSCRIPTION_NOT_EXIST, remark)
        })?;
        if subscription.data().sub_version < header.sub_version {
            // A client raises the version whenever its queues change, and its heartbeat may tell it only half a
            // minute later. Clients compare tags themselves: to those that want tags, nothing is wrong to send.
            if [subscription.kind(), header.expression_type.unwrap_or(TAG)] == [TAG, TAG] {
                return Ok(Arc::new(Subscription::to_tags(topic, ALL, header.sub_version)));
            }
            let remark = "the consumer's subscription not latest";
            return Err(BrokerError::new(response::SUBSCRIPTION_NOT_LATEST, remark));
        }
        let wrong = "The broker's consumer filter data is not exist!Your expression may be wrong! ";
        self.check_filter(&subscription, response::FILTER_DATA_NOT_EXIST, wrong)?;
        Ok(subscription)
    }

    /// The subscription that is in the request. It is compiled for each request, unless the client's
    /// heartbeat had it too.
    fn subscription_in(
        &self,
        conn: &Conn,
        header: &PullMessageRequestHeader<'_>,
    ) -> Result<Arc<Subscription>, BrokerError> {
        let (kind, text) = (header.expression_type.unwrap_or(TAG), header.subscription.unwrap_or(ALL));
        if kind == TAG && Subscription::is_only_bars(text) {
            let (group, topic) = (header.consumer_group, header.topic);
            let remark = format!(
                "parse the consumer's subscription failed: the expression {text} of group {group}, topic {topic}, has \
                 no tag; write * for all messages"
            );
            return Err(BrokerError::new(response::SUBSCRIPTION_PARSE_FAILED, remark));
        }
        let told = || self.consumers.subscription(header.consumer_group, conn.id(), header.topic);
        let alike = |told: &Arc<Subscription>| told.kind() == kind && told.expression() == text;
        let known = if kind == TAG { None } else { told().filter(alike) };
        let subscription =
            known.unwrap_or_else(|| Arc::new(Subscription::by(kind, header.topic, text, header.sub_version)));
        let wrong = "parse the consumer's subscription failed: ";
        self.check_filter(&subscription, response::SUBSCRIPTION_PARSE_FAILED, wrong)?;
        Ok(subscription)
    }

    pub(super) fn check_filter(
        &self,
        subscription: &Subscription,
        code: i32,
        preface: &str,
    ) -> Result<(), BrokerError> {
        let by_properties = self.settings.load().enable_property_filter;
        subscription.check(by_properties).map_err(|error| BrokerError::unusable(&error, code, preface))
    }

    pub(super) fn count_pull(&self, group: &str, topic: &str, messages: u64, bytes: u64) {
        use std::fmt::Write;
        thread_local! {
            /// The counter's key, made without an allocation of its own.
            static KEY: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
        }
        let is_light = light::is_light(topic) || light::is_light(group);
        if is_light && !self.settings.load().enable_lmq_stats {
            return self.stats.add(Kind::BrokerGetNums, &self.cluster, messages);
        }
        KEY.with_borrow_mut(|key| {
            key.clear();
            let _ = write!(key, "{topic}@{group}");
            self.stats.add(Kind::GroupGetNums, key, messages);
            self.stats.add(Kind::GroupGetSize, key, bytes);
        });
        self.stats.add(Kind::BrokerGetNums, &self.cluster, messages);
    }
}
