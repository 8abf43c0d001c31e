//! Sends two messages that are delivered in three seconds, and takes one of them back.
//!
//! `cargo run -p apogee-client --example recall -- 127.0.0.1:9876 Reminders`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error, Message};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Reminders".to_owned());

    let producer = client.producer("reminding")?;
    let delayed = |body: &'static str| Message::new(&*topic, body).delay(Duration::from_secs(3));
    producer.send(delayed("drink something")).await?;
    // None where the broker recalls nothing.
    if let Some(handle) = producer.send(delayed("pay")).await?.recall_handle {
        println!("{} is recalled", producer.recall(&handle).await?);
    }
    let mut reader = client.reader(topic).from_first().open().await?;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(5), reader.next()).await {
        println!("delivered: {}", String::from_utf8_lossy(&message?.body));
    }
    client.close().await;
    Ok(())
}
