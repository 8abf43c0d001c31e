//! Watching the groups of a cluster.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use apogee_client::Reader;
use apogee_client::admin::{GroupProgress, MemberState};
use clap::Args;
use serde_json::json;

use crate::commands::client::status::{have_same_subscriptions, stuck};
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(60);
/// Where brokers tell that messages went before a group had them.
const MOVED: &str = "OFFSET_MOVED_EVENT";
const RETRY: &str = "%RETRY%";

/// Flags of `startMonitoring`.
#[derive(Args, Debug)]
pub struct Monitor {}

/// Tells every minute how far groups are behind, whose members subscribe to different things, and which queues are
/// stuck; and at once which messages went before a group had them. Goes on until it is interrupted.
pub async fn run(context: &Context, _: &Monitor) -> Result<Report, CliError> {
    // Brokers have it when there was something to tell, or when they are Apache's.
    let mut moved = context.client().reader(MOVED).open().await.ok();
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => context.tell(&round(context).await?)?,
            event = next(&mut moved) => {
                let line = format!("[MONITOR] reportDeleteMsgsEvent: {event}");
                context.tell(&Report::new().line(line).data_item("moved", event))?;
            }
        }
    }
}

/// The next event that brokers tell; never, where they tell none.
async fn next(moved: &mut Option<Reader>) -> String {
    loop {
        let Some(reader) = moved else { return std::future::pending().await };
        match reader.next().await {
            Some(Ok(event)) => return String::from_utf8_lossy(&event.body).escape_debug().to_string(),
            Some(Err(_)) => {}
            None => *moved = None,
        }
    }
}

async fn round(context: &Context) -> Result<Report, CliError> {
    let admin = &context.admin;
    let mut report = Report::new().line(format!("[MONITOR] {}beginRound", "=".repeat(41))).data("groups", json!([]));
    for topic in admin.topics().await? {
        let Some(group) = topic.strip_prefix(RETRY) else { continue };
        // A group that is going, or on a broker that is down, is looked at in the next round.
        let Ok(progress) = admin.progress(group, None).await else { continue };
        for (topic, progress) in by_topic(progress) {
            let behind = admin.times(group, &topic).await.unwrap_or_default();
            let behind = behind.iter().map(|queue| queue.behind.as_millis() as u64).max().unwrap_or(0);
            let most = progress.queues.iter().map(|queue| queue.lag()).max().unwrap_or(0);
            let total = progress.lag();
            report = report
                .line(format!(
                    "[MONITOR] reportUndoneMsgs: UndoneMsgs [consumerGroup={group}, topic={topic}, \
                     undoneMsgsTotal={total}, undoneMsgsSingleMQ={most}, undoneMsgsDelayTimeMills={behind}]"
                ))
                .data_item(
                    "groups",
                    json!({ "group": group, "topic": topic, "lag": total, "worstQueue": most, "behindMs": behind }),
                );
        }
        let mut members = BTreeMap::new();
        for client in admin.members(group).await.unwrap_or_default().clients {
            // One that has just left does not answer.
            if let Ok(state) = admin.member_state(group, &client.id, false).await {
                members.insert(client.id, state);
            }
        }
        for finding in findings(&members, SystemTime::now()) {
            let line = format!("[MONITOR] [NOTIFY] reportConsumerRunningInfo: ConsumerGroup: {group}, {finding}");
            report = report.line(line).data_item("findings", json!({ "group": group, "finding": finding }));
        }
    }
    Ok(report.line(format!("[MONITOR] {}endRound", "=".repeat(41))))
}

fn by_topic(progress: GroupProgress) -> BTreeMap<String, GroupProgress> {
    let mut topics: BTreeMap<String, GroupProgress> = BTreeMap::new();
    for queue in progress.queues {
        topics.entry(queue.queue.topic.to_string()).or_default().queues.push(queue);
    }
    topics
}

/// What is wrong with the members of a group.
fn findings(members: &BTreeMap<String, MemberState>, now: SystemTime) -> Vec<String> {
    let differ = !have_same_subscriptions(members);
    let stuck = members.iter().flat_map(|(client, state)| stuck(client, state, now));
    differ.then(|| "Subscription different".to_owned()).into_iter().chain(stuck).collect()
}
