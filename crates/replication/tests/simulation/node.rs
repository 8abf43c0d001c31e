//! One broker: its store, and what it is in the group.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::clock::{Clock, ManualClock};
use apogee_base::disk::{Disk, SimDisk};
use apogee_base::rng::Rng;
use apogee_message::record::{Draft, NewMessage};
use apogee_replication::switch::{self, Handshake, Head};
use apogee_replication::{
    EpochFile, Epochs, Facts, Follower, Following, Heard, Leader, Mastership, Rules, Session, Step, Wanted,
};
use apogee_store::{Append, AppendDone, CopyOptions, Store, StoreOptions};
use bytes::{Bytes, BytesMut};

const FILE: u64 = 8 << 10;
const TIMEOUT: i64 = 3_000;
/// A slave with nothing new to say says the same again after so long.
const BEAT_MS: i64 = 300;
/// Bytes of a piece of the log.
const PIECE: usize = 700;

/// What the controller said: who is the master of an epoch, and who is in sync.
#[derive(Debug, Clone)]
pub struct Word {
    pub master: Option<i64>,
    pub epoch: i32,
    pub in_sync: BTreeSet<i64>,
    pub set_epoch: i32,
}

/// A broker whose process is there.
pub struct Node {
    pub id: i64,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    least_in_sync: u32,
    pub store: Store,
    file: EpochFile,
    epochs: Epochs,
    /// The highest epoch that it heard of.
    pub epoch: i32,
    pub part: Part,
}

/// What a broker is.
pub enum Part {
    /// The controller has not spoken: it serves nobody.
    Nothing,
    Master(Box<Master>),
    Slave(Box<Slave>),
}

pub struct Master {
    pub leader: Leader,
    copies: BTreeMap<u64, Copy>,
}

/// A slave's connection, at its master.
struct Copy {
    session: Session,
    received: BytesMut,
    /// What is sent next; `None`: the copy has not begun.
    next: Option<i64>,
}

pub struct Slave {
    pub master: i64,
    follower: Option<Follower>,
    received: BytesMut,
    reported: i64,
    reported_ms: i64,
}

impl Slave {
    fn of(master: i64) -> Self {
        Self { master, follower: None, received: BytesMut::new(), reported: -1, reported_ms: 0 }
    }
}

fn options() -> StoreOptions {
    StoreOptions {
        log_file_size: FILE,
        queue_file_size: 400,
        index: false,
        copies: Some(CopyOptions { timeout_ms: TIMEOUT, hides: true }),
        ..StoreOptions::default()
    }
}

fn root() -> PathBuf {
    "/store".into()
}

impl Node {
    /// A process starts. Its clock is that of the disk's machine.
    pub fn start(id: i64, disk: &SimDisk, clock: &Arc<ManualClock>, least_in_sync: u32) -> Self {
        let (disk, clock) = (disk.clone(), Arc::clone(clock));
        let store = open(&disk, &clock, options());
        let file = EpochFile::of(Arc::new(disk.clone()), &root());
        let mut epochs = file.read().unwrap();
        epochs.end_with(store.log_max_offset());
        let epoch = epochs.last().map_or(0, |epoch| epoch.number);
        Self { id, disk, clock, least_in_sync, store, file, epochs, epoch, part: Part::Nothing }
    }

