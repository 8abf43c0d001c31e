//! Commands about brokers, clusters and name servers, against a running server.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::mqadmin::{MqAdmin, golden};
use common::{PATIENCE, Server};

/// The values of settings or figures in lines with a separator.
fn value<'t>(text: &'t str, name: &str, separator: &str) -> Option<&'t str> {
    let pair = |line: &'t str| line.split_once(separator).map(|(name, value)| (name.trim(), value.trim()));
    text.lines().filter_map(pair).find(|(one, _)| *one == name).map(|(_, value)| value)
}

#[test]
fn brokers_are_shown_changed_and_cleaned() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    admin.ok(&["updateTopic", "-b", &broker, "-t", "T", "-r", "1", "-w", "1"]);
    for body in ["one", "two"] {
        admin.ok(&["sendMessage", "-t", "T", "-p", body]);
    }

    // Clusters.
    let rows = admin.rows("clusterList.txt", &["clusterList"]);
    assert_eq!(rows[0][..5], ["DefaultCluster", "broker-a", "0", &*broker, "V5_5_0"]);
    assert_eq!(rows[0].last().map(String::as_str), Some("true"));
    let json = admin.json(&["clusterList", "-c", "DefaultCluster"]);
    assert_eq!((&json["brokers"][0]["address"], &json["brokers"][0]["active"]), (&broker.clone().into(), &true.into()));
    assert!(json["brokers"][0]["in"]["perSecond"].is_f64(), "{json}");
    let rows = admin.rows("clusterList-m.txt", &["clusterList", "-m"]);
    assert_eq!(rows[0], ["DefaultCluster", "broker-a", "0", "0", "2", "0"]);
    assert!(admin.fails_with(3, &["clusterList", "-c", "Other"]).contains("DefaultCluster"));
    let mut again = admin.process(&["clusterList", "-i", "1", "--json"]).stdout(Stdio::piped()).spawn().expect("runs");
    let lines = BufReader::new(again.stdout.take().expect("a pipe")).lines();
    let brokers = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.expect("read")).expect("JSON"));
    assert_eq!(brokers.take(2).filter(|round| round["brokers"][0]["broker"] == "broker-a").count(), 2);
    again.kill().and_then(|()| again.wait()).expect("ended");

    // Figures.
    let status = admin.ok(&["brokerStatus", "-b", &broker]);
    assert_eq!(value(&status, "msgPutTotalTodayNow", ":"), Some("2"), "{status}");
    let recorded = golden("brokerStatus.txt");
    let line = |text: &str| text.lines().find(|line| line.starts_with("brokerVersionDesc")).map(str::to_owned);
    assert_eq!(line(&status), line(&recorded));
    let of_cluster = admin.ok(&["brokerStatus", "-c", "DefaultCluster"]);
    assert!(of_cluster.lines().all(|line| line.starts_with(&broker)), "{of_cluster}");
    assert_eq!(admin.json(&["brokerStatus", "-b", &broker])["brokers"][0]["figures"]["brokerActive"], "true");
    assert!(admin.fails_with(4, &["brokerStatus", "-b", "127.0.0.1:1"]).contains("127.0.0.1:1"));
    assert!(admin.fails_with(2, &["brokerStatus"]).contains("-b ADDRESS"));
    assert!(admin.fails_with(2, &["brokerStatus", "-b", &broker, "-c", "C"]).contains("cannot be used with"));

    // Settings.
    let update = ["updateBrokerConfig", "-b", &broker, "-k", "maxMsgsNumBatch", "-v", "33"];
    assert_eq!(admin.ok(&update), golden("updateBrokerConfig.txt").replace("127.0.0.1:30911", &broker));
    let config = admin.ok(&["getBrokerConfig", "-b", &broker]);
    assert!(config.starts_with(&format!("============{broker}============\n")), "{config}");
    assert_eq!(value(&config, "maxMsgsNumBatch", "="), Some("33"));
    let written = |text: &str| text.lines().find(|line| line.starts_with("traceOn ")).map(str::to_owned);
    assert_eq!(written(&config), written(&golden("getBrokerConfig.txt")));
    admin.ok(&["updateBrokerConfig", "-c", "DefaultCluster", "-a", "true", "-k", "maxMsgsNumBatch", "-v", "34"]);
    let config = admin.json(&["getBrokerConfig", "-c", "DefaultCluster"]);
    assert_eq!(config["brokers"][0]["settings"]["maxMsgsNumBatch"], "34");
    let config = admin.ok(&["getBrokerConfig", "-c", "DefaultCluster"]);
    assert!(config.starts_with(&format!("============Master: {broker}============\n")), "{config}");
    let error = admin.fails_with(1, &["updateBrokerConfig", "-b", &broker, "-k", "storePathRootDir", "-v", "/x"]);
    assert!(error.contains(&broker), "{error}");
    admin.fails_with(2, &["updateBrokerConfig", "-b", &broker, "-k", "a=b", "-v", "/x"]);

    // Cleaning, of one, of a cluster and of all.
    for command in ["cleanExpiredCQ", "deleteExpiredCommitLog", "cleanUnusedTopic"] {
        for target in [&["-b", &broker][..], &["-c", "DefaultCluster"], &["--cluster", "DefaultCluster"], &[]] {
            assert_eq!(admin.ok(&[&[command], target].concat()), golden(&format!("{command}.txt")));
        }
        admin.fails_with(3, &[command, "-c", "Other"]);
    }
    assert_eq!(admin.json(&["topicStatus", "-t", "T"])["queues"][0]["maxOffset"], 2, "what is needed stays");
}

