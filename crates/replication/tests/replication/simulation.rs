//! Masters, slaves and a controller that elects, over many seeds: connections break anywhere, power fails, a master
//! is deposed without knowing it, answers of the controller get lost. Nothing that was promised may ever be missing.
//!
//! A failing seed is printed; `REPLICATION_SEED=<n>` runs it alone, `REPLICATION_SEEDS=<n>` sets how many run.

use std::collections::{BTreeMap, BTreeSet};

use apogee_base::rng::Rng;
use apogee_replication::switch::{self, Handshake, Head};
use apogee_replication::{
    Epoch, Epochs, Facts, Follower, Following, Heard, Leader, Mastership, Rules, Session, Step, Wanted,
};
use bytes::BytesMut;

const RULES: Rules = Rules {
    in_sync_replicas: 1,
    min_in_sync_replicas: 1,
    auto: false,
    all_in_sync: true,
    most_gap: 1 << 20,
    most_lag_ms: 300,
    silence_ms: 100,
};

/// A broker: its log of records, each behind its length, and what it is at present.
struct Node {
    log: Vec<u8>,
    /// Up to where a power cut takes nothing.
    durable: usize,
    epochs: Epochs,
    role: Role,
    /// Epoch of the last word of the controller that it has heard.
    heard: i32,
}

#[allow(clippy::large_enum_variant)] // There are three of them.
enum Role {
    Off,
    /// It waits for the controller's word, or follows.
    Slave(Option<Link>),
    Master(Box<Leader>),
}

/// A slave's side of a connection, with what is on its way.
struct Link {
    number: u64,
    master: usize,
    follower: Follower,
    received: BytesMut,
    to_slave: BytesMut,
    to_master: BytesMut,
}

/// A master's side of a connection.
#[derive(Default)]
struct Served {
    session: Session,
    received: BytesMut,
    /// Where the copy goes on, once it has begun.
    next: Option<i64>,
}

#[derive(Clone)]
struct Word {
    master: usize,
    epoch: i32,
    members: BTreeSet<i64>,
    set_epoch: i32,
}

struct World {
    random: Rng,
    now: i64,
    nodes: Vec<Node>,
    served: BTreeMap<u64, Served>,
    connections: u64,
    controller: Word,
    /// What masters asked the controller, and it has not heard yet.
    asked: Vec<(usize, i32, Wanted)>,
    /// The log as far as anybody was told that it is safe.
    promised: Vec<u8>,
    cuts: u32,
}

/// The end of the last whole record up to a place.
fn boundary(log: &[u8], most: usize) -> usize {
    let mut end = 0;
    while let Some(length) = log.get(end) {
        let next = end + 1 + *length as usize;
        if next > most.min(log.len()) {
            break;
        }
        end = next;
    }
    end
}

fn id(node: usize) -> i64 {
    node as i64 + 1
}

impl Node {
    fn cut(&mut self, to: usize) {
        self.log.truncate(to);
        self.durable = self.durable.min(to);
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let nodes = (0..3).map(|_| Node {
            log: Vec::new(),
            durable: 0,
            epochs: Epochs::default(),
            role: Role::Slave(None),
            heard: 0,
        });
        let controller = Word { master: 0, epoch: 1, members: [id(0)].into(), set_epoch: 1 };
        Self {
            random: Rng::new(seed),
            now: 0,
            nodes: nodes.collect(),
            served: BTreeMap::new(),
            connections: 0,
            controller,
            asked: Vec::new(),
            promised: Vec::new(),
            cuts: 0,
        }
    }

    fn step(&mut self) {
        self.now += self.random.below(5) as i64;
        let node = self.random.below(self.nodes.len() as u64) as usize;
        match self.random.below(1_000) {
            0..250 => self.append(node),
            250..750 => self.talk(node),
            750..820 => self.flush(node),
            820..900 => self.hear_controller(node),
            900..960 => self.ask_controller(node),
            960..980 => self.answer_one(),
            980..990 => self.disconnect(node),
            990..994 => self.elect(),
            994..997 => self.power_cut(node),
            _ => self.start(node),
        }
        self.check();
    }

    fn append(&mut self, node: usize) {
        let mut record = vec![0; self.random.within(1..40) as usize];
        record.fill_with(|| self.random.number() as u8);
        let node = &mut self.nodes[node];
        if let Role::Master(_) = &node.role {
            node.log.push(record.len() as u8);
            node.log.extend(record);
        }
    }

    fn flush(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.durable = node.log.len();
        if let Role::Slave(Some(link)) = &mut node.role
            && let Some(report) = link.follower.report(node.durable as i64)
        {
            link.to_master.extend_from_slice(&report);
        }
    }

