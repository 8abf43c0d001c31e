//! Consuming by POP. Our broker does not offer it in order yet: that runs against Apache's (`APOGEE_TEST_SERVER=apache`).

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use apogee_client::{Client, Message, PopConsumer, PopDelivery};
use common::{PATIENCE, Server};

fn is_offered_in_order() -> bool {
    std::env::var("APOGEE_TEST_SERVER").as_deref() == Ok("apache")
}

async fn with_messages(count: usize) -> (Server, Client) {
    let server = Server::start(&[]);
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    send(&client, 0..count).await;
    (server, client)
}

async fn send(client: &Client, numbers: std::ops::Range<usize>) {
    let producer = client.producer_builder("P").timeout(PATIENCE).build().expect("a producer");
    for number in numbers {
        let message = Message::new("T", number.to_string()).tag(["even", "odd"][number % 2]);
        producer.send(message.sharding_key("one queue")).await.expect("sent");
    }
}

async fn next(consumer: &mut PopConsumer) -> PopDelivery {
    tokio::time::timeout(2 * PATIENCE, consumer.next()).await.expect("in time").expect("open")
}

fn number(delivery: &PopDelivery) -> usize {
    String::from_utf8_lossy(&delivery.body).parse().expect("a number")
}

async fn nothing_comes(consumer: &mut PopConsumer, within: Duration) {
    let waited = tokio::time::timeout(within, consumer.next()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn a_consumer_of_nothing_is_refused() {
    let (_server, client) = with_messages(1).await;
    let error = client.pop_consumer("G").open().await.expect_err("nothing").to_string();
    assert_eq!(error, "the consumer of group G subscribes to nothing");
}

#[tokio::test]
async fn what_is_acknowledged_does_not_come_again_and_the_rest_does() {
    let (_server, client) = with_messages(100).await;
    let builder = client.pop_consumer("G").subscribe("T").from_first().invisible_time(Duration::from_secs(3));
    let (mut first, mut second) = (builder.clone().open().await.expect("open"), builder.open().await.expect("open"));
    let mut seen = BTreeMap::new();
    while seen.len() < 100 {
        let delivery = tokio::select! { one = next(&mut first) => one, other = next(&mut second) => other };
        assert_eq!(seen.insert(number(&delivery), delivery.reconsume_times), None);
        match number(&delivery) % 10 {
            // Each way of not acknowledging.
            0 => delivery.retry_after(Duration::from_secs(1)),
            1 => drop(delivery),
            _ => delivery.ack(),
        }
    }
    let mut again = BTreeSet::new();
    while again.len() < 20 {
        let delivery = tokio::select! { one = next(&mut first) => one, other = next(&mut second) => other };
        assert!(number(&delivery) % 10 < 2 && again.insert(number(&delivery)), "{delivery:?}");
        assert_eq!((delivery.topic(), delivery.reconsume_times), ("T", 1), "{delivery:?}");
        delivery.ack();
    }
    nothing_comes(&mut first, Duration::from_secs(8)).await;
    first.close(PATIENCE).await;
    second.close(PATIENCE).await;
}

#[tokio::test]
async fn a_message_that_is_worked_on_stays_invisible() {
    let (_server, client) = with_messages(3).await;
    let builder = client.pop_consumer("G").subscribe_tags("T", "even").from_first();
    let builder = builder.invisible_time(Duration::from_secs(2));
    let mut first = builder.clone().open().await.expect("open");
    let connections = client.admin().members("G").await.expect("asked");
    let subscribed = format!("{connections:?}");
    assert!(subscribed.contains("even") && subscribed.contains(client.id()), "{subscribed}");
    let held = next(&mut first).await;
    next(&mut first).await.ack();
    // Not before: it would fetch messages, too, whether somebody wants them or not.
    let mut second = builder.open().await.expect("open");
    nothing_comes(&mut second, Duration::from_secs(9)).await;
    held.ack();
    nothing_comes(&mut second, Duration::from_secs(5)).await;
    // Closing waits for what is held.
    send(&client, 4..5).await;
    let held = tokio::select! { one = next(&mut first) => one, other = next(&mut second) => other };
    let (began, waits) = (Instant::now(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.ack();
    });
    tokio::join!(first.close(PATIENCE), second.close(PATIENCE), waits);
    let left = client.admin().members("G").await;
    assert!(!format!("{left:?}").contains(client.id()), "{left:?}");
    assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_never_succeeds_ends_among_the_dead_letters() {
    let (_server, client) = with_messages(1).await;
    let mut consumer =
        client.pop_consumer("G").subscribe("T").from_first().max_reconsume_times(1).open().await.expect("open");
    for times in 0..2 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.reconsume_times, times);
        delivery.retry_after(Duration::from_secs(1));
    }
    consumer.close(PATIENCE).await;
    let dead = client.reader("%DLQ%G").from_first().open().await;
    let message = tokio::time::timeout(PATIENCE, dead.expect("it is there").next()).await.expect("in time");
    assert_eq!(&message.expect("open").expect("read").body[..], b"0");
}

#[tokio::test]
async fn messages_of_a_queue_come_in_order_one_at_a_time() {
    if !is_offered_in_order() {
        return;
    }
    let (_server, client) = with_messages(20).await;
    let mut consumer = client.pop_consumer("G").subscribe("T").from_first().in_order().open().await.expect("open");
    let mut numbers = Vec::new();
    while numbers.len() < 21 {
        let delivery = next(&mut consumer).await;
        numbers.push(number(&delivery));
        if numbers.len() == 5 {
            delivery.retry_after(Duration::from_secs(1));
        } else {
            delivery.ack();
        }
    }
    assert_eq!(numbers, (0..5).chain(4..20).collect::<Vec<_>>());
    consumer.close(PATIENCE).await;
}

#[tokio::test]
async fn handlers_work_side_by_side_and_one_that_fails_gets_its_message_again() {
    let (_server, client) = with_messages(40).await;
    let mut consumer = client.pop_consumer("G").subscribe("T").from_first().open().await.expect("open");
    let (sender, mut done) = tokio::sync::mpsc::unbounded_channel();
    let handled = consumer.run(8, |message| {
        let sender = sender.clone();
        async move {
            let number: usize = String::from_utf8_lossy(&message.body).parse().expect("a number");
            match (number % 20, message.reconsume_times) {
                (0, 0) => Err("not now"),
                (1, 0) => panic!("not now, either"),
                _ => {
                    let _ = sender.send(number);
                    Ok(())
                }
            }
        }
    });
    let all = async {
        let mut numbers = BTreeSet::new();
        while numbers.len() < 40 {
            numbers.extend(done.recv().await);
        }
    };
    tokio::select! {
        () = handled => panic!("it ended"),
        ended = tokio::time::timeout(2 * PATIENCE, all) => ended.expect("all came in the end"),
    }
    consumer.close(PATIENCE).await;
}
