//! Masters and slaves by the word of a controller, over real connections.

use std::time::{Duration, Instant};

use apogee_base::disk::SimDisk;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use tokio::sync::mpsc;

use super::*;
use crate::testing::{PATIENCE, Running, call, pull_header, send, send_request};

const MEMORY: u64 = 1 << 30;

/// A broker with a number, whose supervisor is the test.
struct Replica {
    id: i64,
    disk: SimDisk,
}

struct Up {
    running: Running,
    events: mpsc::Receiver<ReplicationEvent>,
}

impl Replica {
    fn new(id: i64) -> Self {
        Self { id, disk: SimDisk::new(id as u64) }
    }

    fn start(&self, role: Role, cut_at: Option<i64>) -> Up {
        let (sender, events) = mpsc::channel(16);
        let placement = Placement { role, cut_at, events: Some(sender) };
        let running = Running::start_as(self.disk.clone(), placement, MEMORY, |settings| {
            settings.ha_send_heartbeat_interval = 1_000;
            settings.slave_timeout = 200;
            settings.mapped_file_size_commit_log = 65_536;
        });
        Up { running, events }
    }

    fn lead(&self, epoch: i32, in_sync: InSync) -> Up {
        self.start(Role::Master(Elected { broker_id: self.id, epoch, in_sync }), None)
    }

    fn follow(&self, master: &Up, cut_at: Option<i64>) -> Up {
        let master = Some(master.running.broker.advertised.clone());
        self.start(Role::Slave(Follows { broker_id: self.id, master }), cut_at)
    }
}

fn in_sync(members: &[i64], epoch: i32) -> InSync {
    InSync { members: members.iter().copied().collect(), epoch }
}

impl Up {
    async fn event(&mut self) -> ReplicationEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("an event")
    }

    fn end(&self) -> i64 {
        self.running.broker.store.log_max_offset()
    }

    fn log(&self) -> Vec<u8> {
        let (store, mut at) = (&self.running.broker.store, self.running.broker.store.log_min_offset());
        let mut bytes = Vec::new();
        while let Some(slice) = store.log_slice(at, 65_536) {
            at += slice.len() as i64;
            bytes.extend_from_slice(&slice);
        }
        bytes
    }

    async fn send(&self, topic: &str, count: usize) {
        let conn = self.running.connect().await;
        for number in 0..count {
            send(&conn, topic, &vec![number as u8; 1_000], "").await;
        }
    }

    /// The code of the answer to a pull.
    async fn pull(&self, topic: &str, offset: i64) -> i32 {
        let pull = Command::request(request::PULL_MESSAGE).with_header(&pull_header(topic, offset));
        let conn = self.running.connect().await;
        call(&conn, pull).await.code
    }

    /// Sends one, and returns the code of the answer.
    async fn code(&self) -> i32 {
        let conn = self.running.connect().await;
        call(&conn, send_request("T", b"one", "")).await.code
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_master_cuts_what_nobody_was_promised_and_follows() {
    let (one, two) = (Replica::new(1), Replica::new(2));
    let mut first = one.lead(1, in_sync(&[1], 1));
    first.send("T", 100).await;
    let second = two.follow(&first, None);
    until("the slave has the log", || second.end() == first.end()).await;
    let wanted = ReplicationEvent::InSyncWanted { members: [1, 2].into(), replaces: 1 };
    assert_eq!(first.event().await, wanted);
    first.running.broker.replication.in_sync_is(in_sync(&[1, 2], 2));
    first.send("T", 10).await;
    assert_eq!(second.log(), first.log(), "what was acknowledged is there");
    let visible = || second.running.broker.store.queue_range("T", 0).map(|(_, end)| end);
    until("the slave shows what is confirmed", || visible() == Some(110)).await;

    // The slave is gone, and the controller does not answer: nothing is promised any more.
    second.running.stop().await;
    let agreed = first.end();
    assert_eq!(first.code().await, response::FLUSH_SLAVE_TIMEOUT);
    assert_eq!(first.running.broker.store.queue_range("T", 0).map(|(_, end)| end), Some(110), "nor seen");
    first.running.stop().await;

    let second = two.lead(2, in_sync(&[2], 3));
    assert_eq!(second.end(), agreed);
    second.send("T", 10).await;
    let mut first = one.follow(&second, None);
    // A reader of what is cut off would pass over what comes in its place.
    assert_eq!(first.pull("T", 110).await, response::SYSTEM_BUSY);
    assert_eq!(first.event().await, ReplicationEvent::CutTo(agreed));
    assert_eq!(first.pull("T", 110).await, response::SYSTEM_BUSY);
    first.running.stop().await;
    let first = one.follow(&second, Some(agreed));
    until("the deposed one has the log", || first.end() == second.end()).await;
    // The controller does not say that it is in sync: nothing new is confirmed, and what it began with is.
    until("it is sure of its log", || first.running.broker.replication.is_sure()).await;
    assert_eq!(first.pull("T", 109).await, response::SUCCESS);
    assert_eq!(first.log(), second.log());
    assert_eq!(first.running.broker.replication.epochs(), second.running.broker.replication.epochs());
    let epochs = second.running.broker.replication.epochs().unwrap();
    assert_eq!(epochs.entries(), [Epoch { number: 1, start: 0 }, Epoch { number: 2, start: agreed }]);
    first.running.stop().await;
    second.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_by_one_number_and_a_log_of_another_group_are_refused() {
    let (one, two, other) = (Replica::new(1), Replica::new(2), Replica::new(2));
    let master = one.lead(1, in_sync(&[1], 1));
    master.send("T", 20).await;
    let slave = two.follow(&master, None);
    until("the slave has the log", || slave.end() == master.end()).await;

    let mut twin = other.follow(&master, None);
    let event = twin.event().await;
    let ReplicationEvent::Refused(reason) = event else { panic!("{event:?}") };
    assert!(reason.contains("broker 2") && reason.contains("identity"), "{reason}");
    twin.running.stop().await;
    // It was a master once, of another group, whose first epoch begins at the same place.
    let stranger = Replica::new(3);
    let elsewhere = stranger.lead(1, in_sync(&[3], 1));
    elsewhere.send("Other", 30).await;
    let before = elsewhere.log();
    elsewhere.running.stop().await;
    let mut elsewhere = stranger.follow(&master, None);
    let event = elsewhere.event().await;
    let ReplicationEvent::Refused(reason) = event else { panic!("{event:?}") };
    assert!(reason.contains("logs of different groups"), "{reason}");
    assert_eq!(elsewhere.log(), before, "nothing is overwritten");
    elsewhere.running.stop().await;
    slave.running.stop().await;
    master.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_an_epoch_that_the_log_is_past_does_not_start() {
    let one = Replica::new(1);
    one.lead(5, in_sync(&[1], 1)).running.stop().await;
    let root = std::path::Path::new("/store");
    let opened = KeptEpochs::open(Arc::new(one.disk.clone()), root, 0, 0, Some(4));
    let Err(reason) = opened else { panic!("it starts") };
    assert!(reason.contains("epoch 4") && reason.contains("epoch 5"), "{reason}");
}
