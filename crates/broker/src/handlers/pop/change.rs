//! Changing for how long a popped message stays invisible: `CHANGE_MESSAGE_INVISIBLETIME` (upstream
//! `ChangeInvisibleTimeProcessor`).

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader};

use super::super::answer::{self, Answer};
use super::lite::topic_of;
use super::settle::Named;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::pop::flight::{Acked, Changed, Leaving, Pop, Way};
use crate::pop::{self, limits};

struct Change<'r> {
    named: Named<'r>,
    header: ChangeInvisibleTimeRequestHeader<'r>,
    invisible: i64,
    suspend: bool,
}

impl<'r> Change<'r> {
    fn of(broker: &Broker, request: &'r Command) -> Result<Self, BrokerError> {
        let header: ChangeInvisibleTimeRequestHeader<'r> = request.header()?;
        let ChangeInvisibleTimeRequestHeader { consumer_group, topic, queue_id, extra_info, offset, .. } = header;
        let (invisible, longest) = (header.invisible_time, broker.settings.load().timer_max_delay_ms());
        if !(0..=longest).contains(&invisible) {
            let remark = format!("invisibleTime={invisible} is not from 0 to {longest} ms");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
        let topic = &*topic_of(broker, consumer_group, topic, header.lite_topic, extra_info)?;
        let named = Named::of(broker, consumer_group, topic, queue_id, extra_info, offset)?;
        Ok(Self { named, invisible, suspend: header.suspend == Some(true), header })
    }

    fn answer(&self, request: &Command, pop_time: i64, revive_qid: i32) -> Command {
        let header = ChangeInvisibleTimeResponseHeader { pop_time, invisible_time: self.invisible, revive_qid };
        answer::success(request).with_header(&header)
    }
}

/// Changes it where the message is in memory; `None`: it may be in the log, see [`change_noted`].
pub(crate) fn change(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let change = Change::of(broker, request)?;
    let (named, now) = (&change.named, broker.now());
    if named.is_in_order() {
        return named.change_in_order(broker, request, &change.header).map(Some);
    }
    let delivery = named.delivery();
    let pop = Pop {
        now_ms: now,
        pop_time: now,
        invisible: change.invisible,
        revive_queue: named.handle.revive_queue,
        suspend: change.suspend,
    };
    let limits = limits(&broker.settings.load());
    let changed = {
        let mut flight = broker.pop.flight(named.group, &named.topic);
        let committed = broker.popped_to(delivery);
        flight.change(delivery, committed, named.handle.due(), pop, limits)
    };
    match changed {
        Changed::Done { pop_time, revive_queue, is_noted } => {
            if is_noted {
                named.note(broker)?;
            }
            if change.invisible < super::SOON_MS {
                broker.pop.bell.ring();
            }
            Ok(Some(change.answer(request, pop_time, revive_queue)))
        }
        Changed::Not(Acked::Elsewhere) if now <= named.handle.due() => Ok(None),
        Changed::Not(why) => Err(named.refusal(&why)),
    }
}

/// Changes it where the log has a note of the message: first there is a note with the new time, then the old one counts as
/// acknowledged.
pub(crate) fn change_noted(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let change = Change::of(broker, request)?;
    let (named, handle) = (&change.named, change.named.handle);
    let queues = broker.settings.load().revive_queue_num.max(1);
    let pop_time = broker.now().max(handle.pop_time + 1);
    let batch = Leaving {
        id: 0,
        way: Way::Noted,
        group: named.group.into(),
        topic: named.topic.as_str().into(),
        queue: handle.queue,
        start: named.offset,
        offsets: vec![named.offset],
        pop_time,
        invisible: change.invisible,
        revive_queue: handle.revive_queue % queues,
        suspend: change.suspend,
    };
    if !pop::write_note(broker, &batch) {
        let remark = "the change cannot be noted in the log now: see why the broker refuses messages";
        return Err(BrokerError::new(response::SYSTEM_BUSY, remark));
    }
    named.note(broker)?;
    Ok(Some(change.answer(request, pop_time, batch.revive_queue)))
}
