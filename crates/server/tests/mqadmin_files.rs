//! Commands that write files about a cluster, and the one that watches its groups, against a running server.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use apogee_client::{Client, Message};
use common::mqadmin::{MqAdmin, golden};
use common::{PATIENCE, Server};
use serde_json::{Value, json};

#[test]
fn a_cluster_is_written_to_files() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    admin.ok(&["updateTopic", "-b", &broker, "-t", "T", "-r", "3", "-w", "2", "-a", "+message.type=FIFO"]);
    admin.ok(&["updateSubGroup", "-b", &broker, "-g", "G", "-r", "3"]);
    admin.ok(&["updateTopic", "-b", &broker, "-t", "%RETRY%G", "-r", "1", "-w", "1"]);
    // A folder that is not there yet.
    let folder = admin.folder().join("a/b");
    let folder = folder.to_str().expect("a name");
    let file = |name: &str| -> Value {
        let text = std::fs::read_to_string(format!("{folder}/{name}")).expect("written");
        serde_json::from_str(&text).expect("JSON")
    };
    let here = |sample: &str| golden(sample).replace("/data/rmq/wire/exp", folder);

    let metadata = ["exportMetadata", "-c", "DefaultCluster", "-f", folder];
    assert_eq!(admin.ok(&metadata), here("exportMetadata.txt"));
    let written = file("metadata.json");
    let topics: Vec<_> = written["topicConfigTable"].as_object().expect("an object").keys().collect();
    assert_eq!(topics, ["T"], "those of the system and of groups are left out");
    let topic = &written["topicConfigTable"]["T"];
    assert_eq!((&topic["readQueueNums"], &topic["writeQueueNums"], &topic["perm"]), (&json!(3), &json!(2), &json!(6)));
    assert_eq!(topic["attributes"], json!({ "message.type": "FIFO" }));
    assert_eq!(written["subscriptionGroupTable"]["G"]["retryMaxTimes"], 3);
    assert!(written["exportTime"].is_u64());
    let of_broker = ["exportMetadata", "-b", &broker, "-f", folder];
    let told = admin.json(&[&of_broker[..], &["-t", "-s"]].concat());
    assert_eq!(told["file"], format!("{folder}/topic.json"));
    assert!(file("topic.json")["topicConfigTable"]["%RETRY%G"].is_object());
    admin.ok(&[&of_broker[..], &["-g"]].concat());
    assert_eq!(
        file("subscriptionGroup.json")["subscriptionGroupTable"].as_object().map(|groups| groups.len()),
        Some(1)
    );
    admin.fails_with(2, &["exportMetadata", "-f", folder]);
    // What was written is what can be read.
    let list = format!("[{}]", file("topic.json")["topicConfigTable"]["T"]).replace("\"T\"", "\"T2\"");
    let path = admin.folder().join("list.json");
    std::fs::write(&path, list).expect("written");
    admin.ok(&["updateTopicList", "-b", &broker, "-f", path.to_str().expect("a name")]);
    assert_eq!(admin.json(&["topicRoute", "-t", "T2", "-l"])["brokers"][0]["readQueues"], 3);

    assert_eq!(admin.ok(&["exportConfigs", "-c", "DefaultCluster", "-f", folder]), here("exportConfigs.txt"));
    let written = file("configs.json");
    assert_eq!(written["clusterScale"], json!({ "namesrvSize": 1, "masterBrokerSize": 1, "slaveBrokerSize": 0 }));
    assert_eq!(written["brokerConfigs"]["broker-a"]["brokerClusterName"], "DefaultCluster");

    admin.ok(&["sendMessage", "-t", "T", "-p", "x"]);
    admin.ok(&["exportMetrics", "-c", "DefaultCluster", "-f", folder]);
    let written = file("metrics.json");
    let quota = &written["evaluateReport"]["broker-a"]["runtimeQuota"];
    assert_eq!((&quota["groupSize"], quota["tps"]["transInTps"].is_f64()), (&json!(1), true), "{quota}");
    let total = written["totalData"]["totalTps"].as_object().expect("an object");
    assert!(total.contains_key("totalNormalInTps"), "{total:?}");
    admin.fails_with(3, &["exportMetrics", "-c", "Other", "-f", folder]);
    assert!(admin.fails_with(1, &["exportConfigs", "-c", "DefaultCluster", "-f", "/proc/x"]).contains("/proc/x"));
    let left: Vec<_> =
        std::fs::read_dir(folder).expect("there").map(|entry| entry.expect("there").file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".json")), "{left:?}");
}

#[test]
fn groups_are_watched() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    admin.ok(&["updateTopic", "-b", &server.broker.to_string(), "-t", "T", "-r", "1", "-w", "1"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = Client::new(server.namesrv.to_string()).expect("an address");
        let producer = client.producer("P").expect("a producer");
        for body in ["one", "two", "three"] {
            producer.send(Message::new("T", body)).await.expect("sent");
        }
        let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open");
        delivery.ack();
        consumer.close(PATIENCE).await.expect("left");
    });
    let mut process = admin.process(&["startMonitoring"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines().map(|line| line.expect("read"));
    let mut round = Vec::new();
    for line in lines {
        let is_last = line.ends_with("endRound");
        round.push(line);
        if is_last {
            break;
        }
    }
    process.kill().and_then(|()| process.wait()).expect("ended");
    assert!(round[0].ends_with("beginRound"), "{round:?}");
    let expected =
        "[MONITOR] reportUndoneMsgs: UndoneMsgs [consumerGroup=G, topic=T, undoneMsgsTotal=2, undoneMsgsSingleMQ=2, ";
    assert!(round.iter().any(|line| line.starts_with(expected)), "{round:?}");
}
