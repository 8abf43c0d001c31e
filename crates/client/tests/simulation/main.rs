//! Producers and consumers of a group in a simulated network, over many seeds: connections that break, nodes that hang,
//! talk nonsense or are away, members that come and go, and a clock that jumps.
//!
//! A failing seed is printed; `CLIENT_SEED=<n>` runs it alone, `CLIENT_SEEDS=<n>` sets how many run.
//!
//! | | file |
//! |---|---|
//! | what goes wrong, by the dice | `faults.rs` |
//! | connections in memory | `network.rs` |
//! | name server and brokers | `cluster.rs` |

mod cluster;
mod faults;
mod network;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apogee_base::clock::ManualClock;
use apogee_client::{Client, Consumer, Error, Message, Producer};
use bytes::Bytes;
use cluster::{BROKERS, Cluster, GROUP, NAME, TOPIC};
use network::{Line, Network};
use tokio::time::Instant;

/// How long a send may take.
const SEND: Duration = Duration::from_secs(3);
/// When the faults end.
const STORM: Duration = Duration::from_secs(180);
/// When all must be well again after that: heartbeats and the sharing of queues have had their turns.
const CALM: Duration = Duration::from_secs(300);

fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("CLIENT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CLIENT_SEEDS").unwrap_or(usual),
    }
}

#[test]
fn nothing_is_lost_in_a_storm() {
    // A panic in a task, the cluster's or the client's, ends that task and nothing else: they are counted.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        print(panic);
    }));
    let fails = |seed: &u64| {
        let before = PANICS.load(Ordering::SeqCst);
        let ended = std::panic::catch_unwind(|| run(*seed));
        ended.is_err() || PANICS.load(Ordering::SeqCst) > before
    };
    let failed: Vec<u64> = seeds(30).filter(fails).collect();
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_nothing_is_given_up() {
    let cluster = Cluster::new(0);
    cluster.calm();
    // The name server's first one, and after it that of the first broker.
    cluster.next_calls([Line::Nonsense(Vec::new()), Line::Node, Line::Nonsense(Vec::new())]);
    let client = Client::builder(NAME.to_string()).dial(Network(Arc::clone(&cluster))).build().expect("an address");
    let producer = client.producer_builder("P").timeout(SEND).build().expect("a producer");
    for silent in [NAME, BROKERS[0]] {
        let error = producer.send(Message::new(TOPIC, "lost")).await.expect_err("no answer").to_string();
        assert!(error.contains(&silent.to_string()), "{error}");
    }
    // To each of the brokers.
    for _ in 0..4 {
        producer.send(Message::new(TOPIC, "sent")).await.expect("another connection is made");
    }
}

fn run(seed: u64) {
    // One thread, and time that passes when all wait: a second of it costs nothing.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(storm(seed));
}

async fn storm(seed: u64) {
    let cluster = Cluster::new(seed);
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let client = |cluster: &Arc<Cluster>| {
        let builder = Client::builder(NAME.to_string()).dial(Network(Arc::clone(cluster)));
        builder.clock(clock.clone()).build().expect("an address")
    };
    let weather = tokio::spawn(weather(Arc::clone(&cluster), Arc::clone(&clock)));
    let deliveries = Arc::new(Mutex::new(BTreeMap::<Bytes, u32>::new()));
    let ends = Instant::now() + STORM;
    let members: Vec<_> = (0..2)
        .map(|_| tokio::spawn(member(Arc::clone(&cluster), client(&cluster), Arc::clone(&deliveries), ends)))
        .collect();
    let sender = client(&cluster);
    let producer = sender.producer_builder("P").timeout(SEND).build().expect("a producer");
    let sending: Vec<_> = (0..4).map(|part| tokio::spawn(send(producer.clone(), part))).collect();
    let mut promised = BTreeSet::new();
    for sending in sending {
        promised.extend(sending.await.expect("no sender panics"));
    }
    tokio::time::sleep_until(ends).await;
    cluster.calm();
    let stored = cluster.stored();
    for (body, queue, offset) in &promised {
        let places = stored.get(body).unwrap_or_else(|| panic!("{body:?} was answered and is not there"));
        let is_there = places.iter().any(|(node, id, at)| (&format!("{TOPIC}@{node}:{id}"), at) == (queue, offset));
        assert!(is_there, "{body:?} is said to be in {queue} at {offset}, and is in {places:?}");
    }
    assert!(!promised.is_empty(), "nothing was sent");

    settle("what was stored was consumed", || {
        cluster.outstanding().is_empty().then_some(()).ok_or(cluster.outstanding())
    })
    .await;
    // Members know of each other again: nobody reads what another one reads.
    tokio::time::sleep(Duration::from_secs(60)).await;
    deliveries.lock().expect("no panic").clear();
    for number in 0..40 {
        producer.send(Message::new(TOPIC, format!("calm {number}"))).await.expect("sent in calm weather");
    }
    settle("what was stored was consumed", || {
        cluster.outstanding().is_empty().then_some(()).ok_or(cluster.outstanding())
    })
    .await;
    let twice: Vec<_> = deliveries
        .lock()
        .expect("no panic")
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(body, _)| body.clone())
        .collect();
    assert!(twice.is_empty(), "came twice in calm weather: {twice:?}");
    weather.abort();
    for member in members {
        // It leaves by itself when its client is closed.
        member.abort();
        let _ = member.await;
    }
    // The next one finds everything committed by those who left, but for what was open when they were torn away.
    let last = client(&cluster);
    let consumer = last.consumer(GROUP).subscribe(TOPIC).from_first().join().await.expect("joined");
    let finished = tokio::spawn(consume(consumer, Arc::clone(&cluster), deliveries, None));
    settle("all is committed", || cluster.behind().is_empty().then_some(()).ok_or(cluster.behind())).await;
    last.close().await;
    tokio::time::timeout(CALM, finished).await.expect("a consumer ends with its client").expect("no panic");
}

