//! Load: several connections with several requests in flight, and a consumer that commits offsets. Each
//! thread notes what it was told; the notes are handed over when it ends.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use apogee_message::batch::{self, BatchMessage};
use apogee_message::names::property;
use apogee_message::{properties, record};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader, SendMessageResponseHeader};
use bytes::{Bytes, BytesMut};

use crate::body;
use crate::peer::{PATIENCE, Peer};
use apogee_base::rng::Rng;

/// A queue: the topic's name, and its number there.
pub type Place = (Arc<str>, i32);

/// What is sent, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Queues to send to.
    pub places: Vec<Place>,
    /// Where the consumer begins in each.
    pub positions: Vec<i64>,
    /// Connections that send.
    pub connections: usize,
    /// Requests in flight on each.
    pub depth: usize,
    /// Most bytes of a body.
    pub largest: usize,
    /// Most bodies are large, to fill a disk.
    pub heavy: bool,
}

/// A send that was answered with success: messages `first_id..first_id + count`.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// Id of the first.
    pub first_id: u64,
    /// How many: more than one for a batch.
    pub count: u64,
    /// Their queue.
    pub place: Place,
    /// The queue offset that was told: of the first.
    pub offset: i64,
    /// When it was sent.
    pub sent_at: Instant,
    /// When the answer was read.
    pub at: Instant,
    /// The answer came later than that.
    pub not_before: Instant,
}

/// A send that was answered with an error.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The answer's code.
    pub code: i32,
    /// Its words.
    pub remark: String,
    /// When it was sent.
    pub sent_at: Instant,
}

/// A message that the consumer read.
#[derive(Debug, Clone)]
pub struct Read {
    /// Its queue.
    pub place: Place,
    /// Its offset.
    pub offset: i64,
    /// Which it is; `None` when the body was wrong.
    pub id: Option<u64>,
    /// When.
    pub at: Instant,
}

/// What the threads were told.
#[derive(Debug, Default)]
pub struct Told {
    /// Messages on their way, whatever became of them.
    pub sent: Vec<(u64, Place)>,
    /// Sends that succeeded.
    pub acknowledged: Vec<Acknowledged>,
    /// Sends that failed.
    pub refused: Vec<Refused>,
    /// Sends without an answer on a connection that stayed open.
    pub unanswered: usize,
    /// Messages that the consumer read.
    pub read: Vec<Read>,
    /// Offsets that the consumer committed, and when that was acknowledged.
    pub commits: Vec<(Place, i64, Option<Instant>)>,
}

impl Told {
    /// Forgets that anything was promised from a moment on. While a file system loses its power, a sync that
    /// is under way may succeed and yet leave nothing behind; a machine without power would not tell of it.
    pub fn unpromise_since(&mut self, moment: Instant) {
        self.acknowledged.retain(|answer| answer.at < moment);
        self.read.retain(|read| read.at < moment);
        for commit in &mut self.commits {
            commit.2 = commit.2.filter(|at| *at < moment);
        }
    }
}

/// Counters for who watches the load while it runs.
#[derive(Debug, Default)]
pub struct Watch {
    /// Messages acknowledged.
    pub acknowledged: AtomicU64,
    /// Sends refused.
    pub refused: AtomicU64,
    /// Messages read by the consumer.
    pub read: AtomicU64,
}

/// Load under way.
pub struct Running {
    stop: Arc<AtomicBool>,
    /// What it has come to so far.
    pub watch: Arc<Watch>,
    threads: Vec<JoinHandle<Told>>,
}

