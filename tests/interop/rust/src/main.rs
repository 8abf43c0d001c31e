//! The Rust client as the Java scenarios drive it: does one thing, prints what happens a line each, and ends when its
//! standard input does.
#![allow(clippy::print_stdout)] // How it talks to the scenarios.

use std::error::Error;
use std::io;
use std::time::Duration;

use apogee_client::{Client, Consumer, Decision, Message, Received};
use apogee_message::compression::Compression;
use clap::{Parser, ValueEnum};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Parser)]
enum Task {
    /// Sends messages with tag Blue, a key and a property; prints 'sent ID'.
    Produce {
        namesrv: String,
        topic: String,
        #[arg(long)]
        compression: Option<Kind>,
        /// Tells the trace topic of them.
        #[arg(long)]
        trace: bool,
        /// One message for each.
        bodies: Vec<String>,
    },
    /// Is a member of a group; prints 'joined CLIENT', then 'got QUEUE OFFSET RECONSUME_TIMES BODY', at the end 'left'.
    Consume {
        namesrv: String,
        group: String,
        topic: String,
        /// In the order of queues.
        #[arg(long)]
        orderly: bool,
        /// Gives back what comes for the first time.
        #[arg(long)]
        fail_first: bool,
        /// Tells the trace topic of what it consumes.
        #[arg(long)]
        trace: bool,
    },
    /// Sends messages of a transaction and ends none; whatever it is asked about, it commits, and prints 'checked BODY'.
    Transact { namesrv: String, group: String, topic: String, bodies: Vec<String> },
    /// Asks; prints 'reply BODY'.
    Ask { namesrv: String, topic: String, body: String },
    /// Replies to each message of a topic with its body in capitals; prints 'joined CLIENT'.
    Reply { namesrv: String, group: String, topic: String },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Zlib,
    Lz4,
    Zstd,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    match Task::parse() {
        Task::Produce { namesrv, topic, compression, trace, bodies } => {
            produce(client(&namesrv, trace)?, &topic, compression, bodies).await
        }
        Task::Consume { namesrv, group, topic, orderly, fail_first, trace } => {
            consume(client(&namesrv, trace)?, &group, &topic, orderly, fail_first).await
        }
        Task::Transact { namesrv, group, topic, bodies } => transact(&namesrv, &group, &topic, bodies).await,
        Task::Ask { namesrv, topic, body } => ask(&namesrv, &topic, body).await,
        Task::Reply { namesrv, group, topic } => reply(&namesrv, &group, &topic).await,
    }
}

/// Routes are asked for every second, so that new retry topics are seen soon.
fn client(namesrv: &str, trace: bool) -> Result<Client> {
    let builder = Client::builder(namesrv).refresh(Duration::from_secs(1));
    Ok(if trace { builder.trace() } else { builder }.build()?)
}

/// Waits until nobody has anything more for this program to do.
async fn end() {
    // Whether it ends by an error is all the same.
    let _ = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await;
}

fn text(message: &Received) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

async fn produce(client: Client, topic: &str, compression: Option<Kind>, bodies: Vec<String>) -> Result<()> {
    let mut producer = client.producer_builder(format!("P-{topic}"));
    if let Some(kind) = compression {
        let compression = match kind {
            Kind::Zlib => Compression::Zlib,
            Kind::Lz4 => Compression::Lz4,
            Kind::Zstd => Compression::Zstd,
        };
        producer = producer.compression(compression).compress_from(1);
    }
    let producer = producer.build()?;
    for body in bodies {
        let message = Message::new(topic, body).tag("Blue").key("a-key").property("color", "blue");
        println!("sent {}", producer.send(message).await?.message_id);
    }
    client.close().await;
    Ok(())
}

async fn join(client: &Client, group: &str, topic: &str, orderly: bool) -> Result<Consumer> {
    let consumer = client.consumer(group).subscribe(topic).from_first();
    let consumer = if orderly { consumer.orderly() } else { consumer };
    let consumer = consumer.join().await?;
    println!("joined {}", client.id());
    Ok(consumer)
}

async fn consume(client: Client, group: &str, topic: &str, orderly: bool, fail_first: bool) -> Result<()> {
    let mut consumer = join(&client, group, topic, orderly).await?;
    let took = async {
        while let Some(delivery) = consumer.next().await {
            let (queue, offset, times) = (delivery.queue.id, delivery.offset, delivery.reconsume_times);
            println!("got {queue} {offset} {times} {}", text(&delivery));
            if fail_first && times == 0 {
                delivery.retry_at_level(1);
            } else {
                delivery.ack();
            }
        }
    };
    tokio::select! {
        () = took => {}
        () = end() => {}
    }
    consumer.close(PATIENCE).await?;
    client.close().await;
    println!("left");
    Ok(())
}

async fn transact(namesrv: &str, group: &str, topic: &str, bodies: Vec<String>) -> Result<()> {
    let client = client(namesrv, false)?;
    let check = |message: &Received| {
        println!("checked {}", text(message));
        Decision::Commit
    };
    let producer = client.producer_builder(group).check(check).build()?;
    // Known to the brokers, also with nothing to send.
    producer.queues(topic).await?;
    for body in bodies {
        println!("sent {}", producer.begin(Message::new(topic, body)).await?.id());
    }
    println!("ready");
    end().await;
    client.close().await;
    Ok(())
}

async fn ask(namesrv: &str, topic: &str, body: String) -> Result<()> {
    let client = client(namesrv, false)?;
    let producer = client.producer(format!("P-{topic}"))?;
    println!("reply {}", text(&producer.request(Message::new(topic, body), PATIENCE).await?));
    client.close().await;
    Ok(())
}

async fn reply(namesrv: &str, group: &str, topic: &str) -> Result<()> {
    let client = client(namesrv, false)?;
    let mut consumer = join(&client, group, topic, false).await?;
    let producer = client.producer("Repliers")?;
    let replied = async {
        while let Some(delivery) = consumer.next().await {
            producer.send(Message::reply_to(&delivery, text(&delivery).to_uppercase())?).await?;
            delivery.ack();
        }
        Ok::<_, Box<dyn Error>>(())
    };
    tokio::select! {
        done = replied => done?,
        () = end() => {}
    }
    consumer.close(PATIENCE).await?;
    client.close().await;
    Ok(())
}
