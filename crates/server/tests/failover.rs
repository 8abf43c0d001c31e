//! A replicated group of three real processes: its master is killed, and another one takes over.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apogee_client::Message;
use common::cluster::Group;
use common::{PATIENCE, binary};

/// How long writes may stand still when the master is killed.
const INTERRUPTION: Duration = Duration::from_secs(5);

/// What was acknowledged, and when.
#[derive(Default)]
struct Acknowledged {
    bodies: BTreeSet<String>,
    last: Option<Instant>,
    /// The longest time between two of them.
    gap: Duration,
}

/// Sends one message after the other until it is aborted.
fn produce(group: &Group, name: &'static str) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Acknowledged>>) {
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    let (log, client) = (Arc::clone(&acknowledged), group.client());
    let task = tokio::spawn(async move {
        let producer = client.producer("P").expect("a producer");
        for number in 0.. {
            let body = format!("{name}{number}");
            // One that is in doubt may be there or not.
            if producer.send(Message::new("T", body.clone())).await.is_ok() {
                let mut log = log.lock().expect("not poisoned");
                let now = Instant::now();
                if let Some(last) = log.last.replace(now) {
                    log.gap = log.gap.max(now - last);
                }
                log.bodies.insert(body);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    (task, acknowledged)
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn count(acknowledged: &Mutex<Acknowledged>) -> usize {
    acknowledged.lock().expect("not poisoned").bodies.len()
}

/// Reads the topic from its beginning until all that is expected has come.
async fn assert_all_there(group: &Group, expected: &BTreeSet<String>) {
    let client = group.client();
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let mut missing = expected.clone();
    while !missing.is_empty() {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await;
        let message =
            message.unwrap_or_else(|_| panic!("{} acknowledged messages are lost: {missing:?}", missing.len()));
        missing.remove(&*String::from_utf8_lossy(&message.expect("open").expect("read").body));
    }
}

/// How many bytes the log of a node has.
fn log_bytes(data: &Path) -> u64 {
    let output =
        Process::new(binary()).args(["store", "check", "--json"]).arg(data.join("store")).output().expect("it runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["problemCount"], 0, "{report}");
    report["logEnd"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_master_is_killed_writes_go_on_and_nothing_acknowledged_is_lost() {
    let mut group = Group::start(&[]);
    let before = group.complete().await;
    let (producing, acknowledged) = produce(&group, "m");
    wait_for("under load", || count(&acknowledged) > 50).await;
    let master = group.node_of(&before);
    let reached = count(&acknowledged);
    group.kill(master);
    let killed = Instant::now();
    wait_for("taking messages again", || count(&acknowledged) > reached + 50).await;
    println!("{:?} after the kill 50 more were acknowledged", killed.elapsed());
    let after = group.replicas("under another master", |set| set.master_epoch > before.master_epoch).await;
    assert_ne!(group.node_of(&after), master);
    // The old one comes back, gives up what nobody was promised, and follows.
    group.start_node(master);
    let whole = group.complete().await;
    assert_ne!(group.node_of(&whole), master, "it does not take its place back");
    let reached = count(&acknowledged);
    wait_for("going on with all three", || count(&acknowledged) > reached + 50).await;
    producing.abort();
    let Acknowledged { bodies, gap, .. } = std::mem::take(&mut *acknowledged.lock().expect("not poisoned"));
    println!("{} acknowledged, longest gap {gap:?}", bodies.len());
    assert!(gap < INTERRUPTION, "writes stood still for {gap:?}");
    assert_all_there(&group, &bodies).await;
    // The copies are the same log.
    for node in 0..3 {
        group.kill(node);
    }
    let ends = [0, 1, 2].map(|node| log_bytes(&group.data(node)));
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_moves_the_master_under_load() {
    let group = Group::start(&[]);
    let before = group.complete().await;
    let (producing, acknowledged) = produce(&group, "m");
    wait_for("under load", || count(&acknowledged) > 50).await;
    let old = before.master_id.expect("a master");
    let wanted = before.in_step.iter().map(|replica| replica.id).find(|id| *id != old).expect("another one");
    let client = group.client();
    let controllers = client.admin().controllers(&group.addresses(group.ports[1])).expect("addresses");
    controllers.elect("DefaultCluster", "orders", wanted).await.expect("elected");
    let after = group.replicas("under the wanted master", |set| set.master_id == Some(wanted)).await;
    assert!(after.master_epoch > before.master_epoch);
    let reached = count(&acknowledged);
    wait_for("taking messages again", || count(&acknowledged) > reached + 50).await;
    group.complete().await;
    producing.abort();
    let Acknowledged { bodies, gap, .. } = std::mem::take(&mut *acknowledged.lock().expect("not poisoned"));
    println!("{} acknowledged, longest gap {gap:?}", bodies.len());
    assert!(gap < INTERRUPTION, "writes stood still for {gap:?}");
    assert_all_there(&group, &bodies).await;
}
