//! Controllers that end, are cut off, come back, or lag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_net::Conn;
use apogee_wire::codes::response;

use crate::cluster::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_one_leads_soon_and_knows_all_that_was_decided() {
    let mut cluster = Cluster::start(3).await;
    let mut brokers = cluster.brokers("b", &[1, 2]).await;
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::SUCCESS);
    assert_eq!(cluster.ask(&brokers[0].alter(1, &[1, 2], 1)).await.code, response::SUCCESS);
    let first = cluster.leader().await;
    cluster.kill(first).await;
    let before = Instant::now();
    let second = cluster.leader().await;
    assert_ne!(first, second);
    // 1.2 s by its timers; the rest is for a busy machine.
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    // It does not take what it has not heard yet for gone, and knows the master.
    assert_eq!(cluster.view("b").await, (Some(1), 1, [1, 2].into()));
    brokers.remove(0).kill();
    assert_eq!(cluster.until_master("b", Some(2)).await, 2);
    // The first comes back and follows.
    cluster.up(first).await;
    until("it has caught up", || {
        let node = |node: usize| cluster.nodes[node].as_ref().expect("up");
        metric(node(first), "apogee_controller_applied") == metric(node(second), "apogee_controller_applied")
    })
    .await;
    cluster.kill(second).await;
    assert_eq!(cluster.until_master("b", Some(2)).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_decides_nothing() {
    let cluster = Cluster::start(3).await;
    let brokers = cluster.brokers("b", &[1]).await;
    let leader = cluster.leader().await;
    // Nobody reaches it, and it reaches nobody, but for brokers.
    let others: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    cluster.wires[leader].cut(&others.iter().map(|node| cluster.ports[*node]).collect::<Vec<_>>());
    others.iter().for_each(|node| cluster.wires[*node].cut(&[cluster.ports[leader]]));
    let controller = cluster.nodes[leader].as_ref().expect("up");
    until("it doesn't say that it leads", || !controller.is_leader()).await;
    let refused = ask(&cluster.address(leader), &brokers[0].elect(false)).await.expect("an answer");
    assert_eq!(refused.code, response::CONTROLLER_NOT_LEADER, "{refused:?}");
    until("others have a leader", || {
        others.iter().any(|node| cluster.nodes[*node].as_ref().is_some_and(|node| node.is_leader()))
    })
    .await;
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::SUCCESS);
    cluster.wires.iter().for_each(|wires| wires.mend());
    until("all follow one again", || {
        let mut leaders = cluster.nodes.iter().flatten().map(apogee_controller::Controller::leader);
        let first = leaders.next().flatten();
        first.is_some() && leaders.all(|leader| leader == first)
    })
    .await;
    assert_eq!(cluster.view("b").await, (Some(1), 1, [1].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_of_all_loses_nothing() {
    let mut cluster = Cluster::start(3).await;
    let brokers = cluster.brokers("b", &[1, 2]).await;
    assert_eq!(cluster.ask(&brokers[1].elect(false)).await.code, response::SUCCESS);
    assert_eq!(cluster.ask(&brokers[1].alter(1, &[1, 2], 1)).await.code, response::SUCCESS);
    for node in 0..3 {
        cluster.kill(node).await;
    }
    for node in 0..3 {
        cluster.up(node).await;
    }
    assert_eq!(cluster.view("b").await, (Some(2), 1, [1, 2].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lost_its_disk_takes_all_from_the_others() {
    let mut cluster = Cluster::start(3).await;
    let brokers = cluster.brokers("b", &[1, 2]).await;
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::SUCCESS);
    let (leader, lost) = (cluster.leader().await, (cluster.leader().await + 1) % 3);
    cluster.kill(lost).await;
    cluster.disks[lost] = Arc::new(apogee_base::disk::SimDisk::new(9));
    assert_eq!(cluster.ask(&brokers[0].alter(1, &[1, 2], 1)).await.code, response::SUCCESS);
    cluster.up(lost).await;
    until("it has caught up", || {
        let node = |node: usize| cluster.nodes[node].as_ref().expect("up");
        metric(node(lost), "apogee_controller_applied") == metric(node(leader), "apogee_controller_applied")
    })
    .await;
    cluster.kill(leader).await;
    assert_eq!(cluster.view("b").await, (Some(1), 1, [1, 2].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lags_far_behind_gets_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let brokers = cluster.brokers("b", &[1, 2]).await;
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::SUCCESS);
    let lags = (cluster.leader().await + 1) % 3;
    cluster.kill(lags).await;
    // More entries than are kept: a broker registers again and again. On a busy machine the leader may change.
    let applied = |node: usize| metric(cluster.nodes[node].as_ref().expect("up"), "apogee_controller_applied");
    while applied(cluster.leader().await) < 800.0 {
        let conn = connect(&cluster.address(cluster.leader().await)).await.expect("up");
        let call = |conn: Arc<Conn>, asked| async move { conn.call(asked, PATIENCE).await.map(drop) };
        let calls: Vec<_> = (0..50).map(|_| tokio::spawn(call(Arc::clone(&conn), brokers[1].register()))).collect();
        for answered in calls {
            answered.await.expect("no panic").expect("an answer");
        }
    }
    assert_eq!(cluster.ask(&brokers[0].alter(1, &[1, 2], 1)).await.code, response::SUCCESS);
    cluster.up(lags).await;
    let applied = |node: usize| metric(cluster.nodes[node].as_ref().expect("up"), "apogee_controller_applied");
    until("it has caught up", || (0..3).all(|node| applied(node) == applied(lags))).await;
    let leader = cluster.leader().await;
    cluster.kill(leader).await;
    assert_eq!(cluster.view("b").await, (Some(1), 1, [1, 2].into()));
    // The snapshot is what a start begins with.
    let first = (0..3).find(|node| *node != leader).expect("three");
    cluster.kill(first).await;
    cluster.up(first).await;
    assert_eq!(cluster.view("b").await, (Some(1), 1, [1, 2].into()));
}
