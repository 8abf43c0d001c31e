//! Popping: `POP_MESSAGE` (upstream `PopMessageProcessor`).
//!
//! A pop looks into the queues of its topic, each time from another one on, and into the topic of messages to be retried.
//! What is found goes out as slices of the mapped log. A pop that finds nothing is parked in [`Waiters`] and run again
//! when a message for its group arrives.
//!
//! [`Waiters`]: crate::pop::waiting::Waiters

use std::sync::{Arc, Weak};
use std::time::Duration;

use apogee_base::rng::Rng;
use apogee_base::settings::Current;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{PopMessageRequestHeader, PopMessageResponseHeader};

use crate::broker::Broker;
use crate::clients::{ALL, Subscription, TAG};
use crate::error::BrokerError;
use crate::message_type::{self, PRIORITY};
use crate::metrics::requests::Begun;
use crate::pop::handle::IN_ORDER;
use crate::pop::waiting::{Room, Waiter};
use crate::serve::{hold, spawn_cold};
use crate::settings::BrokerSettings;
use crate::topics::{Topic, perm};

mod ask;
mod change;
mod collect;
mod in_order;
mod lite;
mod settle;
#[cfg(test)]
mod tests;

pub(crate) use ask::{peek, polling_info};
pub(crate) use change::{change, change_noted};
pub(crate) use settle::{ack, ack_batch};

use self::collect::{Found, Places};
use self::in_order::Order;
use self::lite::Reader;
use super::parking::{self, count, reply};

/// Messages that one pop brings.
const MOST: i32 = 32;
/// The thread that gives messages back is woken for those that come again within less than this.
const SOON_MS: i64 = 1_000;
/// A group without an offset begins with the first message of a queue, not at its end.
const FROM_FIRST: i32 = 0;

/// Attribute of a group: the percentage of its pops that begin with the highest priority.
pub(crate) const PRIORITY_FACTOR: &str = "priority.factor";
/// Value of the attribute for a group that does not say.
const ALWAYS: u64 = 100;

/// Runs a pop, or a question for messages: answers it, or parks it.
pub(crate) fn pop(broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command) {
    // Its answer is all that it is for.
    if request.is_oneway() {
        return;
    }
    run(broker, conn, request, Begun::now(request.code), None);
}

/// Runs one that was parked.
pub(crate) fn again(broker: &Arc<Broker>, waiter: Waiter) {
    run(broker, &waiter.conn, &waiter.request, waiter.begun, Some(waiter.deadline_ms));
}

fn run(broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, begun: Begun, deadline_ms: Option<i64>) {
    if request.code == code::NOTIFICATION {
        return ask::notification(broker, conn, request, begun, deadline_ms);
    }
    match Wanted::check(broker, conn, request, begun, deadline_ms) {
        Ok(wanted) => wanted.run(broker, conn, request, None),
        Err(error) => {
            let answer = error.response_to(request);
            let answer = match request.code {
                code::POP_LITE_MESSAGE => answer.with_header(&lite::nothing(0, 0, 0)),
                _ => answer.with_header(&NOTHING),
            };
            reply(broker, conn, &answer, begun);
        }
    }
}

/// Runs those again that waited: each on its connection's task, which sends what it brings.
pub(crate) fn wake(broker: &Broker, waiters: impl IntoIterator<Item = Waiter>) {
    for waiter in waiters {
        let conn = Arc::clone(&waiter.conn);
        let mut woken = Woken { broker: broker.weak(), waiter: Some(waiter) };
        conn.run(move || woken.run());
    }
}

/// One that is woken. Dropped before it ran, with its connection, it wakes another one of its group.
struct Woken {
    broker: Weak<Broker>,
    waiter: Option<Waiter>,
}

