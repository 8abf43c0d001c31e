//! Creates a topic, and tells how brokers, topics and groups stand.
//!
//! `cargo run -p apogee-client --example admin -- 127.0.0.1:9876 Greetings`
#![allow(clippy::print_stdout)] // What it shows.

use apogee_client::admin::TopicConfig;
use apogee_client::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let client = Client::new(arguments.next().unwrap_or_else(|| "127.0.0.1:9876".to_owned()))?;
    let topic = arguments.next().unwrap_or_else(|| "Greetings".to_owned());

    let admin = client.admin();
    admin.put_topic(&TopicConfig::new(&topic, 4)).await?;
    for broker in admin.brokers().await? {
        // One that doesn't answer must not hide the others.
        match admin.broker(&broker.address).broker_states().await.as_deref() {
            Ok([state]) => println!("{} {} {}", broker.name, state.version, broker.address),
            Ok(_) => {}
            Err(error) => println!("{} {}: {error}", broker.name, broker.address),
        }
    }
    for queue in admin.topic_stats(&topic).await?.queues {
        println!("{}: {} to {}", queue.queue, queue.first, queue.end);
    }
    for (group, progress) in admin.all_progress().await? {
        println!("{group} is {} messages behind", progress.lag());
    }
    client.close().await;
    Ok(())
}
