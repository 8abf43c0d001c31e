//! Sends from many tasks, by batches that make themselves, and tells how long it took with and without.
//!
//! `cargo run -p apogee-client --example collect -- 127.0.0.1:9876 Readings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::{Duration, Instant};

use apogee_client::{Client, Error, Message, Producer};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Readings".to_owned());

    let collecting = client.producer_builder("meters").collect(32 << 10, Duration::from_millis(5)).build()?;
    for (name, producer) in [("one by one", client.producer("meters")?), ("together", collecting)] {
        let begun = Instant::now();
        send(&producer, &topic).await?;
        println!("{name}: {:?}", begun.elapsed());
    }
    client.close().await;
    Ok(())
}

/// Sends ten thousand messages at once.
async fn send(producer: &Producer, topic: &str) -> Result<(), Error> {
    let mut sends = JoinSet::new();
    for number in 0..10_000 {
        let (producer, message) = (producer.clone(), Message::new(topic, format!("reading {number}")));
        sends.spawn(async move { producer.send(message).await });
    }
    sends.join_all().await.into_iter().try_for_each(|sent| sent.map(drop))
}
