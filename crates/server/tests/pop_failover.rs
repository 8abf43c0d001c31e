//! POP when another broker becomes the master, with messages in flight: what was acknowledged stays so, all the rest comes, in
//! its order where there is one, and handles of the old master are good at the new one.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use apogee_client::admin::ReplicaSet;
use apogee_wire::codes::{request, response};
use apogee_wire::frame;
use common::batch::{self, ask, create, texts_of};
use common::cluster::Group;
use common::pop::{Pop, Popped};
use common::{PATIENCE, Peer};

const SETTINGS: &[&str] =
    &["enableLmq=true", "enableMultiDispatch=true", "popCkStayBufferTime=500", "popCkStayBufferTimeOut=0"];
/// Of each kind.
const MESSAGES: usize = 16;
/// Out for longer than a change of masters takes.
const OUT_MS: i64 = 15_000;

const ANY: Pop<'_> = Pop { broker: "orders", most: 4, invisible: OUT_MS, ..Pop::of("Any") };
/// Whatever there is to pop: in any order, in order, by priority, a light queue, and batches.
const KINDS: [Pop<'_>; 5] = [
    ANY,
    Pop { topic: "Ordered", queue: 0, in_order: true, ..ANY },
    Pop { topic: "Prior", ..ANY },
    Pop { topic: "%LMQ%light", ..ANY },
    Pop { topic: "T", ..ANY },
];

fn send_all(peer: &mut Peer) {
    for (topic, attributes) in [("Any", ""), ("Ordered", ""), ("Prior", "+message.type=PRIORITY")] {
        assert_eq!(create(peer, topic, attributes).code, response::SUCCESS);
    }
    batch::create_t(peer);
    for number in 0..MESSAGES {
        peer.send_ok("Any", 0, format!("any {number}").as_bytes(), "");
        peer.send_ok("Ordered", 0, format!("ordered {number}").as_bytes(), "");
        peer.send_ok("Prior", 0, format!("prior {number}").as_bytes(), "_SYS_MSG_PRIORITY_\u{1}0\u{2}");
        let light = "INNER_MULTI_DISPATCH\u{1}%LMQ%light\u{2}";
        peer.send_ok("Any2", 0, format!("light {number}").as_bytes(), light);
        batch::send(peer, &format!("B{number}"), &[&format!("batch {number}"), " and more"]);
    }
}

/// What a message is known by.
fn name(popped: &Popped) -> String {
    if popped.topic == "T" { texts_of(popped.body.as_bytes()).concat() } else { popped.body.clone() }
}

fn ack(peer: &mut Peer, popped: &Popped) {
    let answer = popped.ack(peer);
    assert_eq!(answer.code, response::SUCCESS, "{popped:?} {answer:?}");
}

fn offsets(peer: &mut Peer) -> Vec<Option<String>> {
    let of = |pop: &Pop<'_>| {
        let fields = [("consumerGroup", "G"), ("topic", pop.topic), ("queueId", "0")];
        let answer = peer.call(ask(request::QUERY_CONSUMER_OFFSET, &fields));
        answer.fields.get("offset").map(str::to_owned)
    };
    KINDS.iter().map(of).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Pops and acknowledges of each kind, until all of them are done with that are expected.
