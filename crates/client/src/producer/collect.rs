//! Batches that make themselves: messages that are sent at the same time travel together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::batch::{self, BatchMessage};
use apogee_message::names::{RETRY_PREFIX, property};
use apogee_wire::codes::response;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::choice::by_key;
use super::outgoing::{Kind, Outgoing, encode_member, text};
use super::{Sending, Sent};
use crate::interceptor::{SendKind, SendOutcome, Sends};
use crate::{Error, Message, Queue};

/// When what was collected is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Of a batch's body.
    pub bytes: usize,
    /// After the first message.
    pub linger: Duration,
}

/// Batches that are not full yet, by where they go.
#[derive(Default)]
pub(super) struct Collected(Mutex<State>);

#[derive(Default)]
struct State {
    open: HashMap<Destination, Batch>,
    /// Of the last batch that was begun.
    number: u64,
}

/// The topic, and the queue if that is fixed.
type Destination = (String, Option<Queue>);

struct Batch {
    number: u64,
    body: Vec<u8>,
    members: Vec<Member>,
    /// What they take of the bytes that may be under way.
    room: OwnedSemaphorePermit,
}

/// Who waits for what becomes of a message.
struct Member {
    message_id: String,
    tell: oneshot::Sender<Result<Sent, Error>>,
}

/// What is to be done after a message was added.
#[derive(Default)]
struct Added {
    /// To be sent now.
    full: Vec<Batch>,
    /// To be sent when its time has come.
    begun: Option<u64>,
}

impl Collected {
    fn add(
        &self,
        to: &Destination,
        message: &BatchMessage,
        member: Member,
        room: OwnedSemaphorePermit,
        most: usize,
    ) -> Added {
        let mut state = self.lock();
        let mut added = Added::default();
        let is_full = |batch: &Batch| batch.body.len() + batch::length(message) > most;
        if state.open.get(to).is_some_and(is_full) {
            added.full.extend(state.open.remove(to));
        }
        match state.open.get_mut(to) {
            Some(batch) => {
                batch::push(&mut batch.body, message);
                batch.members.push(member);
                batch.room.merge(room);
            }
            None => {
                state.number += 1;
                let mut body = Vec::with_capacity(2 * batch::length(message));
                batch::push(&mut body, message);
                let batch = Batch { number: state.number, body, members: vec![member], room };
                added.begun = Some(batch.number);
                state.open.insert(to.clone(), batch);
            }
        }
        if state.open.get(to).is_some_and(|batch| batch.body.len() >= most) {
            added.full.extend(state.open.remove(to));
            added.begun = None;
        }
        added
    }

    /// The batch of that number, unless it is on its way already.
    fn take(&self, to: &Destination, number: u64) -> Option<Batch> {
        let mut state = self.lock();
        state.open.get(to).filter(|batch| batch.number == number)?;
        state.open.remove(to)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a message may travel with others. Apache's broker does not tell those of a batch the cluster, without which a
/// request cannot be answered.
fn is_sociable(message: &Message) -> bool {
    let is_request = message.get(property::REPLY_TO_CLIENT).is_some();
    !message.is_delayed() && !message.is_reply() && !is_request && !message.topic().starts_with(RETRY_PREFIX)
}

impl Sending {
    /// Sends a message together with others that go the same way, or by itself where that cannot be.
    pub(super) async fn send_collected(
        self: &Arc<Self>,
        bounds: Bounds,
        message: Message,
        queue: Option<&Queue>,
    ) -> Result<Sent, Error> {
        let mut sends = Sends::new(&self.hooks, SendKind::Batch);
        let sent = self.join(bounds, message, queue, &mut sends).await;
        sends.after(sent.as_ref().map_or_else(SendOutcome::Failed, SendOutcome::Sent));
        sent
    }

    async fn join(
        self: &Arc<Self>,
        bounds: Bounds,
        mut message: Message,
        queue: Option<&Queue>,
        sends: &mut Sends,
    ) -> Result<Sent, Error> {
        let born_timestamp = self.shared.now_ms();
        let message_id = self.id_of(&message, born_timestamp);
        let kept = sends.before(&mut message, &message_id)?;
        // What is long is better compressed.
        let is_alone = !is_sociable(&message) || message.body().len() >= self.settings.compress_from.min(bounds.bytes);
        if is_alone {
            let outgoing = self.encode(&message, &message_id, born_timestamp);
            sends.watch(message, &message_id, kept);
            return self.deliver(&outgoing?, queue).await;
        }
        let topic = self.shared.topic(message.topic())?;
        let encoded = encode_member(&message, message.topic(), &message_id);
        let key = message.get(property::SHARDING_KEY).map(str::to_owned);
        sends.watch(message, &message_id, kept);
        let encoded = encoded?;
        let queue = match (queue, key) {
            (Some(queue), _) => Some(queue.clone()),
            (None, Some(key)) => Some(by_key(&*self.shared.route_to_send(&topic).await?, &topic, &key)?),
            (None, None) => None,
        };
        let room = self.room_to_collect(batch::length(&encoded)).await?;
        let (tell, told) = oneshot::channel();
        let to = (topic, queue);
        let added = self.collected.add(&to, &encoded, Member { message_id, tell }, room, bounds.bytes);
        for batch in added.full {
            tokio::spawn(Arc::clone(self).send_batch(to.clone(), batch));
        }
        if let Some(number) = added.begun {
            let sending = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(bounds.linger).await;
                if let Some(batch) = sending.collected.take(&to, number) {
                    sending.send_batch(to, batch).await;
                }
            });
        }
        // Nobody tells when the runtime ends.
        told.await.unwrap_or(Err(Error::Closed))
    }

