//! Notes where messages come from, and tells how long sends and handlers take.
//!
//! `cargo run -p apogee-client --example interceptor -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{
    Client, ConsumeContext, ConsumeOutcome, Error, Interceptor, Message, Received, Refusal, SendContext, SendOutcome,
};

struct Watch;

impl Interceptor for Watch {
    fn before_send(&self, message: &mut Message, context: &mut SendContext<'_>) -> Result<(), Refusal> {
        if message.body().is_empty() {
            return Err("an empty greeting is none".into());
        }
        message.set("origin", context.client_id);
        Ok(())
    }

    fn after_send(&self, _: &Message, context: &mut SendContext<'_>, outcome: SendOutcome<'_>) {
        println!("{} took {:?}: {outcome:?}", context.message_id, context.elapsed());
    }

    fn after_consume(&self, message: &Received, context: &mut ConsumeContext<'_>, outcome: ConsumeOutcome<'_>) {
        let origin = message.property("origin").unwrap_or("somewhere");
        println!("{} from {origin} took {:?}: {outcome:?}", message.message_id(), context.elapsed());
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name_server = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());
    let client = Client::builder(name_server).interceptor(Watch).build()?;
    let producer = client.producer("greeters")?;
    producer.send(Message::new(&*topic, "hello")).await?;
    if let Err(error) = producer.send(Message::new(&*topic, "")).await {
        println!("{error}");
    }
    let mut consumer = client.consumer("watched").subscribe(topic).from_first().join().await?;
    if let Some(delivery) = consumer.next().await {
        delivery.ack();
    }
    consumer.close(Duration::from_secs(5)).await?;
    client.close().await;
    Ok(())
}
