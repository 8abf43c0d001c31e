//! Commands about replicas and parts of brokers, against a running server.

mod common;

use common::mqadmin::{MqAdmin, golden};
use common::{Server, stranger};

/// What Apache's printed, of this server.
fn sample(name: &str, broker: &str) -> String {
    golden(name).replace("127.0.0.1:30911", broker).replace("broker-w", "broker-a").trim_end().to_owned()
}

#[test]
fn parts_of_brokers_are_shown_and_set() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    let of = |command, words: &[&str]| admin.ok(&[&[command, "-b", &*broker], words].concat()).trim_end().to_owned();
    let of_cluster = |command, words: &[&str]| admin.ok(&[&[command, "-c", "DefaultCluster"], words].concat());

    // Cold reads.
    let cold = || admin.json(&["getColdDataFlowCtrInfo", "-b", &broker])["brokers"][0].clone();
    let text = of("getColdDataFlowCtrInfo", &[]);
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(key, _)| key.to_owned()).filter(|key| key.starts_with('\t')).collect()
    };
    assert_eq!(text.lines().next(), Some(&*format!(" ============{broker}============")));
    let mut of_apache = keys(&sample("getColdDataFlowCtrInfo.txt", &broker));
    of_apache.sort_unstable();
    let mut ours = keys(&text);
    ours.sort_unstable();
    assert_eq!(ours, of_apache);
    assert_eq!(cold()["cgColdReadThreshold"], 3_145_728);
    let limited = of("updateColdDataFlowCtrGroupConfig", &["-g", "C_adm", "-v", "1048576"]);
    assert_eq!(limited, sample("updateColdDataFlowCtrGroupConfig.txt", &broker));
    assert_eq!(cold()["configTable"]["C_adm"], 1_048_576);
    let heading = format!(" ============Master: {broker}============");
    assert!(of_cluster("getColdDataFlowCtrInfo", &[]).starts_with(&heading));
    let free = of("removeColdDataFlowCtrGroupConfig", &["-g", "C_adm"]);
    assert_eq!(free, sample("removeColdDataFlowCtrGroupConfig.txt", &broker));
    assert_eq!(cold()["configTable"], serde_json::json!({}));
    of_cluster("updateColdDataFlowCtrGroupConfig", &["-g", "C_adm", "-v", "1048576"]);
    of_cluster("removeColdDataFlowCtrGroupConfig", &["-g", "C_adm"]);
    assert_eq!(of("setCommitLogReadAheadMode", &["-m", "0"]), sample("setCommitLogReadAheadMode.txt", &broker));
    assert!(of_cluster("setCommitLogReadAheadMode", &["-m", "1"]).starts_with(&heading));
    admin.fails_with(2, &["setCommitLogReadAheadMode", "-b", &broker, "-m", "2"]);

    // Timers and POP.
    assert_eq!(of("switchTimerEngine", &["-e", "F"]), sample("switchTimerEngine.txt", &broker));
    admin.fails_with(2, &["switchTimerEngine", "-b", &broker, "-e", "X"]);
    let exported = of("exportPopRecord", &["-d", "true"]);
    assert_eq!(exported, format!("Export broker records, brokerName=broker-a, brokerAddr={broker}, dryRun=true"));

    // RocksDB, which is not there.
    let exported = of("rocksDBConfigToJson", &["-t", "topics"]);
    assert_eq!(exported, "Use [rpc mode] call broker to export to json file\nbroker export done.");
    assert!(of_cluster("rocksDBConfigToJson", &[]).ends_with("broker export done.\n"));
    let folder = admin.folder().to_str().expect("a name");
    let error = admin.fails_with(1, &["exportMetadataInRocksDB", "-p", folder, "-t", "topics"]);
    assert!(error.contains("is a folder of RocksDB") && error.contains("exportMetadata"), "{error}");
    admin.fails_with(3, &["rocksDBConfigToJson", "-p", "/nowhere/at/all", "-t", "topics"]);
    admin.fails_with(2, &["rocksDBConfigToJson", "-b", &broker, "-t", "nothing"]);
    let checked = of_cluster("checkRocksdbCqWriteProgress", &["-t", "T_res", "-cf", "1700000000000"]);
    assert!(checked.starts_with("broker-a check "), "{checked}");
    assert_eq!(
        admin.json(&["checkRocksdbCqWriteProgress", "-c", "DefaultCluster"])["brokers"][0]["broker"],
        "broker-a"
    );
}

