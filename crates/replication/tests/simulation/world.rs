//! Brokers, the network between them and the controller; one step of any of them, and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::SimDisk;
use apogee_base::rng::Rng;
use apogee_controller::election::{Alive, Candidate, Command, Done, Groups, Standing};

use crate::history::History;
use crate::node::{Node, Part, Word};

const NAME: &str = "broker-a";
const CLUSTER: &str = "cluster";
const BROKERS: usize = 3;
const STEPS: usize = 2_500;
/// A broker that is not heard of for so long counts as gone.
const SILENCE_MS: i64 = 2_000;
/// Where the controller is in the network.
const CONTROLLER: usize = BROKERS;

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Processes die, and are started again.
    pub kills: bool,
    /// Their machines lose what was not flushed.
    pub power: bool,
    /// The network parts, between any two of brokers and controller.
    pub partitions: bool,
    /// Administrators and mistakes have masters elected at any time.
    pub elections: bool,
}

/// What travels between a broker and the controller.
enum Mail {
    Register(usize),
    Elect(usize),
    Beat(usize, Standing),
    Ask(usize),
    Alter {
        from: usize,
        epoch: i32,
        members: BTreeSet<i64>,
        replaces: i32,
    },
    /// To one process; the answer to its registration, or anything else.
    Word {
        to: usize,
        life: u64,
        registers: bool,
        word: Word,
    },
}

impl Mail {
    fn broker(&self) -> usize {
        match self {
            Self::Register(at) | Self::Elect(at) | Self::Beat(at, _) | Self::Ask(at) => *at,
            Self::Alter { from: at, .. } | Self::Word { to: at, .. } => *at,
        }
    }
}

/// A slave's connection.
struct Link {
    number: u64,
    master: usize,
    /// On the way.
    to_master: Vec<u8>,
    to_slave: Vec<u8>,
}

struct Machine {
    disk: SimDisk,
    /// `None`: the process is not there.
    node: Option<Node>,
    /// Counts its processes.
    life: u64,
    is_registered: bool,
    link: Option<Link>,
}

pub struct World {
    seed: u64,
    rng: Rng,
    clock: Arc<ManualClock>,
    machines: Vec<Machine>,
    parted: BTreeSet<(usize, usize)>,
    groups: Groups,
    heard: BTreeMap<i64, (Standing, i64)>,
    mail: Vec<(i64, Mail)>,
    connections: u64,
    least_in_sync: u32,
    history: History,
}

