//! What sends: one broker after the other, within a time and within bounds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use apogee_message::names::property;
use apogee_wire::codes::response;
use apogee_wire::headers::SendMessageResponseHeader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tracing::Instrument;

use super::choice::Choice;
use super::collect::Collected;
use super::outgoing::Outgoing;
use super::transaction::Check;
use super::{SendStatus, Sent, Settings};
use crate::interceptor::{Hooks, SendKind, SendOutcome, Sends};
use crate::peers::{Link, refused};
use crate::route::Route;
use crate::shared::Shared;
use crate::trace::Traced;
use crate::{Error, Message, Queue};

pub(crate) struct Sending {
    pub(super) shared: Arc<Shared>,
    pub(super) group: String,
    pub(super) settings: Settings,
    pub(super) hooks: Arc<Hooks>,
    /// Decides on transactions that nobody ended.
    pub(super) check: Option<Check>,
    pub(super) choice: Choice,
    /// Bytes that may be under way.
    pub(super) room: Arc<Semaphore>,
    /// Messages that wait for others to travel with.
    pub(super) collected: Collected,
    /// The brokers were told of it: they ask about its transactions.
    pub(super) is_introduced: AtomicBool,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.shared.forget_producers(&self.group);
    }
}

impl Sending {
    /// Sends one message.
    pub(super) async fn send_one(
        self: &Arc<Self>,
        message: Message,
        kind: SendKind,
        queue: Option<&Queue>,
    ) -> Result<Sent, Error> {
        if let (Some(bounds), SendKind::Single) = (self.settings.collect, kind) {
            return self.send_collected(bounds, message, queue).await;
        }
        let mut sends = Sends::new(&self.hooks, kind);
        let outgoing = self.outgoing(message, &mut sends);
        self.send(outgoing, sends, queue).await
    }

    /// Sends what is ready, and tells the interceptors what became of it.
    pub(super) async fn send(
        &self,
        outgoing: Result<Outgoing, Error>,
        mut sends: Sends,
        queue: Option<&Queue>,
    ) -> Result<Sent, Error> {
        let sent = match outgoing {
            Ok(outgoing) => self.deliver(&outgoing, queue).instrument(sends.span()).await,
            Err(error) => Err(error),
        };
        sends.after(sent.as_ref().map_or_else(SendOutcome::Failed, SendOutcome::Sent));
        sent
    }

    /// Sends when there is room for it.
    pub(super) async fn deliver(&self, message: &Outgoing, queue: Option<&Queue>) -> Result<Sent, Error> {
        let deadline = Instant::now() + self.settings.timeout;
        let _room = self.room_for(message, deadline).await?;
        self.transmit(message, queue, deadline).await
    }