/// Waits until something holds; says what is missing when it doesn't in time.
async fn settle<M: std::fmt::Debug>(what: &str, holds: impl Fn() -> Result<(), M>) {
    let deadline = Instant::now() + CALM;
    while let Err(missing) = holds() {
        assert!(Instant::now() < deadline, "not so after {CALM:?}: {what}; {missing:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Nodes go and come back, and the clock jumps.
async fn weather(cluster: Arc<Cluster>, clock: Arc<ManualClock>) {
    loop {
        tokio::time::sleep(Duration::from_millis(1_000 + cluster.below(14_000))).await;
        let node = [NAME, BROKERS[0], BROKERS[1]][cluster.below(3) as usize];
        cluster.set_down(node, true);
        clock.advance(cluster.below(7_200_000) as i64 - 3_600_000);
        tokio::time::sleep(Duration::from_millis(cluster.below(20_000))).await;
        cluster.set_down(node, false);
    }
}

/// Sends alone and in batches; what was answered, with its queue and offset.
async fn send(producer: Producer, part: u32) -> Vec<(Bytes, String, i64)> {
    let mut answered = Vec::new();
    let mut ids = BTreeSet::new();
    for number in 0..60 {
        let bodies: Vec<_> = (0..1 + number % 3).map(|nth| Bytes::from(format!("{part}/{number}/{nth}"))).collect();
        let mut messages: Vec<_> = bodies.iter().map(|body| Message::new(TOPIC, body.clone())).collect();
        let started = Instant::now();
        let sent = match messages.len() {
            1 => producer.send(messages.remove(0)).await,
            _ => producer.send_batch(messages).await,
        };
        assert!(started.elapsed() <= SEND + Duration::from_millis(10), "a send took {:?}", started.elapsed());
        match sent {
            Ok(sent) => {
                for id in sent.message_id.split(',') {
                    assert!(ids.insert(id.to_owned()), "two messages have id {id}");
                }
                let place = (0..).map(|nth| sent.offset + nth);
                answered.extend(bodies.into_iter().zip(place).map(|(body, at)| (body, sent.queue.to_string(), at)));
            }
            Err(Error::Closed | Error::Message { .. } | Error::NoTopic(_)) => panic!("not what happened"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    answered
}

/// A member of the group that leaves and comes again now and then.
async fn member(cluster: Arc<Cluster>, client: Client, deliveries: Arc<Mutex<BTreeMap<Bytes, u32>>>, ends: Instant) {
    loop {
        let joined =
            client.consumer(GROUP).subscribe(TOPIC).from_first().commit_every(Duration::from_secs(2)).join().await;
        let Ok(consumer) = joined else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        let stay = (Instant::now() < ends).then(|| Duration::from_millis(5_000 + cluster.below(60_000)));
        consume(consumer, Arc::clone(&cluster), Arc::clone(&deliveries), stay).await;
    }
}

async fn consume(
    mut consumer: Consumer,
    cluster: Arc<Cluster>,
    deliveries: Arc<Mutex<BTreeMap<Bytes, u32>>>,
    stay: Option<Duration>,
) {
    let until = stay.map(|stay| Instant::now() + stay);
    loop {
        let delivery = tokio::select! {
            biased;
            delivery = consumer.next() => delivery,
            () = async { match until { Some(until) => tokio::time::sleep_until(until).await, None => std::future::pending().await } } => break,
        };
        let Some(delivery) = delivery else { return };
        *deliveries.lock().expect("no panic").entry(delivery.body.clone()).or_default() += 1;
        let is_calm = delivery.body.starts_with(b"calm");
        match cluster.below(12) {
            0 if !is_calm => delivery.retry(),
            1 if !is_calm => drop(delivery),
            2 if !is_calm => {
                // Worked on elsewhere, for a while.
                let (cluster, time) = (Arc::clone(&cluster), Duration::from_millis(cluster.below(8_000)));
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    cluster.acknowledge(delivery.body.clone());
                    delivery.ack();
                });
            }
            _ => {
                cluster.acknowledge(delivery.body.clone());
                delivery.ack();
            }
        }
    }
    // May fail in a storm; in vain, what was consumed comes again.
    let closing = Instant::now();
    let _ = consumer.close(Duration::from_secs(5)).await;
    assert!(closing.elapsed() < Duration::from_secs(120), "closing took {:?}", closing.elapsed());
}