#[test]
fn traffic_is_shown_by_topic_and_group() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    admin.ok(&["updateTopic", "-b", &server.broker.to_string(), "-t", "T", "-r", "1", "-w", "1"]);
    for body in ["one", "two", "three"] {
        admin.ok(&["sendMessage", "-t", "T", "-p", body]);
    }
    let stats = |arguments: &[&str]| admin.json(&[&["statsAll"], arguments].concat())["topics"].clone();
    let is_counted = |text: &str| text.contains("\"inDay\": 3");
    admin.eventually(&["statsAll", "-t", "T", "--json"], is_counted);
    let expected = serde_json::json!([{ "topic": "T", "group": null, "lag": 0, "inPerSecond": stats(&["-t", "T"])[0]["inPerSecond"],
        "outPerSecond": null, "inDay": 3, "outDay": null }]);
    assert_eq!(stats(&["-t", "T"]), expected);
    let rows = admin.rows("statsAll-a.txt", &["statsAll", "-a"]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&*rows[0][0], &*rows[0][4]), ("T", "NO_CONSUMER"));
    let all = stats(&[]);
    assert!(all.as_array().is_some_and(|topics| topics.iter().any(|topic| topic["topic"] == "TBW102")), "{all}");
    admin.fails_with(3, &["statsAll", "-t", "None"]);

    // A group that has read two of three.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = apogee_client::Client::new(server.namesrv.to_string()).expect("an address");
        let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
        for _ in 0..2 {
            let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("open");
            delivery.ack();
        }
        consumer.close(PATIENCE).await.expect("left");
    });
    admin.eventually(&["statsAll", "-t", "T", "--json"], |text| !text.contains("\"outDay\": 0"));
    let row = stats(&["-t", "T"])[0].clone();
    assert_eq!((&row["group"], &row["lag"], &row["inDay"]), (&"G".into(), &1.into(), &3.into()));
}

#[test]
fn name_servers_keep_values_permissions_and_settings() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let namesrv = server.namesrv.to_string();
    admin.ok(&["updateTopic", "-b", &server.broker.to_string(), "-t", "T"]);
    let here = |sample: &str| golden(sample).replace("127.0.0.1:18876", &namesrv).replace("broker-w", "broker-a");

    // Values.
    let put = ["updateKvConfig", "-s", "ORDER_TOPIC_CONFIG", "-k", "T", "-v", "broker-a:8"];
    assert_eq!(admin.ok(&put), golden("updateKvConfig.txt"));
    assert_eq!(admin.json(&["updateOrderConf", "-t", "T", "-m", "get"])["orderConf"], "broker-a:8");
    let delete = ["deleteKvConfig", "-s", "ORDER_TOPIC_CONFIG", "-k", "T"];
    assert_eq!(admin.ok(&delete), golden("deleteKvConfig.txt"));
    admin.fails_with(3, &["updateOrderConf", "-t", "T", "-m", "get"]);

    // Permissions.
    let permission = || admin.json(&["topicRoute", "-t", "T", "-l"])["brokers"][0]["permission"].clone();
    let counted = |text: &str| text.rsplit_once(", ").map(|(text, number)| (text.to_owned(), number.trim() != "0"));
    let wiped = admin.ok(&["wipeWritePerm", "-b", "broker-a"]);
    assert_eq!(counted(&wiped), counted(&here("wipeWritePerm.txt")));
    assert_eq!(permission(), 4);
    let added = admin.json(&["addWritePerm", "-b", "broker-a"]);
    assert_eq!(added["nameServers"][0]["address"], namesrv.as_str());
    assert_eq!(permission(), 6);
    assert_eq!(counted(&admin.ok(&["addWritePerm", "-b", "broker-a"])), counted(&here("addWritePerm.txt")));

    // Settings.
    let config = admin.ok(&["getNamesrvConfig"]);
    assert!(config.starts_with(&format!("============{namesrv}============\n")), "{config}");
    let update = ["updateNamesrvConfig", "-k", "deleteTopicWithBrokerRegistration", "-v", "false"];
    assert_eq!(admin.ok(&update), here("updateNamesrvConfig-ok.txt"));
    admin.ok(&["updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true"]);
    let settings = admin.json(&["getNamesrvConfig"])["nameServers"][0]["settings"].clone();
    assert_eq!(settings["orderMessageEnable"], "true");
    admin.fails_with(1, &["updateNamesrvConfig", "-k", "configStorePath", "-v", "/tmp/x"]);
    admin.fails_with(4, &["getNamesrvConfig", "-n", "127.0.0.1:1"]);
}
