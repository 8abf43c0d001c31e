//! Interceptors and codecs of the Rust client.

mod common;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apogee_client::{
    Checksum, Client, CodecError, Codecs, Compression, ConsumeContext, ConsumeOutcome, Decision, Delivery, Error,
    Interceptor, Key, KeyRing, Message, Reader, ReaderBuilder, Received, Refusal, SendContext, SendKind, SendOutcome,
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

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("an address")
}

async fn read(reader: &mut Reader) -> Result<Received, Error> {
    tokio::time::timeout(PATIENCE, reader.next()).await.expect("in time").expect("one")
}

/// The bodies of so many messages, in order.
async fn bodies(reader: ReaderBuilder, count: usize) -> Vec<String> {
    let mut reader = reader.from_first().open().await.expect("open");
    let mut bodies = Vec::new();
    for _ in 0..count {
        let message = read(&mut reader).await.expect("readable");
        bodies.push(String::from_utf8_lossy(&message.body).into_owned());
    }
    bodies.sort();
    bodies
}

#[tokio::test]
async fn bodies_go_through_codecs_and_back() {
    let server = Server::start(&["transactionTimeOut=200", "transactionCheckInterval=300"]);
    let client = client(&server);
    let keys = Arc::new(KeyRing::new("first", Key::new([1; 32])));
    let codecs = Codecs::new().compress(Compression::Zstd).encrypt(Arc::clone(&keys)).checksum(Checksum::Sha256);
    let producer = client.producer_builder("P").codecs(codecs.clone());
    let producer = producer.check(|message| match &message.body[..] {
        b"5 checked" => Decision::Commit,
        _ => Decision::Unknown,
    });
    let producer = producer.build().expect("a producer");
    let long = "1 ".to_owned() + &"long ".repeat(2_000);
    producer.send(Message::new("T", long.clone())).await.expect("sent");
    keys.rotate("second", Key::new([2; 32]));
    producer.send_batch(vec![Message::new("T", "2"), Message::new("T", "3")]).await.expect("sent");
    producer.begin(Message::new("T", "4")).await.expect("begun").commit().await.expect("committed");
    drop(producer.begin(Message::new("T", "5 checked")).await.expect("begun"));

    // What is stored is none of them.
    let stored = Undecoded::default();
    let mut reader = client.reader("T").interceptor(stored.clone()).from_first().open().await.expect("open");
    for _ in 0..5 {
        assert!(matches!(read(&mut reader).await, Err(Error::Codec { source: CodecError::NoKeys(_), .. })));
    }
    let stored = std::mem::take(&mut *stored.0.lock().expect("no panic"));
    assert!(stored.iter().all(|message| message.body.len() < 200), "{stored:?}");
    let told = stored.iter().map(|message| message.property("CODECS").expect("told"));
    let mut steps: Vec<_> = told.map(|told| told.rsplit_once(':').expect("a sum").0).collect();
    steps.sort();
    let short = "aes-256-gcm:second,sha-256";
    assert_eq!(steps, [short, short, short, short, "zstd,aes-256-gcm:first,sha-256"]);

    let expected = [long.as_str(), "2", "3", "4", "5 checked"];
    assert_eq!(bodies(client.reader("T").codecs(codecs), 5).await, expected);
    // Not all have the same codecs in the same order: what counts is what a message went through.
    let consumer = client.consumer("G").subscribe("T").from_first().codecs(Codecs::new().encrypt(keys));
    let mut consumer = consumer.join().await.expect("joined");
    let mut consumed = Vec::new();
    for _ in expected {
        let delivery = next(&mut consumer).await;
        consumed.push(String::from_utf8_lossy(&delivery.body).into_owned());
        delivery.ack();
    }
    consumed.sort();
    assert_eq!(consumed, expected);
    consumer.close(PATIENCE).await.expect("left");
}

/// Keeps what cannot be decoded.
#[derive(Clone, Default)]
struct Undecoded(Arc<Mutex<Vec<Received>>>);

impl Interceptor for Undecoded {
    fn not_decoded(&self, message: &Received, _: &ConsumeContext<'_>, _: &Error) {
        self.0.lock().expect("no panic").push(message.clone());
    }
}