    /// Sends to one broker after the other until one has it.
    pub(super) async fn transmit(
        &self,
        message: &Outgoing,
        queue: Option<&Queue>,
        deadline: Instant,
    ) -> Result<Sent, Error> {
        let mut last = None;
        let mut failed: Option<(Arc<Route>, Arc<str>)> = None;
        for _ in 0..=self.settings.retries {
            // What is known already needs no time-out: asking has one of its own.
            let way = tokio::time::timeout_at(deadline, self.way(message, queue, &mut failed)).await;
            let sent = match way {
                Ok(Ok(way)) => self.attempt(way, message, deadline).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(Error::Timeout(self.settings.timeout, "it gave no answer".to_owned())),
            };
            let error = match sent {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            let is_of_one_broker = error.is_of_one_broker();
            if let Some((_, broker)) = failed.as_ref().filter(|_| is_of_one_broker) {
                self.choice.failed(broker);
            }
            if Instant::now() >= deadline {
                // Whoever was silent: the name server that was being asked, or the broker that was being called.
                self.shared.doubt(&message.topic);
                return Err(Error::Timeout(self.settings.timeout, last.unwrap_or(error).to_string()));
            }
            if !is_of_one_broker || self.shared.is_closed() {
                return Err(error);
            }
            tracing::debug!(topic = message.topic, %error, "a send failed");
            last = Some(error);
        }
        // The next message shall not go the same way without a question.
        self.shared.doubt(&message.topic);
        Err(last.unwrap_or(Error::Closed))
    }

    /// Where a message goes. `failed` is where the attempt before it went, and then where this one goes.
    async fn way(
        &self,
        message: &Outgoing,
        queue: Option<&Queue>,
        failed: &mut Option<(Arc<Route>, Arc<str>)>,
    ) -> Result<(Queue, Arc<Link>), Error> {
        // It may have moved.
        if let Some((route, _)) = failed {
            self.shared.refresh(&message.topic, route).await;
        }
        let route = self.shared.route_to_send(&message.topic).await?;
        let queue = match queue {
            Some(queue) => queue.clone(),
            None => self.choice.choose(&route, message, failed.as_ref().map(|(_, broker)| &**broker))?,
        };
        let (route, _) = failed.insert((route, Arc::clone(&queue.broker)));
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        let link = self.shared.peers.link(address).await?;
        Ok((queue, link))
    }

    async fn attempt(
        &self,
        (queue, link): (Queue, Arc<Link>),
        message: &Outgoing,
        deadline: Instant,
    ) -> Result<Sent, Error> {
        let Some(_place) = link.place(deadline).await else {
            let reason = format!("too many messages to {} wait for their answers", link.address);
            return Err(Error::Timeout(self.settings.timeout, reason));
        };
        let begun = Instant::now();
        let left = deadline.saturating_duration_since(begun);
        let answer = link.ask_with(self.head(message), |fields| self.write(message, &queue, fields), left).await?;
        let status = match answer.code {
            response::SUCCESS => SendStatus::Ok,
            response::FLUSH_DISK_TIMEOUT => SendStatus::FlushTimeout,
            response::FLUSH_SLAVE_TIMEOUT => SendStatus::ReplicaTimeout,
            response::SLAVE_NOT_AVAILABLE => SendStatus::NoReplica,
            code => return Err(refused(&link.address, code, answer)),
        };
        self.choice.answered(&queue.broker, begun.elapsed());
        let header: SendMessageResponseHeader<'_> =
            answer.header().map_err(|error| Error::header(&link.address, &error))?;
        Ok(Sent {
            message_id: message.message_id.clone(),
            offset_id: header.msg_id.to_owned(),
            queue: Queue { id: header.queue_id, ..queue },
            offset: header.queue_offset,
            status,
            recall_handle: header.recall_handle.map(str::to_owned),
            traced: self.shared.settings.tracer.as_ref().and_then(|_| {
                let field = |name| answer.fields.get(name);
                Traced::of(&link.address, field(property::MSG_REGION), field(property::TRACE_ON))
            }),
        })
    }

    pub(super) async fn send_one_way(&self, message: &Outgoing) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.timeout;
        let _room = self.room_for(message, deadline).await?;
        let route = self.shared.route_to_send(&message.topic).await?;
        let queue = self.choice.choose(&route, message, None)?;
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        let link = self.shared.peers.link(address).await?;
        link.conn.send_oneway_with(self.head(message), |fields| self.write(message, &queue, fields));
        Ok(())
    }

    /// The queue that somebody chooses of those of a topic.
    pub(super) async fn pick(&self, topic: &str, choose: impl FnOnce(&[Queue]) -> usize) -> Result<Queue, Error> {
        let route = self.shared.route_to_send(topic).await?;
        let queues = &route.writable;
        if queues.is_empty() {
            return Err(Error::NoQueue { topic: topic.to_owned(), action: "write to" });
        }
        let place = choose(queues);
        queues.get(place).cloned().ok_or_else(|| {
            Error::message(topic, format!("queue {place} was chosen of {}, which count from 0", queues.len()))
        })
    }

    /// Waits until as many bytes may be under way.
    async fn room_for(&self, message: &Outgoing, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        self.shared.check_open()?;
        let room = tokio::time::timeout_at(deadline, self.room.acquire_many(self.permits(message.body.len()))).await;
        room.map_err(|_| self.no_room())?.map_err(|_| Error::Closed)
    }

    /// The same for bytes that are collected.
    pub(super) async fn room_to_collect(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        self.shared.check_open()?;
        let room = Arc::clone(&self.room).acquire_many_owned(self.permits(bytes));
        let room = tokio::time::timeout(self.settings.timeout, room).await;
        room.map_err(|_| self.no_room())?.map_err(|_| Error::Closed)
    }

    /// One that is longer than all room there is goes alone.
    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.settings.max_pending_bytes)
    }

    fn no_room(&self) -> Error {
        let reason = format!("{} bytes are under way already", self.settings.max_pending_bytes);
        Error::Timeout(self.settings.timeout, reason)
    }
}
