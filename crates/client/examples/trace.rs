//! Sends and consumes one message, and tells how to look at its trace. The broker must have the topic of traces
//! (`traceTopicEnable`).
//!
//! `cargo run -p apogee-client --example trace -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error, Message};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());
    let client = Client::builder(&*address).trace().build()?;

    let sent = client.producer("greeters")?.send(Message::new(&*topic, "hello").key("greeting-1")).await?;
    let mut consumer = client.consumer("guests").subscribe(&*topic).from_first().join().await?;
    while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await {
        let is_it = delivery.message_id() == sent.message_id;
        delivery.ack();
        if is_it {
            break;
        }
    }
    consumer.close(Duration::from_secs(10)).await?;
    // Sends what was not sent yet.
    client.close().await;
    println!("mqadmin queryMsgTraceById -n {address} -i {}", sent.message_id);
    Ok(())
}
