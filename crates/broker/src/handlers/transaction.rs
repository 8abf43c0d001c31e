//! Ends of transactions: `END_TRANSACTION` (upstream `EndTransactionProcessor`), and discarded
//! messages put back: `RESUME_CHECK_HALF_MESSAGE`.

use std::sync::Arc;

use apogee_message::ids::OffsetId;
use apogee_message::names;
use apogee_message::sysflag;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::{EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader};
use bytes::BytesMut;

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::handlers::send::Sends;
use crate::topics::perm;
use crate::transactions::{self, HalfRecord, Refused};

/// `END_TRANSACTION`: a commit is answered when the message is stored where consumers find it.
pub(crate) fn end(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: EndTransactionRequestHeader<'_> = request.header()?;
    let commits = match header.commit_or_rollback {
        sysflag::TRANSACTION_COMMIT => true,
        sysflag::TRANSACTION_ROLLBACK => false,
        // The producer does not know yet; it is asked again.
        0 => return answer::done(request),
        other => {
            let remark = format!("commitOrRollback={other} is neither 8 (commit), 12 (rollback) nor 0 (unknown)");
            return Err(BrokerError::new(response::INVALID_PARAMETER, remark));
        }
    };
    let bytes = broker.store.record_at(header.commit_log_offset);
    let half = bytes.as_ref().and_then(HalfRecord::read);
    let half = half.ok_or_else(|| {
        refused(&header, format!("no half message is at the offset {} of the log", header.commit_log_offset))
    })?;
    if half.group() != header.producer_group {
        let remark = format!("The producer group wrong: the message was sent by the group {}", half.group());
        return Err(refused(&header, remark));
    }
    if half.record.queue_offset != header.tran_state_table_offset {
        let remark = format!("The transaction state table offset wrong: it is {}", half.record.queue_offset);
        return Err(refused(&header, remark));
    }
    let first = half.first();
    broker.transactions.begin(first, broker.store.log_max_offset()).map_err(|reason| {
        let what = match reason {
            Refused::Decided => "was decided before, or discarded",
            Refused::Deciding => "is being decided by another request",
        };
        refused(&header, format!("the transaction {what}"))
    })?;
    if !commits {
        broker.end_transaction(first, true);
        broker.counters.events.rolled_back(half.target().map_or("", |(topic, _)| topic));
        return answer::done(request);
    }
    let committed = commit(broker, conn, request, &half, first);
    match &committed {
        Ok(()) => {
            let topic = half.target().map_or("", |(topic, _)| topic);
            broker.counters.events.committed(topic, half.record.born_timestamp, broker.now());
        }
        Err(_) => broker.end_transaction(first, false),
    }
    committed.map(|()| None)
}

fn commit(
    broker: &Broker,
    conn: &Arc<Conn>,
    request: &Command,
    half: &HalfRecord<'_>,
    first: i64,
) -> Result<(), BrokerError> {
    let (topic, queue_id) = half.target().ok_or_else(|| {
        BrokerError::new(response::SYSTEM_ERROR, "the half message does not say which topic it is for")
    })?;
    // A topic that the half message created may have been lost in a crash: there is no message in it yet.
    let topic = broker.topics.get(topic).unwrap_or_else(|| broker.put_topic_back(topic, queue_id + 1));
    if broker.settings.load().broker_permission & perm::WRITE == 0 {
        let remark = "the broker takes no messages at present (brokerPermission); the producer is asked again later";
        return Err(BrokerError::new(response::NO_PERMISSION, remark));
    }
    let prepared = transactions::settled_by(&broker.store, first, half);
    let message = half.committed(&topic.name, queue_id, prepared, &mut BytesMut::new());
    let other = || BrokerError::new(response::SYSTEM_ERROR, "the connection is used for something else");
    Sends::of(broker, conn).ok_or_else(other)?.commit(request, &message, first)
}

fn refused(header: &EndTransactionRequestHeader<'_>, remark: String) -> BrokerError {
    tracing::info!(
        group = header.producer_group,
        message = header.msg_id,
        commit_or_rollback = header.commit_or_rollback,
        from_check = header.from_transaction_check,
        remark,
        "refused the end of a transaction"
    );
    BrokerError::new(response::SYSTEM_ERROR, remark)
}

/// `RESUME_CHECK_HALF_MESSAGE`: a message that was discarded after too many checks is a half message
/// again, and its producer is asked anew.
pub(crate) fn resume(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Answer {
    let header: ResumeCheckHalfMessageRequestHeader<'_> = request.header()?;
    let wrong = |remark: String| BrokerError::new(response::SYSTEM_ERROR, remark);
    let id = header.msg_id.unwrap_or_default();
    let place: OffsetId = id.parse().map_err(|error| wrong(format!("msgId={id}: {error}")))?;
    let bytes = broker.store.record_at(place.offset);
    let message = bytes.as_ref().and_then(transactions::resumed).ok_or_else(|| {
        let topic = names::TRANS_CHECK_MAX_TIME_TOPIC;
        wrong(format!("the message {id} is no discarded half message: those are in the topic {topic}"))
    })?;
    if broker.transactions.is_full() {
        return Err(wrong("too many transactions are undecided: end some first".to_owned()));
    }
    tracing::info!(peer = %conn.peer(), id, "a discarded half message is put back by remote request");
    let Some(sends) = Sends::of(broker, conn) else { return Ok(None) };
    sends.message(request, &message)?;
    Ok(None)
}
