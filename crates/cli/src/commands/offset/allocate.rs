//! Who would get which queues of a topic.

use apogee_client::{Balance, Queue};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `allocateMQ`.
#[derive(Args, Debug)]
pub struct Allocate {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Clients, by the addresses or ids that sort them, separated by commas
    #[arg(short = 'i', long = "ipList", value_delimiter = ',', required = true)]
    clients: Vec<String>,
}

/// How a topic's queues would be shared among clients that share them evenly.
pub async fn run(context: &Context, flags: &Allocate) -> Result<Report, CliError> {
    let route = context.admin.route(flags.topic.trim()).await?;
    let readable = route.brokers.iter().filter(|broker| broker.permission.read);
    let mut queues: Vec<Queue> = Vec::new();
    for broker in readable {
        let queue = |id: u32| Queue { topic: flags.topic.trim().into(), broker: (&*broker.name).into(), id: id as i32 };
        queues.extend((0..broker.read_queues).map(queue));
    }
    queues.sort_unstable();
    let clients: Vec<_> = flags.clients.iter().map(|client| client.trim().to_owned()).collect();
    let mut shares = Map::new();
    for client in &clients {
        let part = Balance::Average.part_of(client, &clients, &queues);
        let part = part
            .into_iter()
            .map(|queue| json!({"brokerName": &*queue.broker, "queueId": queue.id, "topic": &*queue.topic}));
        shares.insert(client.clone(), Value::Array(part.collect()));
    }
    let shares = Value::Object(shares);
    Ok(Report::new().line(json!({"result": shares}).to_string()).data("result", shares))
}
