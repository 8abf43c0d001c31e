//! Sends messages that are delivered if something else succeeds; one decision is left to the check.
//!
//! `cargo run -p apogee-client --example transaction -- 127.0.0.1:9876 Orders`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Decision, Error, Message};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Orders".to_owned());

    // A real one looks up what became of the order. A broker may ask about one that is decided, too, when it has not
    // noted that yet.
    let check = |message: &apogee_client::Received| {
        println!("asked about {}", String::from_utf8_lossy(&message.body));
        if message.body == "declined" { Decision::Rollback } else { Decision::Commit }
    };
    let producer = client.producer_builder("shop").check(check).build()?;
    producer.begin(Message::new(&*topic, "paid")).await?.commit().await?;
    producer.begin(Message::new(&*topic, "declined")).await?.rollback().await?;
    drop(producer.begin(Message::new(&*topic, "forgotten")).await?);

    let mut reader = client.reader(topic).from_first().open().await?;
    for _ in 0..2 {
        let message = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
        let Ok(Some(message)) = message else { break };
        println!("delivered: {}", String::from_utf8_lossy(&message?.body));
    }
    client.close().await;
    Ok(())
}
