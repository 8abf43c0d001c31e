//! Keeps the deliveries of a consumer that are not settled: renews them while somebody works on them, and tells the
//! brokers what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::bodies::{BatchAck, BatchAckMessageRequestBody, Body};
use apogee_wire::codes::request;
use apogee_wire::headers::{
    AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader, ChangeInvisibleTimeResponseHeader,
    ConsumerSendMsgBackRequestHeader, RpcFields,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::receipt::Receipt;
use super::room::Taken;
use crate::shared::Shared;
use crate::{Error, Queue, Received};

/// Rest before something is tried again that failed.
const REST: Duration = Duration::from_millis(500);
/// Least time between two looks at what is to be renewed.
const LOOK: Duration = Duration::from_millis(100);
/// Words that are taken at once, and acknowledgements of one request, at most.
const AT_ONCE: usize = 256;
/// Bits of one set of acknowledgements, at most: what is farther from its first offset goes by itself.
const BITS: i64 = 1024;

/// What a delivery tells its keeper.
pub(super) enum Word {
    /// It was made.
    Held(u64, Held),
    /// It is settled.
    Settled(u64, Settled),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It was consumed.
    Acked,
    /// It comes again after a while.
    Again(Duration),
    /// It goes to the group's dead letters.
    Dead,
}

/// A delivery that is not settled.
#[derive(Debug)]
pub(super) struct Held {
    /// The topic that it was sent to.
    topic: Arc<str>,
    receipt: Receipt,
    /// When the broker gives it to somebody else.
    due: Instant,
    physical_offset: i64,
    message_id: String,
    /// Something is asked of the broker.
    is_busy: bool,
    settled: Option<Settled>,
    /// The room that it takes.
    _taken: Taken,
}

impl Held {
    pub fn new(message: &Received, receipt: Receipt, invisible_time: Duration, taken: Taken) -> Self {
        Self {
            topic: message.full_topic().into(),
            receipt,
            due: Instant::now() + invisible_time,
            physical_offset: message.physical_offset,
            message_id: message.message_id().into_owned(),
            is_busy: false,
            settled: None,
            _taken: taken,
        }
    }
}

/// What a request came to.
enum Done {
    Renewed(u64, Result<(Receipt, Instant), Error>),
    /// These need nothing more.
    Settled(Vec<u64>),
}

pub(super) struct Keeper {
    pub shared: Arc<Shared>,
    pub group: Arc<str>,
    pub invisible_time: Duration,
}

impl Keeper {
    /// Ends when nobody can settle anything any more, and everything is told.
    pub async fn run(self, mut words: mpsc::UnboundedReceiver<Word>) {
        let keeper = Arc::new(self);
        let (mut held, mut asking) = (HashMap::new(), JoinSet::new());
        let (mut heard, mut settled, mut is_over) = (Vec::new(), Vec::new(), false);
        let mut look = tokio::time::interval((keeper.invisible_time / 8).max(LOOK));
        while !is_over || !asking.is_empty() {
            tokio::select! {
                count = words.recv_many(&mut heard, AT_ONCE), if !is_over => {
                    is_over = count == 0;
                    for word in heard.drain(..) {
                        match word {
                            Word::Held(id, delivery) => {
                                held.insert(id, delivery);
                            }
                            Word::Settled(id, how) => {
                                if let Some(delivery) = held.get_mut(&id) {
                                    delivery.settled = Some(how);
                                    settled.push(id);
                                }
                            }
                        }
                    }
                    keeper.tell(&mut settled, &mut held, &mut asking);
                }
                Some(done) = asking.join_next() => match done {
                    Ok(Done::Settled(ids)) => ids.iter().for_each(|id| drop(held.remove(id))),
                    Ok(Done::Renewed(id, renewed)) => {
                        if let Some(delivery) = held.get_mut(&id) {
                            delivery.is_busy = false;
                            match renewed {
                                Ok((receipt, due)) => (delivery.receipt, delivery.due) = (receipt, due),
                                Err(error) => {
                                    let (topic, offset) = (&*delivery.topic, delivery.receipt.offset);
                                    tracing::warn!(group = &*keeper.group, topic, offset, %error, "a delivery is not renewed");
                                }
                            }
                            settled.extend(delivery.settled.map(|_| id));
                            keeper.tell(&mut settled, &mut held, &mut asking);
                        }
                    }
                    Err(error) => tracing::error!(%error, "a request about a delivery did not end"),
                },
                _ = look.tick() => keeper.renew(&mut held, &mut asking),
            }
        }
    }

    /// Tells the brokers of what is settled. Of what is being renewed, they are told after that.
    fn tell(self: &Arc<Self>, ids: &mut Vec<u64>, held: &mut HashMap<u64, Held>, asking: &mut JoinSet<Done>) {
        let mut acked: HashMap<Queue, Vec<(u64, Ack)>> = HashMap::new();
        for id in ids.drain(..) {
            let Some(delivery) = held.get_mut(&id).filter(|delivery| !delivery.is_busy) else { continue };
            let Some(settled) = delivery.settled else { continue };
            delivery.is_busy = true;
            let ack = Ack {
                queue: Queue::new(&delivery.topic, &delivery.receipt.broker, delivery.receipt.queue),
                receipt: delivery.receipt.clone(),
                due: delivery.due,
            };
            let keeper = Arc::clone(self);
            match settled {
                Settled::Acked => {
                    // A broker is asked for a topic of which it has a route.
                    let broker = Queue { id: 0, ..ack.queue.clone() };
                    acked.entry(broker).or_default().push((id, ack));
                }
                Settled::Again(after) => {
                    asking.spawn(async move {
                        let question = keeper.change(&ack, after);
                        keeper.insist(&ack.queue, ack.due, question, "to come again").await;
                        Done::Settled(vec![id])
                    });
                }
                Settled::Dead => {
                    let (offset, message_id) = (delivery.physical_offset, delivery.message_id.clone());
                    asking.spawn(async move {
                        let question = keeper.bury(&ack, offset, &message_id);
                        if keeper.insist(&ack.queue, ack.due, question, "to go to the dead letters").await {
                            keeper.acknowledge(&ack.queue, std::slice::from_ref(&ack)).await;
                        }
                        Done::Settled(vec![id])
                    });
                }
            }
        }
        for (broker, acked) in acked {
            let keeper = Arc::clone(self);
            asking.spawn(async move {
                let (ids, acks): (Vec<_>, Vec<_>) = acked.into_iter().unzip();
                for acks in acks.chunks(AT_ONCE) {
                    keeper.acknowledge(&broker, acks).await;
                }
                Done::Settled(ids)
            });
        }
    }

    /// Renews what is not settled and soon given to somebody else.
    fn renew(self: &Arc<Self>, held: &mut HashMap<u64, Held>, asking: &mut JoinSet<Done>) {
        let now = Instant::now();
        // Who is late has lost it.
        let soon = now..now + self.invisible_time / 2;
        let open = held.iter_mut().filter(|(_, delivery)| !delivery.is_busy && delivery.settled.is_none());
        for (id, delivery) in open.filter(|(_, delivery)| soon.contains(&delivery.due)) {
            delivery.is_busy = true;
            let queue = Queue::new(&delivery.topic, &delivery.receipt.broker, delivery.receipt.queue);
            let ack = Ack { queue, receipt: delivery.receipt.clone(), due: delivery.due };
            let (keeper, id) = (Arc::clone(self), *id);
            asking.spawn(async move {
                let began = Instant::now();
                let answer = keeper.shared.ask_master(&ack.queue, keeper.change(&ack, keeper.invisible_time)).await;
                let renewed = answer.and_then(|(address, answer)| {
                    let changed: ChangeInvisibleTimeResponseHeader =
                        answer.header().map_err(|error| Error::header(&address, &error))?;
                    Ok(Receipt {
                        start: ack.receipt.offset,
                        pop_time: changed.pop_time,
                        invisible_time: changed.invisible_time,
                        revive_queue: changed.revive_qid,
                        ..ack.receipt
                    })
                });
                Done::Renewed(id, renewed.map(|receipt| (receipt, began + keeper.invisible_time)))
            });
        }
    }

    /// Asks until the broker has done it; false when it refuses, or has given the message to somebody else.
    async fn insist(&self, queue: &Queue, due: Instant, question: Command, what: &str) -> bool {
        loop {
            let error = match self.shared.ask_master(queue, question.clone()).await {
                Ok(_) => return true,
                Err(error) => error,
            };
            if !error.may_pass() || Instant::now() + REST > due || self.shared.is_closed() {
                tracing::warn!(group = &*self.group, %queue, %error, "a message that is {what} comes again sooner or later");
                return false;
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Acknowledges messages of one topic on one broker.
    async fn acknowledge(&self, broker: &Queue, acks: &[Ack]) {
        let (near, far): (Vec<_>, Vec<_>) = acks.iter().partition(|ack| (0..BITS).contains(&ack.place()));
        for ack in far {
            self.acknowledge_one(ack).await;
        }
        if let [ack] = *near {
            self.acknowledge_one(ack).await;
        }
        if near.len() < 2 {
            return;
        }
        let body = BatchAckMessageRequestBody { broker_name: Some(broker.broker.to_string()), acks: self.sets(&near) };
        let question = Command::request(request::BATCH_ACK_MESSAGE).with_body(body.encode());
        match self.shared.ask_master(broker, question).await {
            Ok(_) => {}
            // Older brokers take them one by one; and what failed is tried once more.
            Err(error) => {
                let (group, peer) = (&*self.group, &*broker.broker);
                tracing::debug!(group, broker = peer, %error, "messages are acknowledged one by one");
                for ack in near {
                    self.acknowledge_one(ack).await;
                }
            }
        }
    }

    async fn acknowledge_one(&self, ack: &Ack) {
        let Ack { queue, receipt, .. } = ack;
        let header = AckMessageRequestHeader {
            consumer_group: &self.group,
            topic: &receipt.topic(&self.group, &queue.topic),
            queue_id: receipt.queue,
            extra_info: &receipt.to_string(),
            offset: receipt.offset,
            lite_topic: None,
            rpc: RpcFields { broker_name: Some(&receipt.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::ACK_MESSAGE).with_header(&header);
        self.insist(queue, ack.due, question, "acknowledged").await;
    }

    /// Acknowledgements of what one pop brought of a queue are one set of bits.
    fn sets(&self, acks: &[&Ack]) -> Vec<BatchAck> {
        let mut sets = HashMap::new();
        for ack in acks {
            let Ack { queue, receipt, .. } = ack;
            let Receipt { retry, queue: queue_id, pop_time, start, .. } = *receipt;
            let (_, bits) = sets.entry((queue_id, retry, start, pop_time)).or_insert_with(|| {
                let ack = BatchAck {
                    consumer_group: Some(self.group.to_string()),
                    topic: Some(queue.topic.to_string()),
                    retry: Some(retry.to_string()),
                    start_offset: start,
                    queue_id,
                    revive_queue_id: receipt.revive_queue,
                    pop_time,
                    invisible_time: receipt.invisible_time,
                    bit_set: None,
                };
                (ack, Vec::<u8>::new())
            });
            let place = usize::try_from(ack.place()).unwrap_or_default();
            if bits.len() <= place / 8 {
                bits.resize(place / 8 + 1, 0);
            }
            bits[place / 8] |= 1 << (place % 8);
        }
        sets.into_values().map(|(ack, bits)| BatchAck { bit_set: Some(STANDARD.encode(bits)), ..ack }).collect()
    }

    fn change(&self, ack: &Ack, after: Duration) -> Command {
        let Ack { queue, receipt, .. } = ack;
        let header = ChangeInvisibleTimeRequestHeader {
            consumer_group: &self.group,
            topic: &receipt.topic(&self.group, &queue.topic),
            queue_id: receipt.queue,
            extra_info: &receipt.to_string(),
            offset: receipt.offset,
            invisible_time: after.as_millis() as i64,
            lite_topic: None,
            suspend: None,
            rpc: RpcFields { broker_name: Some(&receipt.broker), ..RpcFields::default() },
        };
        Command::request(request::CHANGE_MESSAGE_INVISIBLETIME).with_header(&header)
    }

    fn bury(&self, ack: &Ack, physical_offset: i64, message_id: &str) -> Command {
        /// Straight to the dead letters.
        const DEAD: i32 = -1;
        let header = ConsumerSendMsgBackRequestHeader {
            offset: physical_offset,
            group: &self.group,
            delay_level: DEAD,
            origin_msg_id: Some(message_id),
            origin_topic: Some(&ack.queue.topic),
            unit_mode: Some(false),
            max_reconsume_times: Some(0),
            rpc: RpcFields { broker_name: Some(&ack.receipt.broker), ..RpcFields::default() },
        };
        Command::request(request::CONSUMER_SEND_MSG_BACK).with_header(&header)
    }
}

/// A delivery that is to be settled or renewed.
struct Ack {
    /// Where its broker is found.
    queue: Queue,
    receipt: Receipt,
    due: Instant,
}

impl Ack {
    /// Its place behind the first message of its pop.
    fn place(&self) -> i64 {
        self.receipt.offset - self.receipt.start
    }
}
