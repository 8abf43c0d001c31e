//! The Rust client against the real binary.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use apogee_client::{Client, Consumer, Decision, Error, Message, SendStatus};
use common::Server;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("an address")
}

async fn send(client: &Client, topic: &str, bodies: impl Iterator<Item = usize>) {
    let producer = client.producer("P").expect("a producer");
    for body in bodies {
        let sent = producer.send(Message::new(topic, body.to_string()).key(body.to_string())).await.expect("sent");
        assert_eq!(sent.status, SendStatus::Ok);
    }
}

/// Acknowledges what comes until there are so many; their bodies.
async fn take(consumer: &mut Consumer, count: usize) -> Vec<usize> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("only {bodies:?} came")).expect("not closed");
        bodies.push(String::from_utf8_lossy(&delivery.body).parse().expect("a number"));
        delivery.ack();
    }
    bodies
}

#[tokio::test]
async fn a_group_goes_on_where_it_was() {
    let server = Server::start(&[]);
    let client = client(&server);
    send(&client, "T", 0..40).await;
    let mut taken = BTreeSet::new();
    for _ in 0..4 {
        let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
        for body in take(&mut consumer, 10).await {
            assert!(taken.insert(body), "{body} came twice");
        }
        consumer.close(PATIENCE).await.expect("left");
    }
    assert_eq!(taken, (0..40).collect());
}

