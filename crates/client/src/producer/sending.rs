//! What sends: one broker after the other, within a time and within bounds.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

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
use crate::peers::refused;
use crate::route::Route;
use crate::shared::Shared;
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
            let attempt = async {
                // It may have moved.
                if let Some((route, _)) = &failed {
                    self.shared.refresh(&message.topic, route).await;
                }
                let route = self.shared.route_to_send(&message.topic).await?;
                let queue = match queue {
                    Some(queue) => queue.clone(),
                    None => self.choice.choose(&route, message, failed.as_ref().map(|(_, broker)| &**broker))?,
                };
                failed = Some((Arc::clone(&route), Arc::clone(&queue.broker)));
                self.attempt(&route, queue, message, deadline).await
            };
            let error = match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Ok(sent)) => return Ok(sent),
                Ok(Err(error)) => error,
                Err(_) => {
                    if let Some((_, broker)) = &failed {
                        self.choice.failed(broker);
                    }
                    let last = last.map_or_else(|| "it gave no answer".to_owned(), |last: Error| last.to_string());
                    return Err(Error::Timeout(self.settings.timeout, last));
                }
            };
            if !error.is_of_one_broker() || self.shared.is_closed() {
                return Err(error);
            }
            tracing::debug!(topic = message.topic, %error, "a send failed");
            if let Some((_, broker)) = &failed {
                self.choice.failed(broker);
            }
            last = Some(error);
        }
        Err(last.unwrap_or(Error::Closed))
    }

    async fn attempt(&self, route: &Route, queue: Queue, message: &Outgoing, deadline: Instant) -> Result<Sent, Error> {
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        let begun = Instant::now();
        let left = deadline.saturating_duration_since(begun);
        let answer = self.shared.peers.ask(address, self.request(message, &queue), left).await?;
        let status = match answer.code {
            response::SUCCESS => SendStatus::Ok,
            response::FLUSH_DISK_TIMEOUT => SendStatus::FlushTimeout,
            response::FLUSH_SLAVE_TIMEOUT => SendStatus::ReplicaTimeout,
            response::SLAVE_NOT_AVAILABLE => SendStatus::NoReplica,
            code => return Err(refused(address, code, answer)),
        };
        self.choice.answered(&queue.broker, begun.elapsed());
        let header: SendMessageResponseHeader<'_> = answer.header().map_err(|error| Error::header(address, &error))?;
        Ok(Sent {
            message_id: message.message_id.clone(),
            offset_id: header.msg_id.to_owned(),
            queue: Queue { id: header.queue_id, ..queue },
            offset: header.queue_offset,
            status,
            recall_handle: header.recall_handle.map(str::to_owned),
        })
    }

    pub(super) async fn send_one_way(&self, message: &Outgoing) -> Result<(), Error> {
        let deadline = Instant::now() + self.settings.timeout;
        let _room = self.room_for(message, deadline).await?;
        let route = self.shared.route_to_send(&message.topic).await?;
        let queue = self.choice.choose(&route, message, None)?;
        let address = route.master(&queue.broker).ok_or_else(|| Error::NoMaster(queue.broker.to_string()))?;
        self.shared.peers.conn(address).await?.send_oneway(self.request(message, &queue));
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
