//! Sends one message over TLS. Without a file of root certificates, servers are not verified, as by the Java client.
//!
//! `cargo run -p apogee-client --example tls -- 127.0.0.1:9876 Greetings ca.pem`
#![allow(clippy::print_stdout)] // What it shows.

use apogee_client::{Client, Error, Message, Tls};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name_server = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());
    let tls = match arguments.next() {
        Some(roots) => Tls::new().roots(roots),
        None => Tls::new().unverified(),
    };

    let client = Client::builder(name_server).tls(tls).build()?;
    let sent = client.producer("senders")?.send(Message::new(topic, "nobody else reads this")).await?;
    println!("{} is in {} at {}", sent.message_id, sent.queue, sent.offset);
    client.close().await;
    Ok(())
}