async fn consume_the_rest(peer: &mut Peer, done: &BTreeSet<String>, may_come: &BTreeSet<String>) {
    let mut left: BTreeSet<String> = (0..MESSAGES)
        .flat_map(|number| {
            let kinds = ["any", "ordered", "prior", "light"].map(|kind| format!("{kind} {number}"));
            kinds.into_iter().chain([format!("batch {number} and more")])
        })
        .filter(|name| !done.contains(name))
        .collect();
    let mut last_in_order = None;
    let deadline = Instant::now() + 2 * PATIENCE;
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "stuck or lost: {left:?}");
        for pop in KINDS {
            for popped in pop.by(peer) {
                let name = name(&popped);
                let number = name.strip_prefix("ordered ").map(|number| number.parse::<usize>().expect("a number"));
                if number.is_some() {
                    assert!(number >= last_in_order, "{name} comes behind {last_in_order:?}");
                    last_in_order = number;
                }
                assert!(left.remove(&name) || may_come.contains(&name), "{name} was acknowledged, and comes again");
                ack(peer, &popped);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What would come twice, comes when the time of what was out is up.
    for pop in KINDS {
        for popped in pop.by(peer) {
            assert!(may_come.contains(&name(&popped)), "{popped:?} comes again");
        }
    }
}

/// Sends, and leaves messages in flight; returns those that were acknowledged, and those that are out by kind.
async fn leave_in_flight(group: &Group, set: &ReplicaSet) -> (BTreeSet<String>, BTreeMap<&'static str, Vec<Popped>>) {
    let master = group.node_of(set);
    until("serving", || offers(group, master)).await;
    let mut peer = group.connect(master);
    send_all(&mut peer);
    let (mut done, mut out) = (BTreeSet::new(), BTreeMap::new());
    for pop in KINDS {
        let mut popped = pop.by(&mut peer);
        let count = if pop.topic == "T" { 2 } else { 4 };
        assert_eq!(popped.len(), count, "{}", pop.topic);
        let rest = popped.split_off(count / 2);
        for popped in popped {
            ack(&mut peer, &popped);
            done.insert(name(&popped));
        }
        out.insert(pop.topic, rest);
    }
    // Offsets pass what is out only once the log has it.
    let is_noted = |offsets: &[Option<String>]| {
        let read = ["4", "2", "4", "4", "4"];
        offsets.iter().zip(read).all(|(offset, read)| offset.as_deref() == Some(read))
    };
    until("noted", || is_noted(&offsets(&mut peer))).await;
    for node in (0..3).filter(|node| *node != master) {
        let mut peer = group.connect(node);
        until("known to the slaves", || is_noted(&offsets(&mut peer))).await;
    }
    (done, out)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_when_the_master_is_killed_is_neither_lost_nor_stuck_nor_out_of_order() {
    let mut group = Group::start(SETTINGS);
    let before = group.complete().await;
    let (mut done, out) = leave_in_flight(&group, &before).await;
    group.kill(group.node_of(&before));
    let after = group.replicas("under another master", |set| set.master_epoch > before.master_epoch).await;
    let node = group.node_of(&after);
    until("serving", || offers(&group, node)).await;
    let mut peer = group.connect(node);
    for (topic, popped) in &out {
        // In order the next message only: the new master was told no more than offsets.
        ack(&mut peer, &popped[0]);
        done.insert(name(&popped[0]));
        assert_eq!(popped.len(), if *topic == "T" { 1 } else { 2 });
    }
    consume_the_rest(&mut peer, &done, &BTreeSet::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_when_the_master_is_moved_is_neither_lost_nor_stuck_nor_out_of_order() {
    let group = Group::start(SETTINGS);
    let before = group.complete().await;
    let (mut done, out) = leave_in_flight(&group, &before).await;
    let mut peer = group.connect(group.node_of(&before));
    for popped in out.values() {
        ack(&mut peer, &popped[0]);
        done.insert(name(&popped[0]));
    }
    let old = before.master_id.expect("a master");
    let wanted = before.in_step.iter().map(|replica| replica.id).find(|id| *id != old).expect("another one");
    let client = group.client();
    let controllers = client.admin().controllers(&group.addresses(group.ports[1])).expect("addresses");
    controllers.elect("DefaultCluster", "orders", wanted).await.expect("elected");
    let after = group.replicas("under the wanted master", |set| set.master_id == Some(wanted)).await;
    let node = group.node_of(&after);
    until("serving", || offers(&group, node)).await;
    let mut peer = group.connect(node);
    // Acknowledged within the last seconds: may come again.
    let may_come = out.values().map(|popped| name(&popped[0])).collect();
    consume_the_rest(&mut peer, &done, &may_come).await;
}

/// Whether a node takes messages. It may not listen, or close its connections, while it changes.
fn offers(group: &Group, node: usize) -> bool {
    let Some(mut peer) = group.try_connect(node) else { return false };
    let request = frame::to_bytes(&common::send_request("Probe", 0, b"x", ""));
    peer.try_write(&request) && peer.try_read().is_some_and(|answer| answer.code == response::SUCCESS)
}
