//! Looking without taking: `NOTIFICATION`, `PEEK_MESSAGE`, `POLLING_INFO` (upstream `NotificationProcessor`,
//! `PeekMessageProcessor`, `PollingInfoProcessor`).

use std::sync::Arc;

use apogee_net::Conn;
use apogee_store::ReadLimits;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{
    NotificationRequestHeader, NotificationResponseHeader, PeekMessageRequestHeader, PollingInfoRequestHeader,
    PollingInfoResponseHeader, PopMessageResponseHeader,
};

use super::super::answer::{self, Answer};
use super::super::parking::{self, reply};
use super::collect::Places;
use super::in_order::Order;
use super::{Allowed, MOST, NOTHING, next, room, subscription, wake};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::metrics::requests::Begun;
use crate::pop::waiting::Waiter;

/// `NOTIFICATION`: answers when there are messages for a group, or its time is up.
pub(super) fn notification(
    broker: &Arc<Broker>,
    conn: &Arc<Conn>,
    request: &Command,
    begun: Begun,
    deadline_ms: Option<i64>,
) {
    let answer = |has_msg, is_full| {
        let header = NotificationResponseHeader { has_msg, polling_full: Some(is_full) };
        reply(broker, conn, &answer::success(request).with_header(&header), begun);
    };
    let checked = (|| {
        let header: NotificationRequestHeader<'_> = request.header()?;
        let allowed = Allowed::check(broker, header.consumer_group, header.topic, header.queue_id)?;
        let subscription = subscription(broker, header.topic, header.exp_type, header.exp)?;
        let order = Order::of(header.order, header.attempt_id)?;
        Ok::<_, BrokerError>((header, allowed, subscription, order))
    })();
    let (header, allowed, subscription, order) = match checked {
        Ok(checked) => checked,
        Err(error) => return reply(broker, conn, &error.response_to(request), begun),
    };
    let (topic, group) = (&allowed.topic.name, &allowed.group);
    let has_any = || Places::of(broker, &allowed, header.queue_id, order, 0).any_wanted(broker, &subscription);
    let was_parked = deadline_ms.is_some();
    if has_any() {
        answer(true, false);
        if was_parked {
            // What it was woken for it does not take.
            wake(broker, next(broker, group, topic, order.map(|_| header.queue_id)));
        }
        return;
    }
    let deadline_ms = parking::deadline(broker, header.poll_time, deadline_ms);
    if !parking::may_wait(broker, deadline_ms) {
        return answer(false, false);
    }
    let waiter = Waiter {
        conn: Arc::clone(conn),
        request: request.clone(),
        group: Arc::clone(group),
        topic: Arc::clone(topic),
        queue: header.queue_id,
        subscription: Arc::clone(&subscription),
        is_in_order: order.is_some(),
        attempt: order.and_then(Order::to_wait),
        deadline_ms,
        begun: begun.parked(),
    };
    match broker.pop.waiters.park(waiter, room(&allowed.settings)) {
        Ok(true) => broker.deadline_set(),
        Ok(false) => {}
        Err(_) => return answer(false, true),
    }
    if has_any() {
        wake(broker, next(broker, group, topic, order.map(|_| header.queue_id)));
    }
}

/// `PEEK_MESSAGE`: messages that a group would get, which stay where they are.
pub(crate) fn peek(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: PeekMessageRequestHeader<'_> = request.header()?;
    let allowed = Allowed::check(broker, header.consumer_group, header.topic, header.queue_id)?;
    let places = Places::of(broker, &allowed, header.queue_id, None, broker.pop.turn());
    let (mut slices, mut messages, mut rest) = (Vec::new(), 0, 0);
    let most = header.max_msg_nums.clamp(1, MOST) as usize;
    let settings = &allowed.settings;
    for (topic, queue, offset, end) in places.unread(broker) {
        let limits = ReadLimits {
            messages: most - messages,
            bytes: settings.max_transfer_bytes_on_message_in_memory,
            cold_messages: (most - messages).min(settings.max_transfer_count_on_message_in_disk),
            cold_bytes: settings.max_transfer_bytes_on_message_in_disk,
        };
        // Also what it brings: that stays.
        rest += end - offset;
        if messages >= most {
            continue;
        }
        let mut read = broker.store.read(topic, queue, offset, limits, &mut |_: i64| true);
        answer::touch(&read.slices);
        messages += read.messages;
        slices.append(&mut read.slices);
    }
    if slices.is_empty() {
        let none = Command::response_to(request, response::PULL_NOT_FOUND).with_remark("NO_MESSAGE_IN_QUEUE");
        return Ok(Some(none.with_header(&NOTHING)));
    }
    let header = PopMessageResponseHeader { rest_num: rest, ..NOTHING };
    let found = answer::success(request).with_remark("FOUND").with_header(&header);
    conn.reply_parts(&found, slices);
    Ok(None)
}

/// `POLLING_INFO`: how many wait for messages of a queue.
pub(crate) fn polling_info(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let header: PollingInfoRequestHeader<'_> = request.header()?;
    Allowed::check(broker, header.consumer_group, header.topic, header.queue_id)?;
    let waiting = broker.pop.waiters.count(header.consumer_group, header.topic, header.queue_id);
    let header = PollingInfoResponseHeader { polling_num: waiting as i32 };
    Ok(Some(answer::success(request).with_header(&header)))
}
