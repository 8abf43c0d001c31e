//! What producers can do beyond sending one message after the other.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use apogee_client::{Client, Error, Message};
use common::{PATIENCE, Server};

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("an address")
}

#[tokio::test]
async fn a_queue_chosen_by_hand_is_the_one() {
    let server = Server::start(&[]);
    let client = client(&server);
    let producer = client.producer("P").expect("a producer");
    producer.send(Message::new("T", "first")).await.expect("sent");
    let queues = producer.queues("T").await.expect("queues");
    for place in [3, 0, 3] {
        let sent = producer.send_by(Message::new("T", "b"), |queues| queues.len() - 4 + place).await.expect("sent");
        assert_eq!(sent.queue, queues[place]);
    }
    let error = producer.send_by(Message::new("T", "b"), |queues| queues.len()).await.expect_err("no such queue");
    assert!(error.to_string().contains("queue 4 was chosen of 4"), "{error}");
}

#[tokio::test]
async fn a_recalled_message_does_not_come() {
    let server = Server::start(&[]);
    let client = client(&server);
    let producer = client.producer("P").expect("a producer");
    let delayed = |body: &'static str| Message::new("T", body).delay(Duration::from_secs(3));
    let recalled = producer.send(delayed("recalled")).await.expect("sent");
    let kept = producer.send(delayed("kept")).await.expect("sent");
    let id = producer.recall(&recalled.recall_handle.expect("a handle")).await.expect("recalled");
    assert_eq!(id, recalled.message_id);
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let message = tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("open").expect("read");
    assert_eq!(&message.body[..], b"kept");
    let late = producer.recall(&kept.recall_handle.expect("a handle")).await.expect_err("it was delivered");
    assert!(matches!(late, Error::Refused { .. }), "{late}");
    let error = producer.recall("nonsense").await.expect_err("no handle").to_string();
    assert!(error.contains(r#""nonsense" is no handle"#), "{error}");
}

#[tokio::test]
async fn a_request_gets_its_reply() {
    let server = Server::start(&[]);
    let (asking, answering) = (client(&server), client(&server));
    let producer = asking.producer("P").expect("a producer");
    producer.send(Message::new("T", "not a request")).await.expect("sent");
    let mut consumer = answering.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let replier = answering.producer("R").expect("a producer");
    let answers = tokio::spawn(async move {
        let mut unanswerable = None;
        while let Some(delivery) = consumer.next().await {
            let body = [&delivery.body[..], b" is answered"].concat();
            match Message::reply_to(&delivery, body) {
                Ok(_) if delivery.tag() == Some("forgotten") => {}
                Ok(reply) => drop(replier.send(reply).await.expect("replied")),
                Err(error) => unanswerable = Some(error.to_string()),
            }
            let was_last = delivery.tag() == Some("forgotten");
            delivery.ack();
            if was_last {
                break;
            }
        }
        unanswerable
    });
    let asked = (0..20).map(|number| {
        let producer = producer.clone();
        // One that is compressed, too.
        let body = format!("{number}{}", " ".repeat(if number == 7 { 10_000 } else { 0 }));
        let request = Message::new("T", body.clone());
        async move { (body, producer.request(request, PATIENCE).await) }
    });
    let mut tasks = tokio::task::JoinSet::from_iter(asked);
    let mut replies = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let (body, reply) = done.expect("no panic");
        let reply = reply.expect("a reply");
        assert_eq!(String::from_utf8_lossy(&reply.body), format!("{body} is answered"));
        assert!(reply.topic().ends_with("_REPLY_TOPIC"), "{reply:?}");
        replies.insert(body, reply);
    }
    assert_eq!(replies.len(), 20);
    let patience = Duration::from_millis(600);
    let error = producer.request(Message::new("T", "21").tag("forgotten"), patience).await.expect_err("no reply");
    assert!(matches!(&error, Error::NoReply { topic, timeout, .. } if topic == "T" && *timeout == patience), "{error}");
    let unanswerable = answers.await.expect("no panic").expect("one was no request");
    assert!(unanswerable.contains("has no CORRELATION_ID"), "{unanswerable}");
}
