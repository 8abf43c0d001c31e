//! The binary called as `mqadmin`, against a running server.

mod common;

use std::os::unix::fs::symlink;
use std::process::Command as Process;

use common::{Server, binary};

/// Runs commands against a server by the name `mqadmin`.
struct MqAdmin {
    path: std::path::PathBuf,
    namesrv: String,
    _folder: tempfile::TempDir,
}

impl MqAdmin {
    fn of(server: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mqadmin");
        symlink(binary(), &path).expect("linked");
        Self { path, namesrv: server.namesrv.to_string(), _folder: folder }
    }

    /// What a command prints, and whether it succeeded.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output =
            Process::new(&self.path).args(arguments).env("NAMESRV_ADDR", &self.namesrv).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (success, text) = self.run(arguments);
        assert!(success, "{arguments:?}: {text}");
        text
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let (success, text) = self.run(arguments);
        assert!(!success, "{arguments:?}: {text}");
        text
    }
}

#[test]
fn a_topic_lives_and_a_message_is_found() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    assert_eq!(
        admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T", "-r", "3", "-w", "3"]),
        format!("create topic to {broker} success.\n")
    );
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
    assert!(admin.fails(&["queryMsgById", "-i", "xyz"]).contains("`xyz` is no message id"));
}
