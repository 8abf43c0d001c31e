//! The names of the separate exporter (`rocketmq-exporter`), for dashboards made for it: rates of the last minute and
//! what brokers tell of themselves.

use std::collections::BTreeMap;

use apogee_message::names;
use apogee_telemetry::{Family, Label, Text};
use apogee_wire::bodies::MessageModel;

use super::collect::OTHER;
use super::lag::{self, Lag};
use crate::broker::Broker;
use crate::handlers::runtime;
use crate::metrics::Times;
use crate::settings::BrokerSettings;
use crate::stats::Kind;

/// Names behind `rocketmq_brokeruntime_`, and the values of `GET_BROKER_RUNTIME_INFO` that they are. Of values with
/// several numbers, which one.
const RUNTIME: [(&str, &str, usize); 46] = [
    ("commitlog_disk_ratio", "commitLogDiskRatio", 0),
    ("commitlog_maxoffset", "commitLogMaxOffset", 0),
    ("commitlog_minoffset", "commitLogMinOffset", 0),
    ("consumequeue_disk_ratio", "consumeQueueDiskRatio", 0),
    ("dispatch_behind_bytes", "dispatchBehindBytes", 0),
    ("dispatch_maxbuffer", "dispatchMaxBuffer", 0),
    ("earliest_message_timestamp", "earliestMessageTimeStamp", 0),
    ("getfound_tps10", "getFoundTps", 0),
    ("getfound_tps60", "getFoundTps", 1),
    ("getfound_tps600", "getFoundTps", 2),
    ("getmiss_tps10", "getMissTps", 0),
    ("getmiss_tps60", "getMissTps", 1),
    ("getmiss_tps600", "getMissTps", 2),
    ("gettotal_tps10", "getTotalTps", 0),
    ("gettotal_tps60", "getTotalTps", 1),
    ("gettotal_tps600", "getTotalTps", 2),
    ("gettransfered_tps10", "getTransferredTps", 0),
    ("gettransfered_tps60", "getTransferredTps", 1),
    ("gettransfered_tps600", "getTransferredTps", 2),
    ("getmessage_entire_time_max", "getMessageEntireTimeMax", 0),
    ("msg_gettotal_today_now", "msgGetTotalTodayNow", 0),
    ("msg_gettotal_todaymorning", "msgGetTotalTodayMorning", 0),
    ("msg_gettotal_yesterdaymorning", "msgGetTotalYesterdayMorning", 0),
    ("msg_put_total_today_now", "msgPutTotalTodayNow", 0),
    ("msg_puttotal_todaymorning", "msgPutTotalTodayMorning", 0),
    ("msg_puttotal_yesterdaymorning", "msgPutTotalYesterdayMorning", 0),
    ("pagecache_lock_time_mills", "pageCacheLockTimeMills", 0),
    ("pull_threadpoolqueue_capacity", "pullThreadPoolQueueCapacity", 0),
    ("pull_threadpoolqueue_headwait_timemills", "pullThreadPoolQueueHeadWaitTimeMills", 0),
    ("pull_threadpoolqueue_size", "pullThreadPoolQueueSize", 0),
    ("query_threadpool_queue_capacity", "queryThreadPoolQueueCapacity", 0),
    ("query_threadpoolqueue_headwait_timemills", "queryThreadPoolQueueHeadWaitTimeMills", 0),
    ("query_threadpoolqueue_size", "queryThreadPoolQueueSize", 0),
    ("send_threadpool_queue_size", "sendThreadPoolQueueSize", 0),
    ("send_threadpoolqueue_capacity", "sendThreadPoolQueueCapacity", 0),
    ("send_threadpoolqueue_headwait_timemills", "sendThreadPoolQueueHeadWaitTimeMills", 0),
    ("put_message_average_size", "putMessageAverageSize", 0),
    ("put_message_size_total", "putMessageSizeTotal", 0),
    ("put_tps10", "putTps", 0),
    ("put_tps60", "putTps", 1),
    ("put_tps600", "putTps", 2),
    ("putmessage_entire_time_max", "putMessageEntireTimeMax", 0),
    ("putmessage_times_total", "putMessageTimesTotal", 0),
    ("remain_transientstore_buffer_numbs", "remainTransientStoreBufferNumbs", 0),
    ("start_accept_sendrequest_time", "startAcceptSendRequestTimeStamp", 0),
    ("remain_howmanydata_toflush", "", 0),
];

pub(super) fn families(broker: &Broker, settings: &BrokerSettings) -> Vec<Family> {
    let mut families = runtime_families(broker);
    families.extend(whole(broker, settings));
    families.extend(topics(broker, settings));
    families.extend(groups(broker, settings));
    families
}

fn text(text: &str) -> Text {
    text.to_owned().into()
}

