//! `apogee bench` measures a running broker.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command as Process, Output, Stdio};
use std::time::Duration;

use apogee_wire::codes::request as code;
use apogee_wire::{Command, frame};
use bytes::BytesMut;
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
    let empty = failure(&broker, &["consume", "--topic", "Nobody"]);
    assert!(empty.contains("Nobody"), "{empty}");
    let small = failure(&broker, &["send", "--verify", "--size", "23"]);
    assert!(small.contains("messages of 23 bytes (--size) have no room for the 24"), "{small}");
    let size = failure(&broker, &["consume", "--size", "23"]);
    assert!(size.contains("--size has no meaning for `apogee bench consume`"), "{size}");
    let both = failure(&broker, &["consume", "--verify", "--tag", "a"]);
    assert!(both.contains("--verify of what is read is for one group"), "{both}");
    let pid = failure(&broker, &["send", "--server-pid", "4194305"]);
    assert!(pid.contains("no such process"), "{pid}");
    let closed = failure(&broker, &["send", "--messages", "5", "--topic", "SCHEDULE_TOPIC_XXXX"]);
    assert!(closed.contains("SCHEDULE_TOPIC_XXXX"), "{closed}");
}

/// What happens to one message on its way.
#[derive(Clone, Copy)]
enum Mishap {
    Lost,
    Twice,
    Changed,
    Held,
}

/// Passes on to a server what it is sent; something happens to the tenth message.
fn between(server: SocketAddr, mishap: Mishap) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(server).expect("the server listens");
            let (mut answers, mut back) = (upstream.try_clone().expect("cloned"), client.try_clone().expect("cloned"));
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            std::thread::spawn(move || pass(client, upstream, mishap));
        }
    });
    address
}

