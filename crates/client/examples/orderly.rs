//! Consumes the messages of each queue in order, in batches, until Ctrl-C.
//!
//! `cargo run -p apogee-client --example orderly -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let consumer = client.consumer("ushers").subscribe(topic).from_first().orderly();
    let mut consumer = consumer.suspend(Duration::from_secs(2)).max_reconsume_times(3).join().await?;
    // Up to four queues at once, each with a batch of its own.
    let handled = consumer.run_batches(4, 10, |batch| async move {
        for message in &batch {
            println!("{} {} {}", message.queue, message.offset, String::from_utf8_lossy(&message.body));
        }
        // An error would have the queue rest, and then go on with the same messages.
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