#[tokio::test]
async fn who_lacks_a_key_or_a_codec_is_told_and_the_message_is_not_lost() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s"]);
    let client = client(&server);
    let mine = Arc::new(KeyRing::new("mine", Key::new([1; 32])));
    let producer = client.producer_builder("P").codecs(Codecs::new().encrypt(Arc::clone(&mine))).build();
    producer.expect("a producer").send(Message::new("T", "secret")).await.expect("sent");

    let other = |id: &str, byte| Codecs::new().encrypt(KeyRing::new(id, Key::new([byte; 32])));
    for (codecs, told) in [
        (Codecs::new(), "it is encrypted with key \"mine\", and there are no keys here"),
        (other("other", 1), "it is encrypted with key \"mine\", which is not among the keys here"),
        (other("mine", 2), "it does not decrypt with key \"mine\""),
    ] {
        let mut reader = client.reader("T").codecs(codecs).from_first().open().await.expect("open");
        let error = read(&mut reader).await.expect_err("unreadable");
        assert!(matches!(error, Error::Codec { .. }) && error.to_string().contains(told), "{error}");
    }
    // It goes to the dead letters as it was sent.
    let consumer = client.consumer("G").subscribe("T").from_first().max_reconsume_times(1).codecs(other("mine", 2));
    let mut consumer = consumer.join().await.expect("joined");
    let mut dead = tokio::select! {
        delivery = consumer.next() => panic!("garbage is consumed: {delivery:?}"),
        dead = async {
            loop {
                match client.reader("%DLQ%G").from_first().codecs(Codecs::new().encrypt(Arc::clone(&mine))).open().await {
                    Ok(dead) => break dead,
                    Err(Error::NoTopic(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        } => dead,
        () = tokio::time::sleep(PATIENCE) => panic!("it comes to nobody"),
    };
    let mut letter = read(&mut dead).await.expect("decoded");
    assert_eq!(letter.body, "secret");
    // It is decoded already, and sent again as it was sent.
    Codecs::new().encrypt(Arc::clone(&mine)).decode(&mut letter).expect("nothing to do");
    client.admin().send_again(&letter).await.expect("sent");
    assert_eq!(bodies(client.reader("T").codecs(Codecs::new().encrypt(mine)), 2).await, ["secret", "secret"]);
    consumer.close(PATIENCE).await.expect("left");

    let plain = client.producer("P").expect("a producer");
    let foreign = Message::new("Foreign", "x").property("CODECS", "json,rot13");
    plain.send(foreign.clone()).await.expect("sent");
    let mut reader = client.reader("Foreign").from_first().open().await.expect("open");
    let error = read(&mut reader).await.expect_err("unknown");
    assert!(matches!(error, Error::Codec { source: CodecError::Unknown(ref name), .. } if name == "rot13"), "{error}");
    // What it went through before cannot be told beside what it goes through.
    let again = client.producer_builder("P").codecs(other("k", 1)).build().expect("a producer");
    assert!(matches!(again.send(foreign).await, Err(Error::Message { .. })));
    // So many that it could only be meant to take long.
    let endless = vec!["crc32c:00000000"; 17].join(",");
    plain.send(Message::new("Endless", "x").property("CODECS", endless)).await.expect("sent");
    let mut reader = client.reader("Endless").from_first().open().await.expect("open");
    assert!(matches!(read(&mut reader).await, Err(Error::Codec { source: CodecError::TooManySteps, .. })));
    // Damaged on its way.
    plain.send(Message::new("Damaged", "x").property("CODECS", "crc32c:00000000")).await.expect("sent");
    let mut reader = client.reader("Damaged").from_first().open().await.expect("open");
    assert!(matches!(read(&mut reader).await, Err(Error::Codec { source: CodecError::Damaged(_), .. })));
}

#[tokio::test]
async fn typed_bodies_are_values_again() {
    let server = Server::start(&[]);
    let client = client(&server);
    let producer = client.producer_builder("P").codecs(Codecs::new().compress(Compression::Lz4)).build();
    let producer = producer.expect("a producer");
    let value = vec!["book".to_owned(); 100];
    producer.send(Message::json("T", &value).expect("JSON")).await.expect("sent");
    producer.send(Message::protobuf("T", &"one book".to_owned())).await.expect("sent");
    // As others send it.
    client.producer("Q").expect("a producer").send(Message::new("T", "[\"plain\"]")).await.expect("sent");
    let mut reader = client.reader("T").from_first().open().await.expect("open");
    let mut seen = 0;
    for _ in 0..3 {
        let message = read(&mut reader).await.expect("readable");
        match message.property("CODECS") {
            Some("json,lz4") => assert_eq!(message.json::<Vec<String>>().expect("JSON"), value),
            Some("protobuf") => {
                assert_eq!(message.protobuf::<String>().expect("a text"), "one book");
                let error = message.json::<Vec<String>>().expect_err("no JSON").to_string();
                assert!(error.ends_with("cannot be decoded: the body is protobuf, not json"), "{error}");
            }
            None => assert_eq!(message.json::<Vec<&str>>().expect("JSON"), ["plain"]),
            other => panic!("{other:?}"),
        }
        seen |= 1 << message.property("CODECS").map_or(0, str::len);
        assert!(message.json::<u32>().is_err());
    }
    assert_eq!(seen, 1 << 8 | 1 << 8 | 1, "all three came");
}
