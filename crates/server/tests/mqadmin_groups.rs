//! Commands about groups, their clients and their offsets, against a running server.

mod common;

use std::time::Duration;

use apogee_client::{Client, Consumer, Message, Producer, Queue};
use common::mqadmin::{MqAdmin, golden};
use common::{PATIENCE, Server};

/// What Apache's printed, of this server.
fn sample(name: &str, broker: &str) -> String {
    golden(name).replace("127.0.0.1:30911", broker).replace("WireCluster", "DefaultCluster").trim_end().to_owned()
}

/// A topic of two queues with three messages each, and a group that has consumed two.
async fn traffic(server: &Server, admin: &MqAdmin) -> (Producer, Consumer) {
    admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T_res", "-r", "2", "-w", "2"]);
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    let producer = client.producer("P_res").expect("a producer");
    for number in 0..6 {
        let queue = Queue { topic: "T_res".into(), broker: broker_name().into(), id: number % 2 };
        producer.send_to(&queue, Message::new("T_res", number.to_string()).tag("TagA")).await.expect("sent");
    }
    let join = async || {
        let consumer = client.consumer("C_res").subscribe_tags("T_res", "TagA || TagB").from_first().join();
        consumer.await.expect("joined")
    };
    let mut consumer = join().await;
    for _ in 0..2 {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time");
        next.expect("not closed").ack();
    }
    // It commits what it has consumed when it leaves.
    consumer.close(PATIENCE).await.expect("left");
    (producer, join().await)
}

fn broker_name() -> &'static str {
    "broker-a"
}

