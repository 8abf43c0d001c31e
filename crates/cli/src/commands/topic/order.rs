//! How many queues brokers have for a topic in order, as name servers keep it.

use apogee_client::Admin;
use apogee_client::admin::TopicConfig;
use clap::{Args, ValueEnum};

use crate::commands::target::Target;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Where name servers keep it.
const NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// Flags of `updateOrderConf`.
#[derive(Args, Debug)]
pub struct Order {
    /// Topic
    #[arg(short = 't', long = "topic")]
    topic: String,
    /// Queues of each broker, such as broker-a:4;broker-b:4
    #[arg(short = 'v', long = "orderConf", required_if_eq("method", "put"))]
    conf: Option<String>,
    /// What to do with it
    #[arg(short = 'm', long = "method")]
    method: Method,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
enum Method {
    Put,
    Get,
    Delete,
}

/// Shows, sets or removes it.
pub async fn run(context: &Context, flags: &Order) -> Result<Report, CliError> {
    let (topic, admin) = (flags.topic.trim(), &context.admin);
    match flags.method {
        Method::Get => {
            let conf = admin.value(NAMESPACE, topic).await?;
            let conf = conf.ok_or_else(|| CliError::not_found(format!("there is no order for topic {topic}")))?;
            Ok(Report::new()
                .line(format!("get orderConf success. topic=[{topic}], orderConf=[{conf}]"))
                .data("topic", topic)
                .data("orderConf", conf))
        }
        Method::Put => {
            let conf = flags.conf.as_deref().unwrap_or_default().trim();
            check(conf)?;
            admin.put_value(NAMESPACE, topic, conf).await?;
            Ok(Report::new().line(format!("update orderConf success. topic=[{topic}], orderConf=[{conf}]")))
        }
        Method::Delete => {
            admin.delete_value(NAMESPACE, topic).await?;
            Ok(Report::new().line(format!("delete orderConf success. topic=[{topic}]")))
        }
    }
}

/// Refuses what brokers could not read.
fn check(conf: &str) -> Result<(), CliError> {
    let is_part = |part: &str| {
        part.split_once(':').is_some_and(|(broker, queues)| !broker.is_empty() && queues.parse::<u32>().is_ok())
    };
    match conf.split(';').all(is_part) {
        true => Ok(()),
        false => Err(CliError::usage(format!("`{conf}` is no order: give broker:queues, separated by semicolons"))),
    }
}

/// Keeps how many queues a topic has on brokers that were told of it: instead of all that was kept for a cluster,
/// beside what is kept of others for a single broker.
pub async fn put_for(admin: &Admin, target: &Target, topic: &TopicConfig) -> Result<String, CliError> {
    let masters = admin.brokers().await?.into_iter().filter(|broker| broker.is_master());
    let mut parts: Vec<(String, u32)> = masters.map(|broker| (broker.name, topic.write_queues)).collect();
    if parts.is_empty() {
        return Err(CliError::not_found("no name server knows this broker, whose order was to be kept"));
    }
    if target.broker.is_some() {
        let kept = admin.value(NAMESPACE, &topic.name).await?.unwrap_or_default();
        let others = kept.split(';').filter_map(|part| part.split_once(':'));
        let others = others.filter_map(|(name, queues)| Some((name.to_owned(), queues.parse().ok()?)));
        let others: Vec<_> = others.filter(|(name, _)| parts.iter().all(|(own, _)| own != name)).collect();
        parts.splice(..0, others);
    }
    let conf: Vec<String> = parts.iter().map(|(name, queues)| format!("{name}:{queues}")).collect();
    let conf = conf.join(";");
    admin.put_value(NAMESPACE, &topic.name, &conf).await?;
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_brokers_and_their_queues() {
        assert!(check("broker-a:4").is_ok() && check("broker-a:4;broker-b:2").is_ok());
        for bad in ["", "broker-a", "broker-a:x", ":4", "broker-a:4;"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
