//! Consumes all messages of a topic, whoever else consumes it, and keeps its place in a folder.
//!
//! `cargo run -p apogee-client --example broadcasting -- 127.0.0.1:9876 Greetings /var/lib/greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());
    let folder = arguments.next().unwrap_or_else(|| "offsets".to_owned());

    let mut consumer = client.consumer("boards").subscribe(topic).broadcasting(folder).join().await?;
    loop {
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(delivery) = delivery else { break };
        println!("{} {}", delivery.queue, String::from_utf8_lossy(&delivery.body));
        delivery.ack();
    }
    consumer.close(Duration::from_secs(10)).await?;
    client.close().await;
    Ok(())
}
