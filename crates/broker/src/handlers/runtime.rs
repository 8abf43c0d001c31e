//! What a broker tells of itself (upstream `AdminBrokerProcessor`, `StoreStatsService`).

use std::collections::BTreeMap;
use std::sync::Arc;

use apogee_base::disk::Space;
use apogee_base::settings::Settings;
use apogee_message::record::Record;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, FINDINGS, FindingList, KVTable};

use super::answer::{self, Answer};
use crate::broker::Broker;
use crate::metrics::Times;
use crate::stats::{Kind, Rates};

/// Names and values, sorted.
pub(crate) type Table = BTreeMap<String, String>;

/// Pools of threads that upstream has, and the setting of how many requests may wait for one.
const POOLS: [(&str, &str); 5] = [
    ("send", "sendThreadPoolQueueCapacity"),
    ("pull", "pullThreadPoolQueueCapacity"),
    ("litePull", "litePullThreadPoolQueueCapacity"),
    ("query", "queryThreadPoolQueueCapacity"),
    ("ack", "ackThreadPoolQueueCapacity"),
];

/// What does not exist here, and what upstream tells of it when nothing happened.
const ABSENT: [(&str, &str); 9] = [
    ("EndTransactionQueueSize", "0"),
    ("dispatchMaxBuffer", "0"),
    ("pageCacheLockTimeMills", "0"),
    ("remainTransientStoreBufferNumbs", "2147483647"),
    ("startAcceptSendRequestTimeStamp", "0"),
    ("timerCongestNum", "0"),
    ("timerReadBehind", "0"),
    ("timerEnqueueTps", "0.0"),
    ("timerDequeueTps", "0.0"),
];

/// `GET_BROKER_RUNTIME_INFO`: all of upstream's names.
pub(crate) fn runtime(broker: &Broker, _: &Arc<Conn>, request: &Command) -> Answer {
    let mut table = table(broker);
    // Only for who knows it: other tools show all there is.
    if request.fields.get(FINDINGS).is_some() {
        let findings = FindingList { findings: broker.findings.load().to_vec() };
        put(&mut table, FINDINGS, String::from_utf8_lossy(&findings.encode()));
    }
    answer::body(request, &KVTable { table })
}

/// What a broker tells of itself. Requests wait in no queues of threads here; tools that show them find zeros.
pub(crate) fn table(broker: &Broker) -> Table {
    let mut table = Table::new();
    for (key, value) in ABSENT {
        put(&mut table, key, value);
    }
    put(&mut table, "brokerVersionDesc", "V5_5_0");
    put(&mut table, "brokerActive", broker.store.failure().is_none());
    put(&mut table, "bootTimestamp", broker.started_ms);
    put(&mut table, "runtime", span((broker.now() - broker.started_ms).max(0)));
    log(broker, &mut table);
    traffic(broker, &mut table);
    pools(broker, &mut table);
    waiting(broker, &mut table);
    table
}

fn put(table: &mut Table, key: &str, value: impl ToString) {
    table.insert(key.to_owned(), value.to_string());
}