    /// Takes what the controller said. True: it is something else now.
    pub fn hear(self, word: &Word) -> (Self, bool) {
        let Some(master) = word.master else { return (self, false) };
        let is_news = word.epoch > self.epoch || word.epoch == self.epoch && matches!(self.part, Part::Nothing);
        if !is_news {
            let mut same = self;
            if let Part::Master(part) = &mut same.part
                && word.epoch == same.epoch
                && master == same.id
            {
                part.leader.in_sync_is(word.in_sync.clone(), word.set_epoch);
            }
            return (same, false);
        }
        let epoch = word.epoch;
        if master != self.id {
            let mut node = self.reopen(StoreOptions { follows: true, ..options() });
            node.part = Part::Slave(Box::new(Slave::of(master)));
            node.epoch = epoch;
            return (node, true);
        }
        let mut node = self.reopen(options());
        let end = node.store.log_max_offset();
        node.epochs.end_with(end);
        if node.epochs.last().is_none_or(|last| last.number < epoch) {
            node.epochs.push(apogee_replication::Epoch { number: epoch, start: end }).unwrap();
            node.file.write(&node.epochs).unwrap();
        }
        let rules = Rules {
            in_sync_replicas: 1,
            min_in_sync_replicas: node.least_in_sync,
            auto: false,
            all_in_sync: true,
            most_gap: i64::MAX,
            most_lag_ms: 1_000,
            silence_ms: 2_000,
        };
        let mastership = Mastership::new(node.id, end, word.in_sync.clone(), word.set_epoch);
        let leader = Leader::new(rules, Some(mastership), end, node.clock.now_ms());
        node.part = Part::Master(Box::new(Master { leader, copies: BTreeMap::new() }));
        node.epoch = epoch;
        (node, true)
    }

    fn reopen(self, options: StoreOptions) -> Self {
        let Self { id, disk, clock, least_in_sync, store, file, epochs, epoch, .. } = self;
        store.close().unwrap();
        drop(store);
        let store = open(&disk, &clock, options);
        Self { id, disk, clock, least_in_sync, store, file, epochs, epoch, part: Part::Nothing }
    }

    /// A connection to the master was made: says what is said first.
    pub fn connect(&mut self) -> Vec<u8> {
        let (begin, end) = (self.store.log_min_offset(), self.store.log_max_offset());
        let handshake = Handshake { from_last_file: false, is_learner: false, broker_id: self.id };
        let follower = Follower::new(Following::Switch { handshake, epochs: self.epochs.clone() }, begin, end);
        let hello = follower.hello();
        let Part::Slave(slave) = &mut self.part else { return Vec::new() };
        (slave.follower, slave.received, slave.reported) = (Some(follower), BytesMut::new(), -1);
        hello
    }

    /// Takes bytes of the master. Says whether the connection lives, and whether the log must be cut first.
    pub fn heard_master(mut self, bytes: &[u8]) -> (Self, bool) {
        let Part::Slave(slave) = &mut self.part else { return (self, false) };
        slave.received.extend_from_slice(bytes);
        loop {
            let Part::Slave(slave) = &mut self.part else { return (self, false) };
            let Some(follower) = &mut slave.follower else { return (self, false) };
            let Ok(step) = follower.received(&mut slave.received) else { return (self, false) };
            match step {
                None => break,
                Some(Step::Keep(epochs)) => {
                    self.file.write(&epochs).unwrap();
                    self.epochs = epochs;
                }
                Some(Step::Begin) => slave.reported = -1,
                Some(Step::Append { offset, bytes }) => self.store.append_copy(offset, &bytes).unwrap(),
                Some(Step::Nothing) => {}
                Some(Step::CutTo(to)) => return (self.cut(to), false),
                Some(Step::BeginAnew) => return (self.cut(0), false),
            }
        }
        if let Part::Slave(slave) = &mut self.part
            && let Some(follower) = &slave.follower
        {
            self.store.show_to(follower.confirmed());
        }
        (self, true)
    }

    fn cut(self, to: i64) -> Self {
        let Part::Slave(slave) = &self.part else { return self };
        let master = slave.master;
        let mut node = self.reopen(StoreOptions { follows: true, cut_at: Some(to), ..options() });
        node.epochs.cut(node.store.log_max_offset());
        node.file.write(&node.epochs).unwrap();
        node.part = Part::Slave(Box::new(Slave::of(master)));
        node
    }

    /// What a slave has to tell its master.
    pub fn report(&mut self) -> Option<Vec<u8>> {
        let Part::Slave(slave) = &mut self.part else { return None };
        let (end, now) = (self.store.flushed_offset(), self.clock.now_ms());
        if end == slave.reported && now < slave.reported_ms + BEAT_MS {
            return None;
        }
        let report = slave.follower.as_ref()?.report(end)?;
        (slave.reported, slave.reported_ms) = (end, now);
        Some(report)
    }

