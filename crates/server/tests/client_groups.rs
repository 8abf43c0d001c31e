//! Consumers of the Rust client whose group has rules of its own: order, broadcasting, batches, shares.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apogee_client::{Balance, Client, Consumer, Delivery, Error, Message, Producer, Queue};
use common::{PATIENCE, Server};

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("an address")
}

/// As patient as the tests are.
fn producer(client: &Client) -> Producer {
    client.producer_builder("P").timeout(PATIENCE).build().expect("a producer")
}

async fn send(client: &Client, topic: &str, bodies: impl Iterator<Item = usize>) {
    let producer = producer(client);
    for body in bodies {
        producer.send(Message::new(topic, body.to_string())).await.expect("sent");
    }
}

/// Sends to one queue.
async fn send_to(client: &Client, queue: &Queue, bodies: impl Iterator<Item = usize>) {
    let producer = producer(client);
    for body in bodies {
        producer.send_to(queue, Message::new(&*queue.topic, body.to_string())).await.expect("sent");
    }
}

fn body(message: &apogee_client::Received) -> usize {
    String::from_utf8_lossy(&message.body).parse().expect("a number")
}

async fn next(consumer: &mut Consumer) -> Delivery {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed")
}

/// A topic's queue, which is there after a message was sent to the topic.
async fn queue(client: &Client, topic: &str) -> Queue {
    producer(client).send(Message::new(topic, "0")).await.expect("sent").queue
}

