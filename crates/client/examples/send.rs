//! Sends one message, a batch, and one that is delivered in two seconds.
//!
//! `cargo run -p apogee-client --example send -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error, Message};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let producer = client.producer("greeters")?;
    let sent = producer.send(Message::new(&*topic, "hello").tag("one").key("greeting-1")).await?;
    println!("{} is in {} at {}", sent.message_id, sent.queue, sent.offset);

    let batch = (0..10).map(|number| Message::new(&*topic, format!("hello {number}")).tag("batch")).collect();
    let sent = producer.send_batch(batch).await?;
    println!("ten are in {} from {} on", sent.queue, sent.offset);

    producer.send(Message::new(&*topic, "hello later").tag("late").delay(Duration::from_secs(2))).await?;
    client.close().await;
    Ok(())
}
