//! Consumes a topic by POP until Ctrl-C. Start it as often as you like: more members than queues share the work. Needs a
//! broker that offers it, such as Apache's.
//!
//! `cargo run -p apogee-client --example pop -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let mut consumer = client.pop_consumer("helpers").subscribe(topic).from_first().open().await?;
    let handled = consumer.run(4, |message| async move {
        println!("{} {} {}", message.queue, message.reconsume_times, String::from_utf8_lossy(&message.body));
        // An error would have it delivered again.
        Ok::<_, Error>(())
    });
    tokio::select! {
        () = handled => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    consumer.close(Duration::from_secs(10)).await;
    client.close().await;
    Ok(())
}
