//! The binary called as `mqadmin`, against a running server.

mod common;

use common::Server;
use common::mqadmin::MqAdmin;

#[test]
fn a_topic_lives_and_a_message_is_found() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    let created = admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T", "-r", "3", "-w", "3"]);
    assert!(created.starts_with(&format!("create topic to {broker} success.\n")), "{created}");
    assert!(admin.ok(&["topicList"]).lines().any(|topic| topic == "T"));
    assert!(admin.ok(&["topicRoute", "-t", "T"]).contains(&format!("0:\"{broker}\"")));
    let sent = admin.ok(&["sendMessage", "-t", "T", "-p", "a body", "-k", "k1", "-c", "TagA", "-i", "2"]);
    assert!(sent.contains("SEND_OK"), "{sent}");
    let found = admin.ok(&["queryMsgByKey", "-t", "T", "-k", "k1"]);
    assert_eq!(found.lines().count(), 2, "{found}");
    let status = admin.ok(&["topicStatus", "-t", "T"]);
    let queues: Vec<Vec<&str>> =
        status.lines().skip(1).take(3).map(|line| line.split_whitespace().take(4).collect()).collect();
    assert_eq!(queues, [["broker-a", "0", "0", "0"], ["broker-a", "1", "0", "0"], ["broker-a", "2", "0", "1"]]);
    admin.ok(&["deleteTopic", "-t", "T", "-c", "DefaultCluster"]);
    assert!(admin.fails(&["topicRoute", "-t", "T"]).contains("No topic route info in name server for the topic: T"));
}

#[test]
fn brokers_are_shown_and_set() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    let clusters = admin.ok(&["clusterList"]);
    let columns: Vec<&str> = clusters.lines().nth(1).expect("a broker").split_whitespace().collect();
    assert_eq!(columns[..5], ["DefaultCluster", "broker-a", "0", &broker, "V5_5_0"]);
    admin.ok(&["updateBrokerConfig", "-b", &broker, "-k", "maxMsgsNumBatch", "-v", "33"]);
    let config = admin.ok(&["getBrokerConfig", "-b", &broker]);
    assert!(
        config.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["maxMsgsNumBatch", "=", "33"]),
        "{config}"
    );
    assert!(
        admin
            .fails(&["updateBrokerConfig", "-b", &broker, "-k", "storePathRootDir", "-v", "/x"])
            .contains("storePathRootDir")
    );
    assert!(
        admin
            .ok(&["wipeWritePerm", "-b", "broker-a"])
            .starts_with("wipe write perm of broker[broker-a] in name server[")
    );
    assert!(
        admin.ok(&["addWritePerm", "-b", "broker-a"]).starts_with("add write perm of broker[broker-a] in name server[")
    );
    admin.ok(&["updateSubGroup", "-b", &broker, "-g", "G", "-r", "3"]);
    admin.ok(&["deleteSubGroup", "-b", &broker, "-g", "G"]);
}

#[test]
fn errors_say_what_to_do() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    assert!(admin.fails(&["topicLst"]).contains("topicList"));
    assert!(admin.fails(&["updateTopic", "-t", "T"]).contains("-b ADDRESS"));
    assert!(admin.fails(&["deleteTopic", "-t", "T", "-c", "Other"]).contains("there are: DefaultCluster"));
    assert!(admin.fails(&["topicList", "-n", "127.0.0.1:1"]).contains("NAMESRV_ADDR"));
    assert!(admin.fails(&["queryMsgById", "-t", "TBW102", "-i", "xyz"]).contains("no message with the id xyz"));
}
