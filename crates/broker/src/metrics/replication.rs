//! Ours: what a broker is in its group, and how far copies are.

use apogee_replication::SlaveStatus;
use apogee_telemetry::{Family, Label, SECONDS_PER_NS};

use crate::broker::Broker;

pub(super) fn families(broker: &Broker) -> Vec<Family> {
    let settings = broker.settings.load();
    let gauge = |name: &'static str, help, number: f64| Family::gauge(name, "", help).of(number);
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let role = if broker.role.is_slave() { "slave" } else { "master" };
    let epoch = broker.replication.epochs().and_then(|epochs| epochs.last().map(|epoch| epoch.number));
    let mut families = vec![
        Family::gauge("apogee_replication_role", "", "1 for what the broker is: master or slave")
            .of_all([(vec![("role", role.into())], 1.0)]),
        gauge(
            "apogee_replication_epoch",
            "How often a master was elected; 0 without a controller",
            epoch.unwrap_or(0).into(),
        ),
        gauge("apogee_replication_acting", "1: a slave that stands in for its master", flag(broker.acting.stands_in())),
    ];
    if broker.role.is_slave() {
        let copy = broker.copy_progress();
        families.push(gauge("apogee_replication_copying", "1: a slave that its master sends to", flag(copy.is_some())));
        if let Some(copy) = copy {
            let (behind, rate) = (copy.behind as f64, copy.rate as f64);
            families.push(gauge("apogee_replication_copy_behind_bytes", "Bytes that a slave knows it lacks", behind));
            families.push(gauge("apogee_replication_copy_rate_bytes", "Bytes that a slave gets in a second", rate));
        }
        return families;
    }
    let slaves = broker.slaves();
    let in_sync = match broker.in_sync() {
        Some(members) => members.len(),
        None => 1 + slaves.iter().filter(|slave| slave.in_sync).count(),
    };
    families.extend([
        gauge("apogee_replication_slaves", "Slaves that are connected", slaves.len() as f64),
        gauge("apogee_replication_in_sync", "Brokers that are in step, the master counted", in_sync as f64),
        gauge(
            "apogee_replication_in_sync_least",
            "minInSyncReplicas: with fewer in step messages are refused, where a controller elects",
            settings.min_in_sync_replicas.into(),
        ),
        gauge(
            "apogee_replication_confirmed_offset",
            "Up to where the log may be read",
            broker.store.confirmed_offset() as f64,
        ),
    ]);
    if let Some(times) = broker.store.copy_times() {
        let help = "From the write of a message to its having enough copies";
        let times = times.snapshot(SECONDS_PER_NS);
        families.push(Family::histogram("apogee_replication_seconds", "seconds", help).of_histogram(times));
    }
    families.extend(of_slaves(&slaves, broker.now()));
    families
}

/// A series for each slave.
fn of_slaves(slaves: &[SlaveStatus], now_ms: i64) -> [Family; 4] {
    let mut lag = Family::gauge("apogee_replication_lag_bytes", "", "Bytes of the log that a slave lacks");
    let mut late = Family::gauge("apogee_replication_lag_seconds", "", "Time since a slave had everything");
    let mut rate = Family::gauge("apogee_replication_rate_bytes", "", "Bytes that a slave gets in a second");
    let mut in_step = Family::gauge("apogee_replication_slave_in_sync", "", "1: the slave is in step");
    for slave in slaves {
        let id = slave.id.map_or_else(String::new, |id| id.to_string());
        let labels: Vec<Label> = vec![("slave", slave.address.clone().into()), ("slave_id", id.into())];
        let behind = slave.progress.behind;
        // One that has everything at this moment is not late, whenever it last said so.
        let seconds = if behind == 0 { 0.0 } else { (now_ms - slave.caught_up_ms).max(0) as f64 / 1_000.0 };
        lag.add(labels.clone(), behind as f64);
        late.add(labels.clone(), seconds);
        rate.add(labels.clone(), slave.progress.rate as f64);
        in_step.add(labels, if slave.in_sync { 1.0 } else { 0.0 });
    }
    [lag, late, rate, in_step]
}

#[cfg(test)]
mod tests {
    use apogee_replication::Progress;
    use apogee_telemetry::Value;

    use super::*;

    #[test]
    fn a_slave_is_late_by_the_time_since_it_had_everything() {
        let slave = |address: &str, behind, caught_up_ms| SlaveStatus {
            address: address.to_owned(),
            id: Some(2),
            from: 0,
            acked: 0,
            in_sync: behind == 0,
            progress: Progress { behind, rate: 7 },
            caught_up_ms,
        };
        let families = of_slaves(&[slave("s:1", 0, 1_000), slave("s:2", 500, 4_000)], 10_000);
        let numbers = |family: &Family| -> Vec<f64> {
            let number = |value: &Value| if let Value::Number(number) = value { *number } else { f64::NAN };
            family.points.iter().map(|point| number(&point.value)).collect()
        };
        let all: Vec<_> = families.iter().map(numbers).collect();
        assert_eq!(all, [[0.0, 500.0], [0.0, 6.0], [7.0, 7.0], [1.0, 0.0]]);
        let labels: Vec<_> =
            families[0].points[1].labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["slave=s:2", "slave_id=2"]);
    }
}
