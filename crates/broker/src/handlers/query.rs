//! Looking at messages: `QUERY_MESSAGE`, `VIEW_MESSAGE_BY_ID` (upstream `QueryMessageProcessor`).

use std::sync::Arc;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader};

use super::answer;
use crate::broker::Broker;
use crate::error::BrokerError;

/// Most messages that one query returns, however many have the key.
const MOST: i32 = 1_024;

/// `QUERY_MESSAGE`: messages by key, unique key or tag: the newest, in the order of the log.
pub(crate) fn query_message(
    broker: &Broker,
    conn: &Arc<Conn>,
    request: &Command,
) -> Result<Option<Command>, BrokerError> {
    let header: QueryMessageRequestHeader<'_> = request.header()?;
    let by_unique_key =
        request.fields.get("_UNIQUE_KEY_QUERY").is_some_and(|unique| unique.eq_ignore_ascii_case("true"));
    let batch = broker.settings.load().max_msgs_num_batch;
    let most = if by_unique_key { batch } else { header.max_num.min(batch) }.clamp(1, MOST) as usize;
    let (begin, end) = (header.begin_timestamp, header.end_timestamp);
    let found = broker.store.query(header.topic, header.key, header.index_type, most, begin, end)?;
    let head = QueryMessageResponseHeader {
        index_last_update_timestamp: found.index_timestamp,
        index_last_update_phyoffset: found.index_offset,
    };
    if found.records.is_empty() {
        let remark = "can not find message, maybe time range not correct";
        return Ok(Some(
            Command::response_to(request, response::QUERY_NOT_FOUND).with_header(&head).with_remark(remark),
        ));
    }
    let answer = Command::response_to(request, response::SUCCESS).with_header(&head);
    answer::touch(&found.records);
    conn.reply_parts(&answer, found.records);
    Ok(None)
}

/// `VIEW_MESSAGE_BY_ID`: the message at an offset of the log.
pub(crate) fn view_message(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Result<Option<Command>, BrokerError> {
    let header: ViewMessageRequestHeader<'_> = request.header()?;
    let record = broker.store.record_at(header.offset).ok_or_else(|| {
        BrokerError::new(response::SYSTEM_ERROR, format!("can not find message by the offset, {}", header.offset))
    })?;
    Ok(Some(Command::response_to(request, response::SUCCESS).with_body(record)))
}
