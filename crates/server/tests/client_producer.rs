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
    let server = Server::start(&["recallMessageEnable=true"]);
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
    // It collects, but no requests.
    let producer = asking.producer_builder("P").collect(10_000, Duration::from_millis(20)).build().expect("a producer");
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

#[tokio::test]
async fn messages_sent_at_the_same_time_travel_together_and_each_sender_learns_its_place() {
    let server = Server::start(&["maxMessageSize=200000"]);
    let client = client(&server);
    let linger = Duration::from_millis(50);
    let producer = client.producer_builder("P").collect(2_000, linger).build().expect("a producer");
    // The second of each ten goes to the queue of its key, the third is too long to be collected, the fourth delayed.
    let sends = (0..200).map(|number| {
        let message = Message::new("T", number.to_string());
        let message = match number % 10 {
            2 => message.sharding_key("one of a kind"),
            3 => Message::new("T", format!("{number}{}", " ".repeat(5_000))),
            4 => message.delay_level(1),
            _ => message.key(number.to_string()),
        };
        let producer = producer.clone();
        async move { (number, producer.send(message).await.expect("sent")) }
    });
    let sent = tokio::task::JoinSet::from_iter(sends).join_all().await;
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let mut found = BTreeMap::new();
    while found.len() < 200 {
        let message = tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("open");
        let message = message.expect("read");
        let number: usize = String::from_utf8_lossy(&message.body).trim().parse().expect("a number");
        found.insert(number, message);
    }
    for (number, sent) in &sent {
        let message = &found[number];
        assert_eq!(sent.message_id, message.message_id());
        // The place of a delayed message is where it waits.
        if number % 10 != 4 {
            let place = (sent.queue.clone(), sent.offset, sent.offset_id.clone());
            assert_eq!(place, (message.queue.clone(), message.offset, message.offset_id()), "{number}");
        }
    }
    let of_key: Vec<_> = sent.iter().filter(|(number, _)| number % 10 == 2).map(|(_, sent)| &sent.queue).collect();
    assert!(of_key.iter().all(|queue| *queue == of_key[0]), "{of_key:?}");
    // Those that were collected one after the other are in one queue, not in one after the other.
    let queue = |number: usize| &found[&number].queue;
    let neighbours = (0..200).filter(|number| [0, 5, 6, 7, 8].contains(&(number % 10)));
    let together = neighbours.filter(|number| queue(*number) == queue(number + 1)).count();
    assert!(together > 80, "{together} of 100");
}

#[tokio::test]
async fn a_message_that_is_refused_does_not_spoil_its_batch() {
    let server = Server::start(&["maxMessageSize=300"]);
    let client = client(&server);
    let linger = Duration::from_millis(50);
    let producer = client.producer_builder("P").collect(10_000, linger).build().expect("a producer");
    let send = |body: String| {
        let producer = producer.clone();
        async move { producer.send(Message::new("T", body)).await }
    };
    let (one, long, other) = tokio::join!(send("one".to_owned()), send("x".repeat(400)), send("other".to_owned()));
    one.expect("sent");
    other.expect("sent");
    let error = long.expect_err("too long for the broker");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    // What fails for all is told to each.
    server.kill();
    let (one, other) = tokio::join!(send("one".to_owned()), send("other".to_owned()));
    for failed in [one, other] {
        let error = failed.expect_err("nobody is there");
        assert!(matches!(error, Error::Batch(_)), "{error}");
    }
    // And nobody waits longer than the time for sending.
    client.close().await;
    assert!(matches!(send("late".to_owned()).await, Err(Error::Closed)));
}

#[tokio::test]
async fn who_sends_more_than_can_be_under_way_waits_and_nothing_fails() {
    // Apache's broker refuses what it does not come to within that time.
    let server = Server::start(&["waitTimeMillsInSendQueue=20000"]);
    let client = client(&server);
    let producer = client.producer_builder("P").timeout(PATIENCE).build().expect("a producer");
    let sends = (0..5_000).map(|number: i32| {
        let producer = producer.clone();
        async move { producer.send(Message::new("T", number.to_string())).await.expect("sent").message_id }
    });
    let ids = tokio::task::JoinSet::from_iter(sends).join_all().await;
    assert_eq!(ids.into_iter().collect::<std::collections::BTreeSet<_>>().len(), 5_000);
}
