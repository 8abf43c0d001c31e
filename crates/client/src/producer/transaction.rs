//! Messages that are delivered if, and only if, something else succeeds.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use apogee_message::ids::OffsetId;
use apogee_message::names::property;
use apogee_message::record::Record;
use apogee_message::sysflag;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::request;
use apogee_wire::headers::{CheckTransactionStateRequestHeader, EndTransactionRequestHeader, RpcFields};

use super::{ProducerBuilder, Sending, Sent};
use crate::interceptor::{SendKind, Sends};
use crate::shared::Shared;
use crate::{Error, Message, Queue, Received};

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The message is delivered.
    Commit,
    /// The message is forgotten.
    Rollback,
    /// Not known yet: the broker asks again after a while.
    Unknown,
}

/// Decides on a message whose transaction nobody ended.
pub(super) type Check = Arc<dyn Fn(&Received) -> Decision + Send + Sync>;

/// A message that nobody sees yet. Dropped without a decision, the broker asks the group's producers after a while, see
/// [`ProducerBuilder::check`].
#[must_use = "the message is not delivered before it is committed"]
pub struct Transaction {
    sending: Arc<Sending>,
    sent: Sent,
    topic: String,
}

impl ProducerBuilder {
    /// Decides on messages whose transaction nobody ended, because its producer is gone or its decision was lost. It gets
    /// the message, and looks up what became of what it stands for. Runs on a thread that may block.
    pub fn check(mut self, check: impl Fn(&Received) -> Decision + Send + Sync + 'static) -> Self {
        self.check = Some(Arc::new(check));
        self
    }
}

pub(super) async fn begin(sending: &Arc<Sending>, message: Message) -> Result<Transaction, Error> {
    let topic = sending.shared.topic(message.topic())?;
    if message.is_delayed() {
        return Err(Error::message(&topic, "a message of a transaction cannot be delayed"));
    }
    let message = message.with(property::TRANSACTION_PREPARED, "true").with(property::PRODUCER_GROUP, &*sending.group);
    let mut sends = Sends::new(&sending.hooks, SendKind::Transaction);
    let mut outgoing = sending.outgoing(message, &mut sends);
    if let Ok(outgoing) = &mut outgoing {
        outgoing.sys_flag |= sysflag::TRANSACTION_PREPARED;
    }
    let sent = sending.send(outgoing, sends, None).await?;
    // So that the broker can ask, whatever happens to this one; later, the regular heartbeats do.
    if !sending.is_introduced.swap(true, Ordering::Relaxed) {
        sending.shared.heartbeat().await;
    }
    Ok(Transaction { sending: Arc::clone(sending), sent, topic })
}

impl Transaction {
    /// Delivers the message.
    ///
    /// # Errors
    /// When the broker does not answer, or has decided otherwise. It asks later what is to be, see
    /// [`ProducerBuilder::check`].
    pub async fn commit(self) -> Result<Sent, Error> {
        self.end(Decision::Commit).await?;
        Ok(self.sent)
    }

    /// Forgets the message.
    ///
    /// # Errors
    /// See [`Transaction::commit`].
    pub async fn rollback(self) -> Result<(), Error> {
        self.end(Decision::Rollback).await
    }

    /// The id of the message, and of the transaction.
    pub fn id(&self) -> &str {
        &self.sent.message_id
    }

    async fn end(&self, decision: Decision) -> Result<(), Error> {
        let half: OffsetId = self.sent.offset_id.parse().map_err(|error| Error::Malformed {
            peer: self.sent.queue.broker.to_string(),
            reason: format!("{error}"),
        })?;
        let end = End {
            topic: &self.topic,
            group: &self.sending.group,
            queue_offset: self.sent.offset,
            physical_offset: half.offset,
            message_id: &self.sent.message_id,
            is_asked: false,
        };
        self.sending.shared.ask_master(&self.sent.queue, end.request(decision)).await.map(drop)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transaction").field(&self.sent).finish()
    }
}

/// What the end of a transaction names.
struct End<'t> {
    topic: &'t str,
    group: &'t str,
    queue_offset: i64,
    physical_offset: i64,
    message_id: &'t str,
    /// By the broker.
    is_asked: bool,
}

impl End<'_> {
    fn request(&self, decision: Decision) -> Command {
        let header = EndTransactionRequestHeader {
            topic: Some(self.topic),
            producer_group: self.group,
            tran_state_table_offset: self.queue_offset,
            commit_log_offset: self.physical_offset,
            commit_or_rollback: match decision {
                Decision::Commit => sysflag::TRANSACTION_COMMIT,
                Decision::Rollback => sysflag::TRANSACTION_ROLLBACK,
                Decision::Unknown => 0,
            },
            from_transaction_check: Some(self.is_asked),
            msg_id: self.message_id,
            transaction_id: Some(self.message_id),
            rpc: RpcFields::default(),
        };
        Command::request(request::END_TRANSACTION).with_header(&header)
    }
}

/// A broker asks what is to become of a message.
pub(crate) fn check(shared: &Arc<Shared>, conn: &Arc<Conn>, request: &Command) {
    let (shared, conn, request) = (Arc::clone(shared), Arc::clone(conn), request.clone());
    tokio::spawn(async move {
        if let Err(error) = decide(&shared, &conn, &request).await {
            tracing::warn!(peer = %conn.peer(), %error, "a broker's question about a transaction is not answered");
        }
    });
}

async fn decide(shared: &Arc<Shared>, conn: &Arc<Conn>, request: &Command) -> Result<(), Error> {
    let peer = conn.peer().to_string();
    let header: CheckTransactionStateRequestHeader<'_> =
        request.header().map_err(|error| Error::header(&peer, &error))?;
    let record = Record::read(&request.body).map_err(|error| Error::record(&peer, error))?;
    let real = record.property(property::REAL_TOPIC).unwrap_or(record.topic);
    let queue = Queue::new(real, &peer.as_str().into(), record.queue_id);
    let (mut message, unreadable) = shared.received(&record, &request.body, &queue);
    if let Some(error) = unreadable {
        return Err(error);
    }
    let group = message.property(property::PRODUCER_GROUP).unwrap_or_default().to_owned();
    let producer = shared.producer_of(&group);
    if let Some(producer) = &producer {
        producer.hooks.decode(&mut message)?;
    }
    let Some(check) = producer.and_then(|producer| producer.check.clone()) else {
        // Another member of the group may know.
        tracing::warn!(peer, group, "a broker asks about a transaction, and no producer of the group has a check");
        return Ok(());
    };
    let (topic, message_id) = (message.full_topic().to_owned(), message.message_id().into_owned());
    let asked = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(|| check(&message))));
    let decision = match asked.await {
        Ok(Ok(decision)) => decision,
        _ => {
            tracing::error!(topic, message_id, "the check of a transaction panicked: it counts as not known yet");
            Decision::Unknown
        }
    };
    let end = End {
        topic: &topic,
        group: &group,
        queue_offset: header.tran_state_table_offset,
        physical_offset: header.commit_log_offset,
        message_id: header.msg_id.unwrap_or(&message_id),
        is_asked: true,
    };
    conn.send_oneway(shared.own(end.request(decision)));
    Ok(())
}
