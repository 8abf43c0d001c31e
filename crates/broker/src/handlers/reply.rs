//! Replies: `SEND_REPLY_MESSAGE` brings the answer to a request that was sent as a message; it is
//! passed to the client that asked (upstream `ReplyMessageProcessor`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apogee_message::names::{self, property};
use apogee_message::record::{Draft, NewMessage};
use apogee_message::{ids::OffsetId, properties};
use apogee_net::Conn;
use apogee_store::{Append, AppendDone, AppendError, Appended};
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{ReplyMessageRequestHeader, SendMessageRequestHeader};
use bytes::BytesMut;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::answer;
use super::send::header_of;
use crate::broker::Broker;
use crate::error::BrokerError;
use crate::settings::BrokerSettings;
use crate::topics::perm;

/// How long the client that asked may take to take the reply: as long as senders wait for us.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of replies on their way, and what each counts for beside its body.
const MOST_BYTES: usize = 256 << 20;
const LEAST_BYTES: usize = 4_096;

/// Replies on their way to those who asked: no more than memory is meant for.
pub(crate) struct Replies(Semaphore);

impl Default for Replies {
    fn default() -> Self {
        Self(Semaphore::new(MOST_BYTES))
    }
}

impl Replies {
    fn take_place(&self, body: usize) -> Result<SemaphorePermit<'_>, BrokerError> {
        let bytes = u32::try_from(body.saturating_add(LEAST_BYTES)).unwrap_or(u32::MAX);
        self.0.try_acquire_many(bytes).map_err(|_| {
            let remark = format!("replies of {} MB wait for those who asked: try again", MOST_BYTES >> 20);
            BrokerError::new(response::SYSTEM_BUSY, remark)
        })
    }
}

/// Passes a reply on and stores it, both at once; what the requester made of it is the answer.
pub(crate) async fn reply(broker: &Broker, conn: &Conn, request: &Command) -> Result<Command, BrokerError> {
    let _place = broker.replies.take_place(request.body.len())?;
    let header = header_of(request)?;
    let settings = broker.settings.load();
    let queue_id = check(broker, &settings, &header, request.body.len())?;
    let text = header.properties.unwrap_or_default().as_bytes();
    let store = async {
        match settings.store_reply_message_enable {
            true => Some(store(broker, conn, request, &header, queue_id).await),
            false => None,
        }
    };
    let (pushed, stored) = tokio::join!(push(broker, conn, request, &header, queue_id, text), store);
    let mut reply = match pushed {
        Ok(()) => answer::success(request),
        Err(remark) => Command::response_to(request, response::SYSTEM_ERROR).with_remark(remark),
    };
    reply.fields.set("queueId", queue_id);
    match stored {
        Some(Ok(stored)) => {
            reply.fields.set("msgId", OffsetId { host: broker.store_host, offset: stored.physical_offset });
            reply.fields.set("queueOffset", stored.queue_offset);
        }
        not_stored => {
            // The requester has its reply, or will not get it: to send it again would not help.
            if let Some(Err(error)) = not_stored {
                tracing::warn!(
                    topic = header.topic,
                    error,
                    "a reply was passed on but cannot be stored: see why messages are refused"
                );
            }
            // Clients expect a place all the same.
            reply.fields.set_str("msgId", "0");
            reply.fields.set("queueOffset", 0);
        }
    }
    reply.fields.set_str("MSG_REGION", &broker.region);
    reply.fields.set("TRACE_ON", settings.trace_on);
    Ok(reply)
}

/// Refuses what is no reply to a client of this cluster; returns the queue to store it in.
fn check(
    broker: &Broker,
    settings: &BrokerSettings,
    header: &SendMessageRequestHeader<'_>,
    body: usize,
) -> Result<i32, BrokerError> {
    let refused = |code, remark: String| Err(BrokerError::new(code, remark));
    let name = header.topic;
    let expected = names::reply_topic(&settings.broker_cluster_name);
    if name != expected {
        let remark = format!("topic[{name}] takes no replies: those of this cluster go to {expected}");
        return refused(response::INVALID_PARAMETER, remark);
    }
    let topic = broker.topics.get(name).ok_or_else(|| BrokerError::no_topic(name))?;
    if settings.broker_permission & perm::WRITE == 0 {
        let remark = format!("the broker[{}] sending message is forbidden (brokerPermission)", settings.broker_name);
        return refused(response::NO_PERMISSION, remark);
    }
    if !topic.allows(perm::WRITE) {
        return refused(response::NO_PERMISSION, format!("the topic[{name}] sending message is forbidden"));
    }
    let queues = topic.config.write_queue_nums.max(topic.config.read_queue_nums);
    if header.queue_id >= queues {
        let remark = format!("request queueId[{}] is illegal, topic [{name}] has {queues} queues", header.queue_id);
        return refused(response::INVALID_PARAMETER, remark);
    }
    if body > settings.max_message_size {
        let limit = settings.max_message_size;
        let remark = format!("the reply's body of {body} bytes is over the limit of {limit} (maxMessageSize)");
        return refused(response::MESSAGE_ILLEGAL, remark);
    }
    let properties = header.properties.map_or(0, str::len);
    if properties > properties::MAX_LENGTH {
        let limit = properties::MAX_LENGTH;
        let remark = format!("the reply's properties of {properties} bytes are over the limit of {limit}");
        return refused(response::MESSAGE_ILLEGAL, remark);
    }
    Ok(if header.queue_id < 0 { broker.next_queue(topic.config.write_queue_nums) } else { header.queue_id })
}

