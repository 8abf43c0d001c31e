//! `RECALL_MESSAGE`: a message that waits for its time is not to be delivered (upstream
//! `RecallMessageProcessor`).

use std::sync::Arc;

use apogee_message::handle::{self, Handle};
use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_message::record::{Draft, NewMessage};
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use bytes::{Bytes, BytesMut};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::settings::BrokerSettings;

/// Tag of what is stored.
const TAG: &str = "_RECALL_TAG_";

/// Stores a marker that is due with the message, just before it. Whether there is such a message is
/// not looked for, as with upstream.
pub(crate) fn recall(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Result<Option<Command>, BrokerError> {
    let header: RecallMessageRequestHeader<'_> = request.header()?;
    let settings = broker.settings.load();
    if !settings.recall_message_enable || !settings.timer_wheel_enable {
        let key = if settings.recall_message_enable { "timerWheelEnable" } else { "recallMessageEnable" };
        let remark = format!("recall failed, operation is forbidden ({key}=false)");
        return Err(BrokerError::new(response::NO_PERMISSION, remark));
    }
    if broker.topics.get(header.topic).is_none() {
        let remark = format!("recall failed, the topic[{}] not exist", header.topic);
        return Err(BrokerError::new(response::TOPIC_NOT_EXIST, remark));
    }
    let text = handle::decode(header.recall_handle).unwrap_or_default();
    let handle = Handle::read(&text).ok_or_else(|| refused("recall handle is invalid"))?;
    if handle.topic != header.topic {
        let remark = format!("recall failed, topic not match: the handle is for topic[{}]", handle.topic);
        return Err(refused(remark));
    }
    if handle.broker != settings.broker_name {
        let remark =
            format!("recall failed, broker service not available: the handle is for broker[{}]", handle.broker);
        return Err(refused(remark));
    }
    let time = due(&handle, broker.now(), &settings)?;
    let mut arena = BytesMut::new();
    // Apache's broker rounds a time down, adds 1 in the handle, and delivers at the second's end.
    let inherited = (time % 1000 == 1 && broker.timer.is_heir).then(|| time + 999);
    let drafts = [Some(time), inherited].into_iter().flatten().map(|time| {
        let properties = [
            (property::UNIQ_KEY, handle.unique_key),
            (property::TIMER_DEL_UNIQKEY, handle.unique_key),
            (property::TIMER_OUT_MS, &time.to_string()),
            (property::REAL_TOPIC, handle.topic),
            (property::REAL_QUEUE_ID, "0"),
            (property::TAGS, TAG),
            (property::PRODUCER_GROUP, header.producer_group.unwrap_or_default()),
        ];
        properties.iter().for_each(|(name, value)| properties::push(&mut arena, name, value));
        let message = NewMessage {
            born_host: conn.peer(),
            properties: arena.split().freeze(),
            ..NewMessage::own(names::WHEEL_TOPIC, Bytes::from_static(b"0"), broker.store_host, broker.now())
        };
        Draft::new(&message, &mut arena)
    });
    let drafts = drafts.collect::<Result<Vec<_>, _>>()?;
    broker.store.append_now(drafts).map_err(|error| BrokerError::from(&error))?;
    let answer = RecallMessageResponseHeader { msg_id: handle.unique_key };
    Ok(Some(Command::response_to(request, response::SUCCESS).with_header(&answer)))
}

/// When the message is due, which must lie ahead.
fn due(handle: &Handle<'_>, now_ms: i64, settings: &BrokerSettings) -> Result<i64, BrokerError> {
    let time = handle.time.parse::<i64>().map_err(|_| refused("recall failed, timestamp invalid"))?;
    let delay = time.saturating_sub(now_ms);
    match delay {
        ..=0 => Err(refused(format!("recall failed, timestamp invalid: the message was due {} ms ago", -delay))),
        _ if delay > settings.timer_max_delay_ms() => {
            Err(refused("recall failed, timestamp invalid: it is over the limit (timerMaxDelaySec)"))
        }
        _ => Ok(time),
    }
}

fn refused(remark: impl Into<std::borrow::Cow<'static, str>>) -> BrokerError {
    BrokerError::new(response::ILLEGAL_OPERATION, remark)
}
