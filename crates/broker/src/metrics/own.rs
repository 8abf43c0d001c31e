//! Ours: what upstream has no name for.

use apogee_net::Pulse;
use apogee_telemetry::{Family, Histogram, SECONDS_PER_NS};

use crate::broker::Broker;
use crate::serve::MOST_COLD_READS;

pub(super) fn families(broker: &Broker, pulse: &Pulse) -> Vec<Family> {
    let store = &broker.store;
    let times = store.times();
    let seconds = |name: &'static str, help, histogram: &Histogram| {
        Family::histogram(name, "seconds", help).of_histogram(histogram.snapshot(SECONDS_PER_NS))
    };
    let gauge = |name: &'static str, help, number: f64| Family::gauge(name, "", help).of(number);
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let is_writable = store.failure().is_none() && store.refusal().is_none();
    let cold_reads = MOST_COLD_READS.saturating_sub(broker.cold_reads.available_permits());
    let mut families = vec![
        Family::gauge("apogee_build_info", "", "The version that runs")
            .of_all([(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0)]),
        seconds("apogee_append_seconds", "One write of messages to the log", &times.append),
        seconds("apogee_flush_seconds", "One flush of the log to the disk", &times.flush),
        seconds("apogee_dispatch_seconds", "From the write of a message to its being visible", &times.dispatch),
        gauge("apogee_long_polls", "Pulls that wait for messages", broker.longpoll.len() as f64),
        gauge("apogee_pop_long_polls", "Pops that wait for messages", broker.pop.waiters.len() as f64),
        gauge("apogee_popped_messages", "Popped messages that are only in memory", broker.pop.messages() as f64),
        gauge("apogee_cold_reads", "Reads that wait for the disk, at work now", cold_reads as f64),
        gauge("apogee_undecided_transactions", "Half messages without a decision", broker.transactions.len() as f64),
        gauge("apogee_log_min_offset", "Where the log begins", store.log_min_offset() as f64),
        gauge("apogee_log_max_offset", "Where the log ends", store.log_max_offset() as f64),
        gauge("apogee_store_writable", "1: messages are taken; 0: the disk is full or failed", flag(is_writable)),
        gauge("apogee_registered", "1: a name server knows the broker", flag(broker.is_registered())),
    ];
    families.extend(broker.counters.requests.own());
    if let Ok(space) = store.disk_space() {
        families.push(gauge("apogee_disk_used_ratio", "How much of the store's disk is used, 0 to 1", space.usage()));
        families.push(gauge("apogee_disk_free_bytes", "What can be written yet", space.free as f64));
    }
    families.extend(super::replication::families(broker));
    families.extend(super::findings::families(broker));
    families.extend(event_loops(pulse));
    families
}

/// The threads that connections live on.
fn event_loops(pulse: &Pulse) -> [Family; 3] {
    let mut busy = Family::counter("apogee_event_loop_busy_seconds_total", "Time at work; its rate is the saturation");
    let mut delay =
        Family::gauge("apogee_event_loop_delay_seconds", "seconds", "Time until a task's turn came, just now");
    let mut connections = Family::gauge("apogee_connections", "", "Connections open");
    for (number, beat) in pulse.feel().into_iter().enumerate() {
        let labels = vec![("thread", number.to_string().into())];
        busy.add(labels.clone(), beat.busy.as_secs_f64());
        delay.add(labels.clone(), beat.delay.as_secs_f64());
        connections.add(labels, beat.connections as f64);
    }
    [busy, delay, connections]
}
