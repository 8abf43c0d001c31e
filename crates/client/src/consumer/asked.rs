//! What brokers ask of a consumer, on behalf of administrators.

use std::sync::Arc;
use std::time::Duration;

use apogee_message::record;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, CMResult, ConsumeMessageDirectlyResult, ConsumerRunningInfo, GetConsumerStatusBody, ResetOffsetBody,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader,
    HeaderError, ResetOffsetRequestHeader,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::group::Group;
use super::held::{Held, Order};
use crate::Queue;
use crate::shared::Shared;

/// How long a message may wait for somebody to take it, and be worked on: brokers wait for less.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages that may wait so.
pub(super) const AT_ONCE: usize = 16;

/// Why a request is not answered as it wants.
struct Refused(String);

impl From<HeaderError> for Refused {
    fn from(error: HeaderError) -> Self {
        Self(error.to_string())
    }
}

/// Answers a request, now or later.
pub(crate) fn asked(shared: &Arc<Shared>, conn: &Arc<Conn>, request: &Command) {
    let answered = match request.code {
        request::RESET_CONSUMER_CLIENT_OFFSET => reset(shared, request).map(|()| None),
        request::GET_CONSUMER_STATUS_FROM_CLIENT => status(shared, request).map(|body| Some(body.encode())),
        request::GET_CONSUMER_RUNNING_INFO => running_info(shared, request).map(|body| Some(body.encode())),
        _ => consume_directly(shared, conn, request).map(|()| None),
    };
    let answer = match answered {
        Ok(None) => return,
        Ok(Some(body)) => Command::response_to(request, response::SUCCESS).with_body(body),
        Err(Refused(remark)) => {
            tracing::warn!(code = request.code, peer = %conn.peer(), remark, "a request of a broker is refused");
            Command::response_to(request, response::SYSTEM_ERROR).with_remark(remark)
        }
    };
    if !request.is_oneway() {
        conn.reply(&answer);
    }
}

/// The member of a group that is asked.
fn member(shared: &Shared, group: &str) -> Result<Arc<Group>, Refused> {
    let member = shared.consumer_of(group).filter(|member| !member.has_left());
    member.ok_or_else(|| Refused(format!("The Consumer Group <{group}> not exist in this consumer")))
}

/// `RESET_CONSUMER_CLIENT_OFFSET`: its queues of a topic go on elsewhere.
fn reset(shared: &Arc<Shared>, request: &Command) -> Result<(), Refused> {
    let header: ResetOffsetRequestHeader<'_> = request.header()?;
    let member = member(shared, header.group)?;
    let body = ResetOffsetBody::decode(&request.body).map_err(|error| Refused(error.to_string()))?;
    tracing::info!(group = header.group, topic = header.topic, "offsets are reset by a broker's request");
    for held in member.all_held().into_iter().filter(|held| *held.queue.topic == *header.topic) {
        if let Some(offset) = body.offset_table.get(&held.queue.to_wire()) {
            tokio::spawn(Arc::clone(&member).restart(held, *offset));
        }
    }
    Ok(())
}

/// `GET_CONSUMER_STATUS_FROM_CLIENT`: how far it is in a topic.
fn status(shared: &Shared, request: &Command) -> Result<GetConsumerStatusBody, Refused> {
    let header: GetConsumerStatusRequestHeader<'_> = request.header()?;
    let held = member(shared, header.group)?.all_held();
    let of_topic = held.iter().filter(|held| header.topic.is_empty() || *held.queue.topic == *header.topic);
    let message_queue_table = of_topic.map(|held| (held.queue.to_wire(), held.reached())).collect();
    Ok(GetConsumerStatusBody { message_queue_table, ..GetConsumerStatusBody::default() })
}

/// `GET_CONSUMER_RUNNING_INFO`.
fn running_info(shared: &Shared, request: &Command) -> Result<ConsumerRunningInfo, Refused> {
    let header: GetConsumerRunningInfoRequestHeader<'_> = request.header()?;
    Ok(member(shared, header.consumer_group)?.running_info())
}

/// `CONSUME_MESSAGE_DIRECTLY`: it is given out like any other message, and its end is told.
fn consume_directly(shared: &Arc<Shared>, conn: &Arc<Conn>, request: &Command) -> Result<(), Refused> {
    let header: ConsumeMessageDirectlyResultRequestHeader<'_> = request.header()?;
    let group = member(shared, header.consumer_group)?;
    let record = record::iter(&request.body).next().ok_or_else(|| Refused("there is no message".to_owned()))?;
    let record = record.map_err(|error| Refused(error.to_string()))?;
    let queue = Queue::new(record.topic, &header.broker_name.unwrap_or_default().into(), record.queue_id);
    let (message, unreadable) = shared.received(&record, &request.body, &queue);
    if let Some(error) = unreadable {
        return Err(Refused(error.to_string()));
    }
    let place = Arc::clone(&group.asked).try_acquire_owned();
    let place = place.map_err(|_| Refused(format!("{AT_ONCE} messages wait to be consumed directly")))?;
    let (sender, settled) = oneshot::channel();
    let held = Held::new(queue, Order::Free, group.settings.bounds, &group.ready, 0, 0);
    let held = Arc::new(held.asked(sender));
    held.fetched([message], 0);
    let (conn, request) = (Arc::clone(conn), Command { body: bytes::Bytes::new(), ..request.clone() });
    tokio::spawn(async move {
        let (_place, begun) = (place, Instant::now());
        let answer = match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Ok(result)) => {
                let body = ConsumeMessageDirectlyResult {
                    order: group.settings.kind.is_orderly(),
                    auto_commit: true,
                    consume_result: Some(result),
                    remark: None,
                    spent_time_mills: begun.elapsed().as_millis() as i64,
                };
                Command::response_to(&request, response::SUCCESS).with_body(body.encode())
            }
            _ => {
                held.close();
                let remark = format!("nobody consumed the message within {PATIENCE:?}");
                Command::response_to(&request, response::SYSTEM_ERROR).with_remark(remark)
            }
        };
        conn.reply(&answer);
    });
    Ok(())
}

/// What became of a message that was consumed because somebody asked for it.
pub(super) fn result(is_consumed: bool) -> CMResult {
    match is_consumed {
        true => CMResult::Success,
        // It was dropped by its handler's end.
        false if std::thread::panicking() => CMResult::ThrowException,
        false => CMResult::Later,
    }
}