fn pass(mut client: TcpStream, mut upstream: TcpStream, mishap: Mishap) -> std::io::Result<()> {
    let (mut buffer, mut request, mut sends) = (BytesMut::new(), Command::default(), 0);
    let mut chunk = [0; 65_536];
    loop {
        while frame::decode(&mut buffer, &mut request, frame::MAX_FRAME).expect("frames") {
            sends += u32::from(request.code == code::SEND_MESSAGE_V2);
            let is_it = request.code == code::SEND_MESSAGE_V2 && sends == 10;
            match mishap {
                Mishap::Lost if is_it => {
                    client.write_all(&frame::to_bytes(&Command::response_to(&request, 0)))?;
                    continue;
                }
                Mishap::Twice if is_it => upstream.write_all(&frame::to_bytes(&request.clone().oneway()))?,
                Mishap::Changed if is_it => {
                    let mut body = request.body.to_vec();
                    body[500] ^= 1;
                    request.body = body.into();
                }
                Mishap::Held if is_it => std::thread::sleep(Duration::from_millis(400)),
                _ => {}
            }
            upstream.write_all(&frame::to_bytes(&request))?;
        }
        match client.read(&mut chunk)? {
            0 => return upstream.shutdown(Shutdown::Both),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
    }
}

#[test]
fn what_goes_wrong_with_a_message_is_found() {
    let server = Server::start(&[]);
    for (mishap, expected) in [
        (Mishap::Lost, [1.0, 0.0, 0.0]),
        (Mishap::Twice, [0.0, 1.0, 0.0]),
        // It is not what was sent, and what was sent is not there.
        (Mishap::Changed, [1.0, 0.0, 1.0]),
    ] {
        let broker = between(server.broker, mishap).to_string();
        let output =
            bench(&broker, &["send", "--messages", "30", "--connections", "1", "--mode", "sync", "--verify", "--json"]);
        let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let found = ["missing", "duplicates", "damaged"].map(|name| number(&result, &format!("/verified/{name}")));
        assert_eq!(found, expected, "{result}");
        assert_eq!(output.status.success(), expected == [0.0, 1.0, 0.0], "{result}");
    }
}

#[test]
fn what_waits_behind_a_slow_message_is_not_let_off() {
    let server = Server::start(&[]);
    let broker = between(server.broker, Mishap::Held).to_string();
    let way = ["send", "--rate", "1000", "--messages", "400", "--connections", "1", "--in-flight", "1", "--json"];
    let output = bench(&broker, &way);
    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    // Message 210 was due 200 ms after the one that took 400 ms.
    assert!(number(&result, "/latency_us/p50") > 100_000.0, "{result}");
    assert_eq!(number(&result, "/messages"), 400.0);
    assert!(number(&result, "/generator/lateness_us/p50") < number(&result, "/latency_us/p50"), "{result}");
}

#[test]
fn messages_are_read() {
    let server = Server::start(&[]);
    let tagged = ["--tag", "hot", "--tag-every", "10", "--property", "colour=red"];
    let sent = ["send", "--messages", "1000", "--queues", "3", "--in-flight", "8"];
    measure(&server, &[&sent[..], &tagged].concat());
    let ways: [(&[&str], f64); 7] = [
        (&["--verify"], 1000.0),
        (&["--connections", "1", "--in-flight", "3", "--pull-batch", "7"], 1000.0),
        (&["--groups", "4", "--threads", "2"], 4000.0),
        (&["--tag", "hot"], 100.0),
        (&["--tag", "cold || hot"], 100.0),
        (&["--sql", "TAGS = 'hot' AND colour = 'red'"], 100.0),
        (&["--mode", "push", "--from", "first", "--messages", "2000", "--groups", "2"], 2000.0),
    ];
    for (way, messages) in ways {
        let result = measure(&server, &[&["consume", "--queues", "3"], way].concat());
        assert_eq!(number(&result, "/messages"), messages, "{result}");
        assert_eq!(result["errors"], serde_json::json!({}), "{result}");
        if way[0] == "--verify" {
            assert_verified(&result, messages);
        }
        if way[0] != "--mode" {
            let groups = number(&result, "/options/groups");
            assert_eq!(number(&result, "/scanned"), 1000.0 * groups, "{result}");
        }
    }
    let warm = measure(&server, &["consume", "--queues", "3", "--warm-up", "300", "--connections", "1"]);
    assert!((600.0..=700.0).contains(&number(&warm, "/messages")), "{warm}");
    let quiet = measure(&server, &["consume", "--queues", "3", "--mode", "push", "--seconds", "0.3"]);
    assert_eq!(number(&quiet, "/messages"), 0.0);
}

#[test]
fn messages_are_popped_and_acknowledged() {
    let server = Server::start(&[]);
    let sent = measure(&server, &["send", "--topic", "Popped", "--queues", "3", "--messages", "500", "--size", "64"]);
    assert_eq!(number(&sent, "/messages"), 500.0);
    let pop = |more: &[&str]| {
        let common = ["pop", "--topic", "Popped", "--queues", "3", "--connections", "4", "--in-flight", "3"];
        measure(&server, &[&common, more].concat())
    };
    let popped = pop(&["--verify", "--threads", "2"]);
    assert_eq!(number(&popped, "/messages"), 500.0, "{popped}");
    assert_verified(&popped, 500.0);
    assert!(popped["errors"].as_object().is_some_and(serde_json::Map::is_empty), "{popped}");
    assert!(number(&popped, "/latency_us/p50") > 0.0);
    let kept = pop(&["--keep", "--verify", "--pop-batch", "5"]);
    assert_verified(&kept, 500.0);
    let some = pop(&["--messages", "100"]);
    assert!((100.0..500.0).contains(&number(&some, "/messages")), "{some}");

    let empty = failure(&server.broker.to_string(), &["pop", "--topic", "Nothing"]);
    assert!(empty.contains("Nothing"), "{empty}");
    let rate = failure(&server.broker.to_string(), &["pop", "--topic", "Popped", "--rate", "5"]);
    assert!(rate.contains("--rate has no meaning"), "{rate}");
}

#[test]
fn messages_are_received_as_they_come() {
    let server = Server::start(&[]);
    let way = ["e2e", "--rate", "1000", "--messages", "400", "--warm-up", "50", "--verify", "--queues", "3"];
    let more: [&[&str]; 4] = [&[], &["--threads", "2"], &["--pop"], &["--pop", "--threads", "2", "--connections", "2"]];
    for more in more {
        let result = measure(&server, &[&way[..], more].concat());
        assert_eq!(number(&result, "/messages"), 400.0);
        assert_eq!(number(&result, "/sending/messages"), 400.0);
        assert_eq!(number(&result, "/options/in_flight"), 64.0, "what is paced waits for no slot");
        assert_verified(&result, 400.0);
        let [p50, max] = ["p50", "max"].map(|name| number(&result, &format!("/latency_us/{name}")));
        assert!(0.0 < p50 && p50 <= max && max < 10e6, "{result}");
        assert!(number(&result, "/seconds") > 0.39, "{result}");
    }
}

#[test]
fn messages_for_later_come_when_they_are_due() {
    let server = Server::start(&[]);
    let result = measure(&server, &["timer", "--delay-ms", "500", "--messages", "200", "--verify"]);
    assert_verified(&result, 200.0);
    assert_eq!(number(&result, "/messages"), 200.0);
    assert_eq!(number(&result, "/early"), 0.0, "{result}");
    let result = measure(&server, &["timer", "--delay-level", "1", "--messages", "20", "--verify"]);
    assert_verified(&result, 20.0);
    assert!(number(&result, "/seconds") >= 0.9, "{result}");
}

#[test]
fn transactions_are_ended() {
    let server = Server::start(&[]);
    let result = measure(&server, &["transaction", "--messages", "100", "--rollback-every", "4", "--verify"]);
    assert_eq!(number(&result, "/messages"), 100.0);
    assert_eq!(number(&result, "/rolled_back"), 25.0);
    assert_verified(&result, 75.0);
    let paced = measure(&server, &["transaction", "--messages", "40", "--rate", "100", "--threads", "2", "--verify"]);
    assert_verified(&paced, 40.0);
    assert!(number(&paced, "/seconds") > 0.38, "{paced}");
}

#[test]
fn connections_are_held() {
    let server = Server::start(&[]);
    let pid = server.pid().to_string();
    for groups in ["0", "3"] {
        let result = measure(
            &server,
            &[
                "connections",
                "--connections",
                "50",
                "--groups",
                groups,
                "--seconds",
                "1.2",
                "--heartbeat",
                "1",
                "--server-pid",
                &pid,
            ],
        );
        assert_eq!(number(&result, "/opened/connections"), 50.0);
        assert_eq!(number(&result, "/opened/first_heartbeats_failed"), 0.0, "{result}");
        assert!(number(&result, "/messages") >= 50.0, "a heartbeat of each: {result}");
        assert!(number(&result, "/server/open_files") > 50.0, "{result}");
        assert!(number(&result, "/memory/anonymous_bytes_each") >= 0.0, "{result}");
    }
}

#[test]
fn topics_are_created_and_used() {
    let server = Server::start(&[]);
    let result =
        measure(&server, &["topics", "--topics", "20", "--queues", "2", "--messages", "100", "--topic", "Many"]);
    assert_eq!(number(&result, "/create/messages"), 20.0);
    assert_eq!(number(&result, "/first/messages"), 40.0, "{result}");
    assert_eq!(number(&result, "/messages"), 100.0);
    let mut peer = server.connect();
    for topic in 0..20 {
        assert_eq!(peer.send_ok(&format!("Many-{topic:06}"), 1, b"x", "") / 3, 1, "3 or 4 messages were in each queue");
    }
}

/// Where a floor listens that was just started.
fn floor_address(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    line.trim().rsplit(' ').next().expect("an address").to_owned()
}

#[test]
fn the_floor_answers_and_stores_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("synced");
    let mut child = Process::new(binary())
        .args(["bench", "floor", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let address = floor_address(&mut child);
    let output = bench(&address, &["send", "--messages", "5000", "--in-flight", "64", "--connections", "4", "--json"]);
    let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(number(&result, "/messages"), 5000.0);
    let verified = failure(&address, &["send", "--messages", "5", "--verify"]);
    assert!(verified.contains("does not tell the offsets"), "{verified}");
    child.kill().expect("killed");
    child.wait().expect("gone");

    let mut child = Process::new(binary())
        .args(["bench", "floor", "--listen", "127.0.0.1:0", "--flush"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let address = floor_address(&mut child);
    assert!(bench(&address, &["send", "--messages", "20"]).status.success());
    assert!(std::fs::metadata(&file).expect("a file").len() > 20 * 1024);
    child.kill().expect("killed");
    child.wait().expect("gone");
}

#[test]
fn the_floor_of_a_disk_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("flush").to_string_lossy().into_owned();
    for allocated in ["0", "1"] {
        let output = Process::new(binary())
            .args(["bench", "floor", "--json", "--seconds", "1", "--size", "3000"])
            .args(["--allocated", allocated, "--flush", &file])
            .output()
            .expect("the binary runs");
        let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert!(number(&result, "/messages") > 0.0 && number(&result, "/latency_us/p50") > 0.0, "{result}");
        assert!(!std::path::Path::new(&file).exists(), "it is removed");
    }
    std::fs::write(&file, "mine").expect("written");
    let exists = Process::new(binary()).args(["bench", "floor", "--flush", &file]).output().expect("the binary runs");
    assert!(!exists.status.success());
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "mine");
}

#[test]
fn a_name_server_says_where_the_broker_is() {
    let server = Server::start(&[]);
    let namesrv = server.namesrv.to_string();
    for topic in ["Known", "Known", "New"] {
        let arguments = ["bench", "send", "-n", &namesrv, "--messages", "5", "--topic", topic, "--json"];
        let output = Process::new(binary()).args(arguments).output().expect("the binary runs");
        let result: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(result["options"]["broker"], server.broker.to_string());
        assert_eq!(number(&result, "/messages"), 5.0);
    }
    let arguments = ["bench", "send", "-n", "127.0.0.1:1", "--messages", "5"];
    let output = Process::new(binary()).args(arguments).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("cannot connect to the name server at 127.0.0.1:1"), "{text}");
}

#[test]
fn people_get_text() {
    let server = Server::start(&[]);
    let output = bench(&server.broker.to_string(), &["send", "--messages", "10"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("10 messages in") && text.contains("p99.9"), "{text}");
}
