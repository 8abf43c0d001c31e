//! Consumes the queues of a topic that are named by hand, from the oldest message on, until nothing more comes.
//!
//! `cargo run -p apogee-client --example pull -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error, From};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let mut consumer = client.pull_consumer("auditors").build()?;
    let queues = consumer.queues(&topic).await?;
    consumer.assign(queues.clone()).await?;
    for queue in &queues {
        consumer.seek(queue, From::First).await?;
    }
    while let Ok(Some(messages)) = tokio::time::timeout(Duration::from_secs(2), consumer.next_batch(32)).await {
        for message in messages? {
            println!("{} {} {}", message.queue, message.offset, String::from_utf8_lossy(&message.body));
        }
        consumer.commit().await?;
    }
    for queue in &queues {
        println!("{queue} is at {}", consumer.position(queue)?);
    }
    consumer.close().await?;
    client.close().await;
    Ok(())
}