    /// A slave connects, or some bytes of its connection arrive.
    fn talk(&mut self, at: usize) {
        let (heard, master) = (self.nodes[at].heard, self.controller.master);
        let node = &mut self.nodes[at];
        match &mut node.role {
            Role::Slave(link @ None) if heard == self.controller.epoch && master != at => {
                self.connections += 1;
                let handshake = Handshake { from_last_file: false, is_learner: false, broker_id: id(at) };
                let following = Following::Switch { handshake, epochs: node.epochs.clone() };
                // What a slave says first counts as what it has: so that is durable.
                node.durable = node.log.len();
                let follower = Follower::new(following, 0, node.log.len() as i64);
                let to_master = BytesMut::from(&follower.hello()[..]);
                let (received, to_slave) = Default::default();
                *link = Some(Link { number: self.connections, master, follower, received, to_slave, to_master });
            }
            Role::Slave(Some(link)) => {
                let (number, master) = (link.number, link.master);
                if self.random.chance(50) {
                    let some = self.random.within(1..200).min(link.to_slave.len() as u64);
                    let bytes = link.to_slave.split_to(some as usize);
                    self.slave_hears(at, &bytes);
                } else {
                    let some = self.random.within(1..200).min(link.to_master.len() as u64);
                    let bytes = link.to_master.split_to(some as usize);
                    match self.master_hears(master, number, &bytes) {
                        Some(says) => {
                            if let Role::Slave(Some(link)) = &mut self.nodes[at].role {
                                link.to_slave.extend_from_slice(&says);
                            }
                        }
                        None => self.disconnect(at),
                    }
                }
            }
            _ => {}
        }
    }

    fn slave_hears(&mut self, at: usize, bytes: &[u8]) {
        let node = &mut self.nodes[at];
        let Role::Slave(Some(link)) = &mut node.role else { return };
        link.received.extend_from_slice(bytes);
        loop {
            // Masters of this world are well-behaved: a slave that refuses one has found what must not be.
            let Some(step) = link.follower.received(&mut link.received).unwrap() else { return };
            match step {
                Step::Keep(epochs) => node.epochs = epochs,
                Step::Begin => link.to_master.extend_from_slice(&link.follower.report(node.durable as i64).unwrap()),
                Step::Append { offset, bytes } => {
                    assert_eq!(offset, node.log.len() as i64);
                    node.log.extend_from_slice(&bytes);
                }
                Step::Nothing => {}
                Step::CutTo(to) => {
                    self.cuts += 1;
                    node.cut(to as usize);
                    node.epochs.cut(to);
                    assert_eq!(boundary(&node.log, node.log.len()), node.log.len(), "cut within a record");
                    return self.disconnect(at);
                }
                Step::BeginAnew => {
                    (node.log, node.durable, node.epochs) = Default::default();
                    return self.disconnect(at);
                }
            }
        }
    }

    /// What the master says then; `None` when it closes the connection.
    fn master_hears(&mut self, at: usize, number: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let now = self.now;
        let node = &mut self.nodes[at];
        let Role::Master(leader) = &mut node.role else { return None };
        leader.written(node.durable as i64);
        let served = self.served.entry(number).or_default();
        served.received.extend_from_slice(bytes);
        let end = node.log.len() as i64;
        let facts = Facts { begin: 0, end, file_size: 1 << 20, from_last_file: false, epochs: Some(&node.epochs) };
        let mut says = Vec::new();
        while let Some(heard) = served.session.received(&mut served.received, &facts).ok()? {
            match heard {
                Heard::Handshake(who) => {
                    leader.connected(number, String::new(), Some((who.broker_id, false)), now).ok()?;
                    says.extend(Session::reply(&facts));
                }
                Heard::Begins { has, from } => {
                    leader.begins(number, from, has, now).then_some(())?;
                    served.next = Some(from);
                }
                Heard::Acked(end) => leader.acked(number, end, now).then_some(())?,
            }
        }
        if let Some(from) = served.next {
            let most = (from + self.random.within(1..100) as i64).min(end);
            let to = node.epochs.end_at(from).map_or(most, |epoch_end| most.min(epoch_end));
            let epoch = node.epochs.at(from).unwrap();
            let head = Head { offset: from, epoch, confirmed: leader.confirmed() };
            says.extend(switch::head((to - from) as u32, &head));
            says.extend_from_slice(&node.log[from as usize..to as usize]);
            served.next = Some(to);
        }
        Some(says)
    }

    fn disconnect(&mut self, at: usize) {
        let Role::Slave(link) = &mut self.nodes[at].role else { return };
        let Some(link) = link.take() else { return };
        self.served.remove(&link.number);
        if let Role::Master(leader) = &mut self.nodes[link.master].role {
            leader.gone(link.number);
        }
    }