#[test]
fn groups_are_created_changed_shown_and_removed() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();

    // Creating, as Apache's words are.
    let update = ["updateSubGroup", "-c", "DefaultCluster", "-g", "C_adm"];
    assert_eq!(admin.ok(&update).trim_end(), sample("updateSubGroup.txt", &broker));
    let more = ["-g", "C_adm2", "-o", "true", "-q", "2", "-r", "5", "--attributes", "+priority.factor=50"];
    let created = admin.ok(&[&update[..3], &more].concat());
    assert_eq!(created.trim_end(), sample("updateSubGroup-attr.txt", &broker));
    let config = admin.ok(&["getConsumerConfig", "-g", "C_adm"]);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let expected = sample("getConsumerConfig.txt", &broker).replace("broker-w", broker_name());
    assert_eq!(words(&config), words(&expected));

    // Attributes that are not named stay; other things are as the command line says.
    let policy = r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2}}"#;
    let change = ["-b", &broker, "-g", "C_adm2", "-s", "false", "-m", "true", "-d", "true", "-p", policy];
    let change = [&change[..], &["-i", "0", "-w", "2", "-a", "false"]].concat();
    admin.ok(&[&["updateSubGroup"], &change[..]].concat());
    let config = &admin.json(&["getConsumerConfig", "-g", "C_adm2"])["groups"][0];
    assert_eq!(config["address"], broker.as_str());
    assert_eq!(config["attributes"]["priority.factor"], "50");
    assert_eq!((&config["consumeEnable"], &config["retryMaxTimes"]), (&false.into(), &16.into()));
    assert_eq!(config["groupRetryPolicy"]["exponentialRetryPolicy"]["max"], 7_200_000);
    assert_eq!(config["whichBrokerWhenConsumeSlowly"], 2);
    admin.ok(&["updateSubGroup", "-b", &broker, "-g", "C_adm2", "--attributes", "-priority.factor"]);
    let config = &admin.json(&["getConsumerConfig", "-g", "C_adm2"])["groups"][0];
    assert_eq!(config["attributes"], serde_json::json!({}));
    admin.fails_with(2, &["updateSubGroup", "-b", &broker, "-g", "C_adm2", "--attributes", "x=1"]);
    admin.fails_with(2, &["updateSubGroup", "-g", "C_adm2"]);

    // A list.
    let file = admin.folder().join("groups.json");
    let list = r#"[{"groupName":"C_list1","retryMaxTimes":3},{"groupName":"C_list2","consumeEnable":false}]"#;
    std::fs::write(&file, list).expect("written");
    let list = ["updateSubGroupList", "-b", &broker, "-f", file.to_str().expect("a name")];
    assert_eq!(admin.ok(&list).trim_end(), sample("updateSubGroupList.txt", &broker));
    let config = |group| admin.json(&["getConsumerConfig", "-g", group])["groups"][0].clone();
    assert_eq!((&config("C_list1")["retryMaxTimes"], &config("C_list2")["consumeEnable"]), (&3.into(), &false.into()));
    std::fs::write(&file, "[{}]").expect("written");
    assert!(admin.fails_with(2, &list).contains("without a groupName"));

    // How they ask for messages.
    admin.ok(&["updateTopic", "-c", "DefaultCluster", "-t", "T_adm1"]);
    let mode = ["setConsumeMode", "-c", "DefaultCluster", "-t", "T_adm1", "-g", "C_adm", "-m", "POP", "-q", "0"];
    assert_eq!(admin.ok(&mode).trim_end(), sample("setConsumeMode.txt", &broker));
    assert!(admin.fails_with(2, &[&mode[..7], &["-m", "PUSH"]].concat()).contains("POP"));

    // Removing: nobody says yes to the binary's own name, scripts need not be asked.
    let delete = ["deleteSubGroup", "-c", "DefaultCluster", "-g", "C_adm2", "-r", "true"];
    assert_eq!(admin.ok(&delete).trim_end(), sample("deleteSubGroup.txt", &broker));
    assert!(admin.fails_with(3, &["getConsumerConfig", "-g", "C_adm2"]).contains("no broker has group C_adm2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_shown() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    let (_producer, _consumer) = traffic(&server, &admin).await;

    let connections = admin.ok(&["consumerConnection", "-g", "C_res"]);
    let lines: Vec<Vec<&str>> = connections.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["#ClientId", "#ClientAddr", "#Language", "#Version"]);
    assert_eq!((lines[1][2], lines[1].len(), &lines[2][..]), ("RUST", 4, &[][..]));
    let of_topic = lines.iter().find(|line| line.first() == Some(&"T_res")).expect("its subscription");
    assert_eq!(of_topic[1..], ["TagA", "||", "TagB"]);
    let tail = sample("consumerConnection.txt", &broker);
    assert_eq!(lines[3], ["Below", "is", "subscription:"]);
    assert_eq!(connections.lines().rev().take(2).collect::<Vec<_>>(), tail.lines().rev().take(2).collect::<Vec<_>>());
    let client = admin.json(&["consumerConnection", "-g", "C_res", "-b", &broker])["clients"][0]["clientId"].clone();
    let client = client.as_str().expect("an id");
    assert_eq!(lines[1][0], client);
    assert!(admin.fails_with(3, &["consumerConnection", "-g", "C_none"]).contains("online"));

    let producers = admin.ok(&["producerConnection", "-g", "P_res", "-t", "T_res"]);
    let words: Vec<_> = producers.split_whitespace().collect();
    assert_eq!((words[0], words[3]), ("0001", "RUST"));
    assert!(admin.fails(&["producerConnection", "-g", "P_none", "-t", "T_res"]).contains("P_none"));
    let all = admin.ok(&["producer", "-b", &broker]);
    assert!(all.lines().any(|line| line.starts_with("producer group (P_res) instance : clientId=")), "{all}");
    let all = admin.json(&["producer", "-b", &broker]);
    let ours = all["producers"].as_array().expect("a list").iter().find(|one| one["group"] == "P_res").expect("ours");
    assert_eq!(ours["language"], "RUST");

    // What one tells: on the output, or in a file for each.
    let told = admin.ok(&["consumerStatus", "-g", "C_res", "-i", client]);
    let parts =
        |text: &str| -> Vec<String> { text.lines().filter(|line| line.ends_with('#')).map(str::to_owned).collect() };
    assert_eq!(parts(&told), parts(&golden("consumerStatus-i.txt")));
    assert!(told.contains("SubExpression: TagA || TagB"), "{told}");
    let output = admin.process(&["consumerStatus", "-g", "C_res"]).current_dir(admin.folder()).output().expect("runs");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = status.lines();
    let heading = sample("consumerStatus.txt", &broker);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines.next().map(words), heading.lines().next().map(words));
    let row = words(lines.next().expect("a client"));
    assert_eq!(row[..2], ["1", client]);
    assert!(std::fs::read_to_string(admin.folder().join(&row[3])).expect("written").contains("TagA || TagB"));
    assert!(status.contains("Same subscription in the same group of consumer\n\nRebalance OK\n"), "{status}");
    admin.fails_with(3, &["consumerStatus", "-g", "C_none"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_followed_and_moved() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    let (_producer, consumer) = traffic(&server, &admin).await;

    // While its member is there.
    let with_clients = ["consumerProgress", "-g", "C_res", "-s", "true"];
    let rows = admin.rows("consumerProgress-g-s.txt", &with_clients);
    let of_topic: Vec<_> = rows.iter().filter(|row| row[0] == "T_res").collect();
    assert_eq!(of_topic.len(), 2, "{rows:?}");
    assert!(of_topic.iter().all(|row| row[5] != "N/A" && !row[5].contains('@')), "{rows:?}");
    let all = admin.rows("consumerProgress.txt", &["consumerProgress"]);
    let ours = all.iter().find(|row| row[0] == "C_res").expect("ours");
    assert_eq!((&*ours[1], &*ours[3], &*ours[4]), ("1", "PUSH", "CLUSTERING"));
    consumer.close(Duration::from_secs(10)).await.expect("left");

    let rows = admin.rows("consumerProgress-g.txt", &["consumerProgress", "-g", "C_res", "-t", "T_res"]);
    assert_eq!(rows.iter().map(|row| row[3].as_str()).collect::<Vec<_>>(), ["3", "3"]);
    let lag = || admin.json(&["consumerProgress", "-g", "C_res", "-t", "T_res", "-c", "DefaultCluster"]);
    assert_eq!((&lag()["total"]["lag"], &lag()["queues"][0]["topic"]), (&4.into(), &"T_res".into()));
    let text = admin.ok(&["consumerProgress", "-g", "C_res"]);
    assert!(text.contains("\nConsume TPS: ") && text.contains("\nConsume Diff Total: 4\n"), "{text}");
    let all = admin.rows("consumerProgress.txt", &["consumerProgress"]);
    let ours = all.iter().find(|row| row[0] == "C_res").expect("ours");
    assert_eq!((&ours[1..3], &*ours[4]), (&["0", "OFFLINE"].map(str::to_owned)[..], "4"));
    assert!(admin.fails_with(3, &["consumerProgress", "-g", "C_none"]).contains("no broker has group C_none"));

    let rows = admin.rows("brokerConsumeStats.txt", &["brokerConsumeStats", "-b", &broker]);
    let ours: Vec<_> = rows.iter().filter(|row| row[..2] == ["T_res", "C_res"]).collect();
    assert!(!ours.is_empty(), "{rows:?}");
    let far = ["brokerConsumeStats", "-b", &broker, "-l", "1000", "-t", "5000", "-o", "false"];
    assert!(admin.rows("brokerConsumeStats.txt", &far).is_empty());
    assert!(admin.ok(&far).contains("\nDiff Total: "));

    // Who would get what.
    let shares = admin.json(&["allocateMQ", "-t", "T_res", "-i", "10.0.0.1,10.0.0.2"]);
    assert_eq!(shares["result"]["10.0.0.2"][0]["queueId"], 1);
    let text = admin.ok(&["allocateMQ", "-t", "T_res", "-i", "10.0.0.1"]);
    assert!(
        text.starts_with(r#"{"result":{"10.0.0.1":[{"brokerName":"broker-a","queueId":0,"topic":"T_res"},"#),
        "{text}"
    );
    admin.fails_with(3, &["allocateMQ", "-t", "T_none", "-i", "10.0.0.1"]);

    // Moving it: to the beginning, to the end, to a time, a queue alone; never forward.
    let reset = |more: &[&str]| admin.ok(&[&["resetOffsetByTime", "-g", "C_res", "-t", "T_res"], more].concat());
    let begun = reset(&["-s", "2020-01-01#00:00:00:000"]);
    assert!(begun.contains("timestamp(string)[2020-01-01#00:00:00:000], timestamp(long)[1577836800000]"), "{begun}");
    assert_eq!(lag()["total"]["lag"], 6);
    reset(&["-s", "-1", "-f", "false"]);
    assert_eq!(lag()["total"]["lag"], 6);
    reset(&["-s", "-1", "-b", &broker, "-q", "0"]);
    assert_eq!(lag()["total"]["lag"], 3);
    let one = reset(&["-s", "-1", "-b", &broker, "-q", "0", "-o", "1"]);
    assert!(one.ends_with("reset consumer offset to 1\n"), "{one}");
    assert_eq!(lag()["total"]["lag"], 5);
    let rows =
        admin.rows("resetOffsetByTime-online.txt", &["resetOffsetByTime", "-g", "C_res", "-t", "T_res", "-s", "now"]);
    assert_eq!(rows, [["broker-a", "0", "3"], ["broker-a", "1", "3"]]);
    assert_eq!(lag()["total"]["lag"], 0);
    reset(&["-s", "0", "-c", "DefaultCluster"]);
    let rows = admin.rows("skipAccumulatedMessage.txt", &["skipAccumulatedMessage", "-g", "C_res", "-t", "T_res"]);
    assert_eq!(rows, [["broker-a", "0", "3"], ["broker-a", "1", "3"]]);
    assert_eq!(lag()["total"]["lag"], 0);
    admin.fails_with(2, &["resetOffsetByTime", "-g", "C_res", "-t", "T_res", "-s", "soon"]);
    admin.fails_with(3, &["resetOffsetByTime", "-g", "C_res", "-t", "T_none", "-s", "now"]);
    let wrong = ["resetOffsetByTime", "-g", "C_res", "-t", "T_res", "-s", "now", "-b", &broker, "-q", "7"];
    assert!(admin.fails_with(3, &wrong).contains("has no queue 7"));

    // Another group goes on where it is.
    let copy = ["cloneGroupOffset", "-s", "C_res", "-d", "C_clone", "-t", "T_res", "-o", "true"];
    assert!(admin.fails_with(3, &copy).contains("no broker has group C_clone"));
    admin.ok(&["updateSubGroup", "-b", &broker, "-g", "C_clone"]);
    assert_eq!(admin.ok(&copy), "clone group offset success. srcGroup[C_res], destGroup=[C_clone], topic[T_res]\n");
    let copied = admin.json(&["consumerProgress", "-g", "C_clone", "-t", "T_res"]);
    assert_eq!(copied["queues"][1]["consumerOffset"], 3);
}
