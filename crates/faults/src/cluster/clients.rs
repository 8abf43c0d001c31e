//! The clients of a run: producers that send with keys to the queues of two topics, and a group of consumers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apogee_base::rng::Rng;
use apogee_client::{Client, Error, Message, Producer, Queue, SendStatus, Sent};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::history::{History, Outcome, Sending};
use crate::body;

/// The topics, and their queues on a broker.
pub const TOPICS: [(&str, u32); 2] = [("Orders", 4), ("Bills", 2)];
/// Producers of each of the two kinds.
const PRODUCERS: u64 = 4;
/// The group.
const GROUP: &str = "Readers";
/// Attempts of a client with default settings.
const ATTEMPTS: u32 = 3;
/// How long who failed waits before the next message.
const PAUSE: Duration = Duration::from_millis(20);
/// Most milliseconds between two messages of a producer, half of them on average: machines have time to be machines, so
/// that several clusters run side by side.
const THOUGHT_MS: u64 = 8;
/// Most bytes of most bodies, and of some.
const LENGTHS: [u64; 2] = [900, 12_000];

/// Clients at work.
pub struct Clients {
    kinds: [(Producer, u32); 2],
    history: Arc<History>,
    ids: Arc<AtomicU64>,
    rng: Rng,
    stop: watch::Sender<bool>,
    producing: Vec<JoinHandle<()>>,
    leave: watch::Sender<bool>,
    consuming: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts producers of two kinds: half have default settings, and half ask for the way each second and try each
    /// message once, so that none of theirs may be there twice. Two consumers of the group each have a client of their own.
    ///
    /// Must be called in a runtime.
    pub fn start(name_servers: &str, history: &Arc<History>, seed: u64) -> Result<Self, Error> {
        let usual = Client::new(name_servers)?;
        let eager = Client::builder(name_servers).refresh(Duration::from_secs(1)).build()?;
        let kinds = [(usual.producer("Usual")?, ATTEMPTS), (eager.producer_builder("Eager").retries(0).build()?, 1)];
        let (leave, left) = watch::channel(false);
        let mut consuming = Vec::new();
        for _ in 0..2 {
            let client = Client::new(name_servers)?;
            consuming.push(tokio::spawn(consume(client, Arc::clone(history), left.clone())));
        }
        let mut clients = Self {
            kinds,
            history: Arc::clone(history),
            ids: Arc::new(AtomicU64::new(1 << 32)),
            rng: Rng::new(seed),
            stop: watch::Sender::default(),
            producing: Vec::new(),
            leave,
            consuming,
        };
        clients.produce();
        Ok(clients)
    }

    /// Starts the producers, after [`Clients::stop_producing`] again. Must be called in a runtime.
    pub fn produce(&mut self) {
        self.stop.send_replace(false);
        for (producer, copies) in &self.kinds {
            for _ in 0..PRODUCERS {
                let sender = Sender {
                    producer: producer.clone(),
                    copies: *copies,
                    history: Arc::clone(&self.history),
                    ids: Arc::clone(&self.ids),
                    rng: Rng::new(self.rng.number()),
                };
                self.producing.push(tokio::spawn(sender.run(self.stop.subscribe())));
            }
        }
    }

    /// Ends the producers, each after the answer it waits for.
    pub async fn stop_producing(&mut self) {
        self.stop.send_replace(true);
        for task in self.producing.drain(..) {
            // A task that panicked has told so on the standard error.
            let _ = task.await;
        }
    }

    /// Ends the consumers, too.
    pub async fn leave(mut self) {
        self.stop_producing().await;
        let _ = self.leave.send(true);
        for task in self.consuming {
            let _ = task.await;
        }
    }
}

struct Sender {
    producer: Producer,
    copies: u32,
    history: Arc<History>,
    ids: Arc<AtomicU64>,
    rng: Rng,
}

impl Sender {
    /// Sends one message after the other.
    async fn run(mut self, stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            let (topic, queues) = *self.rng.pick(&TOPICS);
            let wanted = self.rng.below(u64::from(queues)) as usize;
            let length = if self.rng.chance(3) { LENGTHS[1] } else { LENGTHS[0] };
            let body = body::make(id, self.rng.below(length) as usize);
            let message = Message::new(topic, body).key(body::key(id));
            let mut queue: Option<Queue> = None;
            let invoked = self.history.now();
            let choose = |queues: &[Queue]| {
                queue = queues.get(wanted).cloned();
                wanted
            };
            let sent = self.producer.send_by(message, choose).await;
            let outcome = outcome_of(&sent);
            let has_failed = !matches!(outcome, Outcome::Acknowledged { .. });
            let place = sent.map(|sent| sent.queue).ok().or(queue).map(|queue| (queue.topic.to_string(), queue.id));
            let (copies, ended) = (self.copies, self.history.now());
            self.history.sent(Sending { id, place, copies, invoked, ended, outcome });
            let thought = Duration::from_millis(self.rng.below(THOUGHT_MS));
            tokio::time::sleep(if has_failed { PAUSE } else { thought }).await;
        }
    }
}

fn outcome_of(sent: &Result<Sent, Error>) -> Outcome {
    match sent {
        Ok(Sent { status: SendStatus::Ok, offset, offset_id, .. }) => {
            Outcome::Acknowledged { offset: *offset, by: broker_of(offset_id) }
        }
        Ok(sent) => Outcome::Unsafe(format!("{:?}", sent.status)),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}

/// The broker that an offset id names.
fn broker_of(offset_id: &str) -> Ipv4Addr {
    let address = offset_id.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    Ipv4Addr::from_bits(address.unwrap_or_default())
}

/// A member of the group, until it is told to leave.
async fn consume(client: Client, history: Arc<History>, mut left: watch::Receiver<bool>) {
    let join = || client.consumer(GROUP).subscribe(TOPICS[0].0).subscribe(TOPICS[1].0).from_first().join();
    let mut consumer = loop {
        match join().await {
            Ok(consumer) => break consumer,
            Err(_) if !*left.borrow() => tokio::time::sleep(PAUSE).await,
            Err(_) => return,
        }
    };
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let Some(delivery) = delivery else { break };
                let told = body::check(&delivery.body);
                history.consumed(told.ok_or_else(|| format!("{} offset {}", delivery.queue, delivery.offset)));
                delivery.ack();
            }
            _ = left.changed() => break,
        }
    }
    // What it could not commit comes again, which is no fault.
    let _ = consumer.close(Duration::from_secs(1)).await;
    client.close().await;
}
