//! Commands about topics, against a running server.

mod common;

use common::Server;
use common::mqadmin::{MqAdmin, golden};

#[test]
fn topics_are_created_changed_shown_and_removed() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();

    // Creating, as Apache's words are.
    let created = admin.ok(&["updateTopic", "-b", &broker, "-t", "T_adm1", "-r", "4", "-w", "4"]);
    assert_eq!(created, golden("updateTopic-b.txt").replace("127.0.0.1:30911", &broker));
    let create = ["updateTopic", "-c", "DefaultCluster", "-t", "T_adm2", "-r", "2", "-w", "2"];
    let created = admin.ok(&[&create[..], &["-a", "+message.type=FIFO"]].concat());
    assert_eq!(created, golden("updateTopic-c-attr.txt").replace("127.0.0.1:30911", &broker));
    // Attributes that are not named stay; one can be removed.
    admin.ok(&[&create[..], &["-o", "true", "-u", "true", "-s", "true"]].concat());
    assert_eq!(admin.json(&["updateOrderConf", "-t", "T_adm2", "-m", "get"])["orderConf"], "broker-a:2");
    let error = admin.fails_with(2, &[&create[..], &["-a", "message.type=FIFO"]].concat());
    assert!(error.contains("+key=value"), "{error}");

    // A list, all or none.
    let file = admin.folder().join("topics.json");
    let topics = r#"[{"topicName":"T_list1","readQueueNums":3,"writeQueueNums":2,"perm":6,"attributes":{"+message.type":"DELAY"}},
        {"topicName":"T_list2","perm":4}]"#;
    std::fs::write(&file, topics).expect("written");
    let list = ["updateTopicList", "-b", &broker, "-f", file.to_str().expect("a name")];
    assert_eq!(admin.ok(&list), golden("updateTopicList.txt").replace("127.0.0.1:30911", &broker));
    std::fs::write(&file, "{}").expect("written");
    assert!(admin.fails_with(2, &list).contains("is no list of topics"));

    // Routes.
    let rows = admin.rows("topicRoute-l.txt", &["topicRoute", "-t", "T_list1", "-l"]);
    assert_eq!(rows[0], ["DefaultCluster", "broker-a", &format!("{{0={broker}}}"), "3", "2", "6"]);
    let route = admin.ok(&["topicRoute", "-t", "T_adm1"]);
    let addresses = |text: &str| text.replace("broker-w", "broker-a").replace("WireCluster", "DefaultCluster");
    let expected = addresses(&golden("topicRoute.txt"))
        .replace("0:\"127.0.0.1:30911\",\n\t\t\t\t1:\"127.0.0.1:31911\"", &format!("0:\"{broker}\""));
    assert_eq!(route, expected);
    let json = admin.json(&["topicRoute", "-t", "T_adm1"]);
    assert_eq!(json["route"]["brokerDatas"][0]["brokerAddrs"]["0"], broker.as_str());
    assert_eq!(admin.ok(&["topicClusterList", "-t", "T_adm1"]), "DefaultCluster\n");
    let none = admin.fails_with(3, &["topicRoute", "-t", "None"]);
    assert!(none.contains("No topic route info in name server for the topic: None"), "{none}");

    // Permissions.
    let permit = |perm| ["updateTopicPerm", "-c", "DefaultCluster", "-t", "T_adm1", "-p", perm];
    assert_eq!(admin.ok(&permit("4")), golden("updateTopicPerm.txt").replace("127.0.0.1:30911", &broker));
    assert_eq!(admin.ok(&permit("4")), "new perm equals to the old one!\n");
    let route = admin.json(&["topicRoute", "-t", "T_adm1", "-l"]);
    assert_eq!(route["brokers"][0]["permission"], 4);
    assert_eq!(route["brokers"][0]["writeQueues"], 4);
    assert!(admin.fails(&["sendMessage", "-t", "T_adm1", "-p", "x"]).contains("T_adm1"));
    assert_eq!(admin.ok(&permit("6")), golden("updateTopicPerm-back.txt").replace("127.0.0.1:30911", &broker));
    admin.fails_with(3, &["updateTopicPerm", "-b", &broker, "-t", "None", "-p", "6"]);

    // Orders.
    let order = |words: &[&str]| admin.run(&[&["updateOrderConf", "-t", "T_adm1"], words].concat());
    let expected = |sample: &str| addresses(&golden(sample));
    assert_eq!(order(&["-m", "put", "-v", "broker-a:4"]), (0, expected("updateOrderConf-put.txt")));
    assert_eq!(order(&["-m", "get"]), (0, expected("updateOrderConf-get.txt")));
    assert_eq!(order(&["-m", "delete"]), (0, expected("updateOrderConf-delete.txt")));
    assert_eq!(order(&["-m", "get"]).0, 3);
    assert_eq!(order(&["-m", "put"]).0, 2);
    assert_eq!(order(&["-m", "put", "-v", "broker-a"]).0, 2);

    // What is in them, and lists.
    admin.ok(&["sendMessage", "-t", "T_adm1", "-p", "x", "-b", "broker-a", "-i", "1"]);
    let rows = admin.rows("topicStatus.txt", &["topicStatus", "-t", "T_adm1"]);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0], ["broker-a", "0", "0", "0"]);
    assert_eq!((&rows[1][..4], rows[1].len()), (&["broker-a", "1", "0", "1"].map(str::to_owned)[..], 6));
    let by_cluster = admin.json(&["topicStatus", "-t", "T_adm1", "-c", "DefaultCluster"]);
    assert_eq!(by_cluster["queues"][1]["maxOffset"], 1);
    let rows = admin.rows("topicList-c.txt", &["topicList", "-c"]);
    assert!(rows.contains(&vec!["DefaultCluster".to_owned(), "T_adm1".to_owned()]), "{rows:?}");
    let topics = admin.json(&["topicList"])["topics"].clone();
    for topic in ["T_adm1", "T_adm2", "T_list1", "T_list2", "TBW102"] {
        assert!(topics.as_array().expect("a list").contains(&topic.into()), "{topic}: {topics}");
    }

    // Removing, which scripts are not asked about and people are.
    let output = std::process::Command::new(common::binary())
        .args(["admin", "-n", &server.namesrv.to_string(), "deleteTopic", "-c", "DefaultCluster", "-t", "T_adm2"])
        .stdin(std::process::Stdio::null())
        .output();
    assert_eq!(output.expect("it runs").status.code(), Some(5));
    let removed = admin.ok(&["deleteTopic", "-c", "DefaultCluster", "-t", "T_adm2"]);
    assert_eq!(removed, addresses(&golden("deleteTopic.txt")));
    admin.fails_with(3, &["topicRoute", "-t", "T_adm2"]);
}
