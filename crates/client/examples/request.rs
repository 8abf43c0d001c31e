//! Asks a question, and answers it itself: a request and its reply.
//!
//! `cargo run -p apogee-client --example request -- 127.0.0.1:9876 Questions`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error, Message};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Questions".to_owned());

    let producer = client.producer("scholars")?;
    // So that there is the topic to subscribe to.
    producer.send(Message::new(&*topic, "a message that wants no reply")).await?;
    let mut consumer = client.consumer("scholars").subscribe(&*topic).from_first().join().await?;
    let answers = producer.clone();
    let answering = consumer.run(4, |message| {
        let producer = answers.clone();
        async move {
            let answer = format!("{} = 42", String::from_utf8_lossy(&message.body));
            producer.send(Message::reply_to(&message, answer)?).await?;
            Ok::<_, Error>(())
        }
    });
    let asking = producer.request(Message::new(&*topic, "6 * 7"), Duration::from_secs(30));
    tokio::select! {
        () = answering => {}
        reply = asking => println!("{}", String::from_utf8_lossy(&reply?.body)),
    }
    consumer.close(Duration::from_secs(10)).await?;
    client.close().await;
    Ok(())
}
