//! Consuming queues that are chosen by hand, against the real binary.

mod common;

use std::time::Duration;

use apogee_client::{
    Client, ConsumeContext, Error, From, Interceptor, Message, PullConsumer, Queue, Received, Refusal,
};
use common::{PATIENCE, Server};

/// A server whose topic has a message for each body, the first half in its first queue, and the rest in its second.
async fn with_messages(count: usize) -> (Server, Client, Vec<Queue>) {
    let server = Server::start(&[]);
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    let producer = client.producer("P").expect("a producer");
    producer.send(Message::new("T", "makes the topic")).await.expect("sent");
    let reader = client.pull_consumer("Looks").build().expect("a consumer");
    let queues: Vec<_> = reader.queues("T").await.expect("a route").into_iter().take(2).collect();
    for (half, queue) in queues.iter().enumerate() {
        for number in half * count / 2..(half + 1) * count / 2 {
            let message = Message::new("T", number.to_string()).tag(["even", "odd"][number % 2]);
            producer.send_to(queue, message).await.expect("sent");
        }
    }
    (server, client, queues)
}

async fn take(consumer: &mut PullConsumer, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let message = tokio::time::timeout(PATIENCE, consumer.next()).await;
        bodies.push(body(&message.unwrap_or_else(|_| panic!("only {bodies:?}")).expect("open").expect("read")));
    }
    bodies
}

fn body(message: &Received) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

async fn nothing_comes(consumer: &mut PullConsumer) {
    let waited = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(waited.is_err(), "{waited:?}");
}

/// Where the messages of a queue begin: the one that made the topic may be before them.
async fn first_of(client: &Client, queue: &Queue) -> i64 {
    let consumer = client.pull_consumer("Looks").build().expect("a consumer");
    let pull = consumer.pull(queue, 0, 32).await.expect("pulled");
    let made = pull.messages.iter().flatten().filter(|message| message.tag().is_none()).count();
    made as i64
}

#[tokio::test]
async fn a_consumer_reads_the_queues_that_it_is_told_to_and_goes_on_where_it_committed() {
    let (_server, client, queues) = with_messages(20).await;
    let builder = client.pull_consumer("G").from_first().tags("even || odd");
    let mut consumer = builder.clone().build().expect("a consumer");
    consumer.assign([queues[0].clone()]).await.expect("assigned");
    assert_eq!(take(&mut consumer, 4).await, ["0", "1", "2", "3"]);
    let first = first_of(&client, &queues[0]).await;
    assert_eq!(consumer.position(&queues[0]).expect("assigned"), first + 4);
    assert_eq!(consumer.committed(&queues[0]).await.expect("asked"), None);
    consumer.commit().await.expect("committed");
    assert_eq!(consumer.committed(&queues[0]).await.expect("asked"), Some(first + 4));
    assert_eq!(take(&mut consumer, 2).await, ["4", "5"]);
    drop(consumer);

    let mut consumer = builder.build().expect("a consumer");
    consumer.assign([queues[0].clone()]).await.expect("assigned");
    assert_eq!(take(&mut consumer, 6).await, ["4", "5", "6", "7", "8", "9"]);
    nothing_comes(&mut consumer).await;
    // What it has already goes on where it is.
    consumer.assign(queues.clone()).await.expect("assigned");
    assert_eq!(take(&mut consumer, 10).await, (10..20).map(|body| body.to_string()).collect::<Vec<_>>());
    nothing_comes(&mut consumer).await;
    assert_eq!(consumer.assigned(), queues);
}

#[tokio::test]
async fn seek_pause_and_resume_are_of_one_queue() {
    let (_server, client, queues) = with_messages(20).await;
    let mut consumer = client.pull_consumer("G").from_first().tags("even || odd").build().expect("a consumer");
    consumer.assign(queues.clone()).await.expect("assigned");
    consumer.pause([&queues[1]]);
    assert_eq!(take(&mut consumer, 10).await.len(), 10);
    nothing_comes(&mut consumer).await;
    let offset = first_of(&client, &queues[0]).await + 8;
    consumer.seek(&queues[0], From::Offset(offset)).await.expect("sought");
    assert_eq!(take(&mut consumer, 2).await, ["8", "9"]);
    // Nothing was handed out since, and yet it is another place.
    consumer.seek(&queues[0], From::First).await.expect("sought");
    consumer.commit().await.expect("committed");
    assert_eq!(consumer.committed(&queues[0]).await.expect("asked"), Some(0));
    consumer.seek(&queues[0], From::Last).await.expect("sought");
    consumer.resume([&queues[1]]);
    assert_eq!(take(&mut consumer, 1).await, ["10"]);
    consumer.seek(&queues[1], From::Last).await.expect("sought");
    nothing_comes(&mut consumer).await;
    consumer.seek(&queues[1], From::First).await.expect("sought");
    assert_eq!(take(&mut consumer, 10).await.last().map(|body| &**body), Some("19"));
    let other = Queue { id: 999, ..queues[0].clone() };
    let error = consumer.seek(&other, From::First).await.expect_err("not assigned").to_string();
    assert!(matches!(consumer.position(&other), Err(Error::NotAssigned(_))) && error.contains(":999"), "{error}");
}