impl Woken {
    fn run(&mut self) {
        if let Some(broker) = self.broker.upgrade()
            && let Some(waiter) = self.waiter.take()
        {
            again(&broker, waiter);
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take()
            && let Some(broker) = self.broker.upgrade()
        {
            let Waiter { group, topic, queue, is_in_order, .. } = &waiter;
            wake(&broker, next(&broker, group, topic, is_in_order.then_some(*queue)));
        }
    }
}

/// The one that is to be woken in place of another; `in_order`: one that pops this queue in order.
fn next(broker: &Broker, group: &str, topic: &str, in_order: Option<i32>) -> Option<Waiter> {
    match in_order {
        Some(queue) => broker.pop.waiters.next_in_order(group, topic, queue),
        None => broker.pop.waiters.next(group, topic),
    }
}

/// The header of an answer without messages.
const NOTHING: PopMessageResponseHeader<'static> = PopMessageResponseHeader {
    pop_time: 0,
    invisible_time: 0,
    revive_qid: 0,
    rest_num: 0,
    start_offset_info: None,
    msg_offset_info: None,
    order_count_info: None,
};

/// What a pop, a peek or a question needs of a group and a topic.
struct Allowed {
    settings: Current<BrokerSettings>,
    topic: Arc<Topic>,
    group: Arc<str>,
    /// Percentage of its pops that are by priority.
    priority_factor: u64,
}

impl Allowed {
    fn check(broker: &Broker, group: &str, topic_name: &str, queue: i32) -> Result<Self, BrokerError> {
        let settings = broker.settings.load();
        let forbidden = |remark: String| BrokerError::new(response::NO_PERMISSION, remark);
        if settings.broker_permission & perm::READ == 0 {
            return Err(forbidden(format!(
                "the broker[{}] pop message is forbidden (brokerPermission)",
                settings.broker_ip1
            )));
        }
        let topic = broker.topics.get(topic_name).ok_or_else(|| BrokerError::no_topic(topic_name))?;
        if !topic.allows(perm::READ) {
            return Err(forbidden(format!("the topic[{topic_name}] peeking message is forbidden")));
        }
        let queues = topic.config.read_queue_nums;
        if queue >= queues {
            let remark =
                format!("queueId[{queue}] is illegal, topic:[{topic_name}] topicConfig.readQueueNums:[{queues}]");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        let config = match broker.role.is_slave() {
            true => broker.groups.get_or_default(group, settings.auto_create_subscription_group)?,
            false => broker.groups.get_or_create(group, settings.auto_create_subscription_group, broker.now())?,
        };
        if !config.consume_enable {
            return Err(forbidden(format!("subscription group no permission, {group}")));
        }
        if !broker.groups.may_read(group, topic_name) {
            return Err(forbidden(format!("the consumer group[{group}] is forbidden to read topic[{topic_name}]")));
        }
        let is_by_priority = topic.config.attributes.get(message_type::ATTRIBUTE).is_some_and(|kind| kind == PRIORITY);
        let factor = config.attributes.get(PRIORITY_FACTOR).and_then(|factor| factor.parse().ok());
        let priority_factor = if is_by_priority { factor.unwrap_or(ALWAYS) } else { 0 };
        Ok(Self { settings, topic, group: group.into(), priority_factor })
    }
}

/// A pop that may be answered.
struct Wanted<'r> {
    header: PopMessageRequestHeader<'r>,
    allowed: Allowed,
    subscription: Arc<Subscription>,
    order: Option<Order<'r>>,
    /// Where it pops lite topics.
    reader: Option<Reader<'r>>,
    begun: Begun,
    deadline_ms: i64,
}

impl<'r> Wanted<'r> {
    fn check(
        broker: &Broker,
        conn: &Arc<Conn>,
        request: &'r Command,
        begun: Begun,
        deadline_ms: Option<i64>,
    ) -> Result<Self, BrokerError> {
        match request.code {
            code::POP_LITE_MESSAGE => Self::check_lite(broker, conn, request, begun, deadline_ms),
            _ => Self::of(broker, request.header()?, begun, deadline_ms),
        }
    }

