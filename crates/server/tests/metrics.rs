//! Metrics as Prometheus sees them, compared with what Apache's broker told after the same requests; health.
//!
//! `tests/golden/metrics/scrape.txt` is recorded from Apache's broker by
//! `APOGEE_TEST_SERVER=apache APOGEE_RECORD=1 cargo test -p apogee-server --test metrics upstream`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use apogee_message::names::property;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, ConsumeType, ConsumerData, HeartbeatData, MessageModel, ProducerData, SubscriptionData,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    ConsumerSendMsgBackRequestHeader, EndTransactionRequestHeader, RpcFields, SendMessageResponseHeader,
    UpdateConsumerOffsetRequestHeader,
};
use common::http::{free_port, get};
use common::{PATIENCE, Peer, Pull, Server};

/// Series of a scrape with their values, and the types of the families.
#[derive(Default)]
struct Scrape {
    types: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let value = value.replace("+Inf", "inf").parse().unwrap_or_else(|_| panic!("no value: {line}"));
                assert!(scrape.series.insert(series.to_owned(), value).is_none(), "twice: {series}");
            }
        }
        scrape
    }

    fn of(port: u16) -> Self {
        let (status, text) = get(port, "/metrics");
        assert_eq!(status, 200, "{text}");
        Self::parse(&text)
    }

    /// The only series of a name whose labels have all of these.
    fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = self.series.iter().filter(|(series, _)| series.split('{').next() == Some(name));
        let found: Vec<_> = of_name.filter(|(series, _)| labels.iter().all(|label| series.contains(label))).collect();
        let [(_, value)] = found[..] else { panic!("{name} with {labels:?}: {found:?}") };
        *value
    }

    fn has(&self, name: &str) -> bool {
        self.series.keys().any(|series| series.split('{').next() == Some(name))
    }
}

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;

fn end(peer: &mut Peer, half: &Command, decision: i32) {
    let header: SendMessageResponseHeader<'_> = half.header().expect("a header");
    let id: apogee_message::ids::OffsetId = header.msg_id.parse().expect("an offset id");
    let header = EndTransactionRequestHeader {
        topic: Some("GoldenTransaction"),
        producer_group: "P",
        tran_state_table_offset: header.queue_offset,
        commit_log_offset: id.offset,
        commit_or_rollback: decision,
        from_transaction_check: Some(false),
        msg_id: "id",
        transaction_id: None,
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::END_TRANSACTION).with_header(&header));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

