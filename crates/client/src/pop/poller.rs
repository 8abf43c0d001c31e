//! Asks one broker for messages of one topic, again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{PopMessageRequestHeader, PopMessageResponseHeader, RpcFields};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::keeper::{Held, Word};
use super::receipt::{Popped, Receipt};
use super::room::Room;
use super::{PopDelivery, Settings};
use crate::peers::refused;
use crate::pull::{Filter, PulledMessage};
use crate::route::MASTER;
use crate::shared::Shared;
use crate::{Error, Queue};

/// How long a broker may wait for messages.
const WAIT: Duration = Duration::from_secs(15);
/// How much longer than that its answer may take.
const GRACE: Duration = Duration::from_secs(10);
/// Rest after a failure.
const REST: Duration = Duration::from_secs(1);
/// How often it is looked whether a topic is on other brokers, and rest after a failure that won't pass.
const LOOK: Duration = Duration::from_secs(10);
/// Any queue of the broker.
pub(super) const ANY_QUEUE: i32 = -1;

/// What pollers have in common.
pub(super) struct Popping {
    pub shared: Arc<Shared>,
    pub group: Arc<str>,
    pub settings: Settings,
    pub deliveries: mpsc::UnboundedSender<PopDelivery>,
    pub keeper: mpsc::UnboundedSender<Word>,
    /// Numbers of deliveries.
    pub ids: AtomicU64,
    pub subscriptions: Vec<(String, Filter)>,
    /// When it was opened, in milliseconds since 1970: brokers keep the newest subscriptions.
    pub version: i64,
}

/// Polls all brokers of a topic, those included that it gets later.
pub(super) async fn poll_all(popping: Arc<Popping>, topic: String, filter: Filter) {
    let (mut pollers, mut known) = (JoinSet::new(), HashSet::new());
    loop {
        if let Ok(route) = popping.shared.route(&topic).await {
            for queue in &route.readable {
                if known.insert(Arc::clone(&queue.broker)) {
                    let any = Queue { id: ANY_QUEUE, ..queue.clone() };
                    pollers.spawn(poll(Arc::clone(&popping), any, filter.clone()));
                }
            }
        }
        tokio::time::sleep(LOOK).await;
        if popping.shared.is_closed() {
            return;
        }
    }
}

/// Polls one broker until the client is closed.
async fn poll(popping: Arc<Popping>, queue: Queue, filter: Filter) {
    let room = Room::new(popping.settings.max_open, popping.settings.max_open_bytes);
    let batch = popping.settings.batch.min(popping.settings.max_open);
    while !popping.shared.is_closed() {
        // Places first: no more is taken than there is room for.
        let Some(mut places) = room.places(batch).await else { return };
        let began = Instant::now();
        let popped = match popping.pop(&queue, &filter, batch).await {
            Ok(popped) => popped,
            Err(error) => {
                let (group, topic, broker) = (&*popping.group, &*queue.topic, &*queue.broker);
                if error.may_pass() {
                    tracing::warn!(group, topic, broker, %error, "a pop failed, and is tried again");
                    if let Ok(route) = popping.shared.route(&queue.topic).await {
                        popping.shared.refresh(&queue.topic, &route).await;
                    }
                    tokio::time::sleep(REST).await;
                } else {
                    tracing::error!(group, topic, broker, %error, "a pop failed: it is tried later");
                    tokio::time::sleep(LOOK).await;
                }
                continue;
            }
        };
        if popped.is_empty() && began.elapsed() < WAIT / 2 {
            // It waits for others already, or takes the request for an old one because clocks differ.
            tracing::debug!(group = &*popping.group, %queue, "a broker did not wait for messages");
            tokio::time::sleep(REST).await;
        }
        for (PulledMessage { message, unreadable }, receipt) in popped {
            let Some(taken) = room.take(&mut places, message.body.len()) else { break };
            let held = Held::new(&message, receipt, popping.settings.invisible_time, taken);
            let delivery = PopDelivery::new(message, &popping, held);
            match unreadable {
                _ if !filter.wants(&delivery) => delivery.ack(),
                Some(error) => {
                    tracing::error!(group = &*popping.group, %error, "a message cannot be read: it goes back");
                    delivery.retry();
                }
                None => {
                    if let Err(unsent) = popping.deliveries.send(delivery) {
                        unsent.0.leave();
                        return;
                    }
                }
            }
        }
    }
}

impl Popping {
    async fn pop(&self, queue: &Queue, filter: &Filter, batch: u32) -> Result<Vec<(PulledMessage, Receipt)>, Error> {
        let header = PopMessageRequestHeader {
            consumer_group: &self.group,
            topic: &queue.topic,
            queue_id: queue.id,
            max_msg_nums: batch as i32,
            invisible_time: self.settings.invisible_time.as_millis() as i64,
            poll_time: WAIT.as_millis() as i64,
            born_time: self.shared.now_ms(),
            init_mode: self.settings.begin as i32,
            exp_type: Some(filter.kind),
            exp: Some(&filter.expression),
            order: Some(self.settings.in_order),
            attempt_id: None,
            rpc: RpcFields { broker_name: Some(&queue.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::POP_MESSAGE).with_header(&header);
        let (address, answer) = self.shared.ask_reader(queue, MASTER, question, WAIT + GRACE).await?;
        match answer.code {
            response::SUCCESS => {}
            response::POLLING_TIMEOUT | response::POLLING_FULL | response::PULL_NOT_FOUND => return Ok(Vec::new()),
            code => return Err(refused(&address, code, answer)),
        }
        let header: PopMessageResponseHeader<'_> = answer.header().map_err(|error| Error::header(&address, &error))?;
        let popped = Popped::new(&header);
        let mut messages = Vec::new();
        for read in record::iter(&answer.body) {
            let read = read.map_err(|error| Error::record(&address, error))?;
            let queue = Queue::new(read.topic, &queue.broker, read.queue_id);
            let (mut message, unreadable) = self.shared.received(&read, &answer.body, &queue);
            let Some(receipt) = popped.receipt(&message) else {
                // It cannot be settled: it comes again.
                tracing::warn!(%queue, offset = message.offset, "a broker delivered a message and did not say how");
                continue;
            };
            if let Some(times) = popped.times(&receipt) {
                message.reconsume_times = times;
            }
            messages.push((PulledMessage { message, unreadable }, receipt));
        }
        Ok(messages)
    }
}