impl Running {
    /// Starts the threads; `ids` gives each message its own.
    pub fn start(address: SocketAddr, plan: &Plan, ids: &Arc<AtomicU64>, rng: &mut Rng) -> Self {
        let (stop, watch) = (Arc::new(AtomicBool::new(false)), Arc::new(Watch::default()));
        let mut threads = Vec::new();
        for _ in 0..plan.connections {
            let sender = Sender {
                plan: plan.clone(),
                ids: Arc::clone(ids),
                rng: Rng::new(rng.number()),
                stop: Arc::clone(&stop),
                watch: Arc::clone(&watch),
                flying: HashMap::new(),
                told: Told::default(),
            };
            threads.push(std::thread::spawn(move || sender.run(address)));
        }
        let consumer = Consumer {
            positions: plan.positions.clone(),
            plan: plan.clone(),
            rng: Rng::new(rng.number()),
            stop: Arc::clone(&stop),
            watch: Arc::clone(&watch),
            told: Told::default(),
        };
        threads.push(std::thread::spawn(move || consumer.run(address)));
        Self { stop, watch, threads }
    }

    /// Ends the load: what is in flight may still be answered. Returns what was told.
    pub fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        for thread in self.threads {
            // A thread that panicked has told nothing; the harness itself is at fault then.
            let told = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.sent.extend(told.sent);
            all.acknowledged.extend(told.acknowledged);
            all.refused.extend(told.refused);
            all.read.extend(told.read);
            all.commits.extend(told.commits);
            all.unanswered += told.unanswered;
        }
        all
    }
}

/// A send under way.
struct Flying {
    first_id: u64,
    count: u64,
    place: Place,
    sent_at: Instant,
}

struct Sender {
    plan: Plan,
    ids: Arc<AtomicU64>,
    rng: Rng,
    stop: Arc<AtomicBool>,
    watch: Arc<Watch>,
    /// By the number of the answer.
    flying: HashMap<i32, Flying>,
    told: Told,
}

impl Sender {
    fn run(mut self, address: SocketAddr) -> Told {
        let Ok(mut peer) = Peer::connect(address) else { return self.told };
        // An error is the end of the connection: what is in flight stays unknown.
        if self.drive(&mut peer).is_ok() {
            self.told.unanswered += self.flying.len();
        }
        self.told
    }

    fn drive(&mut self, peer: &mut Peer) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            while self.flying.len() < self.plan.depth {
                self.send(peer)?;
            }
            let refused = self.told.refused.len();
            if let Some(answer) = peer.receive(Duration::from_millis(50))? {
                self.hear(&answer, peer.not_before());
            }
            // Who is refused waits a moment, as clients do.
            if self.told.refused.len() > refused {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.flying.is_empty() {
            match peer.receive(deadline.saturating_duration_since(Instant::now()))? {
                Some(answer) => self.hear(&answer, peer.not_before()),
                None => break,
            }
        }
        Ok(())
    }

    fn send(&mut self, peer: &mut Peer) -> io::Result<()> {
        let (topic, queue_id) = self.rng.pick(&self.plan.places).clone();
        let count = if self.rng.chance(15) { self.rng.within(2..17) } else { 1 };
        let first = self.ids.fetch_add(count, Ordering::Relaxed);
        self.told.sent.extend((first..first + count).map(|id| (id, (Arc::clone(&topic), queue_id))));
        let body = if count == 1 {
            self.body(first)
        } else {
            let mut out = BytesMut::new();
            for id in first..first + count {
                let properties = Bytes::from(properties_of(id));
                batch::push(&mut out, &BatchMessage { flag: body::FLAG, body: self.body(id), properties });
            }
            out.freeze()
        };
        let place = (topic, queue_id);
        let (sent_at, opaque) = (Instant::now(), peer.send(request_of(&place, first, count, body))?);
        self.flying.insert(opaque, Flying { first_id: first, count, place, sent_at });
        Ok(())
    }

    /// Mostly small, some large: so that records end anywhere in a file.
    fn body(&mut self, id: u64) -> Bytes {
        let limit = match self.rng.below(100) {
            0..80 if !self.plan.heavy => 600,
            80..98 if !self.plan.heavy => 6_000,
            _ => self.plan.largest as u64,
        };
        body::make(id, self.rng.below(limit.min(self.plan.largest as u64)) as usize)
    }

