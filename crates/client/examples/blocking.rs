//! Sends and consumes without asynchronous code, for a minute at most.
//!
//! `cargo run -p apogee-client --example blocking -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Error, Message, blocking};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = blocking::Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let producer = client.producer("greeters")?;
    for number in 0..10 {
        let sent = producer.send(Message::new(&*topic, format!("hello {number}")))?;
        println!("{} is in {} at {}", sent.message_id, sent.queue, sent.offset);
    }
    let mut consumer = client.join(client.consumer("guests").subscribe(&*topic).from_first())?;
    let stopper = consumer.stopper();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(60));
        stopper.stop();
    });
    while let Some(delivery) = consumer.next() {
        println!("{} {}", delivery.queue, String::from_utf8_lossy(&delivery.body));
        delivery.ack();
    }
    consumer.close(Duration::from_secs(10))?;
    client.close();
    Ok(())
}