fn runtime_families(broker: &Broker) -> Vec<Family> {
    let table = runtime::table(broker);
    let value = |key: &str| table.get(key).map_or("", String::as_str);
    let labels = vec![
        ("cluster", text(&broker.cluster)),
        ("brokerIP", text(&broker.advertised)),
        ("brokerHost", "".into()),
        ("des", text(value("brokerVersionDesc"))),
        ("boottime", text(value("bootTimestamp"))),
        ("broker_version", apogee_wire::command::VERSION.to_string().into()),
    ];
    let family = |name: &str, number: f64| {
        let name = format!("rocketmq_brokeruntime_{name}");
        Family::gauge(name, "", "See GET_BROKER_RUNTIME_INFO").of_all([(labels.clone(), number)])
    };
    let mut families: Vec<_> = RUNTIME
        .iter()
        .map(|(name, key, place)| match *name {
            "remain_howmanydata_toflush" => {
                family(name, (broker.store.log_max_offset() - broker.store.flushed_offset()).max(0) as f64)
            }
            name => {
                let number = value(key).split_whitespace().nth(*place).and_then(|number| number.parse().ok());
                family(name, number.unwrap_or(0.0))
            }
        })
        .collect();
    let space = broker.store.disk_space().unwrap_or_default();
    families.push(family("commitlogdir_capacity_total", (space.used + space.free) as f64));
    families.push(family("commitlogdir_capacity_free", space.free as f64));
    let sends = Times::of_sends(broker);
    families.extend(sends.spans().map(|(name, count)| family(&format!("pmdt_{name}"), count as f64)));
    families.push(family("put_latency_99", sends.quantile(0.99)));
    families.push(family("put_latency_999", sends.quantile(0.999)));
    families
}

/// The broker as a whole, its slaves and its producers.
fn whole(broker: &Broker, settings: &BrokerSettings) -> [Family; 4] {
    let rate = |kind| broker.stats.windows(kind, &broker.cluster)[0].per_second;
    let labels = |address: &str| {
        vec![("cluster", text(&broker.cluster)), ("brokerIP", text(address)), ("broker", text(&settings.broker_name))]
    };
    // The master knows where its slaves connect from, not where they serve.
    let lacks = broker.slaves().into_iter().map(|slave| (labels(&slave.address), slave.progress.behind as f64));
    let mut producers = Family::gauge("rocketmq_producer_count", "", "Producers of a group");
    let counts = broker.producers.infos().into_iter().map(|(group, infos)| (group, infos.len() as f64)).collect();
    add_top(&mut producers, counts, settings, |group| in_broker(broker, settings, &[("group", group)]));
    [
        Family::gauge("rocketmq_broker_tps", "", "Messages in per second")
            .of_all([(labels(&broker.advertised), rate(Kind::BrokerPutNums))]),
        Family::gauge("rocketmq_broker_qps", "", "Messages out per second")
            .of_all([(labels(&broker.advertised), rate(Kind::BrokerGetNums))]),
        Family::gauge("rocketmq_broker_commitlog_diff", "", "Bytes of the log that a slave lacks").of_all(lacks),
        producers,
    ]
}