/// The log, and the disk that it is on.
fn log(broker: &Broker, table: &mut Table) {
    let store = &broker.store;
    put(table, "commitLogMinOffset", store.log_min_offset());
    put(table, "commitLogMaxOffset", store.log_max_offset());
    put(table, "dispatchBehindBytes", store.dispatch_behind_bytes());
    put(table, "remainHowManyDataToFlush", bytes(store.log_max_offset() - store.flushed_offset()));
    let earliest = store.record_at(store.log_min_offset());
    let earliest = earliest.and_then(|bytes| Some(Record::read(&bytes).ok()?.store_timestamp));
    put(table, "earliestMessageTimeStamp", earliest.unwrap_or(-1));
    let space = broker.disk.space(store.root()).ok();
    let usage = space.map_or_else(|| "-1.0".to_owned(), |space| format!("{:.2}", percent(space)));
    let settings = broker.settings.load();
    let folder = match settings.store_path_commit_log.as_str() {
        "" => store.root().join("commitlog").display().to_string(),
        folder => folder.to_owned(),
    };
    put(table, &format!("commitLogDiskRatio_{folder}"), &usage);
    put(table, "commitLogDiskRatio", &usage);
    put(table, "consumeQueueDiskRatio", &usage);
    if let Some(Space { used, free }) = space {
        let [total, free] = [used + free, free].map(|room| bytes(room.try_into().unwrap_or(i64::MAX)));
        put(table, "commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
    }
}

/// What comes in and goes out.
fn traffic(broker: &Broker, table: &mut Table) {
    let (stats, cluster) = (&broker.stats, &*broker.cluster);
    let text = |rates: Rates| rates.map(|rate| format!("{rate:.2}")).join(" ");
    let [_, sent] = stats.recent(Kind::BrokerPutNums, cluster);
    let [found, pulled] = stats.recent(Kind::BrokerGetNums, cluster);
    let [missed, _] = stats.recent(Kind::BrokerMisses, cluster);
    put(table, "putTps", text(sent));
    put(table, "getFoundTps", text(found));
    put(table, "getMissTps", text(missed));
    put(table, "getTotalTps", text([0, 1, 2].map(|window| found[window] + missed[window])));
    // Tools of 4.x know it by a name with a slip of the pen.
    for key in ["getTransferredTps", "getTransferedTps"] {
        put(table, key, text(pulled));
    }
    for (name, kind) in [("Put", Kind::BrokerPutNums), ("Get", Kind::BrokerGetNums)] {
        let mornings = stats.mornings(kind, cluster);
        put(table, &format!("msg{name}TotalTodayNow"), stats.total(kind, cluster));
        put(table, &format!("msg{name}TotalTodayMorning"), mornings.today);
        put(table, &format!("msg{name}TotalYesterdayMorning"), mornings.yesterday);
    }
    let messages = stats.total(Kind::BrokerPutNums, cluster);
    let size = broker.store.log_max_offset() - broker.log_end_at_start;
    put(table, "putMessageTimesTotal", messages);
    put(table, "putMessageSizeTotal", size);
    put(table, "putMessageAverageSize", size as f64 / messages.max(1) as f64);
    put(table, "putMessageFailedTimes", broker.counters.requests.refused_sends());
    let sends = Times::of_sends(broker);
    put(table, "putMessageDistributeTime", sends.text());
    put(table, "putLatency99", format!("{:.2}", sends.quantile(0.99)));
    put(table, "putLatency999", format!("{:.2}", sends.quantile(0.999)));
    put(table, "putMessageEntireTimeMax", sends.quantile(1.0).ceil());
    put(table, "getMessageEntireTimeMax", Times::of_pulls(broker).quantile(1.0).ceil());
}

fn pools(broker: &Broker, table: &mut Table) {
    let settings = broker.settings.load().all();
    for (pool, capacity) in POOLS {
        put(table, &format!("{pool}ThreadPoolQueueSize"), 0);
        put(table, &format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), 0);
        put(table, capacity, settings.get(capacity).map_or("0", String::as_str));
    }
    let capacity = settings.get("endTransactionPoolQueueCapacity").map_or("0", String::as_str);
    put(table, "EndTransactionThreadPoolQueueCapacity", capacity);
}

/// Messages that wait for their time.
fn waiting(broker: &Broker, table: &mut Table) {
    let delivered = broker.schedule.snapshot().offset_table;
    for level in 1..=broker.delays.len() as i32 {
        let (_, end) = broker.store.queue_range(&broker.schedule_topic, level - 1).unwrap_or_default();
        let offset = delivered.get(&level).copied().unwrap_or(0);
        if end > 0 || offset > 0 {
            put(table, &format!("scheduleMessageOffset_{level}"), format!("{offset},{end}"));
        }
    }
    put(table, "timerOffsetBehind", broker.timer.behind(&broker.store));
}

/// How much of a disk is used, from 0 to 1, in hundredths rounded up.
fn percent(space: Space) -> f64 {
    (space.usage() * 100.0).ceil() / 100.0
}

/// A number of bytes as people read it: with the units B, KiB, MiB, …
fn bytes(count: i64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let (mut scaled, mut unit) = (count as f64 / 1_024.0, 0);
    while scaled >= 1_024.0 && unit + 1 < units.len() {
        (scaled, unit) = (scaled / 1_024.0, unit + 1);
    }
    format!("{scaled:.1} {}", units[unit])
}

/// A span of time as upstream writes it.
fn span(milliseconds: i64) -> String {
    let seconds = milliseconds / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    format!("[ {days} days, {} hours, {} minutes, {} seconds ]", hours % 24, minutes % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_written_as_upstream_writes_them() {
        assert_eq!(span(407_999), "[ 0 days, 0 hours, 6 minutes, 47 seconds ]");
        assert_eq!(span(90_061_000), "[ 1 days, 1 hours, 1 minutes, 1 seconds ]");
        assert_eq!([0, 827, 1_024, 270_582_939_648].map(bytes), ["0 B", "827 B", "1.0 KiB", "252.0 GiB"]);
        assert_eq!(percent(Space { used: 571, free: 429 }), 0.58);
    }
}
