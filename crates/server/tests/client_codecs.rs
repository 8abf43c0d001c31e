//! Interceptors and codecs of the Rust client.

mod common;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apogee_client::{
    Client, ConsumeContext, ConsumeOutcome, Delivery, Error, Interceptor, Message, Received, Refusal, SendContext,
    SendKind, SendOutcome,
};
use common::Server;

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes down what it sees.
#[derive(Clone)]
struct Log {
    name: char,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.lines.lock().expect("no panic").push(format!("{} {what}", self.name));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().expect("no panic"))
    }
}

/// What a log keeps for a message.
struct Seen(String);

impl Interceptor for Log {
    fn before_send(&self, message: &mut Message, context: &mut SendContext<'_>) -> Result<(), Refusal> {
        if self.name == 'b' && message.body() == "bad" {
            return Err("it is bad".into());
        }
        self.note(format_args!("sends {:?}", context.kind));
        let mut path = message.get("path").unwrap_or_default().to_owned();
        path.write_char(self.name)?;
        message.set("path", path);
        context.keep(Seen(context.message_id.to_owned()));
        Ok(())
    }

    fn after_send(&self, _: &Message, context: &mut SendContext<'_>, outcome: SendOutcome<'_>) {
        let id = context.message_id;
        assert_eq!(context.kept::<Seen>().expect("kept").0, id);
        match outcome {
            SendOutcome::Sent(sent) => {
                assert!(sent.message_id.contains(context.message_id));
                self.note(format_args!("sent by {}", context.group));
            }
            other => self.note(format_args!("{other:?}")),
        }
    }

    fn before_consume(&self, message: &mut Received, context: &mut ConsumeContext<'_>) -> Result<(), Refusal> {
        if self.name == 'b' && message.body == "refused" && message.reconsume_times == 0 {
            return Err("not yet".into());
        }
        context.keep(Seen(message.message_id().into_owned()));
        self.note(format_args!("consumes {:?}", message.property("path").unwrap_or_default()));
        Ok(())
    }

    fn after_consume(&self, message: &Received, context: &mut ConsumeContext<'_>, outcome: ConsumeOutcome<'_>) {
        assert_eq!(context.kept::<Seen>().expect("kept").0, message.message_id());
        self.note(format_args!("{outcome:?} by {}", context.group));
    }
}

async fn next(consumer: &mut apogee_client::Consumer) -> Delivery {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed")
}

#[tokio::test]
async fn interceptors_see_what_is_sent_and_consumed() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s"]);
    let first = Log { name: 'a', lines: Arc::default() };
    let second = Log { name: 'b', lines: Arc::clone(&first.lines) };
    let client = Client::builder(server.namesrv.to_string()).interceptor(first.clone()).build().expect("an address");
    let producer = client.producer_builder("P").interceptor(second.clone()).build().expect("a producer");
    producer.send(Message::new("T", "good")).await.expect("sent");
    assert_eq!(first.take(), ["a sends Single", "b sends Single", "b sent by P", "a sent by P"]);

    let error = producer.send(Message::new("T", "bad")).await.expect_err("refused");
    assert_eq!(error.to_string(), "an interceptor refused a message of topic T: it is bad");
    let lines = first.take();
    assert!(lines.len() == 2 && lines[1].starts_with("a Failed(Intercepted"), "{lines:?}");

    let batch = [Message::new("T", "refused").key("r"), Message::new("T", "last")];
    producer.send_batch(batch.to_vec()).await.expect("sent");
    let sends = ["a sends Batch", "b sends Batch"].repeat(2);
    assert_eq!(first.take(), [sends, ["b sent by P", "a sent by P"].repeat(2)].concat());
    producer.send_one_way(Message::new("T", "one way")).await.expect("on its way");
    assert_eq!(first.take()[2..], ["b OneWay", "a OneWay"]);
    drop(producer.begin(Message::new("T", "half")).await.expect("begun"));
    assert_eq!(first.take()[0], format!("a sends {:?}", SendKind::Transaction));
    // Whoever sends does not wait for the end.
    tokio::select! {
        biased;
        sent = producer.send(Message::new("T", "abandoned")) => panic!("{sent:?} at once"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(first.take()[2..], ["b Abandoned", "a Abandoned"]);

    let mut consumer = client.consumer("G").subscribe("T").from_first().interceptor(second.clone());
    consumer = consumer.max_reconsume_times(3);
    let mut consumer = consumer.join().await.expect("joined");
    let mut bodies = Vec::new();
    while !bodies.iter().any(|body| body == "refused") {
        let delivery = next(&mut consumer).await;
        bodies.push(String::from_utf8_lossy(&delivery.body).into_owned());
        if bodies.len() == 1 {
            delivery.retry();
        } else {
            delivery.ack();
        }
    }
    let lines = first.take();
    for (line, message) in [
        ("a consumes \"ab\"", "the first one sees what both noted at sending"),
        ("b Retried by G", "given back"),
        ("a Acknowledged by G", "acknowledged"),
    ] {
        assert!(lines.iter().any(|other| other == line), "{message}: {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("a Failed(Intercepted")), "{lines:?}");
    consumer.close(PATIENCE).await.expect("left");

    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let read = tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("one");
    assert!(!matches!(read, Err(Error::Intercepted { .. })), "the reader has another interceptor only");
    assert_eq!(first.take(), ["a consumes \"ab\"", "a Read by TOOLS_CONSUMER"]);
}
