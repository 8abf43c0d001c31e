//! Further commands of the binary called as `mqadmin`, against a running server.

mod common;

use std::process::Command as Process;

use common::{Server, binary};

/// What a command prints, and whether it succeeded.
fn run(server: &Server, arguments: &[&str]) -> (bool, String) {
    let output = Process::new(binary())
        .arg("admin")
        .args(arguments)
        .env("NAMESRV_ADDR", server.namesrv.to_string())
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn ok(server: &Server, arguments: &[&str]) -> String {
    let (success, text) = run(server, arguments);
    assert!(success, "{arguments:?}: {text}");
    text
}

fn fails(server: &Server, arguments: &[&str]) -> String {
    let (success, text) = run(server, arguments);
    assert!(!success, "{arguments:?}: {text}");
    text
}

#[test]
fn a_topic_s_permission_is_all_that_changes() {
    let server = Server::start(&[]);
    ok(&server, &["updateTopic", "-c", "DefaultCluster", "-t", "T", "-r", "3", "-w", "2"]);
    assert_eq!(ok(&server, &["topicClusterList", "-t", "T"]), "DefaultCluster\n");
    let change = ["updateTopicPerm", "-c", "DefaultCluster", "-t", "T", "-p", "4"];
    assert_eq!(ok(&server, &change), format!("update topic perm from 6 to 4 in {} success.\n", server.broker));
    assert_eq!(ok(&server, &change), "new perm equals to the old one!\n");
    let route = ok(&server, &["topicRoute", "-t", "T"]);
    for member in ["\"perm\":4", "\"readQueueNums\":3", "\"writeQueueNums\":2"] {
        assert!(route.contains(member), "{member}: {route}");
    }
    assert!(fails(&server, &["sendMessage", "-t", "T", "-p", "x"]).contains("has no queue to write"));
}

#[test]
fn a_message_is_found_by_its_producer_s_id_and_by_its_place() {
    let server = Server::start(&[]);
    ok(&server, &["updateTopic", "-c", "DefaultCluster", "-t", "T", "-r", "2", "-w", "2"]);
    let sent = ok(&server, &["sendMessage", "-t", "T", "-p", "a body", "-c", "TagA", "-i", "1"]);
    let id = sent.split_whitespace().last().expect("an id");
    let by_place = ok(&server, &["queryMsgByOffset", "-t", "T", "-b", "broker-a", "-i", "1", "-o", "0"]);
    assert!(by_place.contains("a body") && by_place.contains("[TagA]"), "{by_place}");
    assert_eq!(ok(&server, &["queryMsgByUniqueKey", "-t", "T", "-i", id]), by_place);
    let nothing = fails(&server, &["queryMsgByOffset", "-t", "T", "-b", "broker-a", "-i", "1", "-o", "7"]);
    assert!(nothing.contains("has no message at offset 7"), "{nothing}");
    assert!(
        fails(&server, &["queryMsgByOffset", "-t", "T", "-b", "other", "-i", "1", "-o", "0"])
            .contains("it is on: broker-a")
    );
    assert!(fails(&server, &["queryMsgByUniqueKey", "-t", "T", "-i", "0A00"]).contains("no message with the id 0A00"));
}

#[test]
fn name_servers_keep_values_and_show_their_settings() {
    let server = Server::start(&[]);
    ok(&server, &["updateKvConfig", "-s", "NS", "-k", "k", "-v", "v"]);
    ok(&server, &["deleteKvConfig", "-s", "NS", "-k", "k"]);
    let config = ok(&server, &["getNamesrvConfig"]);
    assert!(config.starts_with(&format!("============{}============\n", server.namesrv)), "{config}");
    assert!(config.lines().any(|line| line.starts_with("scanNotActiveBrokerInterval ")), "{config}");
}

#[test]
fn groups_without_clients_are_told_so() {
    let server = Server::start(&[]);
    let broker = server.broker.to_string();
    assert!(
        fails(&server, &["consumerConnection", "-g", "G", "-b", &broker])
            .contains("group G has no consumer that is online")
    );
    ok(&server, &["updateTopic", "-c", "DefaultCluster", "-t", "T"]);
    assert!(fails(&server, &["producerConnection", "-g", "P", "-t", "T"]).contains("the producer group[P] not exist"));
}