fn heartbeat(peer: &mut Peer) {
    let subscription = |topic: &str| SubscriptionData {
        topic: topic.into(),
        sub_string: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..Default::default()
    };
    let consumer = ConsumerData {
        group_name: "C".into(),
        consume_type: Some(ConsumeType::Passively),
        message_model: Some(MessageModel::Clustering),
        subscription_data_set: vec![subscription("GoldenNormal")],
        ..Default::default()
    };
    let beat = HeartbeatData {
        client_id: "golden".into(),
        consumer_data_set: vec![consumer],
        producer_data_set: vec![ProducerData { group_name: "P".into() }],
        ..Default::default()
    };
    let answer = peer.call(Command::request(request::HEART_BEAT).with_body(beat.encode()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// What a few clients do, the same each time.
fn traffic(server: &Server) -> Peer {
    let mut peer = server.connect();
    heartbeat(&mut peer);
    let own = |key: &str| format!("{}\u{1}{key}\u{2}", property::UNIQ_KEY);
    for (nth, queue) in [0, 0, 1].into_iter().enumerate() {
        peer.send_ok("GoldenNormal", queue, b"hello", &own(&format!("N{nth}")));
    }
    peer.send_ok("GoldenNormal", 0, &[b'x'; 5_000], &own("N3"));
    peer.send_ok("GoldenFifo", 0, b"in order", &format!("{}\u{1}k\u{2}{}", property::SHARDING_KEY, own("F")));
    peer.send_ok("GoldenDelay", 0, b"later", &format!("DELAY\u{1}1\u{2}{}", own("D")));
    peer.send_ok("GoldenTimed", 0, b"later", &format!("TIMER_DELAY_MS\u{1}1000\u{2}{}", own("T")));
    let half = |peer: &mut Peer, key: &str| {
        peer.send("GoldenTransaction", 0, b"half", &format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}{}", own(key)))
    };
    let (first, second) = (half(&mut peer, "H1"), half(&mut peer, "H2"));
    half(&mut peer, "H3");
    end(&mut peer, &first, COMMIT);
    end(&mut peer, &second, ROLLBACK);
    // A pull that finds messages, and one that waits for one.
    let (answer, _) = peer.pull(Pull::of("GoldenNormal", 0, 0));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let waiting = peer.park(Pull { suspend: 15_000, ..Pull::of("GoldenNormal", 1, 1) }.command());
    let mut other = server.connect();
    other.send_ok("GoldenNormal", 1, b"awaited", &own("N4"));
    let woken = peer.read();
    assert_eq!((woken.opaque, woken.code), (waiting, response::SUCCESS));
    // Two of queue 0 are consumed, all of queue 1.
    for (queue_id, commit_offset) in [(0, 2), (1, 2)] {
        let header = UpdateConsumerOffsetRequestHeader {
            consumer_group: "C",
            topic: "GoldenNormal",
            queue_id,
            commit_offset,
            rpc: RpcFields::default(),
        };
        let answer = peer.call(Command::request(request::UPDATE_CONSUMER_OFFSET).with_header(&header));
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    }
    // What was put off is there.
    for (topic, properties) in [("GoldenDelay", ""), ("GoldenTimed", "")] {
        let deadline = Instant::now() + PATIENCE;
        while peer.pull(Pull::of(topic, 0, 0)).0.code != response::SUCCESS {
            assert!(Instant::now() < deadline, "{topic} {properties} never came");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    peer
}

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/metrics/scrape.txt")
}

/// Bytes of messages: each broker adds properties of its own to what it delivers later.
const ROUGH: [&str; 3] = ["rocketmq_throughput_in_total", "rocketmq_throughput_out_total", "rocketmq_message_size_sum"];

/// Families whose values follow from the requests alone.
const EXACT: [&str; 13] = [
    "rocketmq_broker_permission",
    "rocketmq_messages_in_total",
    "rocketmq_messages_out_total",
    "rocketmq_message_size_bucket",
    "rocketmq_message_size_count",
    "rocketmq_consumer_lag_messages",
    "rocketmq_producer_connections",
    "rocketmq_consumer_connections",
    "rocketmq_commit_messages_total",
    "rocketmq_rollback_messages_total",
    "rocketmq_half_messages",
    "rocketmq_timer_enqueue_total",
    "rocketmq_timer_dequeue_total",
];

#[test]
fn series_are_upstreams_for_the_same_requests() {
    let port = free_port();
    let settings = ["metricsExporterType=PROM", &format!("metricsPromExporterPort={port}")];
    let host = "metricsPromExporterHost=127.0.0.1";
    let server = Server::start(&[settings[0], settings[1], host]);
    let peer = traffic(&server);
    let (_, text) = get(port, "/metrics");
    if std::env::var_os("APOGEE_RECORD").is_some() {
        std::fs::write(golden(), &text).expect("written");
    }
    let (ours, theirs) = (Scrape::parse(&text), Scrape::parse(&std::fs::read_to_string(golden()).expect("recorded")));
    for (name, kind) in &theirs.types {
        assert_eq!(ours.types.get(name), Some(kind), "the type of {name}");
    }
    let name = |series: &str| series.split('{').next().unwrap_or_default().to_owned();
    let missing: BTreeSet<_> = theirs.series.keys().filter(|series| !ours.series.contains_key(*series)).collect();
    assert!(missing.is_empty(), "missing: {missing:#?}");
    let more = ours.series.keys().filter(|series| theirs.has(&name(series)) && !theirs.series.contains_key(*series));
    let more: BTreeSet<_> = more.collect();
    assert!(more.is_empty(), "more than upstream's: {more:#?}");
    for (series, value) in theirs.series.iter().filter(|(series, _)| EXACT.contains(&&*name(series))) {
        assert_eq!(ours.series.get(series), Some(value), "{series}");
    }
    for (series, value) in theirs.series.iter().filter(|(series, _)| ROUGH.contains(&&*name(series))) {
        let (ours, theirs) = (ours.series.get(series).copied().unwrap_or(0.0), *value);
        assert!((ours - theirs).abs() <= theirs / 4.0, "{series}: {ours}, not {theirs}");
    }
    drop(peer);
}

#[test]
fn own_metrics_tell_latency_lag_and_saturation() {
    let (port, health) = (free_port(), free_port());
    let server = Server::start(&[
        &format!("metricsPromExporterPort={port}"),
        &format!("healthPort={health}"),
        "metricsLabel=site:west",
    ]);
    let peer = traffic(&server);
    let scrape = Scrape::of(port);
    let count = |name: &str| scrape.value(&format!("apogee_{name}_seconds_count"), &[]);
    assert_eq!(count("send"), 11.0);
    assert!(count("flush") >= 1.0 && count("append") >= count("flush") && count("dispatch") >= 13.0);
    assert_eq!(count("long_poll_wait"), 1.0);
    assert!(scrape.value("apogee_send_seconds_sum", &[]) > 0.0);
    let lag = ["topic=\"GoldenNormal\"", "consumer_group=\"C\"", "site=\"west\""];
    assert_eq!(scrape.value("apogee_consumer_lag_messages", &lag), 1.0);
    let seconds = scrape.value("apogee_consumer_lag_seconds", &lag);
    assert!((0.5..60.0).contains(&seconds), "{seconds}");
    let busy = scrape.value("apogee_event_loop_busy_seconds_total", &["thread=\"0\""]);
    assert!(busy > 0.0 && scrape.value("apogee_event_loop_delay_seconds", &["thread=\"0\""]) < 1.0);
    assert!((0.0..=1.0).contains(&scrape.value("apogee_disk_used_ratio", &[])));
    assert!(scrape.value("process_resident_memory_bytes", &[]) > 1e6);
    // An offline group's lag is told, too.
    drop(peer);
    assert_eq!(get(health, "/health/live"), (200, "ok\n".to_owned()));
    assert_eq!(get(health, "/health/ready"), (200, "ok\n".to_owned()));
    assert_eq!(get(port, "/health/ready"), (200, "ok\n".to_owned()));
    assert_eq!(get(health, "/metrics").0, 404);
    assert!(get(port, "/").1.contains("/metrics/exporter"));
}

#[test]
fn a_port_that_is_taken_is_an_error_only_where_it_was_asked_for() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let folder = tempfile::tempdir().expect("a folder");
    let output = std::process::Command::new(common::binary())
        .args(["server", "--bind", "127.0.0.1", "--host", "127.0.0.1", "--namesrv-port", "0", "--broker-port", "0"])
        .args(["--set", &format!("metricsPromExporterPort={port}"), "--data"])
        .arg(folder.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(&port.to_string()), "{text}");
    assert!(text.contains("metricsPromExporterPort"), "{text}");
}

#[test]
fn strangers_cannot_hold_the_port() {
    let port = free_port();
    let server = Server::start(&[&format!("metricsPromExporterPort={port}")]);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // More connections than there are places, none of which says anything.
    let mut silent: Vec<_> = (0..70).map(|_| TcpStream::connect(address).expect("connected")).collect();
    // A head that is too long, and nonsense.
    let mut long = TcpStream::connect(address).expect("connected");
    let _ = long.write_all(&[b'a'; 100_000]);
    std::thread::sleep(Duration::from_millis(100));
    server.assert_serving();
    // After five seconds those who said nothing are gone.
    let last = silent.first_mut().expect("one");
    last.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut answer = Vec::new();
    let _ = last.read_to_end(&mut answer);
    assert_eq!(get(port, "/health/live").0, 200);
}

/// Names of metrics in a query, each with the labels that are asked of it; and the labels that results are grouped by.
fn names_in(query: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let (mut metrics, mut groups, mut rest) = (Vec::new(), Vec::new(), query);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let list = |text: &str| -> Vec<String> { text.split(',').map(|label| label.trim().to_owned()).collect() };
    while let Some(at) = rest.find(is_name) {
        let length = rest[at..].find(|letter| !is_name(letter)).unwrap_or(rest.len() - at);
        let (word, behind) = (&rest[at..at + length], &rest[at + length..]);
        rest = behind;
        if ["by", "on"].contains(&word) {
            let (labels, behind) = behind.trim_start()[1..].split_once(')').expect("a list of labels");
            groups.extend(list(labels));
            rest = behind;
        } else if ["rocketmq_", "apogee_", "process_", "up"].iter().any(|prefix| word.starts_with(prefix)) {
            let mut labels = Vec::new();
            if let Some((selector, behind)) = behind.strip_prefix('{').and_then(|behind| behind.split_once('}')) {
                let label = |pair: &str| pair.split(['=', '!']).next().unwrap_or_default().trim().to_owned();
                labels = selector.split("\",").map(label).collect();
                rest = behind;
            }
            metrics.push((word.to_owned(), labels));
        } else if let Some(behind) = behind.strip_prefix('[') {
            rest = behind;
        }
        if let Some((_, behind)) = rest.strip_prefix('[').and_then(|behind| behind.split_once(']')) {
            rest = behind;
        }
    }
    (metrics, groups)
}

/// All texts under some key of a document.
fn texts_of<'v>(value: &'v serde_json::Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                found.extend(value.as_str().filter(|_| name == key));
                texts_of(value, key, found);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts_of(value, key, found)),
        _ => {}
    }
}

