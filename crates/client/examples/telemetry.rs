//! Sends and consumes a message with spans, the trace context in it, and figures.
//!
//! `RUST_LOG=apogee_client::message=debug cargo run -p apogee-client --features metrics,opentelemetry --example telemetry --
//! 127.0.0.1:9876 Greetings`
//!
//! The spans go where the program's subscriber of `tracing` sends them, with `tracing-opentelemetry` to a collector; the
//! figures to the recorder of `metrics` that it has installed, such as that of `metrics-exporter-prometheus`. Without
//! either, nothing is told.
#![allow(clippy::print_stdout)] // What it shows.

use std::time::Duration;

use apogee_client::{Client, Error, Message, Metrics, OpenTelemetry};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let name_server = arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());
    let client = Client::builder(name_server).interceptor(OpenTelemetry).interceptor(Metrics::new()).build()?;
    client.producer("greeters")?.send(Message::new(&*topic, "hello")).await?;
    let mut consumer = client.consumer("traced").subscribe(topic).from_first().join().await?;
    if let Some(delivery) = consumer.next().await {
        println!("the trace context is {:?}", delivery.property("traceparent"));
        println!("there are {:?} messages behind it", delivery.behind());
        // What is done within belongs to the message's handling; `run` enters it by itself.
        delivery.span().in_scope(|| tracing::info!("greeted"));
        delivery.ack();
    }
    consumer.close(Duration::from_secs(5)).await?;
    client.close().await;
    Ok(())
}
