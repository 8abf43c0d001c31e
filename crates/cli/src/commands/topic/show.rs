//! Where topics are, and what is in them.

use std::collections::BTreeMap;

use apogee_client::Error;
use apogee_wire::bodies::Body;
use clap::Args;
use serde_json::Value;

use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Topics that belong to groups.
const OF_GROUPS: [&str; 2] = ["%RETRY%", "%DLQ%"];

/// Whether a topic has a group's retries or dead letters.
pub fn is_of_group(topic: &str) -> bool {
    OF_GROUPS.iter().any(|prefix| topic.starts_with(prefix))
}

/// Flags of `topicList`.
#[derive(Args, Debug)]
pub struct List {
    /// With clusters and groups; without topics of retries and dead letters
    #[arg(short = 'c', long = "clusterModel")]
    clusters: bool,
}

/// Names of all topics.
pub async fn list(context: &Context, flags: &List) -> Result<Report, CliError> {
    let topics = context.admin.topics().await?;
    if !flags.clusters {
        let lines = topics.iter().fold(Report::new(), |report, topic| report.line(topic));
        return Ok(lines.data("topics", topics.into_iter().collect::<Vec<_>>()));
    }
    let mut table = Table::new(&[("#Cluster Name", "cluster"), ("#Topic", "topic"), ("#Consumer Group", "group")]);
    let bar = context.progress(topics.len() as u64, "topics");
    for topic in bar.wrap_iter(topics.iter()).filter(|topic| !is_of_group(topic)) {
        // One that nobody has any more, or whose broker is down, is listed all the same.
        let cluster = match context.admin.route(topic).await {
            Ok(route) => route.brokers.into_iter().next().map(|broker| broker.cluster),
            Err(Error::NoTopic(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let groups = match cluster {
            Some(_) => context.admin.groups_of(topic).await.unwrap_or_default(),
            None => Default::default(),
        };
        if groups.is_empty() {
            table.row([cluster.clone().into(), topic.into(), Cell::both("", Value::Null)]);
        }
        for group in groups {
            table.row([cluster.clone().into(), topic.into(), group.into()]);
        }
    }
    bar.finish_and_clear();
    Ok(Report::new().table("topics", table))
}

/// Flags of `topicRoute`.
#[derive(Args, Debug)]
pub struct Route {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// As a table
    #[arg(short = 'l', long = "list")]
    list: bool,
}

/// Which brokers have a topic.
pub async fn route(context: &Context, flags: &Route) -> Result<Report, CliError> {
    let topic = flags.topic.trim();
    if !flags.list {
        let route = context.admin.route_data(topic).await?;
        let text = String::from_utf8_lossy(&route.encode_pretty()).into_owned();
        let json = serde_json::to_value(&route).map_err(|error| CliError::failed(error.to_string()))?;
        return Ok(Report::new().line(text).data("route", json));
    }
    let route = context.admin.route(topic).await?;
    let mut table = Table::new(&[
        ("#ClusterName", "cluster"),
        ("#BrokerName", "broker"),
        ("#BrokerAddrs", "addresses"),
        ("#ReadQueue", "readQueues"),
        ("#WriteQueue", "writeQueues"),
        ("#Perm", "permission"),
    ]);
    for broker in &route.brokers {
        table.row([
            (&broker.cluster).into(),
            (&broker.name).into(),
            addresses(&broker.addresses),
            broker.read_queues.into(),
            broker.write_queues.into(),
            broker.permission.bits().into(),
        ]);
    }
    let sum = |queues: fn(&apogee_client::admin::TopicBroker) -> u32| route.brokers.iter().map(queues).sum::<u32>();
    let (read, write) = (sum(|broker| broker.read_queues), sum(|broker| broker.write_queues));
    let total = format!("Total: {} brokers, {read} read queues, {write} write queues", route.brokers.len());
    Ok(Report::new().table("brokers", table).line("-".repeat(total.len())).line(total))
}

/// Addresses by id, as upstream writes them.
fn addresses(addresses: &BTreeMap<i64, String>) -> Cell {
    let text: Vec<_> = addresses.iter().map(|(id, address)| format!("{id}={address}")).collect();
    let json: serde_json::Map<_, _> =
        addresses.iter().map(|(id, address)| (id.to_string(), Value::from(address.as_str()))).collect();
    Cell::both(format!("{{{}}}", text.join(", ")), json)
}

/// Flags of `topicStatus`.
#[derive(Args, Debug)]
pub struct Status {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Look on the brokers of this cluster, or on those that have this topic: for light topics, which have no route
    #[arg(short = 'c', long = "cluster")]
    cluster: Option<String>,
}

/// Offsets of a topic's queues.
pub async fn status(context: &Context, flags: &Status) -> Result<Report, CliError> {
    let topic = flags.topic.trim();
    if let Some(cluster) = &flags.cluster {
        context.admin.route_by(topic, cluster.trim());
    }
    let stats = context.admin.topic_stats(topic).await?;
    let mut table = Table::new(&[
        ("#Broker Name", "broker"),
        ("#QID", "queue"),
        ("#Min Offset", "minOffset"),
        ("#Max Offset", "maxOffset"),
        ("#Last Updated", "lastUpdated"),
    ]);
    for queue in &stats.queues {
        table.row([
            (&*queue.queue.broker).into(),
            queue.queue.id.into(),
            queue.first.into(),
            queue.end.into(),
            queue.last_stored.map(|time| Cell::time(Some(time))).into(),
        ]);
    }
    Ok(Report::new()
        .table("queues", table)
        .line("")
        .line(format!("Topic Put TPS: {:?}", stats.puts_per_second))
        .data("putsPerSecond", stats.puts_per_second))
}

/// Flags of `topicClusterList`.
#[derive(Args, Debug)]
pub struct Clusters {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
}

/// The clusters that a topic is in.
pub async fn clusters(context: &Context, flags: &Clusters) -> Result<Report, CliError> {
    let route = context.admin.route(flags.topic.trim()).await?;
    let clusters = route.clusters();
    let report = clusters.iter().fold(Report::new(), |report, cluster| report.line(*cluster));
    Ok(report.data("clusters", clusters.into_iter().collect::<Vec<_>>()))
}
