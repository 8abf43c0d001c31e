//! How much comes to topics, and goes from them to groups.

use apogee_client::Admin;
use apogee_client::admin::{Counter, Rates};
use clap::Args;

use crate::cell::Cell;
use crate::commands::topic::show::is_of_group;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `statsAll`.
#[derive(Args, Debug)]
pub struct All {
    /// Only topics with traffic in the last 24 hours
    #[arg(short = 'a', long = "activeTopic")]
    active: bool,
    /// Only this topic
    #[arg(short = 't', long = "topic")]
    topic: Option<String>,
}

/// What was counted, all masters together.
#[derive(Default, Clone, Copy)]
struct Traffic {
    per_second: f64,
    day: i64,
}

/// Traffic and lag of all topics.
pub async fn all(context: &Context, flags: &All) -> Result<Report, CliError> {
    let admin = &context.admin;
    let mut topics = admin.topics().await?;
    if let Some(topic) = flags.topic.as_deref().map(str::trim) {
        if !topics.contains(topic) {
            return Err(apogee_client::Error::NoTopic(topic.to_owned()).into());
        }
        topics.retain(|one| one == topic);
    } else {
        topics.retain(|topic| !is_of_group(topic));
    }
    let mut table = Table::new(&[
        ("#Topic", "topic"),
        ("#Consumer Group", "group"),
        ("#Accumulation", "lag"),
        ("#InTPS", "inPerSecond"),
        ("#OutTPS", "outPerSecond"),
        ("#InMsg24Hour", "inDay"),
        ("#OutMsg24Hour", "outDay"),
    ]);
    let bar = context.progress(topics.len() as u64, "topics");
    for topic in bar.wrap_iter(topics.iter()) {
        // One that is going, or whose brokers are down, has nothing to tell.
        let Ok(route) = admin.route(topic).await else { continue };
        let masters: Vec<_> =
            route.brokers.iter().filter_map(|broker| Some(admin.broker(broker.addresses.get(&0)?))).collect();
        let came = counted(&masters, Counter::TopicPuts(topic)).await;
        let groups = admin.groups_of(topic).await.unwrap_or_default();
        if groups.is_empty() && !(flags.active && came.day == 0) {
            let no_consumer = Cell::both("NO_CONSUMER", serde_json::Value::Null);
            let rate = Cell::decimal(came.per_second, 2);
            table.row([topic.into(), Cell::None, 0.into(), rate, Cell::None, came.day.into(), no_consumer]);
        }
        for group in groups {
            let went = counted(&masters, Counter::GroupGets { group: &group, topic }).await;
            if flags.active && came.day == 0 && went.day == 0 {
                continue;
            }
            let lag = admin.progress(&group, Some(topic)).await.map_or(0, |progress| progress.lag().max(0));
            let rates = [came, went].map(|traffic| Cell::decimal(traffic.per_second, 2));
            let [rate_in, rate_out] = rates;
            table.row([topic.into(), group.into(), lag.into(), rate_in, rate_out, came.day.into(), went.day.into()]);
        }
    }
    bar.finish_and_clear();
    Ok(Report::new().table("topics", table))
}

/// What masters have counted; those that have counted nothing yet refuse.
async fn counted(masters: &[Admin], counter: Counter<'_>) -> Traffic {
    let mut all = Traffic::default();
    for master in masters {
        for rates in master.counter(counter).await.unwrap_or_default() {
            all.per_second += rates.minute.per_second;
            all.day += day(&rates);
        }
    }
    all
}

/// What was counted in 24 hours. A broker that runs for a shorter time has it in the shorter spans only.
pub fn day(rates: &Rates) -> i64 {
    [rates.day.sum, rates.hour.sum, rates.minute.sum].into_iter().find(|sum| *sum != 0).unwrap_or(0)
}