    /// Takes bytes of a slave; `None`: its connection is closed.
    pub fn heard_slave(&mut self, connection: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.now_ms();
        let Part::Master(master) = &mut self.part else { return None };
        let facts = Facts {
            begin: self.store.log_min_offset(),
            end: self.store.log_max_offset(),
            file_size: FILE,
            from_last_file: false,
            epochs: Some(&self.epochs),
        };
        let copy = master.copies.entry(connection).or_insert_with(|| Copy {
            session: Session::default(),
            received: BytesMut::new(),
            next: None,
        });
        copy.received.extend_from_slice(bytes);
        let mut answers = Vec::new();
        while let Some(heard) = copy.session.received(&mut copy.received, &facts).ok()? {
            let leader = &mut master.leader;
            match heard {
                Heard::Handshake(handshake) => {
                    leader.connected(connection, String::new(), Some((handshake.broker_id, false)), now).ok()?;
                    answers.extend(Session::reply(&facts));
                    copy.next = None;
                }
                Heard::Begins { has, from } => {
                    leader.begins(connection, from, has, now).then_some(())?;
                    copy.next = Some(from);
                }
                Heard::Acked(end) => leader.acked(connection, end, now).then_some(())?,
            }
        }
        Some(answers)
    }

    /// A slave's connection is gone.
    pub fn gone(&mut self, connection: u64) {
        if let Part::Master(master) = &mut self.part {
            master.copies.remove(&connection);
            master.leader.gone(connection);
        }
    }

    /// The next piece of the log for a slave, or a sign of life.
    pub fn piece(&mut self, connection: u64) -> Vec<u8> {
        let Part::Master(master) = &mut self.part else { return Vec::new() };
        let confirmed = master.leader.confirmed();
        let Some(copy) = master.copies.get_mut(&connection) else { return Vec::new() };
        let Some(at) = copy.next else { return Vec::new() };
        let within = self.epochs.end_at(at).map_or(PIECE, |end| PIECE.min((end - at) as usize));
        let bytes = self.store.log_slice(at, within).unwrap_or_default();
        copy.next = Some(at + bytes.len() as i64);
        let Some(epoch) = self.epochs.at(at) else { return Vec::new() };
        let head = switch::head(bytes.len() as u32, &Head { offset: at, epoch, confirmed });
        [&head[..], &bytes].concat()
    }

    /// A master takes to its store what it knows of copies. Returns what is confirmed.
    pub fn inform(&mut self) -> Option<i64> {
        let Part::Master(master) = &mut self.part else { return None };
        master.leader.written(self.store.flushed_offset());
        let (confirmed, copied, shortage) =
            (master.leader.confirmed(), master.leader.copied(), master.leader.shortage());
        self.store.refuse_for_copies(shortage);
        self.store.show_to(confirmed);
        self.store.copied_to(copied);
        self.store.copies_step();
        Some(confirmed)
    }

    /// The set of replicas in sync that a master would have.
    pub fn wanted(&mut self) -> Option<Wanted> {
        let now = self.clock.now_ms();
        let Part::Master(master) = &mut self.part else { return None };
        master.leader.wanted(now)
    }

    /// A message comes.
    pub fn send(&self, rng: &mut Rng, token: u64, done: &Arc<impl AppendDone + 'static>) {
        let message = NewMessage {
            queue_id: rng.below(2) as i32,
            store_host: ([127, 0, 0, 1], self.id as u16).into(),
            properties: Bytes::from(format!("K\u{1}{}\u{2}", "v".repeat(rng.below(300) as usize))),
            ..NewMessage::own("T", Bytes::copy_from_slice(&token.to_be_bytes()), ([127, 0, 0, 1], 1), 1)
        };
        let draft = Draft::new(&message, &mut BytesMut::new()).unwrap();
        let done: Arc<dyn AppendDone> = done.clone();
        self.store.append([Append { draft, done, token }]);
    }
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, options: StoreOptions) -> Store {
    disk.create_folder(Path::new("/store")).unwrap();
    let clock: Arc<dyn Clock> = clock.clone();
    Store::open(Arc::new(disk.clone()), clock, root(), options).unwrap()
}
