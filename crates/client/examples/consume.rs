//! Consumes a topic as a member of a group until Ctrl-C. Start it twice: the two share the queues.
//!
//! `cargo run -p apogee-client --example consume -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let mut consumer = client.consumer("guests").subscribe(topic).from_first().join().await?;
    let handled = consumer.run(4, |message| async move {
        println!("{} {:?} {}", message.queue, message.tag(), String::from_utf8_lossy(&message.body));
        // An error would have it delivered again.
        Ok::<_, Error>(())
    });
    tokio::select! {
        () = handled => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    consumer.close(Duration::from_secs(10)).await?;
    client.close().await;
    Ok(())
}
