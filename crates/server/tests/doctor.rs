//! `apogee doctor` and what the server finds by itself.

use std::process::Output;

use std::time::{Duration, Instant};

use apogee_client::admin::{GroupConfig, TopicConfig};
use apogee_client::{Client, Message};
use serde_json::Value;

mod common;

use common::http::{free_port, get};
use common::{Server, binary};

/// Runs it on name servers; returns how it ended and the checks and subjects that it found.
fn doctor(name_servers: &str) -> (i32, Vec<(String, String)>) {
    let Output { status, stdout, stderr } = std::process::Command::new(binary())
        .args(["doctor", "--json", "--timeout", "5s", "--stuck-after", "1s", "-n", name_servers])
        .output()
        .expect("it runs");
    let report: Value = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {stdout:?} {:?}", String::from_utf8_lossy(&stderr)));
    let findings = report["findings"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let found = findings.map(|finding| (text(&finding["check"]), text(&finding["subject"])));
    // How full this machine's disk is, is none of the test's business.
    (status.code().expect("an end"), found.filter(|(check, _)| check != "disk").collect())
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn a_cluster_that_is_well_has_no_findings() {
    let server = Server::start(&[]);
    let (_, found) = doctor(&server.namesrv.to_string());
    assert_eq!(found, []);
}

#[test]
fn an_address_that_is_wrong_is_found() {
    let nobody = nobody();
    let (code, found) = doctor(&nobody);
    assert_eq!((code, found), (2, vec![("name-server".to_owned(), nobody.clone())]));
    let server = Server::start(&[]);
    let (code, found) = doctor(&format!("{};{nobody}", server.namesrv));
    assert_eq!((code, found), (2, vec![("name-server".to_owned(), nobody)]));
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the doctor until it has found all of it; what a client or broker does takes its moment.
async fn until_found(server: &Server, wanted: &[(&str, &str)]) {
    let name_servers = server.namesrv.to_string();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let names = name_servers.clone();
        let (_, found) = tokio::task::spawn_blocking(move || doctor(&names)).await.expect("it ran");
        let lacking = |(check, subject): &&(&str, &str)| {
            !found.iter().any(|(found, about)| found == check && about.starts_with(subject))
        };
        let lacking: Vec<_> = wanted.iter().filter(lacking).collect();
        if lacking.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not found: {lacking:?}; found: {found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_users_trip_over_is_found() {
    let server = Server::start(&["doctorInterval=1"]);
    let client = |_| Client::new(server.namesrv.to_string()).expect("an address");
    let (sender, one, other) = (client(0), client(1), client(2));
    let admin = sender.admin();
    let producer = sender.producer("P").expect("a producer");
    let send =
        async |topic: &str, tag: &str| producer.send(Message::new(topic, "body").tag(tag)).await.expect("sent").queue;
    // Nobody has ever read it; a group that is gone has.
    send("Unread", "a").await;
    let left = send("Left", "a").await;
    admin.put_group(&GroupConfig::new("Gone")).await.expect("created");
    admin.set_offset("Gone", &left, 0).await.expect("set");
    // Dead letters.
    admin.put_topic(&TopicConfig::new("%DLQ%Weary", 1)).await.expect("created");
    send("%DLQ%Weary", "a").await;
    // Two members that differ, of whom one subscribes to what is there no more.
    send("Shared", "a").await;
    admin.put_topic(&TopicConfig::new("Removed", 1)).await.expect("created");
    let joined = one.consumer("Torn").subscribe_tags("Shared", "a").join().await;
    let first = joined.expect("joined");
    let second =
        other.consumer("Torn").subscribe_tags("Shared", "b").subscribe("Removed").join().await.expect("joined");
    admin.cluster("DefaultCluster").delete_topic("Removed").await.expect("removed");
    // A member that has a message and does nothing with it.
    send("Slow", "a").await;
    let mut idle = one.consumer("Idle").subscribe("Slow").from_first().join().await.expect("joined");
    let held = tokio::time::timeout(PATIENCE, idle.next()).await.expect("in time").expect("a message");
    until_found(
        &server,
        &[
            ("unread-topic", "Unread"),
            ("absent-group", "Gone"),
            ("dead-letters", "Weary"),
            ("subscriptions", "Torn in Shared"),
            ("missing-topic", "Removed for Torn"),
            ("stuck-queue", "Idle in Slow broker-a"),
        ],
    )
    .await;
    // The broker sees most of it by itself, out of its own tables.
    let wanted = ["unread-topic", "absent-group", "dead-letters", "subscriptions"];
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Apache's brokers do not look.
        let Some(told) = admin.findings().await.expect("told").remove(0).value else { break };
        let lacking = wanted.iter().filter(|check| !told.iter().any(|finding| finding.check == **check));
        let lacking: Vec<_> = lacking.collect();
        if lacking.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "not found: {lacking:?}; found: {told:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    held.ack();
    drop((first, second, idle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_producers_ask_for_in_vain_is_found_by_the_server_itself() {
    let port = free_port();
    let metrics = format!("metricsPromExporterPort={port}");
    let server = Server::start(&["doctorInterval=1", "autoCreateTopicEnable=false", &metrics]);
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    let producer = client.producer("P").expect("a producer");
    let asking = tokio::spawn(async move {
        loop {
            // The topic is not there; the client asks for it each time.
            let _ = producer.send(Message::new("Wanted", "body")).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    until_found(&server, &[("missing-topic", "Wanted")]).await;
    let told = || {
        let (_, metrics) = get(port, "/metrics");
        let mut series = metrics.lines().filter(|line| line.starts_with("apogee_finding{"));
        series.any(|line| line.contains("check=\"missing-topic\"") && line.contains("subject=\"Wanted\""))
    };
    assert!(told(), "the finding is a metric");
    asking.abort();
    let _ = asking.await;
    // It is over once nobody asks any more.
    let deadline = Instant::now() + PATIENCE;
    while client.admin().findings().await.expect("told")[0].value.iter().flatten().any(|it| it.check == "missing-topic")
    {
        assert!(Instant::now() < deadline, "still found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!told(), "it is over");
}