    /// Sends a batch, and tells each member what became of it.
    async fn send_batch(self: Arc<Self>, (topic, queue): Destination, batch: Batch) {
        let Batch { body, members, room: _room, .. } = batch;
        let born_timestamp = self.shared.now_ms();
        let outgoing = Outgoing { topic, body: body.into(), born_timestamp, kind: Kind::Batch, ..Outgoing::default() };
        if members.len() == 1 {
            return self.send_singly(&outgoing, queue.as_ref(), members).await;
        }
        let deadline = Instant::now() + self.settings.timeout;
        match self.transmit(&outgoing, queue.as_ref(), deadline).await {
            Ok(sent) => {
                let mut offset_ids = sent.offset_id.split(',');
                for (member, offset) in members.into_iter().zip(sent.offset..) {
                    let offset_id = offset_ids.next().unwrap_or_default().to_owned();
                    let (message_id, queue) = (member.message_id, sent.queue.clone());
                    let (status, traced) = (sent.status, sent.traced.clone());
                    let sent = Sent { message_id, offset_id, queue, offset, status, recall_handle: None, traced };
                    // Who does not wait any more does not want to know.
                    let _ = member.tell.send(Ok(sent));
                }
            }
            // One of them may be the reason: the others shall not suffer from it.
            Err(error) if may_be_of_one_message(&error) => {
                tracing::debug!(topic = outgoing.topic, %error, "a batch was refused: its messages are sent one by one");
                self.send_singly(&outgoing, queue.as_ref(), members).await;
            }
            Err(error) => {
                let error = Arc::new(error);
                for member in members {
                    let _ = member.tell.send(Err(Error::Batch(Arc::clone(&error))));
                }
            }
        }
    }

    /// Sends the messages of a batch one after the other.
    async fn send_singly(&self, batch: &Outgoing, queue: Option<&Queue>, members: Vec<Member>) {
        for (message, member) in batch::split(batch.body.clone()).zip(members) {
            let deadline = Instant::now() + self.settings.timeout;
            let sent = match single(batch, message) {
                Ok(message) => self.transmit(&message, queue, deadline).await,
                Err(error) => Err(error),
            };
            let message_id = member.message_id;
            let _ = member.tell.send(sent.map(|sent| Sent { message_id, ..sent }));
        }
    }
}

/// Whether a broker may have refused a batch because of one message in it.
fn may_be_of_one_message(error: &Error) -> bool {
    match error {
        Error::Refused { code, .. } => {
            !error.may_pass() && !matches!(*code, response::TOPIC_NOT_EXIST | response::NO_PERMISSION)
        }
        _ => false,
    }
}

/// A message of a batch by itself.
fn single(batch: &Outgoing, message: Result<BatchMessage, batch::BatchError>) -> Result<Outgoing, Error> {
    let message = message.map_err(|error| Error::message(&batch.topic, error.to_string()))?;
    Ok(Outgoing {
        topic: batch.topic.clone(),
        body: message.body,
        properties: text(&batch.topic, message.properties.into())?,
        flag: message.flag,
        born_timestamp: batch.born_timestamp,
        ..Outgoing::default()
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_batch_leaves_when_it_is_full_and_no_later_than_its_time() {
        let (collected, room) = (Collected::default(), Arc::new(Semaphore::new(1_000)));
        let add = |body: &'static [u8]| {
            let message = BatchMessage { flag: 0, body: body.into(), properties: Default::default() };
            let (tell, _) = oneshot::channel();
            let member = Member { message_id: String::new(), tell };
            let permit = Arc::clone(&room).try_acquire_many_owned(1).expect("room");
            collected.add(&to(), &message, member, permit, 100)
        };
        fn to() -> Destination {
            ("T".to_owned(), None)
        }
        let sizes = |added: &Added| added.full.iter().map(|batch| batch.members.len()).collect::<Vec<_>>();
        // 22 bytes and the body each.
        let first = add(&[0; 30]).begun.expect("it is the first");
        assert!(add(&[0; 10]).begun.is_none());
        // The next one does not fit: what there is leaves, and this one waits for others.
        let third = add(&[0; 30]);
        assert_eq!((sizes(&third), third.begun), (vec![2], Some(first + 1)));
        assert!(collected.take(&to(), first).is_none());
        // One that fills it takes all along; one that is too long by itself goes at once.
        let fourth = add(&[0; 26]);
        assert_eq!((sizes(&fourth), fourth.begun), (vec![2], None));
        let long = add(&[0; 200]);
        assert_eq!((sizes(&long), long.begun), (vec![1], None));
        assert!(collected.take(&to(), first + 1).is_none());
        let last = add(&[0; 1]).begun.expect("it is the first");
        // Room is held until they are sent.
        drop((third, fourth, long));
        assert_eq!(room.available_permits(), 999);
        assert_eq!(collected.take(&to(), last).map(|batch| batch.members.len()), Some(1));
        assert_eq!(room.available_permits(), 1_000);
    }
}
