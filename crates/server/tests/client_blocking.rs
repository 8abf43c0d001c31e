//! The client for programs without asynchronous code.

mod common;

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use apogee_client::blocking::Client;
use apogee_client::{Error, Message};
use common::{PATIENCE, Server};

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("a client")
}

#[test]
fn threads_send_read_and_consume_without_a_runtime() {
    let server = Server::start(&[]);
    let client = client(&server);
    let producer = client.producer("P").expect("a producer");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let producer = &producer;
            scope.spawn(move || {
                for number in 0..10 {
                    producer.send(Message::new("T", format!("{thread}{number}"))).expect("sent");
                }
            });
        }
    });
    let reader = client.open(client.reader("T").from_first()).expect("open");
    let read: BTreeSet<_> = reader.take(40).map(|message| message.expect("read").body).collect();
    assert_eq!(read.len(), 40);
    let mut reader = client.open(client.reader("T")).expect("open");
    assert!(reader.next_within(Duration::from_millis(50)).expect("nothing wrong").is_none());
    let mut consumer = client.join(client.consumer("G").subscribe("T").from_first()).expect("joined");
    let consumed: BTreeSet<_> = (0..40)
        .map(|_| {
            let delivery = consumer.next_within(PATIENCE).expect("in time");
            let body = delivery.body.clone();
            delivery.ack();
            body
        })
        .collect();
    assert_eq!(consumed, read);
    assert!(consumer.next_within(Duration::from_millis(50)).is_none());
    consumer.close(PATIENCE).expect("left");
    client.close();
    assert!(matches!(producer.send(Message::new("T", "late")), Err(Error::Closed)));
}

#[test]
fn a_transaction_is_committed_and_a_request_answered() {
    let server = Server::start(&[]);
    let client = client(&server);
    let producer = client.producer("P").expect("a producer");
    producer.begin(Message::new("T", "rolled back")).expect("begun").rollback().expect("rolled back");
    producer.begin(Message::new("T", "committed")).expect("begun").commit().expect("committed");
    let mut consumer = client.join(client.consumer("G").subscribe("T").from_first()).expect("joined");
    let answers = producer.clone();
    let stopper = consumer.stopper();
    let consuming = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        while let Some(delivery) = consumer.next() {
            bodies.push(delivery.body.clone());
            if let Ok(reply) = Message::reply_to(&delivery, "an answer") {
                answers.send(reply).expect("replied");
            }
            delivery.ack();
        }
        consumer.close(PATIENCE).expect("left");
        bodies
    });
    let reply = producer.request(Message::new("T", "question"), PATIENCE).expect("a reply");
    assert_eq!(&reply.body[..], b"an answer");
    stopper.stop();
    let mut bodies = consuming.join().expect("no panic");
    bodies.sort();
    assert_eq!(bodies, ["committed", "question"]);
}

#[test]
fn handlers_may_block_fail_and_panic_and_the_consumer_stops_when_it_is_told() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s 1s 1s"]);
    let client = client(&server);
    let producer = client.producer("P").expect("a producer");
    for number in 0..12 {
        producer.send(Message::new("T", number.to_string())).expect("sent");
    }
    let mut consumer = client.join(client.consumer("G").subscribe("T").from_first()).expect("joined");
    let stopper = consumer.stopper();
    let (sender, done) = mpsc::channel();
    let began = Instant::now();
    let watching = std::thread::spawn(move || {
        let mut bodies = BTreeSet::new();
        while bodies.len() < 12 {
            bodies.insert(done.recv_timeout(PATIENCE).expect("all came in the end"));
        }
        stopper.stop();
    });
    consumer.run(4, move |message| {
        std::thread::sleep(Duration::from_millis(20));
        match (&message.body[..], message.reconsume_times) {
            (b"3", 0) => Err("not now"),
            (b"4", 0) => panic!("not now, either"),
            _ => {
                let _ = sender.send(message.body);
                Ok(())
            }
        }
    });
    assert!(began.elapsed() < PATIENCE);
    watching.join().expect("all came");
    assert!(consumer.next().is_none());
    consumer.close(PATIENCE).expect("left");
    // What was settled is not repeated.
    let mut consumer = client.join(client.consumer("G").subscribe("T").from_first()).expect("joined");
    assert!(consumer.next_within(Duration::from_millis(300)).is_none());
}