#[test]
fn a_compacted_log_is_dumped() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T_log", "-r", "1", "-w", "1"]);
    admin.ok(&["sendMessage", "-t", "T_log", "-p", "a body", "-k", "k1", "-c", "TagA"]);
    // Such a file has records like the commit log's.
    let folder = server.data.join("commitlog");
    let folder = if folder.is_dir() { folder } else { server.data.join("store/commitlog") };
    let log = std::fs::read_dir(&folder).expect("a log").next().expect("a file").expect("read").path();
    let dump = ["dumpCompactionLog", "-f", log.to_str().expect("a name")];
    let text = admin.ok(&dump);
    let line = text.lines().find(|line| line.contains("topic='T_log'")).expect("the message");
    assert!(line.starts_with("MessageExt [brokerName=null, queueId=0, storeSize="), "{line}");
    assert!(line.contains("TAGS=TagA") && line.contains("KEYS=k1") && line.contains("body=null"), "{line}");
    let messages = admin.json_lines(&dump);
    let ours = messages.iter().find(|message| message["message"]["topic"] == "T_log").expect("the message");
    assert_eq!(ours["message"]["bodySize"], 6);
    std::fs::write(admin.folder().join("bad"), [0, 0, 1, 0, 7]).expect("written");
    let bad = admin.folder().join("bad");
    let error = admin.fails_with(1, &["dumpCompactionLog", "-f", bad.to_str().expect("a name")]);
    assert!(error.contains("no record at byte 0"), "{error}");
    admin.fails_with(1, &["dumpCompactionLog", "-f", "/nowhere"]);
    admin.fails_with(2, &["dumpCompactionLog"]);
}

#[test]
fn replicas_and_lite_topics_are_asked_for() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();

    // A master without slaves.
    let status = admin.ok(&["haStatus", "-b", &broker]);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = status.lines().filter(|line| !line.is_empty()).map(words).collect();
    assert_eq!((&lines[0], &lines[2]), (&words(&format!("#MasterAddr {broker}")), &words("#SlaveNum 0")));
    let of_apache = golden("haStatus.txt");
    let heading = of_apache.lines().find(|line| line.starts_with("#SlaveAddr")).expect("headings");
    assert_eq!(lines[4], words(heading));
    let status = admin.json(&["haStatus", "-c", "DefaultCluster"]);
    assert!(status["masters"][0]["logEnd"].is_i64() && status["slaves"] == serde_json::json!([]), "{status}");
    admin.fails_with(2, &["haStatus"]);
    let reset = admin.ok(&["resetMasterFlushOffset", "-b", &broker, "-o", "0"]);
    assert_eq!(reset, golden("resetMasterFlushOffset.txt"));
    admin.fails_with(2, &["resetMasterFlushOffset", "-b", &broker]);

    // No controller, no container: who is asked says so.
    let error = admin.fails_with(1, &["getBrokerEpoch", "-b", "broker-a"]);
    assert!(error.contains("this request only for controllerMode"), "{error}");
    admin.fails_with(1, &["getBrokerEpoch", "-c", "DefaultCluster"]);
    admin.fails_with(3, &["getBrokerEpoch", "-b", "nobody"]);
    for command in [
        &["getControllerMetaData", "-a", &broker][..],
        &["getControllerConfig", "-a", &broker],
        &["updateControllerConfig", "-a", &broker, "-k", "scanNotActiveBrokerInterval", "-v", "5000"],
        &["getSyncStateSet", "-a", &broker, "-b", "broker-a"],
        &["electMaster", "-a", &broker, "-b", "1", "-bn", "broker-a", "-c", "DefaultCluster"],
        &["cleanBrokerMetadata", "-a", &broker, "-b", "9", "-bn", "broker-a", "-c", "DefaultCluster"],
        &["addBroker", "-c", &broker, "-b", "/nowhere/broker.conf"],
        &["removeBroker", "-c", &broker, "-b", "DefaultCluster:broker-a:0"],
    ] {
        let error = admin.fails_with(1, command);
        assert!(error.contains("not supported") && error.contains(&broker), "{command:?}: {error}");
    }
    admin.fails_with(2, &["cleanBrokerMetadata", "-a", &broker, "-bn", "broker-a"]);
    admin.fails_with(2, &["removeBroker", "-c", &broker, "-b", "broker-a"]);
    admin.fails_with(4, &["getControllerMetaData", "-a", "127.0.0.1:1"]);
    admin.fails(&["getControllerMetaData", "-a", &stranger().to_string()]);

    // Lite topics: there are none.
    let rows = admin.rows("getBrokerLiteInfo.txt", &["getBrokerLiteInfo", "-b", &broker]);
    assert_eq!((&*rows[0][0], &*rows[0][1], rows[0].len()), (&*broker, "default", 9));
    let detail = admin.ok(&["getBrokerLiteInfo", "-c", "DefaultCluster", "-d"]);
    assert!(detail.contains("\nTopic Meta: {}\nGroup Meta: {}\n"), "{detail}");
    admin.fails_with(3, &["getParentTopicInfo", "-p", "T_lite"]);
    admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T_lite", "-r", "1", "-w", "1"]);
    admin.ok(&["updateSubGroup", "-c", "DefaultCluster", "-g", "C_lite5"]);
    let parent = admin.fails_with(1, &["getParentTopicInfo", "-p", "T_lite"]);
    let lines: Vec<_> = parent.lines().collect();
    let of_apache = golden("getParentTopicInfo.txt");
    assert_eq!(
        (lines[0], words(lines[1])),
        ("Parent Topic Info: [T_lite]", words(of_apache.lines().nth(1).expect("two")))
    );
    // An ordinary topic is no parent: a broker says so, or that it has nothing.
    assert!(lines[2].contains("broker-a"), "{parent}");
    let group = admin.fails_with(1, &["getLiteGroupInfo", "-p", "T_lite", "-g", "C_lite5", "-k", "5"]);
    let of_apache = golden("getLiteGroupInfo.txt");
    let fixed = |text: &str| -> Vec<Vec<String>> {
        let lines =
            text.lines().filter(|line| line.contains("TopK") || line.starts_with("NO") || line.contains("Info:"));
        lines.map(words).collect()
    };
    assert_eq!(fixed(&group), fixed(&of_apache));
    assert!(group.contains("\nTotal Lag Count: 0\nMin Unconsumed Timestamp: "), "{group}");
    assert!(group.contains("C_lite5] is not a LITE group"), "{group}");
    let group = admin.fails_with(1, &["getLiteGroupInfo", "-p", "T_lite", "-g", "C_lite5", "-l", "lt1"]);
    assert!(group.contains("#BrokerOffset") && !group.contains("TopK"), "{group}");
    let topic = admin.fails_with(1, &["getLiteTopicInfo", "-p", "T_lite", "-l", "lt1", "-s"]);
    assert!(topic.starts_with("Lite Topic Info: [T_lite] [lt1] [%LMQ%$T_lite$lt1]\n#Broker Name"), "{topic}");
    let client = admin.fails_with(1, &["getLiteClientInfo", "-p", "T_lite", "-g", "C_lite5", "-c", "cid1", "-s"]);
    assert!(client.starts_with("Lite Client Info: [T_lite] [C_lite5] [cid1]\n#Broker"), "{client}");
    let trigger = ["triggerLiteDispatch", "-p", "T_lite", "-g", "C_lite5", "-c", "cid1", "-b", "broker-a"];
    let (code, text) = admin.run(&trigger);
    assert!(code == 0 && text.contains("dispatched") || code == 1 && text.contains("refused"), "{code}: {text}");
    admin.fails_with(3, &["triggerLiteDispatch", "-p", "T_lite", "-g", "C_lite5", "-b", "nobody"]);
}