#[tokio::test]
async fn an_orderly_consumer_has_one_message_of_a_queue_at_a_time_and_all_in_order() {
    let server = Server::start(&[]);
    let client = client(&server);
    send(&client, "T", 0..200).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().orderly().join().await.expect("joined");
    let seen = Arc::new(Mutex::new(BTreeMap::<Queue, Vec<i64>>::new()));
    let (at_work, busiest) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
    let handled = consumer.run(16, |message| {
        let (seen, at_work, busiest) = (Arc::clone(&seen), Arc::clone(&at_work), Arc::clone(&busiest));
        async move {
            {
                let mut at_work = at_work.lock().expect("a lock");
                assert!(at_work.insert(message.queue.clone()), "two messages of {} at once", message.queue);
                busiest.fetch_max(at_work.len(), Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(message.offset as u64 % 5)).await;
            at_work.lock().expect("a lock").remove(&message.queue);
            seen.lock().expect("a lock").entry(message.queue).or_default().push(message.offset);
            Ok::<_, Error>(())
        }
    });
    let count = || seen.lock().expect("a lock").values().map(Vec::len).sum::<usize>();
    let all = async {
        while count() < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = handled => panic!("it ended"),
        done = tokio::time::timeout(PATIENCE, all) => done.unwrap_or_else(|_| panic!("only {} came", count())),
    }
    for (queue, offsets) in &*seen.lock().expect("a lock") {
        assert!(offsets.iter().copied().eq(0..offsets.len() as i64), "{queue}: {offsets:?}");
    }
    assert!(busiest.load(Ordering::Relaxed) > 1, "queues wait for each other");
    consumer.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn a_message_that_fails_in_order_holds_up_its_queue_and_ends_among_the_dead_letters() {
    let server = Server::start(&[]);
    let client = client(&server);
    let queue = queue(&client, "T").await;
    send_to(&client, &queue, 1..4).await;
    let consumer = client.consumer("G").subscribe("T").from_first().orderly();
    let consumer = consumer.suspend(Duration::from_millis(50)).max_reconsume_times(2);
    let mut consumer = consumer.join().await.expect("joined");
    next(&mut consumer).await.ack();
    for times in 0..3 {
        let delivery = next(&mut consumer).await;
        assert_eq!((body(&delivery), delivery.reconsume_times), (1, times));
        let waits = tokio::time::timeout(Duration::from_millis(30), consumer.next()).await;
        assert!(waits.is_err(), "{waits:?} came before {delivery:?} was settled");
        if times != 1 {
            delivery.retry();
        }
    }
    for expected in [2, 3] {
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), expected);
        delivery.ack();
    }
    let open = async {
        loop {
            match client.reader("%DLQ%G").from_first().open().await {
                Ok(reader) => break reader,
                Err(Error::NoTopic(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let mut dead = tokio::time::timeout(PATIENCE, open).await.expect("there are dead letters");
    let letter = tokio::time::timeout(PATIENCE, dead.next()).await.expect("in time").expect("one").expect("read");
    assert_eq!((body(&letter), letter.tag()), (1, None));
    consumer.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn a_queue_changes_hands_in_order_and_one_message_after_the_other() {
    let server = Server::start(&[]);
    let (one, other) = (client(&server), client(&server));
    send(&one, "T", 0..40).await;
    let join = |client: &Client| {
        client.consumer("G").subscribe("T").from_first().orderly().commit_every(Duration::from_secs(60)).join()
    };
    let mut first = join(&one).await.expect("joined");
    // It works on one message of each queue.
    let mut at_work = BTreeMap::new();
    while at_work.len() < 4 {
        let delivery = next(&mut first).await;
        at_work.insert(delivery.queue.clone(), delivery);
    }
    let mut second = join(&other).await.expect("joined");
    let early = tokio::time::timeout(Duration::from_secs(1), second.next()).await;
    assert!(early.is_err(), "{early:?} is of a queue whose message is worked on");
    let mut seen = BTreeMap::<Queue, Vec<i64>>::new();
    for (queue, delivery) in at_work {
        seen.entry(queue).or_default().push(delivery.offset);
        delivery.ack();
    }
    let (mut of_first, mut of_second) = (0, 0);
    while of_first + of_second < 36 {
        let (delivery, count) = tokio::select! {
            delivery = first.next() => (delivery, &mut of_first),
            delivery = second.next() => (delivery, &mut of_second),
            () = tokio::time::sleep(PATIENCE) => panic!("only {of_first} and {of_second} came"),
        };
        let delivery = delivery.expect("not closed");
        seen.entry(delivery.queue.clone()).or_default().push(delivery.offset);
        delivery.ack();
        *count += 1;
    }
    for (queue, offsets) in seen {
        assert!(offsets.iter().copied().eq(0..offsets.len() as i64), "{queue}: {offsets:?}");
    }
    assert!(of_second > 0, "the second one got nothing");
    // Its queues are unlocked, and so the other one's at once.
    first.close(PATIENCE).await.expect("left");
    send(&one, "T", 40..48).await;
    for _ in 0..8 {
        tokio::time::timeout(Duration::from_secs(8), next(&mut second)).await.expect("in time").ack();
    }
    second.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn each_broadcasting_consumer_gets_all_and_goes_on_where_it_was() {
    let server = Server::start(&[]);
    let (one, other) = (client(&server), client(&server));
    let folders = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| folders.path().join(name);
    send(&one, "T", 0..20).await;
    let join = |client: &Client, name: &str| {
        client.consumer("G").subscribe("T").from_first().broadcasting(folder(name)).join()
    };
    let mut first = join(&one, "one").await.expect("joined");
    let mut second = join(&other, "other").await.expect("joined");
    for consumer in [&mut first, &mut second] {
        let mut taken = BTreeSet::new();
        for _ in 0..20 {
            let delivery = next(consumer).await;
            assert!(taken.insert(body(&delivery)));
            // What fails is dropped.
            if body(&delivery) == 7 { delivery.retry() } else { delivery.ack() }
        }
        let more = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
        assert!(more.is_err(), "{more:?} came again");
    }
    let error = join(&client(&server), "one").await.expect_err("used").to_string();
    assert!(error.contains("another consumer uses them"), "{error}");
    first.close(PATIENCE).await.expect("left");
    send(&one, "T", 20..30).await;
    let mut first = join(&one, "one").await.expect("joined");
    for consumer in [&mut first, &mut second] {
        let mut taken = BTreeSet::new();
        for _ in 0..10 {
            let delivery = next(consumer).await;
            taken.insert(body(&delivery));
            delivery.ack();
        }
        assert_eq!(taken, (20..30).collect());
    }
    let written = std::fs::read_to_string(folder("one").join("G/offsets.json")).expect("written");
    assert!(written.starts_with("{\"offsetTable\":{{\"brokerName\":\""), "{written}");
}

#[tokio::test]
async fn batches_are_of_one_queue_in_order_and_settled_together_or_one_by_one() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s 1s 1s"]);
    let client = client(&server);
    let queue = queue(&client, "T").await;
    send_to(&client, &queue, 1..50).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let (mut bodies, mut longest) = (Vec::new(), 0);
    while bodies.len() < 20 {
        let batch = tokio::time::timeout(PATIENCE, consumer.next_batch(8)).await.expect("in time").expect("open");
        assert!((1..=8).contains(&batch.len()));
        longest = longest.max(batch.len());
        for delivery in batch {
            bodies.push(body(&delivery));
            delivery.ack();
        }
    }
    assert!(bodies.iter().copied().eq(0..bodies.len()), "{bodies:?}");
    assert!(longest > 1, "each message came by itself");
    let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
    let handled = consumer.run_batches(2, 10, |batch| {
        let sender = sender.clone();
        async move {
            if batch.iter().any(|message| body(message) == 40 && message.reconsume_times == 0) {
                return Err("not now");
            }
            batch.iter().for_each(|message| sender.send(body(message)).expect("somebody counts"));
            Ok(())
        }
    });
    let all = async {
        while bodies.len() < 50 {
            bodies.extend(done.recv().await);
        }
    };
    tokio::select! {
        () = handled => panic!("it ended"),
        ended = tokio::time::timeout(PATIENCE, all) => ended.expect("all came in the end"),
    }
    bodies.sort_unstable();
    assert!(bodies.iter().copied().eq(0..50), "{bodies:?}");
    consumer.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn queues_are_shared_as_the_group_has_it() {
    let server = Server::start(&[]);
    let (one, other) = (client(&server), client(&server));
    send(&one, "T", 0..8).await;
    let first_gets_all = || {
        Balance::by(|member, members, queues| match members.first().is_some_and(|first| first == member) {
            true => queues.to_vec(),
            false => Vec::new(),
        })
    };
    let (first, second) = if one.id() < other.id() { (&one, &other) } else { (&other, &one) };
    let join = |client: &Client| client.consumer("G").subscribe("T").from_first().balance(first_gets_all()).join();
    let mut stand_by = join(second).await.expect("joined");
    for _ in 0..8 {
        next(&mut stand_by).await.ack();
    }
    let mut active = join(first).await.expect("joined");
    // When it has a message of each queue, all are its own.
    let mut queues = BTreeSet::new();
    let mut body = 8;
    while queues.len() < 4 {
        send(&one, "T", body..body + 4).await;
        body += 4;
        for _ in 0..4 {
            let delivery = tokio::select! {
                delivery = active.next() => delivery.map(|delivery| (true, delivery)),
                delivery = stand_by.next() => delivery.map(|delivery| (false, delivery)),
                () = tokio::time::sleep(PATIENCE) => panic!("{body} did not come"),
            };
            let (is_active, delivery) = delivery.expect("open");
            if is_active {
                queues.insert(delivery.queue.clone());
            }
            delivery.ack();
        }
    }
    send(&one, "T", body..body + 8).await;
    for _ in 0..8 {
        next(&mut active).await.ack();
    }
    let none = tokio::time::timeout(Duration::from_millis(200), stand_by.next()).await;
    assert!(none.is_err(), "{none:?}");
    // The active one is gone, and the other one takes over.
    active.close(PATIENCE).await.expect("left");
    send(&one, "T", 0..4).await;
    for _ in 0..4 {
        next(&mut stand_by).await.ack();
    }
}

#[tokio::test]
async fn a_consumer_ends_with_its_client() {
    let server = Server::start(&[]);
    let client = client(&server);
    send(&client, "T", 0..1).await;
    let mut waiting = client.consumer("G").subscribe("T").from_first().orderly().join().await.expect("joined");
    let mut running = client.consumer("H").subscribe("T").from_first().join().await.expect("joined");
    next(&mut waiting).await.ack();
    let closed = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.close().await;
    };
    let ended = async { tokio::join!(waiting.next(), running.run(1, |_| async { Ok::<_, Error>(()) }), closed) };
    let (none, (), ()) = tokio::time::timeout(PATIENCE, ended).await.expect("they end");
    assert!(none.is_none());
}

#[tokio::test]
async fn an_orderly_consumer_lives_through_a_restart_of_the_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(&folder.path().join("data"), &[]);
    let (namesrv, broker) = (server.namesrv, server.broker);
    let client = client(&server);
    let queue = queue(&client, "T").await;
    send_to(&client, &queue, 1..5).await;
    let consumer = client.consumer("G").subscribe("T").from_first().orderly();
    let mut consumer = consumer.commit_every(Duration::from_millis(50)).join().await.expect("joined");
    for expected in 0..3 {
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), expected);
        delivery.ack();
    }
    let at_work = next(&mut consumer).await;
    server.kill();
    let _server = Server::start_in_place_of(namesrv, broker, &folder.path().join("data"));
    at_work.ack();
    let delivery = next(&mut consumer).await;
    assert_eq!(body(&delivery), 4);
    delivery.ack();
    producer(&client).send_to(&queue, Message::new("T", "5")).await.expect("sent");
    let delivery = next(&mut consumer).await;
    assert_eq!(body(&delivery), 5);
    delivery.ack();
    consumer.close(PATIENCE).await.expect("left");
}