    /// A broker learns what the controller has decided. A master that starts again is elected again.
    fn hear_controller(&mut self, at: usize) {
        let word = self.controller.clone();
        let node = &mut self.nodes[at];
        match &mut node.role {
            Role::Off => {}
            Role::Master(leader) if node.heard == word.epoch => leader.in_sync_is(word.members, word.set_epoch),
            _ if node.heard == word.epoch => {}
            _ => {
                node.heard = word.epoch;
                self.disconnect(at);
                let node = &mut self.nodes[at];
                // A change of role is a start: what is not whole of the last record goes.
                node.cut(boundary(&node.log, node.log.len()));
                node.epochs.end_with(node.log.len() as i64);
                node.role = if word.master == at {
                    let start = node.log.len() as i64;
                    node.epochs.push(Epoch { number: word.epoch, start }).unwrap();
                    let mastership = Mastership::new(id(at), start, word.members, word.set_epoch);
                    Role::Master(Box::new(Leader::new(RULES, Some(mastership), node.durable as i64, self.now)))
                } else {
                    Role::Slave(None)
                };
            }
        }
    }

    fn ask_controller(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Role::Master(leader) = &mut node.role else { return };
        leader.written(node.durable as i64);
        if let Some(wanted) = leader.wanted(self.now)
            && self.asked.len() < 10
        {
            self.asked.push((at, node.heard, wanted));
        }
    }

    /// The controller hears of a wish, or never does; its answers are heard in `hear_controller`.
    fn answer_one(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let nth = self.random.below(self.asked.len() as u64) as usize;
        let (from, epoch, wanted) = self.asked.swap_remove(nth);
        let word = &mut self.controller;
        let holds = word.master == from && word.epoch == epoch && word.set_epoch == wanted.replaces;
        if holds && !self.random.chance(20) {
            (word.members, word.set_epoch) = (wanted.members, word.set_epoch + 1);
        }
    }

    /// One of those in sync becomes the master, the present one knowing nothing of it.
    fn elect(&mut self) {
        let alive = |member: &&i64| !matches!(self.nodes[**member as usize - 1].role, Role::Off);
        let able: Vec<i64> = self.controller.members.iter().filter(alive).copied().collect();
        if able.is_empty() {
            return;
        }
        let elected = *self.random.pick(&able) as usize - 1;
        let Word { epoch, set_epoch, .. } = self.controller;
        self.controller =
            Word { master: elected, epoch: epoch + 1, members: [id(elected)].into(), set_epoch: set_epoch + 1 };
    }

    fn power_cut(&mut self, at: usize) {
        self.disconnect(at);
        let node = &mut self.nodes[at];
        let left = self.random.within(node.durable as u64..node.log.len() as u64 + 1) as usize;
        node.cut(boundary(&node.log, left));
        node.epochs.end_with(node.log.len() as i64);
        node.role = Role::Off;
        // Whoever followed it loses the connection.
        for slave in 0..self.nodes.len() {
            if matches!(&self.nodes[slave].role, Role::Slave(Some(link)) if link.master == at) {
                self.disconnect(slave);
            }
        }
    }

    fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if let Role::Off = node.role {
            (node.role, node.durable, node.heard) = (Role::Slave(None), node.log.len(), 0);
            // One that was the master may have lost what slaves have: it is elected anew, or another one.
            if self.controller.master == at {
                self.elect();
            }
        }
    }

    /// What a master promises now follows what was promised, whoever promised it.
    fn check(&mut self) {
        for node in &mut self.nodes {
            let Role::Master(leader) = &mut node.role else { continue };
            leader.written(node.durable as i64);
            // Its own copy counts, too.
            for safe in [leader.copied(), leader.confirmed()] {
                // Senders are told of whole records, and those are what a role begins with.
                let safe = boundary(&node.log, (safe as usize).min(node.durable));
                let known = safe.min(self.promised.len());
                assert_eq!(node.log[..known], self.promised[..known], "two masters promised different logs");
                if safe > self.promised.len() {
                    self.promised = node.log[..safe].to_vec();
                }
            }
        }
        for member in &self.controller.members {
            let log = &self.nodes[*member as usize - 1].log;
            assert!(log.starts_with(&self.promised), "broker {member} may be elected and lacks what was promised");
        }
    }
}

/// The seeds asked for, else so many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("REPLICATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("REPLICATION_SEEDS").unwrap_or(usual),
    }
}

#[test]
fn nothing_that_was_promised_is_lost() {
    let (mut promised, mut cuts) = (0, 0);
    let mut run = |seed: u64| {
        let mut world = World::new(seed);
        (0..4_000).for_each(|_| world.step());
        promised += world.promised.len();
        cuts += world.cuts;
    };
    let failed: Vec<u64> = seeds(200)
        .filter(|seed| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(*seed))).is_err())
        .collect();
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
    assert!(promised > 10_000, "the seeds promise nothing worth the name: {promised} bytes");
    assert!(cuts > 0 || std::env::var("REPLICATION_SEED").is_ok(), "no deposed master had to cut its log");
}