#[test]
fn static_topics_are_created_and_grow() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let create = ["updateStaticTopic", "-t", "T_static", "-qn", "4", "-c", "DefaultCluster"];
    let words = admin.ok(&create);
    let [before, after]: [std::path::PathBuf; 2] = std::array::from_fn(|at| {
        words.lines().nth(at).and_then(|line| line.split(' ').next_back()).expect("a file").into()
    });
    assert!(words.starts_with("The old mapping data is written to file "), "{words}");
    let route = admin.ok(&["topicRoute", "-t", "T_static"]);
    assert!(route.contains("\"topicQueueMappingByBroker\"") && route.contains("\"totalQueues\":4"), "{route}");
    assert!(admin.fails_with(2, &create).contains("has 4 queues: give more than that"));
    let grown = admin.json(&["updateStaticTopic", "-t", "T_static", "-qn", "6", "-b", "broker-a"]);
    assert_eq!((&grown["queues"][5]["queue"], &grown["queues"][5]["broker"]), (&5.into(), &"broker-a".into()));
    let rows = admin.rows("topicRoute-l.txt", &["topicRoute", "-t", "T_static", "-l"]);
    assert_eq!(rows[0][3..5], ["6", "6"]);

    // There is one broker: nothing moves, and nobody is asked.
    let moved = admin.json(&["remappingStaticTopic", "-t", "T_static", "-c", "DefaultCluster"]);
    assert_eq!(moved["queues"].as_array().map(Vec::len), Some(6));
    admin.fails_with(3, &["remappingStaticTopic", "-t", "T_none", "-c", "DefaultCluster"]);
    admin.fails_with(3, &["remappingStaticTopic", "-t", "T_static", "-b", "nobody"]);
    admin.fails_with(2, &["remappingStaticTopic", "-t", "T_static"]);

    // A mapping that was written can be set again: an old one only by force.
    let after = after.to_str().expect("a name");
    let again = ["updateStaticTopic", "-t", "T_static", "-qn", "4", "-mf", after];
    assert!(admin.fails(&again).contains("epoch"));
    admin.ok(&[&again[..], &["-fr", "true"]].concat());
    assert!(
        admin.fails_with(2, &["remappingStaticTopic", "-t", "T_other", "-mf", after]).contains("of topic T_static")
    );
    // An ordinary topic is none.
    admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T_plain"]);
    let plain = ["updateStaticTopic", "-t", "T_plain", "-qn", "9", "-c", "DefaultCluster"];
    assert!(admin.fails_with(2, &plain).contains("ordinary topic"));
    for kept in [before.to_str().expect("a name"), after, moved["before"].as_str().expect("a name")] {
        let _ = std::fs::remove_file(kept);
    }
}