    fn of(
        broker: &Broker,
        header: PopMessageRequestHeader<'r>,
        begun: Begun,
        deadline_ms: Option<i64>,
    ) -> Result<Self, BrokerError> {
        let ip = || broker.settings.load().broker_ip1.clone();
        let invalid = |remark: String| BrokerError::new(response::INVALID_PARAMETER, remark);
        if header.max_msg_nums > MOST {
            return Err(invalid(format!("the broker[{}] pop message's num is greater than {MOST}", ip())));
        }
        let longest = broker.settings.load().timer_max_delay_ms();
        if !(1..=longest).contains(&header.invisible_time) {
            let remark = format!("invisibleTime={} is not from 1 to {longest} ms", header.invisible_time);
            return Err(invalid(remark));
        }
        let allowed = Allowed::check(broker, header.consumer_group, header.topic, header.queue_id)?;
        let order = Order::of(header.order, header.attempt_id)?;
        let subscription = subscription(broker, header.topic, header.exp_type, header.exp)?;
        let deadline_ms = parking::deadline(broker, header.poll_time, deadline_ms);
        Ok(Self { header, allowed, subscription, order, reader: None, begun, deadline_ms })
    }

    /// `cold_bytes`: this thread may wait for the disk, and so many bytes that come from it are accounted for.
    fn run(&self, broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, cold_bytes: Option<i64>) {
        // As long as what is out cannot be noted, no more is given out than there is room for.
        let room = self.allowed.settings.pop_ck_max_buffer_size.saturating_mul(2);
        if self.order.is_none() && broker.pop.batches() > room {
            let remark = "too many popped messages wait to be noted in the log (popCkMaxBufferSize): pop again in a moment; if \
                          that does not help, see why the broker refuses messages";
            let error = BrokerError::new(response::SYSTEM_BUSY, remark);
            return reply(broker, conn, &error.response_to(request).with_header(&NOTHING), self.begun);
        }
        let found = match self.order {
            Some(order) => self.collect_in_order(broker, order, cold_bytes.is_some()),
            None => {
                broker.begin_to_pop();
                self.collect(broker, cold_bytes.is_some())
            }
        };
        if let Some(reader) = &self.reader {
            reader.end(broker);
        }
        if let Some(most) = cold_bytes {
            broker.cold.end(&self.allowed.group, found.bytes as i64 - most, broker.now());
        }
        if found.messages > 0 || found.is_wanted {
            // Whoever came meanwhile, or waits, may find more.
            self.wake_others(broker, found.messages > 0);
        }
        if found.messages > 0 {
            return self.answer(broker, conn, request, found);
        }
        if found.is_cold {
            return self.run_cold(broker, conn, request, found.rest);
        }
        if found.is_cut_short {
            // Others have their turn first.
            return wake(broker, [self.waiter(conn, request)]);
        }
        match parking::may_wait(broker, self.deadline_ms) {
            true => self.park(broker, conn, request),
            false => self.refuse(broker, conn, request, response::POLLING_TIMEOUT, found.rest),
        }
    }

    /// Reads cold messages, as soon as the group may.
    fn run_cold(&self, broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, rest: i64) {
        let (begun, deadline_ms, now) = (self.begun, self.deadline_ms, broker.now());
        let most = i64::try_from(self.allowed.settings.max_transfer_bytes_on_message_in_disk).unwrap_or(i64::MAX);
        match broker.cold.begin(&self.allowed.group, most, &self.allowed.settings, now) {
            // The disk may take its time: not on a thread that serves others.
            Ok(()) => spawn_cold(broker, conn, request, move |broker, conn, request| {
                let Some(broker) = broker.weak().upgrade() else { return Ok(None) };
                Wanted::check(&broker, conn, request, begun, Some(deadline_ms))?.run(
                    &broker,
                    conn,
                    request,
                    Some(most),
                );
                Ok(None)
            }),
            Err(_) if deadline_ms <= now => self.refuse(broker, conn, request, response::POLLING_TIMEOUT, rest),
            Err(wait) => {
                let wait = wait.min(Duration::from_millis((deadline_ms - now) as u64));
                hold(broker, conn, request, wait, move |broker, conn, request| {
                    run(broker, conn, request, begun, Some(deadline_ms));
                });
            }
        }
    }

    fn wake_others(&self, broker: &Broker, has_some: bool) {
        let (group, topic) = (&self.allowed.group, &self.allowed.topic.name);
        if let Some(reader) = &self.reader {
            return reader.wake(broker);
        }
        match self.order {
            Some(order) => order.wake(broker, group, topic, self.header.queue_id, has_some),
            None => wake(broker, broker.pop.waiters.next(group, topic)),
        }
    }