impl World {
    /// Runs a seed, and ends with everything healed and looked at. Returns how many messages were acknowledged.
    pub fn run(seed: u64, faults: Faults) -> usize {
        let mut world = Self::new(seed);
        for _ in 0..STEPS {
            world.step(faults);
        }
        world.heal();
        world.history.acknowledged()
    }

    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut groups = Groups::default();
        for id in 1..=BROKERS as i64 {
            let (cluster, name) = (CLUSTER.to_owned(), NAME.to_owned());
            groups.apply(&Command::ApplyId { cluster, name, id, check_code: format!("host{id};1") }).unwrap();
        }
        let machine = |number: usize| Machine {
            disk: SimDisk::new(seed * 10 + number as u64),
            node: None,
            life: 0,
            is_registered: false,
            link: None,
        };
        let mut world = Self {
            seed,
            least_in_sync: 1 + rng.below(2) as u32,
            rng,
            clock: Arc::new(ManualClock::new(1_000_000)),
            machines: (0..BROKERS).map(machine).collect(),
            parted: BTreeSet::new(),
            groups,
            heard: BTreeMap::new(),
            mail: Vec::new(),
            connections: 0,
            history: History::default(),
        };
        (0..BROKERS).for_each(|at| world.start(at));
        world
    }

    fn step(&mut self, faults: Faults) {
        let pause = if self.rng.chance(2) { 1_500 } else { self.rng.below(30) as i64 };
        self.clock.advance(pause);
        let at = self.rng.below(BROKERS as u64) as usize;
        match self.rng.below(100) {
            0 if faults.kills || faults.power => self.end(at, faults),
            1..=3 => self.start(at),
            4 if faults.partitions => {
                let other = self.rng.below(BROKERS as u64 + 1) as usize;
                self.parted.insert((at, other));
            }
            5..=7 => {
                let healed = self.parted.iter().next().copied();
                healed.map(|pair| self.parted.remove(&pair));
            }
            8 if faults.elections => {
                let id = at as i64 + 1;
                self.elect(Candidate::Designated(id));
            }
            9 => self.drop_link(at),
            10 => drop(self.machines[at].node.as_ref().map(|node| node.store.checkpoint_step())),
            _ => {}
        }
        self.live(at);
        self.deliver_mail();
        self.look();
        if self.rng.chance(40) {
            self.send(at);
        }
    }

    /// One thing that a broker does by itself.
    fn live(&mut self, at: usize) {
        match self.rng.below(6) {
            0 => self.talk(at),
            1 | 2 => {
                if let Some(node) = &self.machines[at].node {
                    node.store.flush_step().unwrap();
                }
            }
            _ => {}
        }
        self.connect(at);
        self.carry(at);
        self.inform(at);
    }

    fn start(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.node.is_none() {
            machine.node = Some(Node::start(at as i64 + 1, &machine.disk, &self.clock, self.least_in_sync));
            machine.is_registered = false;
            machine.life += 1;
        }
    }

    /// A process dies, or its machine.
    fn end(&mut self, at: usize, faults: Faults) {
        self.drop_link(at);
        let others: Vec<_> =
            (0..BROKERS).filter(|other| self.machines[*other].link.as_ref().is_some_and(|l| l.master == at)).collect();
        others.into_iter().for_each(|other| self.drop_link(other));
        let has_power = !faults.power || self.rng.chance(50);
        let machine = &mut self.machines[at];
        if machine.node.is_none() {
            return;
        }
        if has_power {
            machine.disk.kill_process();
        } else {
            machine.disk.crash();
        }
        machine.node = None;
        // Its connection to the controller tells, where it can.
        if self.rng.chance(50) && !self.are_parted(at, CONTROLLER) {
            self.heard.remove(&(at as i64 + 1));
        }
    }

    fn are_parted(&self, one: usize, other: usize) -> bool {
        self.parted.contains(&(one, other)) || self.parted.contains(&(other, one))
    }

    fn post(&mut self, mail: Mail) {
        let due = self.clock.now_ms() + self.rng.below(60) as i64;
        self.mail.push((due, mail));
    }

    /// A broker talks to the controller.
    fn talk(&mut self, at: usize) {
        let machine = &self.machines[at];
        let Some(node) = &machine.node else { return };
        if !machine.is_registered {
            return self.post(Mail::Register(at));
        }
        let standing = Standing {
            address: format!("host{}", node.id),
            epoch: node.epoch,
            max_offset: node.store.log_max_offset(),
            priority: 0,
        };
        self.post(Mail::Beat(at, standing));
        self.post(Mail::Ask(at));
    }

    fn deliver_mail(&mut self) {
        let now = self.clock.now_ms();
        // Mails of one broker keep no order: it may have two connections.
        while let Some(index) = self.mail.iter().position(|(due, _)| *due <= now) {
            let (_, mail) = self.mail.remove(index);
            if !self.are_parted(mail.broker(), CONTROLLER) {
                self.take(mail);
            }
        }
    }

    fn take(&mut self, mail: Mail) {
        let (cluster, name) = (CLUSTER.to_owned(), NAME.to_owned());
        match mail {
            Mail::Register(at) => {
                let (id, alive) = (at as i64 + 1, self.alive());
                let command = Command::Register { cluster, name, id, address: format!("host{id}"), alive };
                if let Ok(Done::Registered(_)) = self.groups.apply(&command) {
                    self.answer(at, true);
                }
            }
            Mail::Elect(at) => {
                let id = at as i64 + 1;
                self.elect(Candidate::Asking(id));
                self.answer(at, false);
            }
            Mail::Beat(at, standing) => {
                self.heard.insert(at as i64 + 1, (standing, self.clock.now_ms()));
            }
            Mail::Ask(at) => self.answer(at, false),
            Mail::Alter { from, epoch, members, replaces } => {
                let command = Command::AlterInSync {
                    name,
                    master: from as i64 + 1,
                    master_epoch: epoch,
                    in_sync: members,
                    in_sync_epoch: replaces,
                    alive: self.alive(),
                };
                if self.groups.apply(&command).is_ok() {
                    self.answer(from, false);
                }
            }
            Mail::Word { to, life, registers, word } => {
                let machine = &mut self.machines[to];
                machine.is_registered |= registers && machine.life == life;
                if machine.is_registered && machine.life == life {
                    self.hear(to, &word);
                }
            }
        }
    }

    fn hear(&mut self, to: usize, word: &Word) {
        let Some(node) = self.machines[to].node.take() else { return };
        let (node, has_changed) = node.hear(word);
        self.machines[to].node = Some(node);
        if has_changed {
            self.drop_link(to);
            let of_it = |machine: &Machine| machine.link.as_ref().is_some_and(|link| link.master == to);
            let slaves: Vec<_> = (0..BROKERS).filter(|at| of_it(&self.machines[*at])).collect();
            slaves.into_iter().for_each(|at| self.drop_link(at));
        }
        if word.master.is_none() {
            self.post(Mail::Elect(to));
        }
    }

    fn answer(&mut self, to: usize, registers: bool) {
        let view = self.groups.get(NAME).unwrap().view();
        let word = Word {
            master: view.master,
            epoch: view.master_epoch,
            in_sync: view.in_sync,
            set_epoch: view.in_sync_epoch,
        };
        self.post(Mail::Word { to, life: self.machines[to].life, registers, word });
    }

    fn alive(&self) -> Alive {
        self.heard.iter().map(|(id, (standing, _))| (*id, standing.clone())).collect()
    }

    fn elect(&mut self, candidate: Candidate) {
        let alive = self.alive();
        let elect = Command::Elect { cluster: None, name: NAME.to_owned(), candidate, unclean: false, alive };
        if self.groups.apply(&elect).is_ok() {
            (0..BROKERS).for_each(|at| self.answer(at, false));
        }
    }

    /// The controller looks who is there.
    fn look(&mut self) {
        let now = self.clock.now_ms();
        self.heard.retain(|_, (_, at)| now - *at < SILENCE_MS);
        if self.groups.get(NAME).unwrap().wants_election(false, &self.alive()) {
            self.elect(Candidate::Any);
        }
    }

    fn connect(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        let Some(node) = machine.node.as_mut().filter(|_| machine.link.is_none()) else { return };
        let Part::Slave(slave) = &node.part else { return };
        let master = slave.master as usize - 1;
        if self.parted.contains(&(at, master)) || self.parted.contains(&(master, at)) {
            return;
        }
        self.connections += 1;
        let (to_master, to_slave) = (node.connect(), Vec::new());
        machine.link = Some(Link { number: self.connections, master, to_master, to_slave });
    }

    fn drop_link(&mut self, at: usize) {
        if let Some(link) = self.machines[at].link.take()
            && let Some(master) = &mut self.machines[link.master].node
        {
            master.gone(link.number);
        }
    }

    /// Some bytes arrive at either end of a slave's connection.
    fn carry(&mut self, at: usize) {
        let Some(mut link) = self.machines[at].link.take() else { return };
        if self.are_parted(at, link.master) {
            self.machines[at].link = Some(link);
            // Either side gives up some time.
            if self.rng.chance(10) {
                self.drop_link(at);
            }
            return;
        }
        let mut lives = true;
        if let Some(slave) = &mut self.machines[at].node {
            link.to_master.extend(slave.report().unwrap_or_default());
        }
        let count = self.rng.below(link.to_master.len() as u64 + 1) as usize;
        let bytes: Vec<u8> = link.to_master.drain(..count).collect();
        match self.machines[link.master].node.as_mut().map(|master| master.heard_slave(link.number, &bytes)) {
            Some(Some(answers)) => link.to_slave.extend(answers),
            _ => lives = false,
        }
        if let Some(master) = &mut self.machines[link.master].node
            && link.to_slave.len() < 2_000
        {
            link.to_slave.extend(master.piece(link.number));
        }
        let count = self.rng.below(link.to_slave.len() as u64 + 1) as usize;
        let bytes: Vec<u8> = link.to_slave.drain(..count).collect();
        if let Some(slave) = self.machines[at].node.take() {
            let (slave, goes_on) = slave.heard_master(&bytes);
            self.machines[at].node = Some(slave);
            lives &= goes_on;
        }
        self.machines[at].link = Some(link);
        if !lives {
            self.drop_link(at);
        }
    }

    fn inform(&mut self, at: usize) {
        let Some(node) = &mut self.machines[at].node else { return };
        if let Some(confirmed) = node.inform() {
            self.history.confirmed(&node.store, confirmed, self.seed);
        }
        if let Some(wanted) = node.wanted() {
            let (epoch, members, replaces) = (node.epoch, wanted.members, wanted.replaces);
            self.post(Mail::Alter { from: at, epoch, members, replaces });
        }
    }

    fn send(&mut self, at: usize) {
        let Some(node) = &self.machines[at].node else { return };
        if matches!(node.part, Part::Master(_)) {
            self.history.sent += 1;
            node.send(&mut self.rng, self.history.sent, &self.history.told);
        }
    }

    /// Everything is well again; then all replicas have all that was promised, and the same log.
    fn heal(&mut self) {
        self.parted.clear();
        for round in 0.. {
            (0..BROKERS).for_each(|at| self.start(at));
            self.clock.advance(10);
            for at in 0..BROKERS {
                if round % 5 == 0 {
                    self.talk(at);
                }
                self.machines[at].node.as_ref().unwrap().store.flush_step().unwrap();
                self.connect(at);
                self.carry(at);
                self.inform(at);
            }
            self.deliver_mail();
            self.look();
            if self.is_healed() {
                break;
            }
            assert!(round < 5_000, "seed {}: the group does not come together again: {}", self.seed, self.standing());
        }
        for machine in &self.machines {
            let node = machine.node.as_ref().unwrap();
            self.history.check(&node.store, self.seed, node.id);
        }
    }

    fn is_healed(&self) -> bool {
        let group = self.groups.get(NAME).unwrap();
        let nodes = || self.machines.iter().filter_map(|machine| machine.node.as_ref());
        let Some(master) = nodes().find(|node| matches!(node.part, Part::Master(_))) else { return false };
        let has_all = |node: &Node| {
            let queues = |node: &Node| [0, 1].map(|queue| node.store.queue_range("T", queue));
            node.store.log_max_offset() == master.store.log_max_offset() && queues(node) == queues(master)
        };
        group.in_sync().len() == BROKERS && nodes().all(|node| node.epoch == group.master_epoch() && has_all(node))
    }

    fn standing(&self) -> String {
        let node = |node: &Node| {
            let part = match &node.part {
                Part::Nothing => "nothing",
                Part::Master(_) => "master",
                Part::Slave(_) => "slave",
            };
            let (end, seen) = (node.store.log_max_offset(), node.store.confirmed_offset());
            format!("{} {part} of epoch {}, log to {end}, seen to {seen}", node.id, node.epoch)
        };
        let nodes: Vec<_> = self.machines.iter().filter_map(|machine| machine.node.as_ref().map(node)).collect();
        format!("{nodes:?}, controller: {:?}", self.groups.get(NAME).unwrap().view())
    }
}