/// Passes the reply to the client that its properties name; otherwise says why not.
async fn push(
    broker: &Broker,
    conn: &Conn,
    request: &Command,
    header: &SendMessageRequestHeader<'_>,
    queue_id: i32,
    text: &[u8],
) -> Result<(), String> {
    let Some(requester) = properties::get(text, property::REPLY_TO_CLIENT) else {
        return Err(format!("reply message properties[{}] is null", property::REPLY_TO_CLIENT));
    };
    let Some(channel) = broker.producers.find(requester) else {
        return Err(format!("push reply message fail, channel of <{requester}> not found."));
    };
    let (now, mut pushed) = (broker.now(), Vec::with_capacity(text.len() + 64));
    properties::copy_without(&mut pushed, text, &[property::PUSH_REPLY_TIME]);
    properties::push(&mut pushed, property::PUSH_REPLY_TIME, &now.to_string());
    let pushed = String::from_utf8(pushed).unwrap_or_default();
    let notice = Command::request(code::PUSH_REPLY_MESSAGE_TO_CLIENT).with_header(&ReplyMessageRequestHeader {
        producer_group: header.producer_group,
        topic: header.topic,
        default_topic: header.default_topic,
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: Some(&pushed),
        reconsume_times: Some(header.reconsume_times.unwrap_or(0)),
        unit_mode: Some(header.unit_mode.unwrap_or(false)),
        born_host: &conn.peer().to_string(),
        store_host: &broker.store_host.to_string(),
        store_timestamp: now,
        rpc: Default::default(),
    });
    match channel.call(notice.with_body(request.body.clone()), PATIENCE).await {
        Ok(taken) if taken.code == response::SUCCESS => Ok(()),
        Ok(refused) => {
            let remark = refused.remark.unwrap_or_default();
            Err(format!("push reply message to <{requester}> fail: it answered with code {} {remark}", refused.code))
        }
        Err(error) => Err(format!("push reply message to <{requester}> fail: {error}")),
    }
}

/// Stores the reply, for those who look into what was answered.
async fn store(
    broker: &Broker,
    conn: &Conn,
    request: &Command,
    header: &SendMessageRequestHeader<'_>,
    queue_id: i32,
) -> Result<Appended, String> {
    let message = NewMessage {
        topic: header.topic.into(),
        queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: conn.peer(),
        store_host: broker.store_host,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: request.body.clone(),
        properties: header.properties.unwrap_or_default().to_owned().into(),
    };
    let draft = Draft::new(&message, &mut BytesMut::new()).map_err(|error| error.to_string())?;
    let (tell, told) = oneshot::channel();
    let done = Arc::new(Told(Mutex::new(Some(tell))));
    broker.store.append([Append { draft, done, token: 0 }]);
    match told.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the store was closed".to_owned()),
    }
}

/// Waits for what became of one message.
struct Told(Mutex<Option<oneshot::Sender<Result<Appended, AppendError>>>>);

impl AppendDone for Told {
    fn done(&self, _: u64, result: &Result<Appended, AppendError>) {
        let tell = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tell) = tell {
            // Whoever waited may have gone with its connection.
            let _ = tell.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_wait_in_bounded_memory() {
        let replies = Replies::default();
        let places: Vec<_> = (0..64).map_while(|_| replies.take_place(4 << 20).ok()).collect();
        assert_eq!(places.len(), 63);
        assert_eq!(replies.take_place(4 << 20).map(drop).unwrap_err().code, response::SYSTEM_BUSY);
        drop(places);
        assert!(replies.take_place(4 << 20).is_ok());
    }
}