#[tokio::test]
async fn batches_are_of_one_queue_and_what_is_asked_past_is_committed() {
    let (_server, client, queues) = with_messages(40).await;
    let builder = client.pull_consumer("G").from_first().tags("even || odd").commit_every(Duration::ZERO);
    let mut consumer = builder.build().expect("a consumer");
    consumer.assign([queues[1].clone()]).await.expect("assigned");
    let mut bodies = Vec::new();
    while bodies.len() < 20 {
        let batch = tokio::time::timeout(PATIENCE, consumer.next_batch(7)).await.expect("in time").expect("open");
        let batch = batch.expect("read");
        assert!((1..=7).contains(&batch.len()) && batch.iter().all(|message| message.queue == queues[1]));
        // It was asked past the ones before these, not past these.
        let committed = consumer.committed(&queues[1]).await.expect("asked");
        assert_eq!(committed, (!bodies.is_empty()).then_some(batch[0].offset));
        bodies.extend(batch.iter().map(body));
    }
    assert_eq!(bodies, (20..40).map(|body| body.to_string()).collect::<Vec<_>>());
    let end = consumer.position(&queues[1]).expect("assigned");
    let other = client.pull_consumer("G").build().expect("a consumer");
    consumer.close().await.expect("closed");
    assert_eq!(other.committed(&queues[1]).await.expect("asked"), Some(end));
    other.commit_offset(&queues[1], 3).await.expect("committed");
    assert_eq!(other.committed(&queues[1]).await.expect("asked"), Some(3));
}

#[tokio::test]
async fn a_pull_by_hand_does_not_wait_and_tells_where_to_go_on() {
    let (_server, client, queues) = with_messages(10).await;
    let consumer = client.pull_consumer("G").tags("odd").build().expect("a consumer");
    let first = first_of(&client, &queues[0]).await;
    let pull = consumer.pull(&queues[0], first, 3).await.expect("pulled");
    let bodies: Vec<_> = pull.messages.iter().flatten().map(body).collect();
    assert!(!bodies.is_empty() && ["1", "3"].starts_with(&bodies.iter().map(|body| &**body).collect::<Vec<_>>()));
    assert_eq!((pull.min_offset, pull.max_offset), (0, first + 5));
    let bounds = [From::First, From::Last, From::Time(std::time::SystemTime::UNIX_EPOCH)];
    for (from, offset) in bounds.into_iter().zip([0, first + 5, 0]) {
        assert_eq!(consumer.offset(&queues[0], from).await.expect("asked"), offset, "{from:?}");
    }
    let end = tokio::time::timeout(Duration::from_secs(5), consumer.pull(&queues[0], first + 5, 3)).await;
    let end = end.expect("at once").expect("pulled");
    assert!(end.messages.is_empty() && end.next_offset == first + 5, "{end:?}");
    let beyond = consumer.pull(&queues[0], 1_000, 3).await.expect("pulled");
    assert_eq!(beyond.next_offset, first + 5);
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_is_an_error_and_ends_alone() {
    let (_server, client, queues) = with_messages(10).await;
    let mut consumer = client.pull_consumer("G").tags("even || odd").from(From::Offset(0)).build().expect("a consumer");
    let absent = Queue { id: 999, ..queues[0].clone() };
    consumer.assign([queues[0].clone(), absent.clone()]).await.expect("assigned");
    let (mut bodies, mut errors) = (Vec::new(), Vec::new());
    while bodies.len() < 5 || errors.is_empty() {
        match tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open") {
            Ok(message) => bodies.push(body(&message)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert!(errors.len() == 1 && errors[0].contains("refused"), "{errors:?}");
    assert_eq!(consumer.assigned(), [queues[0].clone()]);
    client.close().await;
    assert!(consumer.next().await.is_none());
    assert!(matches!(client.pull_consumer("G").build(), Err(Error::Closed)));
}

struct NoThrees;

impl Interceptor for NoThrees {
    fn before_consume(&self, message: &mut Received, _: &mut ConsumeContext<'_>) -> Result<(), Refusal> {
        match body(message).parse::<u32>()? % 3 {
            0 => Err("three of a kind".into()),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn what_an_interceptor_refuses_is_an_error_of_its_own_and_what_follows_is_kept() {
    let (_server, client, queues) = with_messages(20).await;
    let builder = client.pull_consumer("G").from_first().tags("even || odd").interceptor(NoThrees);
    let mut consumer = builder.build().expect("a consumer");
    consumer.assign([queues[0].clone()]).await.expect("assigned");
    let mut came = Vec::new();
    while came.len() < 10 {
        match tokio::time::timeout(PATIENCE, consumer.next_batch(4)).await.expect("in time").expect("open") {
            Ok(batch) => came.extend(batch.iter().map(body)),
            Err(error) => came.push(error.to_string().split(' ').next_back().unwrap_or_default().to_owned()),
        }
    }
    assert_eq!(came, ["kind", "1", "2", "kind", "4", "5", "kind", "7", "8", "kind"]);
    nothing_comes(&mut consumer).await;
}

#[tokio::test]
async fn a_consumer_goes_on_when_its_broker_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start_in(&data, &[]);
    let (namesrv, broker) = (server.namesrv, server.broker);
    let client = Client::new(namesrv.to_string()).expect("an address");
    let producer = client.producer_builder("P").timeout(PATIENCE).build().expect("a producer");
    producer.send(Message::new("T", "before")).await.expect("sent");
    let mut consumer = client.pull_consumer("G").from_first().build().expect("a consumer");
    consumer.assign(consumer.queues("T").await.expect("a route")).await.expect("assigned");
    assert_eq!(take(&mut consumer, 1).await, ["before"]);
    server.kill();
    assert!(consumer.commit().await.is_err());
    let _server = Server::start_in_place_of(namesrv, broker, &data);
    producer.send(Message::new("T", "after")).await.expect("sent");
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
    consumer.commit().await.expect("committed");
    for queue in consumer.assigned() {
        let (position, committed) = (consumer.position(&queue), consumer.committed(&queue).await.expect("asked"));
        assert_eq!(position.expect("assigned"), committed.unwrap_or(0));
    }
}
