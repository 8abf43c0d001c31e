//! Brokers: there, well, and with room.

use std::time::Duration;

use super::{Found, about};
use crate::facts::BrokerState;
use crate::{Broker, Facts, Severity};

/// From where on a disk is worth a word though the broker goes on, from 0 to 1.
const DISK_FULL: f64 = 0.80;
/// Clocks may differ by so much, in seconds.
const CLOCK: i64 = 5;

fn states(facts: &Facts) -> impl Iterator<Item = (&Broker, &BrokerState)> {
    facts.brokers.iter().filter_map(|broker| Some((broker, broker.state.as_ref().ok()?)))
}

fn subject(broker: &Broker) -> String {
    format!("{} ({})", broker.name, broker.address)
}

/// Clients can reach it where they are told to.
pub fn reachable(facts: &Facts, found: &mut Found<'_>) {
    for broker in &facts.brokers {
        let Err(error) = &broker.state else { continue };
        found.add(
            Severity::Critical,
            subject(broker),
            format!("clients are told to reach it at {}, and nobody answers there: {error}", broker.address),
            "Every send to it and every read from it fails.",
            "See that the broker runs. If it does, it has registered an address that clients cannot reach, such as \
             one inside of a container: give the right one with brokerIP1=ADDRESS (`apogee server --host ADDRESS`) \
             and let its port through."
                .to_owned(),
        );
    }
}

/// It takes messages.
pub fn active(facts: &Facts, found: &mut Found<'_>) {
    for (broker, _) in states(facts).filter(|(_, state)| !state.active && !state.is_slave) {
        found.add(
            Severity::Critical,
            subject(broker),
            "it says that it takes no messages".to_owned(),
            "Every send to it fails; clients turn to other brokers, if there are any.",
            "See its log: a failed disk, or a start that has not ended. After a failed write or flush it must be \
             started again once the disk is well."
                .to_owned(),
        );
    }
}

/// Its disk has room.
pub fn disk(facts: &Facts, found: &mut Found<'_>) {
    for (broker, state) in states(facts) {
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let used = percent(state.disk_usage);
        let advice = "Free room on the disk, give it more, or keep messages for a shorter time (fileReservedTime, in \
                      hours; `mqadmin updateBrokerConfig -b ADDRESS -k fileReservedTime -v HOURS`, then \
                      `mqadmin deleteExpiredCommitLog`)."
            .to_owned();
        if state.disk_usage >= state.disk_refuses_at && state.disk_refuses_at > 0.0 {
            let what = format!(
                "the disk of its log is {used} full; from {} on messages are refused",
                percent(state.disk_refuses_at)
            );
            found.add(Severity::Critical, subject(broker), what, "Sends fail until there is room.", advice);
        } else if state.disk_usage >= DISK_FULL.min(state.disk_refuses_at) && state.disk_refuses_at > 0.0 {
            let what = format!(
                "the disk of its log is {used} full; from {} on expired messages are removed at any hour, from {} on \
                 messages are refused",
                percent(state.disk_cleans_at),
                percent(state.disk_refuses_at)
            );
            found.add(Severity::Warning, subject(broker), what, "Sends will fail when it gets fuller.", advice);
        }
    }
}

/// Its clock is right.
pub fn clock(facts: &Facts, found: &mut Found<'_>) {
    for (broker, state) in states(facts) {
        let Some((ahead, error)) = state.clock_ahead else { continue };
        let error = i64::try_from(error.as_secs()).unwrap_or(i64::MAX);
        if ahead.abs().saturating_sub(error) < CLOCK {
            continue;
        }
        let off = about(Duration::from_secs(ahead.unsigned_abs()));
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        found.add(
            Severity::Warning,
            subject(broker),
            format!("its clock is {off} {side} that of this machine"),
            "Delayed messages come early or late, messages are removed or found by time wrongly, and times of \
             several machines cannot be compared.",
            "Set the clocks of both machines by NTP (`chronyc tracking`, `timedatectl`).".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::found;

    fn facts(state: Result<BrokerState, String>) -> Facts {
        let broker = Broker { name: "a".to_owned(), address: "h:1".to_owned(), state };
        Facts { brokers: vec![broker], ..Facts::default() }
    }

    fn well() -> BrokerState {
        BrokerState { active: true, disk_cleans_at: 0.75, disk_refuses_at: 0.9, ..BrokerState::default() }
    }

    #[test]
    fn a_broker_that_is_well_is_not_named() {
        assert!(found(&facts(Ok(well()))).is_empty());
        assert!(found(&facts(Ok(BrokerState { disk_usage: 0.79, ..well() }))).is_empty());
    }

    #[test]
    fn one_that_cannot_be_reached_or_is_not_active_is_critical() {
        assert_eq!(found(&facts(Err("refused".into()))), ["critical advertised-address a (h:1)"]);
        assert_eq!(found(&facts(Ok(BrokerState { active: false, ..well() }))), ["critical broker a (h:1)"]);
    }

    #[test]
    fn a_disk_is_named_before_it_is_full() {
        assert_eq!(found(&facts(Ok(BrokerState { disk_usage: 0.8, ..well() }))), ["warning disk a (h:1)"]);
        assert_eq!(found(&facts(Ok(BrokerState { disk_usage: 0.91, ..well() }))), ["critical disk a (h:1)"]);
    }

    #[test]
    fn a_clock_is_wrong_only_beyond_what_is_known_of_it() {
        let clock = |ahead, error| BrokerState { clock_ahead: Some((ahead, Duration::from_secs(error))), ..well() };
        assert!(found(&facts(Ok(clock(4, 0)))).is_empty());
        assert!(found(&facts(Ok(clock(-6, 2)))).is_empty());
        assert_eq!(found(&facts(Ok(clock(-60, 2)))), ["warning clock a (h:1)"]);
    }
}
