//! How busy a cluster's masters are, in a file.

use std::collections::{BTreeMap, BTreeSet};

use apogee_client::Admin;
use apogee_client::admin::Counter;
use apogee_message::names::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC};
use apogee_wire::version;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Folder, metadata};
use crate::commands::broker::stats::day;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Flags of `exportMetrics`.
#[derive(Args, Debug)]
pub struct Metrics {
    /// Cluster
    #[arg(short = 'c', long = "clusterName")]
    cluster: String,
    #[command(flatten)]
    folder: Folder,
}

/// Messages by second, and in a day.
#[derive(Default)]
struct Traffic {
    per_second: BTreeMap<&'static str, f64>,
    day: BTreeMap<&'static str, i64>,
}

impl Traffic {
    fn add(&mut self, other: &Self) {
        other.per_second.iter().for_each(|(name, rate)| *self.per_second.entry(name).or_default() += rate);
        other.day.iter().for_each(|(name, sum)| *self.day.entry(name).or_default() += sum);
    }
}

/// Writes what masters do, and who their clients are, to a file.
pub async fn run(context: &Context, flags: &Metrics) -> Result<Report, CliError> {
    let admin = context.admin.cluster(flags.cluster.trim());
    let (mut brokers, mut total) = (Map::new(), Traffic::default());
    for broker in admin.brokers().await?.into_iter().filter(|broker| broker.is_master()) {
        let (about, traffic) = about(&admin.broker(&*broker.address)).await?;
        total.add(&traffic);
        brokers.insert(broker.name, about);
    }
    let total_rates: Map<_, _> = total
        .per_second
        .iter()
        .map(|(name, rate)| {
            let (first, rest) = name.split_at(1);
            (format!("total{}{rest}", first.to_uppercase()), Value::from(*rate))
        })
        .collect();
    let file = json!({
        "evaluateReport": brokers,
        "totalData": { "totalTps": total_rates, "totalOneDayNum": total.day },
    });
    flags.folder.write("metrics.json", &file)
}

async fn about(broker: &Admin) -> Result<(Value, Traffic), CliError> {
    let state = broker.broker_states().await?.into_iter().next().map(|state| state.value);
    let state = state.ok_or_else(|| CliError::failed("a broker tells nothing of itself"))?;
    let settings = broker.broker_settings().await?.into_iter().next().map(|at| at.value).unwrap_or_default();
    let groups = metadata::groups(broker).await?;
    let topics = metadata::topics(broker, false).await?.len();
    let number = |name: &str| state.figures.get(name).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0);
    let yesterday = |what: &str| {
        number(&format!("msg{what}TotalTodayMorning")) - number(&format!("msg{what}TotalYesterdayMorning"))
    };
    let (half, delayed) = (counted(broker, TRANS_HALF_TOPIC).await, counted(broker, SCHEDULE_TOPIC).await);
    let traffic = Traffic {
        per_second: BTreeMap::from([
            ("normalInTps", state.puts_per_second[0]),
            ("normalOutTps", state.gets_per_second[0]),
            ("transInTps", half.0),
            ("scheduleInTps", delayed.0),
        ]),
        day: BTreeMap::from([
            ("normalOneDayInNum", yesterday("Put")),
            ("normalOneDayOutNum", yesterday("Get")),
            ("transOneDayInNum", half.1),
            ("scheduleOneDayInNum", delayed.1),
        ]),
    };
    let mut clients = BTreeSet::new();
    for group in groups.keys() {
        // A group that is going has nobody.
        let members = broker.members(group).await.unwrap_or_default().clients;
        clients.extend(members.iter().map(|one| format!("{}%{}", one.language, version::name(one.version))));
    }
    let json = json!({
        "runtimeEnv": {
            "cpuNum": settings.get("clientCallbackExecutorThreads"),
            "totalMemKBytes": state.figures.get("totalMemKBytes"),
        },
        "runtimeQuota": {
            "diskRatio": {
                "commitLogDiskRatio": state.figures.get("commitLogDiskRatio"),
                "consumeQueueDiskRatio": state.figures.get("consumeQueueDiskRatio"),
            },
            "tps": traffic.per_second,
            "oneDayNum": traffic.day,
            "messageAverageSize": state.figures.get("putMessageAverageSize"),
            "topicSize": topics,
            "groupSize": groups.len(),
        },
        "runtimeVersion": { "rocketmqVersion": state.version, "clientInfo": clients },
    });
    Ok((json, traffic))
}

/// Messages sent to a topic, by second and in a day; a broker that has counted none yet refuses.
async fn counted(broker: &Admin, topic: &str) -> (f64, i64) {
    let rates = broker.counter(Counter::TopicPuts(topic)).await.unwrap_or_default();
    rates.iter().fold((0.0, 0), |(rate, sum), rates| (rate + rates.minute.per_second, sum + day(rates)))
}