fn in_broker(broker: &Broker, settings: &BrokerSettings, more: &[(&'static str, &str)]) -> Vec<Label> {
    let mut labels = vec![("cluster", text(&broker.cluster)), ("broker", text(&settings.broker_name))];
    labels.extend(more.iter().map(|(name, value)| (*name, text(value))));
    labels
}

/// Adds the largest by name, and the sum of all others.
fn add_top(
    family: &mut Family,
    mut values: Vec<(String, f64)>,
    settings: &BrokerSettings,
    labels: impl Fn(&str) -> Vec<Label>,
) {
    values.sort_unstable_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let rest = values.split_off(values.len().min(settings.metrics_otel_cardinality_limit));
    values.iter().for_each(|(name, value)| family.add(labels(name), *value));
    if !rest.is_empty() {
        family.add(labels(OTHER), rest.iter().map(|(_, value)| value).sum());
    }
}

fn topics(broker: &Broker, settings: &BrokerSettings) -> Vec<Family> {
    let (mut offsets, mut retries, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    let (mut messages, mut bytes) = (Vec::new(), Vec::new());
    for topic in broker.topics.all() {
        let name = topic.name.to_string();
        let end = |queue| broker.store.queue_range(&name, queue).map_or(0, |(_, end)| end);
        let sum = (0..topic.config.write_queue_nums).map(end).sum::<i64>() as f64;
        if name.starts_with(names::RETRY_PREFIX) {
            retries.push((name, sum));
        } else if let Some(group) = name.strip_prefix(names::DLQ_PREFIX) {
            dead.push((group.to_owned(), sum));
        } else {
            for (kind, rates) in [(Kind::TopicPutNums, &mut messages), (Kind::TopicPutSize, &mut bytes)] {
                if broker.stats.total(kind, &name) > 0 {
                    rates.push((name.clone(), broker.stats.windows(kind, &name)[0].per_second));
                }
            }
            offsets.push((name, sum));
        }
    }
    let family = |name: &'static str, help, values, label: &'static str| {
        let mut family = Family::gauge(name, "", help);
        add_top(&mut family, values, settings, |value| in_broker(broker, settings, &[(label, value)]));
        family
    };
    vec![
        family("rocketmq_producer_offset", "Sum of the ends of a topic's queues", offsets, "topic"),
        family("rocketmq_topic_retry_offset", "The same of retry topics", retries, "topic"),
        family("rocketmq_topic_dlq_offset", "The same of dead letters", dead, "group"),
        family("rocketmq_producer_tps", "Messages in per second", messages, "topic"),
        family("rocketmq_producer_message_size", "Bytes in per second", bytes, "topic"),
    ]
}

fn groups(broker: &Broker, settings: &BrokerSettings) -> Vec<Family> {
    let rates = |name: &'static str, help, kind, of: fn(crate::stats::Window) -> f64| {
        let all = broker.stats.sums(kind).into_iter();
        let all = all.map(|(key, _)| (of(broker.stats.windows(kind, &key)[0]), key.into_string()));
        let mut family = Family::gauge(name, "", help);
        add_top(&mut family, all.map(|(value, key)| (key, value)).collect(), settings, |key| {
            let (topic, group) = key.split_once('@').unwrap_or((key, key));
            in_broker(broker, settings, &[("topic", topic), ("group", group)])
        });
        family
    };
    let mut families = vec![
        rates("rocketmq_consumer_tps", "Messages out per second", Kind::GroupGetNums, |window| window.per_second),
        rates("rocketmq_consumer_message_size", "Bytes out per second", Kind::GroupGetSize, |window| window.per_second),
        rates("rocketmq_send_back_nums", "Messages sent back in a minute", Kind::SendBackNums, |window| {
            window.sum as f64
        }),
    ];
    let (named, _) = lag::ranked(broker, settings);
    families.extend(progress(broker, settings, &named));
    families.push(members(broker, settings));
    families
}

/// How far groups are; of those furthest behind.
fn progress(broker: &Broker, settings: &BrokerSettings, lags: &[Lag]) -> [Family; 5] {
    let mut diff = Family::gauge("rocketmq_group_diff", "", "Messages that a group has not consumed");
    let mut retries = Family::gauge("rocketmq_group_retrydiff", "", "The same of its retry topic");
    let mut offsets = Family::gauge("rocketmq_consumer_offset", "", "Sum of a group's offsets in a topic");
    let mut totals = Family::gauge("rocketmq_group_consume_total_offset", "", "The same");
    let mut latencies =
        Family::gauge("rocketmq_group_get_latency_by_storetime", "", "Milliseconds that a group is behind");
    let now = broker.now();
    for lag in lags {
        let online = broker.consumers.channels(&lag.group).len();
        let model = broker.consumers.message_model(&lag.group).unwrap_or(MessageModel::Clustering);
        let place = || in_broker(broker, settings, &[("topic", &lag.topic), ("group", &lag.group)]);
        let offset = broker.offsets.queues(&lag.group, &lag.topic).into_values().sum::<i64>() as f64;
        offsets.add(place(), offset);
        totals.add(place(), offset);
        if model != MessageModel::Clustering {
            continue;
        }
        latencies.add(place(), lag.age_ms(broker, now) as f64);
        let labels = vec![
            ("group", text(&lag.group)),
            ("topic", text(&lag.topic)),
            ("countOfOnlineConsumers", online.to_string().into()),
            // As upstream numbers them: 0 gets each message, 1 shares them.
            ("msgModel", "1".into()),
        ];
        let family = if lag.topic.starts_with(names::RETRY_PREFIX) { &mut retries } else { &mut diff };
        family.add(labels, lag.messages as f64);
    }
    [diff, retries, offsets, totals, latencies]
}

/// Members of groups, with their addresses.
fn members(broker: &Broker, settings: &BrokerSettings) -> Family {
    let mut family = Family::gauge("rocketmq_group_count", "", "Consumers of a group");
    let mut groups = BTreeMap::new();
    for group in broker.consumers.groups() {
        let online = broker.consumers.connection(&group).map(|online| online.connection_set).unwrap_or_default();
        groups.insert(group.to_string(), online);
    }
    let counts = groups.iter().map(|(group, online)| (group.clone(), online.len() as f64)).collect();
    add_top(&mut family, counts, settings, |group| {
        let all = |of: fn(&apogee_wire::bodies::Connection) -> Option<&String>| {
            let online = groups.get(group).into_iter().flatten();
            online.filter_map(of).cloned().collect::<Vec<_>>().join(",")
        };
        vec![
            ("caddr", all(|connection| connection.client_addr.as_ref()).into()),
            ("localaddr", all(|connection| connection.client_id.as_ref()).into()),
            ("group", text(group)),
        ]
    });
    family
}