#[tokio::test]
async fn members_share_the_queues_and_lose_nothing_when_one_leaves() {
    let server = Server::start(&[]);
    let (one, other) = (client(&server), client(&server));
    send(&one, "T", 0..1).await;
    let mut first = one.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let mut second = other.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let mut taken = BTreeMap::new();
    // Until both get something: each has its part.
    let (mut of_first, mut of_second) = (0, 0);
    let mut next = 1;
    while of_first == 0 || of_second == 0 {
        send(&one, "T", next..next + 8).await;
        next += 8;
        let wait = tokio::time::sleep(Duration::from_millis(300));
        tokio::pin!(wait);
        loop {
            let (delivery, count) = tokio::select! {
                delivery = first.next() => (delivery, &mut of_first),
                delivery = second.next() => (delivery, &mut of_second),
                () = &mut wait => break,
            };
            let delivery = delivery.expect("not closed");
            *taken.entry(String::from_utf8_lossy(&delivery.body).into_owned()).or_insert(0) += 1;
            delivery.ack();
            *count += 1;
        }
        assert!(next < 1_000, "{of_first} and {of_second}");
    }
    first.close(PATIENCE).await.expect("left");
    send(&one, "T", next..next + 16).await;
    // It is told that the other one left; by itself it would look after 20 s.
    let soon = Duration::from_secs(8);
    while taken.len() < next + 16 {
        let delivery = tokio::time::timeout(soon, second.next()).await.expect("in time").expect("not closed");
        *taken.entry(String::from_utf8_lossy(&delivery.body).into_owned()).or_insert(0) += 1;
        delivery.ack();
    }
    second.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn what_fails_comes_again_and_ends_among_the_dead_letters() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s 1s 1s"]);
    let client = client(&server);
    send(&client, "T", 7..8).await;
    let consumer = client.consumer("G").subscribe("T").from_first().max_reconsume_times(2);
    let mut consumer = consumer.join().await.expect("joined");
    for times in 0..3 {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
        assert_eq!((&delivery.body[..], delivery.topic(), delivery.reconsume_times), (&b"7"[..], "T", times));
        // The second time it is just dropped.
        if times != 1 {
            delivery.retry_at_level(1);
        }
    }
    let mut dead = loop {
        match client.reader("%DLQ%G").from_first().open().await {
            Ok(reader) => break reader,
            Err(Error::NoTopic(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let letter = tokio::time::timeout(PATIENCE, dead.next()).await.expect("in time").expect("one").expect("read");
    assert_eq!(&letter.body[..], b"7");
    consumer.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn a_handler_that_fails_or_panics_loses_nothing() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s 1s 1s"]);
    let client = client(&server);
    send(&client, "T", 0..30).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
    let handled = consumer.run(4, |message| {
        let sender = sender.clone();
        async move {
            let body: usize = String::from_utf8_lossy(&message.body).parse().expect("a number");
            match (body % 3, message.reconsume_times) {
                (0, 0) => Err("not now"),
                (1, 0) => panic!("not now, either"),
                _ => {
                    let _ = sender.send(body);
                    Ok(())
                }
            }
        }
    });
    let all = async {
        let mut bodies = BTreeSet::new();
        while bodies.len() < 30 {
            bodies.extend(done.recv().await);
        }
    };
    tokio::select! {
        () = handled => panic!("it ended"),
        ended = tokio::time::timeout(PATIENCE, all) => ended.expect("all came in the end"),
    }
    consumer.close(PATIENCE).await.expect("left");
}

#[tokio::test]
async fn a_consumer_that_leaves_waits_for_its_handlers_and_repeats_nothing() {
    let server = Server::start(&[]);
    let client = client(&server);
    send(&client, "T", 0..20).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let handled = consumer.run(3, |message| {
        let sender = sender.clone();
        async move {
            let body: usize = String::from_utf8_lossy(&message.body).parse().expect("a number");
            let _ = sender.send(body);
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok::<_, Error>(())
        }
    });
    let mut handed = BTreeSet::new();
    tokio::select! {
        () = handled => panic!("it ended"),
        () = async { while handed.len() < 5 { handed.extend(begun.recv().await); } } => {}
    }
    consumer.close(PATIENCE).await.expect("left");
    while let Ok(body) = begun.try_recv() {
        handed.insert(body);
    }
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    for body in take(&mut consumer, 20 - handed.len()).await {
        assert!(handed.insert(body), "{body} came twice");
    }
    assert_eq!(handed.len(), 20);
}

#[tokio::test]
async fn a_client_lives_through_a_restart_of_the_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(&folder.path().join("data"), &[]);
    let (namesrv, broker) = (server.namesrv, server.broker);
    let client = client(&server);
    send(&client, "T", 0..5).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    assert_eq!(take(&mut consumer, 5).await.len(), 5);
    server.kill();
    let producer = client.producer_builder("P").timeout(PATIENCE).build().expect("a producer");
    let error = producer.send(Message::new("T", "5")).await.expect_err("nobody is there").to_string();
    assert!(error.contains(&namesrv.to_string()) || error.contains(&broker.to_string()), "{error}");
    let _server = Server::start_in_place_of(namesrv, broker, &folder.path().join("data"));
    send(&client, "T", 5..10).await;
    let mut taken = BTreeSet::new();
    while !taken.is_superset(&(5..10).collect()) {
        taken.extend(take(&mut consumer, 1).await);
    }
}

#[tokio::test]
async fn who_loses_its_name_server_asks_another_one_though_that_is_up_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (Server::start_in(&folder.path().join("data"), &[]), Server::start(&[]));
    send(&client(&second), "Elsewhere", 0..1).await;
    let client = Client::new(format!("{};{}", first.namesrv, second.namesrv)).expect("addresses");
    assert!(matches!(client.reader("Elsewhere").open().await, Err(Error::NoTopic(_))));
    let (namesrv, broker) = (first.namesrv, first.broker);
    first.kill();
    let _first = Server::start_in_place_of(namesrv, broker, &folder.path().join("data"));
    client.reader("Elsewhere").open().await.expect("known to the second one");
}

#[tokio::test]
async fn a_peer_that_hangs_or_talks_nonsense_is_an_error_and_no_hang() {
    for (nonsense, reason) in [(&b""[..], "no answer within"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "was closed")] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            let open: Vec<_> = listener
                .incoming()
                .flatten()
                .map(|mut stream| {
                    let _ = std::io::Write::write_all(&mut stream, nonsense);
                    stream
                })
                .collect();
            drop(open);
        });
        let client = Client::builder(&*address).timeout(Duration::from_millis(300)).build().expect("an address");
        let producer = client.producer("P").expect("a producer");
        let error = tokio::time::timeout(PATIENCE, producer.send(Message::new("T", "b"))).await.expect("no hang");
        let error = error.expect_err("no name server").to_string();
        assert!(error.contains(&address) && error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_told_at_once() {
    let server = Server::start(&["autoCreateTopicEnable=false", "enablePropertyFilter=true"]);
    let client = client(&server);
    let error = client.consumer("G").subscribe("Absent").join().await.expect_err("no topic").to_string();
    assert!(error.contains("topic Absent does not exist"), "{error}");
    let error = client.consumer("G").join().await.expect_err("nothing").to_string();
    assert_eq!(error, "the consumer of group G subscribes to nothing");
    let error = client.producer("a b").expect_err("no name").to_string();
    assert!(error.contains("contains ' '"), "{error}");
    let producer = client.producer("P").expect("a producer");
    let error = producer.send(Message::new("Absent", "b")).await.expect_err("no topic").to_string();
    assert!(error.contains("topic Absent does not exist"), "{error}");
    let error = producer.send(Message::new("T", "")).await.expect_err("empty").to_string();
    assert_eq!(error, "the message for topic T cannot be sent: its body is empty, which not all brokers take");
    let error = producer.send(Message::new("T", vec![0; 5 << 20])).await.expect_err("too long").to_string();
    assert!(error.contains("over the limit of 4194304"), "{error}");
    let nobody = Client::new("127.0.0.1:1; 127.0.0.1:2").expect("addresses");
    let error = nobody.reader("T").open().await.expect_err("nobody").to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("127.0.0.1:2"), "{error}");
    assert!(matches!(Client::new(" ;"), Err(Error::NoNameServer)));
}

#[tokio::test]
async fn a_transaction_is_seen_when_it_is_committed_and_asked_about_when_it_is_forgotten() {
    let server = Server::start(&["transactionTimeOut=200", "transactionCheckInterval=300"]);
    let client = client(&server);
    send(&client, "T", 0..1).await;
    let checked = |message: &apogee_client::Received| match &message.body[..] {
        b"forgotten" => Decision::Commit,
        _ => Decision::Rollback,
    };
    let producer = client.producer_builder("P").check(checked).build().expect("a producer");
    let begin = async |body: &'static str| producer.begin(Message::new("T", body)).await.expect("begun");
    begin("committed").await.commit().await.expect("committed");
    begin("rolled back").await.rollback().await.expect("rolled back");
    drop(begin("forgotten").await);
    drop(begin("forgotten, and not to be").await);
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let mut bodies = BTreeSet::new();
    while bodies.len() < 3 {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap_or_else(|_| panic!("only {bodies:?}"));
        bodies.insert(String::from_utf8_lossy(&message.expect("open").expect("read").body).into_owned());
    }
    assert_eq!(bodies.iter().map(|body| &**body).collect::<Vec<_>>(), ["0", "committed", "forgotten"]);
}
