//! Clusters, their brokers and how busy they are.

use std::collections::BTreeMap;
use std::time::SystemTime;

use apogee_client::admin::{Broker, BrokerState};
use clap::Args;
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::commands::replica::Again;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;
use crate::table::Table;

/// Flags of `clusterList`.
#[derive(Args, Debug)]
pub struct List {
    /// How many messages came and went yesterday and today
    #[arg(short = 'm', long = "moreStats")]
    more: bool,
    #[command(flatten)]
    pub again: Again,
    /// Only this cluster
    #[arg(short = 'c', long = "clusterName", value_name = "CLUSTER")]
    cluster: Option<String>,
}

/// A broker, and how it is where it says so.
struct Asked {
    broker: Broker,
    state: Option<BrokerState>,
}

/// Clusters and their brokers.
pub async fn list(context: &Context, flags: &List) -> Result<Report, CliError> {
    let admin = match &flags.cluster {
        Some(cluster) => context.admin.cluster(cluster.trim()),
        None => context.admin.clone(),
    };
    let (mut brokers, mut silent) = (Vec::new(), Vec::new());
    for broker in admin.brokers().await? {
        // One that does not answer is shown all the same.
        let state = match admin.broker(&*broker.address).broker_states().await {
            Ok(states) => states.into_iter().next().map(|state| state.value),
            Err(error) => {
                silent.push(format!("{} {}: {error}", broker.name, broker.address));
                None
            }
        };
        brokers.push(Asked { broker, state });
    }
    let table = if flags.more { totals(&brokers) } else { loads(&brokers) };
    Ok(silent.into_iter().fold(Report::new().table("brokers", table), Report::line))
}

/// A figure that a broker tells; 0 when it tells none.
fn number(figures: &BTreeMap<String, String>, name: &str) -> i64 {
    figures.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn totals(brokers: &[Asked]) -> Table {
    let mut table = Table::new(&[
        ("#Cluster Name", "cluster"),
        ("#Broker Name", "broker"),
        ("#InTotalYest", "inYesterday"),
        ("#OutTotalYest", "outYesterday"),
        ("#InTotalToday", "inToday"),
        ("#OutTotalToday", "outToday"),
    ]);
    for Asked { broker, state } in brokers {
        let between = |what: &str, from: &str, to: &str| {
            let figures = state.as_ref().map(|state| &state.figures);
            figures.map_or(0, |figures| {
                number(figures, &format!("msg{what}Total{to}")) - number(figures, &format!("msg{what}Total{from}"))
            })
        };
        let yesterday = |what| between(what, "YesterdayMorning", "TodayMorning");
        let today = |what| between(what, "TodayMorning", "TodayNow");
        table.row([
            (&broker.cluster).into(),
            (&broker.name).into(),
            yesterday("Put").into(),
            yesterday("Get").into(),
            today("Put").into(),
            today("Get").into(),
        ]);
    }
    table
}

fn loads(brokers: &[Asked]) -> Table {
    let mut table = Table::new(&[
        ("#Cluster Name", "cluster"),
        ("#Broker Name", "broker"),
        ("#BID", "brokerId"),
        ("#Addr", "address"),
        ("#Version", "version"),
        ("#InTPS(LOAD)", "in"),
        ("#OutTPS(LOAD)", "out"),
        ("#Timer(Progress)", "timer"),
        ("#PCWait(ms)", "pageCacheWaitMs"),
        ("#Hour", "hours"),
        ("#SPACE", "diskUsage"),
        ("#ACTIVATED", "active"),
    ]);
    for Asked { broker, state } in brokers {
        let Broker { cluster, name, id, address } = broker;
        let none = || Cell::both("", Value::Null);
        let cells = state.as_ref().map_or_else(
            || [none(), none(), none(), none(), none(), none(), none(), Cell::Bool(false)],
            |state| load(state, SystemTime::now()),
        );
        let [version, puts, gets, timer, wait, hours, space, active] = cells;
        table.row([
            cluster.into(),
            name.into(),
            (*id).into(),
            address.into(),
            version,
            puts,
            gets,
            timer,
            wait,
            hours,
            space,
            active,
        ]);
    }
    table
}

/// From the version on, what a broker says of itself.
fn load(state: &BrokerState, now: SystemTime) -> [Cell; 8] {
    let figures = &state.figures;
    let text = |name: &str, none: &'static str| figures.get(name).map_or(none, |value| value.trim()).to_owned();
    let queue = |name: &str, none| {
        let waits = text(&format!("{name}ThreadPoolQueueHeadWaitTimeMills"), none);
        (text(&format!("{name}ThreadPoolQueueSize"), none), waits)
    };
    let (rate_in, rate_out) = (state.puts_per_second[0], state.gets_per_second[0]);
    let ((sends, send_wait), (pulls, pull_wait), (acks, ack_wait)) =
        (queue("send", ""), queue("pull", ""), queue("ack", "N"));
    let (read, offset, congested) =
        (number(figures, "timerReadBehind"), number(figures, "timerOffsetBehind"), number(figures, "timerCongestNum"));
    let rate = |name: &str| text(name, "").parse::<f64>().unwrap_or(0.0);
    let (enqueued, dequeued) = (rate("timerEnqueueTps"), rate("timerDequeueTps"));
    let hours = state.oldest_message.and_then(|oldest| now.duration_since(oldest).ok());
    let hours = hours.map_or(0.0, |age| age.as_secs_f64() / 3_600.0);
    [
        (&state.version).into(),
        Cell::both(
            format!("{rate_in:.2}({sends},{send_wait}ms)"),
            json!({ "perSecond": rate_in, "queued": sends, "waitMs": send_wait }),
        ),
        Cell::both(
            format!("{rate_out:.2}({pulls},{pull_wait}ms|{acks},{ack_wait}ms)"),
            json!({ "perSecond": rate_out, "queued": pulls, "waitMs": pull_wait, "acksQueued": acks, "ackWaitMs": ack_wait }),
        ),
        Cell::both(
            format!("{read}-{offset}({:.1}w, {enqueued:.1}, {dequeued:.1})", congested as f64 / 10_000.0),
            json!({ "readBehind": read, "offsetBehind": offset, "waiting": congested,
                "enqueuedPerSecond": enqueued, "dequeuedPerSecond": dequeued }),
        ),
        number(figures, "pageCacheLockTimeMills").into(),
        Cell::decimal(hours, 2),
        Cell::decimal(state.log_disk_usage, 4),
        state.active.into(),
    ]
}
