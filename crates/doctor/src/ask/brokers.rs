//! Facts of each broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use apogee_client::{Admin, Error, admin};
use tokio::task::JoinSet;

use crate::facts::{Broker, BrokerState, Facts};

/// Asks all of them, side by side: one that is silent holds up none.
pub async fn ask(admin: &Admin, known: &BTreeMap<String, BTreeSet<String>>, facts: &mut Facts) {
    let mut asked = JoinSet::new();
    for (name, addresses) in known {
        for address in addresses {
            let (name, address, admin) = (name.clone(), address.clone(), admin.broker(address));
            asked.spawn(async move {
                let state = state(&admin).await.map_err(|error| error.to_string());
                Broker { name, address, state }
            });
        }
    }
    facts.brokers = asked.join_all().await;
    facts.brokers.sort_by(|one, other| (&one.name, &one.address).cmp(&(&other.name, &other.address)));
}

/// Checks that the broker itself can make best: of its machine, what clients ask for, and its half messages. The others
/// are made anew.
const OF_BROKERS: [&str; 4] = ["half-messages", "kernel-limits", "memory", "missing-topic"];

/// Asks the brokers what they found themselves.
pub async fn ask_findings(admin: &Admin, facts: &mut Facts) {
    let reached: Vec<_> = facts.brokers.iter().filter(|broker| broker.state.is_ok()).cloned().collect();
    for Broker { name, address, .. } in reached {
        match admin.broker(&address).findings().await.map(first) {
            Ok(Some(findings)) => {
                facts.told.extend(findings.into_iter().filter(|finding| OF_BROKERS.contains(&finding.check.as_str())));
            }
            Ok(None) => facts.lacks(
                "kernel-limits",
                format!(
                    "{name} ({address}) does not tell of its machine, as Apache's brokers do not: look at `ulimit -n`, \
                     `sysctl vm.max_map_count vm.swappiness vm.dirty_ratio` and `free` there"
                ),
            ),
            Err(error) => {
                facts.lacks("kernel-limits", format!("{name} ({address}) does not tell what it found: {error}"))
            }
        }
    }
}

async fn state(admin: &Admin) -> Result<BrokerState, Error> {
    let before = SystemTime::now();
    let state = first(admin.broker_states().await?);
    let took = before.elapsed().unwrap_or_default();
    let settings = first(admin.broker_settings().await?);
    let percent = |key: &str, default: f64| {
        settings.get(key).and_then(|value| value.parse::<f64>().ok()).unwrap_or(default) / 100.0
    };
    Ok(BrokerState {
        active: state.active,
        is_slave: settings.get("brokerRole").is_some_and(|role| role == "SLAVE"),
        disk_usage: state.log_disk_usage,
        disk_cleans_at: percent("diskMaxUsedSpaceRatio", 75.0),
        // Apache's is a property of its JVM.
        disk_refuses_at: percent("diskSpaceWarningLevelRatio", 90.0),
        clock_ahead: clock(&state, before, took),
        creates_topics: settings.get("autoCreateTopicEnable").map(|value| value == "true"),
    })
}

/// One broker was asked, so there is one answer.
fn first<T: Default>(answers: Vec<admin::At<T>>) -> T {
    answers.into_iter().next().map(|answer| answer.value).unwrap_or_default()
}

/// How far a broker's clock is ahead, from when it started and for how long it has been running; in whole seconds,
/// give or take one and the time of the way.
fn clock(state: &admin::BrokerState, asked: SystemTime, took: Duration) -> Option<(i64, Duration)> {
    let running = running(state.figures.get("runtime")?)?;
    let theirs = state.started?.checked_add(running)?;
    let ours = asked + took / 2;
    let ahead = match theirs.duration_since(ours) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).ok()?,
        Err(behind) => -i64::try_from(behind.duration().as_secs()).ok()?,
    };
    Some((ahead, took / 2 + Duration::from_secs(1)))
}

/// Reads `[ 0 days, 0 hours, 6 minutes, 47 seconds ]`.
fn running(text: &str) -> Option<Duration> {
    let mut numbers = text.split_ascii_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let mut seconds = 0_u64;
    for unit in [86_400, 3_600, 60, 1] {
        seconds = seconds.checked_add(numbers.next()?.checked_mul(unit)?)?;
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_from_what_a_broker_tells() {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let figures = [("runtime", "[ 0 days, 1 hours, 0 minutes, 10 seconds ]"), ("bootTimestamp", "1000000000")];
        let figures = figures.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let state = admin::BrokerState { started: Some(started), figures: figures.into(), ..Default::default() };
        let asked = started + Duration::from_secs(3_600);
        assert_eq!(clock(&state, asked, Duration::ZERO), Some((10, Duration::from_secs(1))));
        let late = started + Duration::from_secs(3_710);
        assert_eq!(clock(&state, late, Duration::ZERO), Some((-100, Duration::from_secs(1))));
        assert_eq!(running("[ 1 days, 1 hours, 1 minutes, 1 seconds ]"), Some(Duration::from_secs(90_061)));
        assert_eq!(running("a while"), None);
    }
}
