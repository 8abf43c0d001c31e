//! `apogee bench` measures a running broker.

mod common;

use std::process::{Command as Process, Output};

use common::{Server, binary};
use serde_json::Value;

/// Runs a workload on a broker.
fn bench(broker: &str, arguments: &[&str]) -> Output {
    let mut process = Process::new(binary());
    process.arg("bench").args(arguments).args(["--broker", broker]);
    process.output().expect("the binary runs")
}

/// The result of a workload, which succeeds.
fn measure(server: &Server, arguments: &[&str]) -> Value {
    let output = bench(&server.broker.to_string(), &[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// What a workload that fails says.
fn failure(broker: &str, arguments: &[&str]) -> String {
    let output = bench(broker, arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(result: &Value, path: &str) -> f64 {
    result.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {path} in {result}"))
}

fn assert_verified(result: &Value, sent: f64) {
    let [missing, duplicates, damaged] = ["missing", "duplicates", "damaged"].map(|name| format!("/verified/{name}"));
    assert_eq!(number(result, "/verified/sent"), sent, "{result}");
    assert_eq!(number(result, "/verified/received"), sent, "{result}");
    for path in [missing, duplicates, damaged] {
        assert_eq!(number(result, &path), 0.0, "{path} of {result}");
    }
}

#[test]
fn messages_are_sent_and_all_of_them_are_read_back() {
    let server = Server::start(&[]);
    let ways: [&[&str]; 6] = [
        &[],
        &["--mode", "sync", "--connections", "3", "--warm-up", "50"],
        &["--mode", "one-way"],
        &["--batch", "7", "--tag", "hot", "--tag-every", "3", "--keys", "--property", "a=b"],
        &["--topics", "5", "--connections", "4", "--threads", "2", "--in-flight", "8"],
        &["--rate", "5000", "--size", "24"],
    ];
    for way in ways {
        let common = ["send", "--messages", "700", "--queues", "4", "--verify"];
        let result = measure(&server, &[&common[..], way].concat());
        assert_eq!(number(&result, "/messages"), 700.0, "{result}");
        assert_verified(&result, 700.0);
        assert_eq!(result["workload"], "send");
        assert_eq!(result["errors"], serde_json::json!({}));
    }
}

#[test]
fn a_result_tells_rate_latency_and_what_it_cost() {
    let server = Server::start(&[]);
    let pid = server.pid().to_string();
    let result = measure(&server, &["send", "--seconds", "0.3", "--in-flight", "4", "--server-pid", &pid]);
    let (messages, seconds) = (number(&result, "/messages"), number(&result, "/seconds"));
    assert!(messages > 0.0 && seconds >= 0.3, "{result}");
    assert!((number(&result, "/rate") - messages / seconds).abs() < 1.0, "{result}");
    assert!((number(&result, "/bytes_per_second") - 1024.0 * messages / seconds).abs() < 1024.0, "{result}");
    let [p50, p99, p999, max] =
        ["p50", "p99", "p999", "max"].map(|name| number(&result, &format!("/latency_us/{name}")));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 <= max, "{result}");
    assert!(number(&result, "/generator/cpu_seconds") > 0.0);
    assert!(number(&result, "/server/cpu_us_per_message") >= 0.0);
    assert!(number(&result, "/server/resident_bytes") > 1e6, "{result}");
    assert!(number(&result, "/server/open_files") > 16.0, "{result}");
    assert_eq!(number(&result, "/options/in_flight"), 4.0);
}

#[test]
fn a_pace_is_kept() {
    let server = Server::start(&[]);
    let result = measure(&server, &["send", "--rate", "500", "--messages", "200", "--connections", "2"]);
    assert_eq!(number(&result, "/messages"), 200.0);
    assert!(number(&result, "/seconds") > 0.39, "the last of 200 is due after 0.398 s: {result}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let server = Server::start(&[]);
    let broker = server.broker.to_string();
    let refused = failure("127.0.0.1:1", &["send", "--messages", "1"]);
    assert!(refused.contains("cannot connect to the broker at 127.0.0.1:1"), "{refused}");
    let nowhere = failure("nowhere", &["send", "--messages", "1"]);
    assert!(nowhere.contains("HOST:PORT"), "{nowhere}");
    let topic = failure(&broker, &["send", "--topic", "a/b"]);
    assert!(topic.contains("contains '/'"), "{topic}");
    let endless = failure(&broker, &["send", "--seconds", "0"]);
    assert!(endless.contains("give --seconds or --messages"), "{endless}");
    let pid = failure(&broker, &["send", "--server-pid", "4194305"]);
    assert!(pid.contains("no such process"), "{pid}");
    let closed = failure(&broker, &["send", "--messages", "5", "--topic", "SCHEDULE_TOPIC_XXXX"]);
    assert!(closed.contains("SCHEDULE_TOPIC_XXXX"), "{closed}");
}

#[test]
fn people_get_text() {
    let server = Server::start(&[]);
    let output = bench(&server.broker.to_string(), &["send", "--messages", "10"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("10 messages in") && text.contains("p99.9"), "{text}");
}
