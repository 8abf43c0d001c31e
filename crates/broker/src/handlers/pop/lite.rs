//! `POP_LITE_MESSAGE`: messages of all lite topics that a client reads, of each in order (upstream
//! `PopLiteMessageProcessor`).

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{PopLiteMessageRequestHeader, PopLiteMessageResponseHeader, PopMessageRequestHeader};

use super::collect::Found;
use super::{FROM_FIRST, Wanted, wake};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::lite;
use crate::lite::subscriptions::{self, Member};
use crate::metrics::requests::Begun;
use crate::pop::handle::{Handle, IN_ORDER};

/// Who pops, and what.
pub(super) struct Reader<'r> {
    pub member: Member,
    /// What it waits for.
    pub key: Arc<str>,
    /// Light queues, in the order in which they are looked into.
    pub queues: Vec<Arc<str>>,
    attempt: Option<&'r str>,
}

impl<'r> Wanted<'r> {
    pub(super) fn check_lite(
        broker: &Broker,
        conn: &Arc<Conn>,
        request: &'r Command,
        begun: Begun,
        deadline_ms: Option<i64>,
    ) -> Result<Self, BrokerError> {
        let header: PopLiteMessageRequestHeader<'r> = request.header()?;
        broker.lite(header.consumer_group, header.topic)?;
        let of_queues = PopMessageRequestHeader {
            consumer_group: header.consumer_group,
            topic: header.topic,
            queue_id: -1,
            max_msg_nums: header.max_msg_num,
            invisible_time: header.invisible_time,
            poll_time: header.poll_time,
            born_time: header.born_time,
            init_mode: FROM_FIRST,
            exp_type: None,
            exp: None,
            order: Some(true),
            attempt_id: header.attempt_id,
            rpc: header.rpc,
        };
        let wanted = Self::of(broker, of_queues, begun, deadline_ms)?;
        let member = Member { group: Arc::clone(&wanted.allowed.group), client: header.client_id.into() };
        broker.lite.with(|all| all.asks(&member, Arc::downgrade(conn), broker.now()));
        // Who reads nothing waits for it to be told what it reads.
        let nothing = || (subscriptions::key(header.topic, Some(header.client_id)), Vec::new());
        let (key, queues) = broker.take_lite(&member, header.attempt_id).unwrap_or_else(nothing);
        Ok(Self { reader: Some(Reader { member, key, queues, attempt: header.attempt_id }), ..wanted })
    }
}

impl Reader<'_> {
    /// Gives back what has something still.
    pub fn end(&self, broker: &Broker) {
        broker.give_lite_back(&self.member, &self.queues);
    }

    /// Whether there may be something by now.
    pub fn is_ready(&self, broker: &Broker) -> bool {
        broker.lite.with(|all| all.is_ready(&self.member))
    }

    /// Wakes another pop of the client.
    pub fn wake(&self, broker: &Broker) {
        wake(broker, broker.pop.waiters.next_in_order(&self.member.group, &self.key, -1));
    }

    /// The answer's header when something was found.
    pub fn answer(&self, broker: &Broker, answer: Command, found: &Found, invisible_time: i64) -> Command {
        broker.lite.with(|all| all.consumed(&self.member, self.attempt, &self.queues, broker.now()));
        let mut counts = String::new();
        for count in &found.counts {
            let semicolon = if counts.is_empty() { "" } else { ";" };
            // Writing to a text cannot fail.
            let _ = write!(counts, "{semicolon}{count}");
        }
        answer.with_header(&PopLiteMessageResponseHeader {
            pop_time: found.pop_time,
            invisible_time,
            revive_qid: IN_ORDER,
            start_offset_info: None,
            msg_offset_info: None,
            order_count_info: Some(&counts),
        })
    }
}

/// The topic that an acknowledgement of a group by a handle is of: the light queue, where a lite topic is named.
pub(super) fn topic_of<'t>(
    broker: &Broker,
    group: &str,
    topic: &'t str,
    lite_topic: Option<&str>,
    handle: &str,
) -> Result<Cow<'t, str>, BrokerError> {
    let Some(name) = lite_topic.filter(|name| !name.is_empty()) else { return Ok(topic.into()) };
    broker.lite(group, topic)?;
    lite::check_name(name)?;
    if Handle::read(handle).is_ok_and(|handle| handle.revive_queue != IN_ORDER) {
        let remark = format!("the handle `{handle}` is wrong: lite topics are popped in order (queue {IN_ORDER})");
        return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
    }
    Ok(lite::queue(topic, name).into())
}

/// The header of an answer without messages.
pub(super) fn nothing(pop_time: i64, invisible_time: i64, revive_qid: i32) -> PopLiteMessageResponseHeader<'static> {
    PopLiteMessageResponseHeader {
        pop_time,
        invisible_time,
        revive_qid,
        start_offset_info: None,
        msg_offset_info: None,
        order_count_info: (revive_qid == IN_ORDER).then_some(""),
    }
}
