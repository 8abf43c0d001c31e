//! A client in a namespace: it sees its own topics and groups by their short names, and nobody else's.

mod common;

use std::time::Duration;

use apogee_client::{Client, Decision, Error, Message};
use common::{PATIENCE, Server};

fn clients(server: &Server) -> [Client; 2] {
    let address = server.namesrv.to_string();
    let inside = Client::builder(&*address).namespace("ns").build().expect("a client");
    [inside, Client::new(address).expect("an address")]
}

#[tokio::test]
async fn what_is_in_a_namespace_is_seen_there_by_its_short_name() {
    let server = Server::start(&[]);
    let [inside, outside] = clients(&server);
    let producer = inside.producer("P").expect("a producer");
    let sent = producer.send(Message::new("T", "inside")).await.expect("sent");
    assert_eq!(&*sent.queue.topic, "ns%T");
    assert!(producer.queues("T").await.expect("queues").contains(&sent.queue));
    producer.send_to(&sent.queue, Message::new("T", "to the same queue")).await.expect("sent");
    let batch = vec![Message::new("T", "one"), Message::new("T", "other")];
    assert_eq!(&*producer.send_batch(batch).await.expect("sent").queue.topic, "ns%T");
    // From outside there is no such topic, but one with the full name.
    assert!(matches!(outside.reader("T").open().await, Err(Error::NoTopic(_))));
    let mut reader = outside.reader(inside.qualified("T")).from_first().open().await.expect("open");
    for _ in 0..4 {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("open");
        assert_eq!(message.expect("read").topic(), "ns%T");
    }
    // A message that comes again is still one of the short name; the group is another one outside.
    let mut consumer = inside.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    assert_eq!(consumer.group(), "ns%G");
    let mut came = 0;
    while came < 5 {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
        assert_eq!(delivery.topic(), "T");
        came += 1;
        match (&delivery.body[..], delivery.reconsume_times) {
            (b"inside", 0) => delivery.retry_at_level(1),
            _ => delivery.ack(),
        }
    }
    consumer.close(PATIENCE).await.expect("left");
    let error = Client::builder("127.0.0.1:1").namespace("a%b").build().err().expect("no name").to_string();
    assert!(error.contains("namespace name `a%b` contains '%'"), "{error}");
}

#[tokio::test]
async fn transactions_requests_and_recalls_work_in_a_namespace() {
    let server = Server::start(&["transactionTimeOut=200", "transactionCheckInterval=300", "recallMessageEnable=true"]);
    let [client, _] = clients(&server);
    let checked = |message: &apogee_client::Received| match message.topic() {
        "T" => Decision::Commit,
        _ => Decision::Rollback,
    };
    let producer = client.producer_builder("P").check(checked).build().expect("a producer");
    producer.send(Message::new("T", "first")).await.expect("sent");
    producer.begin(Message::new("T", "committed")).await.expect("begun").commit().await.expect("committed");
    drop(producer.begin(Message::new("T", "forgotten")).await.expect("begun"));
    let late = producer.send(Message::new("T", "late").delay(Duration::from_secs(3600))).await.expect("sent");
    producer.recall(&late.recall_handle.expect("a handle")).await.expect("recalled");
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let answering = producer.clone();
    let consuming = tokio::spawn(async move {
        let mut bodies = std::collections::BTreeSet::new();
        while bodies.len() < 4 {
            let Some(delivery) = consumer.next().await else { break };
            if let Ok(reply) = Message::reply_to(&delivery, "an answer") {
                answering.send(reply).await.expect("replied");
            }
            bodies.insert(String::from_utf8_lossy(&delivery.body).into_owned());
            delivery.ack();
        }
        bodies
    });
    let reply = producer.request(Message::new("T", "question"), PATIENCE).await.expect("a reply");
    assert_eq!(&reply.body[..], b"an answer");
    let bodies = tokio::time::timeout(PATIENCE, consuming).await.expect("in time").expect("no panic");
    assert_eq!(bodies.iter().map(|body| &**body).collect::<Vec<_>>(), ["committed", "first", "forgotten", "question"]);
}