    fn hear(&mut self, answer: &Command, not_before: Instant) {
        let Some(Flying { first_id, count, place, sent_at }) = self.flying.remove(&answer.opaque) else { return };
        let at = Instant::now();
        let header = answer.header::<SendMessageResponseHeader<'_>>();
        match header {
            Ok(header) if answer.code == response::SUCCESS => {
                let offset = header.queue_offset;
                self.told.acknowledged.push(Acknowledged { first_id, count, place, offset, sent_at, at, not_before });
                self.watch.acknowledged.fetch_add(count, Ordering::Relaxed);
            }
            _ => {
                let remark = answer.remark.clone().unwrap_or_default();
                self.told.refused.push(Refused { code: answer.code, remark, sent_at });
                self.watch.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A send of `count` messages, the first of which has this id.
fn request_of(place: &Place, first_id: u64, count: u64, body: Bytes) -> Command {
    let code = if count == 1 { request::SEND_MESSAGE_V2 } else { request::SEND_BATCH_MESSAGE };
    let mut command = Command::request(code);
    command.body = body;
    let own = properties_of(first_id);
    let header = SendMessageRequestHeader {
        producer_group: "FaultsProducer",
        topic: &place.0,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: place.1,
        sys_flag: 0,
        born_timestamp: body::BORN,
        flag: body::FLAG,
        properties: Some(&own),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        batch: Some(count > 1),
        max_reconsume_times: None,
        broker_name: None,
        rpc: RpcFields::default(),
    };
    header.encode_v2(&mut command.fields);
    command
}

/// Sends so many messages, one after the other, that nobody looks for: a server that has just started is not
/// at its pace yet. Waits until they are taken.
pub fn warm(address: SocketAddr, count: u64) -> io::Result<()> {
    let mut peer = Peer::connect(address)?;
    let (mut taken, began) = (0, Instant::now());
    while taken < count {
        let place = (Arc::from("Warm"), (taken % 4) as i32);
        match peer.call(request_of(&place, taken, 1, body::make(taken, 300)))?.code {
            response::SUCCESS => taken += 1,
            // It may be about to make the topic, or lack the disk for it.
            code if began.elapsed() > PATIENCE => {
                let text = format!("no send was taken within {} s: code {code}", PATIENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Ok(())
}

fn properties_of(id: u64) -> String {
    let mut out = Vec::new();
    properties::push(&mut out, property::UNIQ_KEY, &body::key(id));
    properties::push(&mut out, property::TAGS, body::tag(id));
    String::from_utf8_lossy(&out).into_owned()
}

struct Consumer {
    plan: Plan,
    positions: Vec<i64>,
    rng: Rng,
    stop: Arc<AtomicBool>,
    watch: Arc<Watch>,
    told: Told,
}

impl Consumer {
    fn run(mut self, address: SocketAddr) -> Told {
        if let Ok(mut peer) = Peer::connect(address) {
            // An error is the end of the connection.
            let _ = self.drive(&mut peer);
        }
        self.told
    }

    fn drive(&mut self, peer: &mut Peer) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let at = self.rng.below(self.plan.places.len() as u64) as usize;
            let (place, position) = (self.plan.places[at].clone(), self.positions[at]);
            let pulled = peer.pull(&place.0, place.1, position)?;
            if pulled.body.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let before = self.told.read.len();
            let at_once = Instant::now();
            for found in record::iter(&pulled.body).map_while(Result::ok) {
                let (offset, id) = (found.queue_offset, body::check(found.body));
                self.told.read.push(Read { place: place.clone(), offset, id, at: at_once });
            }
            self.watch.read.fetch_add((self.told.read.len() - before) as u64, Ordering::Relaxed);
            self.positions[at] = pulled.next;
            // Noted before it is asked for: an answer that is lost leaves it unknown.
            self.told.commits.push((place.clone(), pulled.next, None));
            if peer.commit(&place.0, place.1, pulled.next)?
                && let Some(last) = self.told.commits.last_mut()
            {
                last.2 = Some(Instant::now());
            }
        }
        Ok(())
    }
}
