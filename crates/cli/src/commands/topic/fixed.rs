//! Static topics: their queues are numbered over all brokers.

use std::path::{Path, PathBuf};

use apogee_client::admin::StaticTopic;
use clap::{ArgAction, Args};

use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Which brokers are to have the queues.
#[derive(Args, Debug)]
pub struct Where {
    /// Every broker of these clusters, separated by commas
    #[arg(short = 'c', long = "clusters", value_delimiter = ',', conflicts_with = "brokers")]
    clusters: Vec<String>,
    /// Brokers by name, separated by commas
    #[arg(short = 'b', long = "brokers", value_delimiter = ',')]
    brokers: Vec<String>,
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Take the mapping from this file instead, such as one that was written before; also -mf
    #[arg(long = "mapFile", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Whether brokers take a mapping that is not newer than theirs; also -fr
    #[arg(long = "forceReplace", default_value_t = false, action = ArgAction::Set)]
    force: bool,
}

impl Where {
    /// Names of the brokers.
    async fn names(&self, context: &Context) -> Result<Vec<String>, CliError> {
        let mut known: Vec<String> = Vec::new();
        match self.clusters.is_empty() {
            true => known.extend(context.admin.brokers().await?.into_iter().map(|broker| broker.name)),
            false => {
                for cluster in &self.clusters {
                    let brokers = context.admin.cluster(cluster.trim()).brokers().await?;
                    known.extend(brokers.into_iter().map(|broker| broker.name));
                }
            }
        }
        known.dedup();
        if !self.clusters.is_empty() {
            return Ok(known);
        }
        let names: Vec<_> = self.brokers.iter().map(|name| name.trim().to_owned()).collect();
        if names.is_empty() {
            return Err(CliError::usage(
                "give brokers (-b NAMES), clusters (-c NAMES), or a mapping's file (-mf FILE)",
            ));
        }
        match names.iter().find(|name| !known.contains(name)) {
            Some(name) => {
                Err(CliError::not_found(format!("there is no broker {name}; there are: {}", known.join(", "))))
            }
            None => Ok(names),
        }
    }

    /// The mapping of the file, if one is given.
    fn mapping(&self) -> Result<Option<StaticTopic>, CliError> {
        let Some(path) = &self.file else { return Ok(None) };
        let json =
            std::fs::read(path).map_err(|error| CliError::file(format!("cannot read {}", path.display()), error))?;
        let mapping =
            StaticTopic::from_json(&json).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
        match mapping.name() == self.topic.trim() {
            true => Ok(Some(mapping)),
            false => Err(CliError::usage(format!("{} is the mapping of topic {}", path.display(), mapping.name()))),
        }
    }
}

/// Writes a mapping where it can be found again.
fn keep(topic: &StaticTopic, ending: &str) -> Result<PathBuf, CliError> {
    let path = std::env::temp_dir().join(format!("{}-{}.{ending}", topic.name(), topic.epoch()));
    let failed = |path: &Path, error| CliError::file(format!("cannot write {}", path.display()), error);
    std::fs::write(&path, topic.to_json()).map_err(|error| failed(&path, error))?;
    Ok(path)
}

fn owners(report: Report, topic: &StaticTopic) -> Report {
    let owner = |(queue, broker): (&i32, &&str)| serde_json::json!({"queue": queue, "broker": broker});
    report.data("queues", topic.owners().iter().map(owner).collect::<Vec<_>>())
}

/// Flags of `updateStaticTopic`.
#[derive(Args, Debug)]
pub struct Update {
    #[command(flatten)]
    place: Where,
    /// Queues of all brokers together; also -qn
    #[arg(long = "totalQueueNum", value_name = "QUEUES", value_parser = clap::value_parser!(u16).range(1..=4096))]
    queues: u16,
}

/// Creates a static topic, or gives it more queues.
pub async fn update(context: &Context, flags: &Update) -> Result<Report, CliError> {
    if let Some(mapping) = flags.place.mapping()? {
        context.admin.put_static_topic(&mapping, flags.place.force).await?;
        return Ok(owners(Report::new().line(format!("the mapping of topic {} is set", mapping.name())), &mapping));
    }
    let names = flags.place.names(context).await?;
    let now = context.admin.static_topic(flags.place.topic.trim()).await?;
    let grown = now.grown_to(flags.queues, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (before, after) = (keep(&now, "before")?, keep(&grown, "after")?);
    context.admin.put_static_topic(&grown, flags.place.force).await?;
    let report = Report::new()
        .line(format!("The old mapping data is written to file {}", before.display()))
        .line(format!("The new mapping data is written to file {}", after.display()))
        .data("before", before.display().to_string())
        .data("after", after.display().to_string());
    Ok(owners(report, &grown))
}

/// Flags of `remappingStaticTopic`.
#[derive(Args, Debug)]
pub struct Remap {
    #[command(flatten)]
    place: Where,
}

/// Moves queues of a static topic, so that these brokers have them evenly.
pub async fn remap(context: &Context, flags: &Remap) -> Result<Report, CliError> {
    let topic = flags.place.topic.trim();
    if let Some(mapping) = flags.place.mapping()? {
        context.admin.put_static_topic(&mapping, flags.place.force).await?;
        return Ok(owners(Report::new().line(format!("the mapping of topic {topic} is set")), &mapping));
    }
    let names = flags.place.names(context).await?;
    let now = context.admin.static_topic(topic).await?;
    if now.owners().is_empty() {
        return Err(CliError::not_found(format!("there is no static topic {topic}: create it with updateStaticTopic")));
    }
    let moved = now.moved_to(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let (before, after) = (keep(&now, "before")?, keep(&moved, "after")?);
    if moved.moves() {
        context.confirm(&format!("Queues of topic {topic} will move to other brokers: {}", after.display())).await?;
    }
    context.admin.put_static_topic(&moved, flags.place.force).await?;
    let report = Report::new()
        .line(format!("The old mapping data is written to file {}", before.display()))
        .line(format!("The new mapping data is written to file {}", after.display()))
        .data("before", before.display().to_string())
        .data("after", after.display().to_string());
    Ok(owners(report, &moved))
}
