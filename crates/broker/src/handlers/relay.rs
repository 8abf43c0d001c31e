//! Questions that a consumer answers and the broker passes on (upstream `AdminBrokerProcessor`).

use std::sync::Arc;
use std::time::Duration;

use apogee_message::ids::OffsetId;
use apogee_net::{CallError, Conn};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, GetConsumerStatusBody};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{
    ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader,
};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::answer;
use crate::broker::Broker;
use crate::error::BrokerError;

/// How long a consumer may take to tell of itself or to consume a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long each of a group's members may take to tell its offsets.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);

/// Passes a question on.
pub(crate) async fn relay(broker: Arc<Broker>, request: &Command) -> Result<Command, BrokerError> {
    match request.code {
        code::GET_CONSUMER_RUNNING_INFO => running_info(&broker, request).await,
        code::CONSUME_MESSAGE_DIRECTLY => consume_directly(&broker, request).await,
        _ => consumer_status(&broker, request).await,
    }
}

/// `GET_CONSUMER_RUNNING_INFO`.
async fn running_info(broker: &Broker, request: &Command) -> Result<Command, BrokerError> {
    let header: GetConsumerRunningInfoRequestHeader<'_> = request.header()?;
    ask(broker, request, header.consumer_group, header.client_id, Bytes::new()).await
}

/// `CONSUME_MESSAGE_DIRECTLY`: a consumer is given one message, whatever its offsets.
async fn consume_directly(broker: &Broker, request: &Command) -> Result<Command, BrokerError> {
    let header: ConsumeMessageDirectlyResultRequestHeader<'_> = request.header()?;
    let refused = |remark: String| BrokerError::new(response::INVALID_PARAMETER, remark);
    let id = header.msg_id.ok_or_else(|| refused("the request header lacks the field `msgId`".to_owned()))?;
    let offset = id.parse::<OffsetId>().map_err(|error| refused(format!("msgId={id}: {error}")))?.offset;
    let client = header.client_id.ok_or_else(|| refused("the request header lacks the field `clientId`".to_owned()))?;
    let store = Arc::clone(&broker.store);
    // The message may be on disk.
    let read = tokio::task::spawn_blocking(move || store.record_at(offset)).await;
    let Some(record) = read.ok().flatten() else {
        let remark = format!("the message {id} is not in this broker's log, at offset {offset}");
        return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
    };
    ask(broker, request, header.consumer_group, client, record).await
}

/// Passes a request on to a member of a group, and its answer back.
async fn ask(
    broker: &Broker,
    request: &Command,
    group: &str,
    client_id: &str,
    body: Bytes,
) -> Result<Command, BrokerError> {
    let Some((conn, _)) = broker.consumers.find(group, client_id) else {
        let remark = format!("The Consumer <{group}> <{client_id}> not online");
        return Err(BrokerError::new(response::CONSUMER_NOT_ONLINE, remark));
    };
    let passed_on = Command { fields: request.fields.clone(), body, ..Command::request(request.code) };
    let said = conn.call(passed_on, PATIENCE).await.map_err(|error| unanswered(group, client_id, &error))?;
    let mut reply = Command::response_to(request, said.code);
    (reply.remark, reply.fields, reply.body) = (said.remark, said.fields, said.body);
    Ok(reply)
}

fn unanswered(group: &str, client_id: &str, error: &CallError) -> BrokerError {
    let code = match error {
        CallError::Timeout { .. } => response::CONSUME_MSG_TIMEOUT,
        CallError::Closed(_) => response::CONSUMER_NOT_ONLINE,
        CallError::TooMany(..) => response::SYSTEM_BUSY,
    };
    BrokerError::new(code, format!("consumer <{group}> <{client_id}>: {error}"))
}

/// `INVOKE_BROKER_TO_GET_CONSUMER_STATUS`: the offsets as the members of a group have them; of those
/// who answer in time.
async fn consumer_status(broker: &Broker, request: &Command) -> Result<Command, BrokerError> {
    let header: GetConsumerStatusRequestHeader<'_> = request.header()?;
    let (group, wanted) = (header.group, header.client_addr.filter(|client| !client.is_empty()));
    let mut asked = JoinSet::new();
    for client_id in broker.consumers.client_ids(group) {
        if wanted.is_some_and(|wanted| *wanted != *client_id) {
            continue;
        }
        let Some((conn, _)) = broker.consumers.find(group, &client_id) else { continue };
        let header = GetConsumerStatusRequestHeader { client_addr: None, ..header };
        let question = Command::request(code::GET_CONSUMER_STATUS_FROM_CLIENT).with_header(&header);
        asked.spawn(async move { (client_id, status_of(conn, question).await) });
    }
    if asked.is_empty() {
        let remark = format!("No Any Consumer online in the consumer group: [{group}]");
        return Err(BrokerError::new(response::CONSUMER_NOT_ONLINE, remark));
    }
    let mut body = GetConsumerStatusBody::default();
    while let Some(told) = asked.join_next().await {
        if let Ok((client_id, Some(status))) = told {
            body.consumer_table.insert(client_id.to_string(), status.message_queue_table);
        }
    }
    Ok(answer::success(request).with_body(body.encode()))
}

async fn status_of(conn: Arc<Conn>, question: Command) -> Option<GetConsumerStatusBody> {
    let told = conn.call(question, STATUS_PATIENCE).await;
    let told = told
        .inspect_err(|error| tracing::warn!(%error, "a consumer did not tell its offsets: see whether it is up"))
        .ok()?;
    if told.code != response::SUCCESS {
        tracing::warn!(peer = %conn.peer(), code = told.code, remark = told.remark, "a consumer refused to tell its offsets");
        return None;
    }
    GetConsumerStatusBody::decode(&told.body).ok()
}
