//! `kill -9` between any two steps of lite topics and light queues: nothing is lost, out of order or stuck. `APOGEE_SEED`
//! runs one seed alone.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use apogee_base::rng::Rng;
use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::bodies::LiteSubscriptionAction as Action;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::PullMessageResponseHeader;
use common::lite::*;
use common::{PATIENCE, Peer, Pull, Server};

const CLIENTS: [&str; 2] = ["one", "two"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const STEPS: usize = 60;
/// Soon over, and so that some are over amid the steps.
const INVISIBLE_MS: [i64; 3] = [50, 400, 3_000];
/// How long what is left stays with whoever gets it.
const LONG_MS: i64 = 300_000;
/// Nobody looks at all lite topics: each has to be told of.
const SETTINGS: [&str; 3] = ["enableLmq=true", "enableMultiDispatch=true", "liteEventFullDispatchDelayTime=86400000"];

fn seeds() -> Vec<u64> {
    match std::env::var("APOGEE_SEED") {
        Ok(seed) => vec![seed.parse().expect("APOGEE_SEED is a number")],
        Err(_) => (1..=4).collect(),
    }
}

/// What clients did, and what they were told.
#[derive(Default)]
struct Clients {
    reads: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// Bodies by lite topic, in the order in which they were sent.
    sent: BTreeMap<&'static str, Vec<String>>,
    acked: BTreeSet<String>,
    out: Vec<Popped>,
}

impl Clients {
    fn step(&mut self, rng: &mut Rng, peer: &mut Peer) {
        let (client, name) = (*rng.pick(&CLIENTS), *rng.pick(&NAMES));
        match rng.below(10) {
            0..4 => {
                let sent = self.sent.entry(name).or_default();
                let body = format!("{name}{}", sent.len());
                send(peer, name, &body);
                sent.push(body);
            }
            4..6 => self.out.extend(pop(peer, client, *rng.pick(&INVISIBLE_MS))),
            6..8 if !self.out.is_empty() => {
                let popped = self.out.remove(rng.below(self.out.len() as u64) as usize);
                if peer.call(ack_command(&popped)).code == response::SUCCESS {
                    self.acked.insert(popped.body);
                }
            }
            8 => {
                assert_eq!(tell(peer, change(client, Action::PartialRemove, &[name])), response::SUCCESS);
                self.reads.entry(client).or_default().remove(name);
            }
            _ => {
                subscribe(peer, client, &[name]);
                self.reads.entry(client).or_default().insert(name);
            }
        }
    }

    /// As clients do from time to time: all that they read.
    fn say_again(&self, peer: &mut Peer) {
        for (client, names) in &self.reads {
            let names: Vec<&str> = names.iter().copied().collect();
            assert_eq!(tell(peer, change(client, Action::CompleteAdd, &names)), response::SUCCESS);
        }
    }

    /// Reads what is left: each lite topic in order, and nothing of it is missing.
    fn finish(&self, peer: &mut Peer, seed: u64) {
        subscribe(peer, "last", &NAMES);
        let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut open: BTreeSet<&String> =
            self.sent.values().flatten().filter(|body| !self.acked.contains(*body)).collect();
        let deadline = Instant::now() + PATIENCE * 2;
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "seed {seed}: {open:?} do not come");
            for popped in read(&peer.call(pop_command("last", LONG_MS, 1_000))) {
                open.remove(&popped.body);
                ack(peer, &popped);
                left.entry(name_of(&popped.lite)).or_default().push(popped.body);
            }
        }
        assert!(pop(peer, "last", LONG_MS).is_empty(), "seed {seed}");
        for (name, bodies) in left {
            let places: Vec<_> =
                bodies.iter().map(|body| self.sent[name].iter().position(|sent| sent == body)).collect();
            assert!(places.is_sorted() && !places.contains(&None), "seed {seed}: {name} came as {bodies:?}");
        }
    }
}

fn name_of(lite: &str) -> &'static str {
    NAMES.into_iter().find(|name| *name == lite).expect("one of ours")
}

#[test]
fn lite_topics_lose_nothing_and_are_never_stuck() {
    for seed in seeds() {
        let (folder, mut rng) = (tempfile::tempdir().expect("a folder"), Rng::new(seed));
        let mut server = Server::start_in(folder.path(), &SETTINGS);
        let mut peer = server.connect();
        make(&mut peer, &[]);
        let mut clients = Clients::default();
        for _ in 0..STEPS {
            if rng.below(8) == 0 {
                server.kill();
                server = Server::start_in(folder.path(), &SETTINGS);
                peer = server.connect();
                clients.say_again(&mut peer);
            }
            clients.step(&mut rng, &mut peer);
        }
        if seed % 2 == 0 {
            server.kill();
            server = Server::start_in(folder.path(), &SETTINGS);
        }
        clients.finish(&mut server.connect(), seed);
    }
}

/// Somebody who keeps the offset in a light queue himself, and reads now and then.
#[derive(Default)]
struct Reader {
    offset: i64,
    got: BTreeSet<String>,
}

impl Reader {
    fn read(&mut self, peer: &mut Peer, queue: &str) {
        loop {
            let (answer, _) = peer.pull(Pull::of(queue, 0, self.offset));
            let head: PullMessageResponseHeader = answer.header().expect("a header");
            match answer.code {
                response::SUCCESS => {
                    let records = record::iter(&answer.body).map(|record| record.expect("a record"));
                    self.got.extend(records.map(|record| String::from_utf8_lossy(record.body).into_owned()));
                }
                response::PULL_OFFSET_MOVED if head.next_begin_offset != self.offset => {}
                _ => return,
            }
            self.offset = head.next_begin_offset;
        }
    }
}

/// Queues that go, with all that is in them, and come again with the next message.
#[test]
fn light_queues_lose_nothing_that_came_after_they_were_removed() {
    const QUEUES: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];
    for seed in seeds() {
        let (folder, mut rng) = (tempfile::tempdir().expect("a folder"), Rng::new(seed));
        let mut server = Server::start_in(folder.path(), &SETTINGS);
        let mut peer = server.connect();
        let mut readers: BTreeMap<&str, Reader> = BTreeMap::new();
        let mut alive: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for step in 0..STEPS * 2 {
            let queue = *rng.pick(&QUEUES);
            match rng.below(20) {
                0..2 => {
                    server.kill();
                    server = Server::start_in(folder.path(), &SETTINGS);
                    peer = server.connect();
                }
                2..4 => {
                    let mut remove = Command::request(request::DELETE_TOPIC_IN_BROKER);
                    remove.fields.set_str("topic", queue);
                    assert_eq!(peer.call(remove).code, response::SUCCESS);
                    alive.remove(queue);
                }
                4..7 => readers.entry(queue).or_default().read(&mut peer, queue),
                _ => {
                    let body = format!("{queue}-{step}");
                    peer.send_ok("T", 0, body.as_bytes(), &format!("INNER_MULTI_DISPATCH\x01{queue}\x02"));
                    alive.entry(queue).or_default().insert(body);
                }
            }
        }
        server.kill();
        server = Server::start_in(folder.path(), &SETTINGS);
        peer = server.connect();
        for (queue, sent) in alive {
            let reader = readers.entry(queue).or_default();
            reader.read(&mut peer, queue);
            let missing: Vec<_> = sent.difference(&reader.got).collect();
            assert!(missing.is_empty(), "seed {seed}: {queue} at {} lacks {missing:?}", reader.offset);
        }
    }
}