#[test]
fn every_query_of_the_dashboard_and_the_alerts_names_what_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana");
    let dashboard = std::fs::read_to_string(folder.join("apogee.json")).expect("a dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut queries = Vec::new();
    texts_of(&dashboard, "expr", &mut queries);
    texts_of(&dashboard, "query", &mut queries);
    let panels = queries.len();
    let alerts = std::fs::read_to_string(folder.join("alerts.yml")).expect("rules");
    queries.extend(alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")));
    assert!(panels > 30 && queries.len() > panels + 10, "{panels} of {}", queries.len());

    let (port, ha) = (free_port(), free_port());
    let settings = [format!("metricsPromExporterPort={port}"), format!("haListenPort={ha}")];
    let server = Server::start(&[&settings[0], &settings[1], "doctorInterval=1"]);
    let mut peer = traffic(&server);
    // One for the dead letters; the doctor finds it there.
    send_back(&mut peer, -1);
    // A slave that has nothing yet, as long as it is connected.
    let mut slave = TcpStream::connect(("127.0.0.1", ha)).expect("the master listens to slaves");
    slave.write_all(&0_i64.to_be_bytes()).expect("written");
    let deadline = Instant::now() + PATIENCE;
    while !["apogee_finding", "apogee_replication_lag_bytes"].iter().all(|name| Scrape::of(port).has(name)) {
        assert!(Instant::now() < deadline, "the doctor found nothing, or the master has no slave");
        std::thread::sleep(Duration::from_millis(200));
    }
    let scrape = Scrape::of(port);
    let labels_of = |metric: &str| -> BTreeSet<String> {
        let series = scrape.series.keys().filter(|series| series.split('{').next() == Some(metric));
        let pairs = series.filter_map(|series| series.split_once('{')).flat_map(|(_, labels)| labels.split("\","));
        pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect()
    };
    // What Prometheus itself adds.
    let added = ["instance", "job"];
    for query in queries {
        let (metrics, groups) = names_in(query);
        let mut known = BTreeSet::new();
        for (metric, labels) in metrics.iter().filter(|(metric, _)| metric != "up") {
            assert!(scrape.has(metric), "{metric}, in {query}");
            let has = labels_of(metric);
            for label in labels {
                assert!(has.contains(label) || added.contains(&&**label), "{metric} has no label {label}: {query}");
            }
            known.extend(has);
        }
        for label in groups {
            assert!(known.contains(&label), "no metric has the label {label}: {query}");
        }
    }
}

#[test]
fn queries_are_taken_apart() {
    let (metrics, groups) = names_in("sum by (a, le) (rate(rocketmq_x_bucket{b=~\"$n\",c!~\"d,e\"}[5m])) > up");
    assert_eq!(metrics[0], ("rocketmq_x_bucket".to_owned(), vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!((metrics[1].0.as_str(), groups), ("up", vec!["a".to_owned(), "le".to_owned()]));
}

#[test]
fn the_separate_exporters_names_are_there_with_their_labels() {
    /// The exporter itself never tells these.
    const NEVER: [&str; 2] = ["rocketmq_group_consume_tps", "rocketmq_group_dlqdiff"];
    let (port, ha) = (free_port(), free_port());
    let server = Server::start(&[&format!("metricsPromExporterPort={port}"), &format!("haListenPort={ha}")]);
    let mut peer = traffic(&server);
    send_back(&mut peer, 3);
    send_back(&mut peer, -1);
    let deadline = Instant::now() + PATIENCE;
    // The first retry is put off by a second or more; then its group is behind in its retry topic.
    while server_names(port, "rocketmq_topic_retry_offset").is_empty() {
        assert!(Instant::now() < deadline, "no retry topic");
        std::thread::sleep(Duration::from_millis(100));
    }
    // A slave that has the first hundred bytes.
    let mut slave = TcpStream::connect(("127.0.0.1", ha)).expect("the master listens to slaves");
    let slave_at = slave.local_addr().expect("connected");
    slave.write_all(&[0_i64, 100].map(i64::to_be_bytes).concat()).expect("written");
    let behind = |scrape: &Scrape| {
        let end = scrape.value("rocketmq_brokeruntime_commitlog_maxoffset", &[]);
        scrape.has("rocketmq_broker_commitlog_diff")
            && scrape.value("rocketmq_broker_commitlog_diff", &[&format!("brokerIP=\"{slave_at}\"")]) == end - 100.0
    };
    let scrape = loop {
        let (status, text) = get(port, "/metrics/exporter");
        assert_eq!(status, 200, "{text}");
        let scrape = Scrape::parse(&text);
        if behind(&scrape) {
            break scrape;
        }
        assert!(Instant::now() < deadline, "the master does not tell what its slave lacks: {text}");
        std::thread::sleep(Duration::from_millis(100));
    };
    let names = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/metrics/exporter.txt");
    let names = std::fs::read_to_string(names).expect("recorded");
    let mut missing = Vec::new();
    for line in names.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once(' ').expect("a name and labels");
        if NEVER.contains(&name) || name.starts_with("rocketmq_client_") || name == "rocketmq_group_retrydiff" {
            continue;
        }
        let expected: BTreeSet<_> = labels.split(' ').collect();
        let series: Vec<_> = scrape.series.keys().filter(|series| series.split('{').next() == Some(name)).collect();
        if series.is_empty() {
            missing.push(name);
        }
        for series in series {
            let labels = series.split_once('{').map_or("", |(_, labels)| labels);
            let has: BTreeSet<_> = labels.split("\",").filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
            assert_eq!(has, expected, "{series}");
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    let normal = ["topic=\"GoldenNormal\""];
    assert_eq!(scrape.value("rocketmq_producer_offset", &normal), 5.0);
    assert_eq!(scrape.value("rocketmq_group_diff", &normal), 1.0);
    assert_eq!(scrape.value("rocketmq_consumer_offset", &normal), 4.0);
    assert_eq!(scrape.value("rocketmq_topic_dlq_offset", &["group=\"C\""]), 1.0);
    assert_eq!(scrape.value("rocketmq_group_count", &["group=\"C\""]), 1.0);
    assert!(scrape.value("rocketmq_brokeruntime_commitlog_maxoffset", &[]) > 1_000.0);
    assert!(scrape.value("rocketmq_brokeruntime_put_latency_99", &[]) > 0.0);
}

/// Gives the first message back; with a delay level below 0, to the dead letters.
fn send_back(peer: &mut Peer, delay_level: i32) {
    let header = ConsumerSendMsgBackRequestHeader {
        offset: 0,
        group: "C",
        delay_level,
        origin_msg_id: None,
        origin_topic: Some("GoldenNormal"),
        unit_mode: Some(false),
        max_reconsume_times: Some(16),
        rpc: RpcFields::default(),
    };
    let answer = peer.call(Command::request(request::CONSUMER_SEND_MSG_BACK).with_header(&header));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

fn server_names(port: u16, name: &str) -> Vec<String> {
    let scrape = Scrape::parse(&get(port, "/metrics/exporter").1);
    scrape.series.into_keys().filter(|series| series.split('{').next() == Some(name)).collect()
}

#[test]
fn with_very_many_topics_the_busiest_are_named_and_sums_stay_right() {
    let port = free_port();
    let server = Server::start(&[&format!("metricsPromExporterPort={port}"), "metricsOtelCardinalityLimit=3"]);
    let mut peer = server.connect();
    for topic in 0..20 {
        for _ in 0..=topic {
            peer.send_ok(&format!("Many{topic:02}"), 0, b"x", "");
        }
    }
    for _ in 0..2 {
        let scrape = Scrape::of(port);
        let of_name = |series: &&String| series.starts_with("rocketmq_messages_in_total{");
        let named: Vec<_> = scrape.series.keys().filter(of_name).collect();
        assert_eq!(named.len(), 4, "{named:#?}");
        for topic in ["Many19", "Many18", "Many17", "__other__"] {
            assert!(named.iter().any(|series| series.contains(&format!("topic=\"{topic}\""))), "{topic}: {named:#?}");
        }
        let sum: f64 = named.iter().filter_map(|series| scrape.series.get(*series)).sum();
        assert_eq!(sum, 210.0);
    }
}

/// A server whose log is read: what it wrote, and a connection to its broker.
fn logged(settings: &[&str], level: &str) -> (tempfile::TempDir, std::process::Child, Peer) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = std::process::Command::new(common::binary())
        .args(["server", "--bind", "127.0.0.1", "--host", "127.0.0.1", "--namesrv-port", "0", "--broker-port", "0"])
        .args(["--set", "metricsPromExporterPort=0"])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .arg("--data")
        .arg(folder.path().join("data"))
        .env("APOGEE_LOG", level)
        .stdout(std::process::Stdio::piped())
        .stderr(std::fs::File::create(folder.path().join("log")).expect("a file"))
        .spawn()
        .expect("it runs");
    let mut ready = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut output, &mut ready).expect("a line");
    let address = ready.split("broker ").nth(1).and_then(|rest| rest.split(',').next()).expect("an address");
    (folder, child, Peer::connect(address.parse().expect("an address")))
}

#[test]
fn metrics_can_go_to_the_log() {
    let settings = ["metricsExporterType=LOG", "metricLoggingExporterIntervalInMills=100"];
    let (folder, mut child, mut peer) = logged(&settings, "info");
    peer.send_ok("Logged", 0, b"x", "");
    let deadline = Instant::now() + PATIENCE;
    let wanted = ["rocketmq_messages_in_total{", "topic=\"Logged\"", "} 1.0"];
    let is_told = |text: &str| text.lines().any(|line| wanted.iter().all(|part| line.contains(part)));
    let text = loop {
        let text = std::fs::read_to_string(folder.path().join("log")).expect("a log");
        if is_told(&text) || Instant::now() > deadline {
            break text;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(is_told(&text), "{text}");
}

#[test]
fn what_is_logged_changes_while_the_server_runs() {
    let (folder, mut child, mut peer) = logged(&[], "warn");
    let log = folder.path().join("log");
    let body = bytes::Bytes::from_static(b"logLevel=debug");
    let answer = peer.call(Command::request(request::UPDATE_BROKER_CONFIG).with_body(body));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        // Refused, which is logged at debug.
        peer.call(Command::request(9_999));
        let text = std::fs::read_to_string(&log).expect("a log");
        if text.contains("refused a request") || Instant::now() > deadline {
            break text;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let wrong = peer.call(Command::request(request::UPDATE_BROKER_CONFIG).with_body(&b"logLevel=loud"[..]));
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(text.contains("what is logged has changed") && text.contains("refused a request"), "{text}");
    assert!(wrong.code != response::SUCCESS && wrong.remark.as_deref().is_some_and(|text| text.contains("debug")));
}

#[test]
fn a_name_server_is_ready_once_brokers_had_time_to_come() {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut child = std::process::Command::new(common::binary())
        .args(["namesrv", "--port", "0", "--set", "bindAddress=127.0.0.1", "--set", &format!("healthPort={port}")])
        .args(["--set", &format!("kvConfigPath={}", file("kv.json"))])
        .args(["--set", &format!("configStorePath={}", file("namesrv.properties"))])
        .args(["--set", "needWaitForService=true", "--set", "waitSecondsForService=2"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut ready = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut output, &mut ready).expect("a line");
    let early = (get(port, "/health/live").0, get(port, "/health/ready"));
    let deadline = Instant::now() + PATIENCE;
    while get(port, "/health/ready").0 != 200 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let late = get(port, "/health/ready").0;
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_eq!((early.0, early.1.0, late), (200, 503, 200), "{ready}");
    assert!(early.1.1.contains("needWaitForService"), "{}", early.1.1);
}
