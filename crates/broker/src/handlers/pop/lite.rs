//! `POP_LITE_MESSAGE`: messages of all lite topics that a client reads, of each in order (upstream
//! `PopLiteMessageProcessor`).

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::headers::{PopLiteMessageRequestHeader, PopLiteMessageResponseHeader, PopMessageRequestHeader};

use super::collect::Found;
use super::{FROM_FIRST, Wanted, wake};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::lite;
use crate::lite::subscriptions::Member;
use crate::metrics::requests::Begun;
use crate::pop::handle::IN_ORDER;

/// Who pops, and what.
pub(super) struct Reader {
    pub member: Member,
    /// What it waits for.
    pub key: Arc<str>,
    /// Light queues, in the order in which they are looked into.
    pub queues: Vec<Arc<str>>,
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
        let queues = broker.lite.with(|all| all.asks(&member, Arc::downgrade(conn), broker.now()));
        let key = member.waits_for(header.topic);
        let reader = Reader { member, key, queues: queues.unwrap_or_default() };
        Ok(Self { reader: Some(reader), ..wanted })
    }
}

impl Reader {
    /// Wakes another pop of the client.
    pub fn wake(&self, broker: &Broker) {
        wake(broker, broker.pop.waiters.next_in_order(&self.member.group, &self.key, -1));
    }

    /// The answer's header when something was found.
    pub fn answer(&self, broker: &Broker, answer: Command, found: &Found, invisible_time: i64) -> Command {
        broker.lite.with(|all| all.consumed(&self.member, broker.now()));
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

/// The topic that an acknowledgement is of: the light queue, where a lite topic is named.
pub(super) fn topic_of<'t>(topic: &'t str, lite_topic: Option<&str>) -> Cow<'t, str> {
    match lite_topic.filter(|name| !name.is_empty()) {
        Some(name) => lite::queue(topic, name).into(),
        None => topic.into(),
    }
}