    fn waiter(&self, conn: &Arc<Conn>, request: &Command) -> Waiter {
        Waiter {
            conn: Arc::clone(conn),
            request: request.clone(),
            group: Arc::clone(&self.allowed.group),
            topic: Arc::clone(self.reader.as_ref().map_or(&self.allowed.topic.name, |reader| &reader.key)),
            queue: self.header.queue_id,
            subscription: Arc::clone(&self.subscription),
            is_in_order: self.order.is_some(),
            attempt: self.order.and_then(Order::to_wait),
            deadline_ms: self.deadline_ms,
            begun: self.begun.parked(),
        }
    }

    fn park(&self, broker: &Broker, conn: &Arc<Conn>, request: &Command) {
        match broker.pop.waiters.park(self.waiter(conn, request), room(&self.allowed.settings)) {
            Ok(true) => broker.deadline_set(),
            Ok(false) => {}
            Err(_) => return self.refuse(broker, conn, request, response::POLLING_FULL, 0),
        }
        // A message may have come between the look and the parking.
        let has_some = match &self.reader {
            Some(reader) => reader.is_ready(broker),
            None => self.places(broker).any_unread(broker, self.header.init_mode),
        };
        if has_some {
            self.wake_others(broker, true);
        }
    }

    fn places(&self, broker: &Broker) -> Places<'_> {
        if let Some((reader, order)) = self.reader.as_ref().zip(self.order) {
            return Places::of_lite(broker, &self.allowed.group, &reader.queues, order);
        }
        let chance = Rng::new(broker.pop.turn()).number();
        Places::of(broker, &self.allowed, self.header.queue_id, self.order, chance)
    }

    fn answer(&self, broker: &Broker, conn: &Conn, request: &Command, found: Found) {
        let header = PopMessageResponseHeader {
            pop_time: found.pop_time,
            invisible_time: self.header.invisible_time,
            revive_qid: found.revive_queue,
            rest_num: found.rest,
            start_offset_info: Some(&found.starts),
            msg_offset_info: Some(&found.offsets),
            order_count_info: found.times.as_deref(),
        };
        let answer = Command::response_to(request, response::SUCCESS).with_remark("FOUND");
        let answer = match &self.reader {
            Some(reader) => reader.answer(broker, answer, &found, self.header.invisible_time),
            None => answer.with_header(&header),
        };
        broker.count_pull(self.header.consumer_group, self.header.topic, found.messages as u64, found.bytes as u64);
        count(broker, conn, &answer, self.begun);
        conn.reply_parts(&answer, found.slices);
    }

    fn refuse(&self, broker: &Broker, conn: &Conn, request: &Command, code: i32, rest: i64) {
        let answer = Command::response_to(request, code).with_remark("NO_MESSAGE_IN_QUEUE");
        let answer = match &self.reader {
            Some(_) => answer.with_header(&lite::nothing(broker.now(), self.header.invisible_time, IN_ORDER)),
            None => answer.with_header(&PopMessageResponseHeader { rest_num: rest, ..NOTHING }),
        };
        reply(broker, conn, &answer, self.begun);
    }
}

fn room(settings: &BrokerSettings) -> Room {
    Room { each: settings.pop_polling_size, all: settings.max_pop_polling_size }
}

/// What a request wants of a topic; all when it doesn't say.
fn subscription(
    broker: &Broker,
    topic: &str,
    kind: Option<&str>,
    text: Option<&str>,
) -> Result<Arc<Subscription>, BrokerError> {
    let (kind, text) = (kind.unwrap_or(TAG), text.filter(|text| !text.is_empty()).unwrap_or(ALL));
    let wrong = "parse the consumer's subscription failed: ";
    if kind == TAG && Subscription::is_only_bars(text) {
        let remark = format!("{wrong}the expression {text} of topic {topic} has no tag; write * for all messages");
        return Err(BrokerError::new(response::SUBSCRIPTION_PARSE_FAILED, remark));
    }
    let subscription = Arc::new(Subscription::by(kind, topic, text, 0));
    broker.check_filter(&subscription, response::SUBSCRIPTION_PARSE_FAILED, wrong)?;
    Ok(subscription)
}
