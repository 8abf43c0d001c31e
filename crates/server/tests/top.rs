//! `apogee top` without a terminal.

mod common;

use std::process::{Command as Process, Output, Stdio};

use common::{PATIENCE, Server, binary};
use serde_json::Value;

fn top(server: &Server, arguments: &[&str]) -> Output {
    let mut process = Process::new(binary());
    process.arg("top").args(["-n", &server.namesrv.to_string()]).args(arguments).stdin(Stdio::null());
    process.output().expect("it runs")
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    let output = top(server, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn topics_and_groups_are_shown_by_what_they_do() {
    let server = Server::start(&[]);
    let client = tokio::runtime::Runtime::new().expect("a runtime");
    client.block_on(async {
        let client = apogee_client::Client::new(server.namesrv.to_string()).expect("a client");
        let producer = client.producer("p").expect("a producer");
        for (topic, messages) in [("TopSmall", 3), ("TopLarge", 30)] {
            for _ in 0..messages {
                producer.send(apogee_client::Message::new(topic, "body")).await.expect("sent");
            }
        }
        let mut consumer = client.consumer("readers").subscribe("TopLarge").from_first().join().await.expect("joined");
        for _ in 0..10 {
            consumer.next().await.expect("a message").ack();
        }
        consumer.close(PATIENCE).await.expect("left");
    });
    let found = json(&server, &["--sort", "messages"]);
    assert_eq!(found["topics"][0]["topic"], "TopLarge");
    assert_eq!(found["topics"][0]["messages"], 30);
    assert_eq!(found["brokers"][0]["state"], "up");
    let names: Vec<&str> =
        found["topics"].as_array().expect("topics").iter().filter_map(|row| row["topic"].as_str()).collect();
    assert!(!names.iter().any(|name| name.starts_with("%RETRY%")), "{names:?}");
    let found = json(&server, &["--show", "groups", "--filter", "read"]);
    assert_eq!((&found["groups"][0]["group"], &found["groups"][0]["lag"]), (&"readers".into(), &20.into()));
    let text = String::from_utf8_lossy(&top(&server, &["--filter", "Small"]).stdout).into_owned();
    assert!(text.contains("TopSmall") && !text.contains("TopLarge"), "{text}");
}

#[test]
fn without_a_server_it_says_so() {
    let output = Process::new(binary()).args(["top", "-n", "127.0.0.1:1", "--once"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"), "{output:?}");
}
