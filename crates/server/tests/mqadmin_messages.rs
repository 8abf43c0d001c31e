//! Commands about messages, against a running server.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use apogee_client::{Client, Message, Queue};
use common::mqadmin::{MqAdmin, golden};
use common::{PATIENCE, Server};
use serde_json::{Value, json};

/// Names at the beginning of lines, up to a colon.
fn names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once(":  ")).map(|(name, _)| name).collect()
}

/// The text with what differs from run to run left out: digits, hexadecimal ones, too.
fn shape(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_hexdigit()).collect()
}

/// The list under a key of all lines of JSON.
fn all<'j>(lines: &'j [Value], key: &str) -> Vec<&'j Value> {
    lines.iter().filter_map(|line| line[key].as_array()).flatten().collect()
}

#[test]
fn a_message_is_sent_and_found_in_all_ways() {
    let server = Server::start(&["traceTopicEnable=true"]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    admin.ok(&["updateTopic", "-b", &broker, "-t", "T", "-r", "2", "-w", "2"]);

    // Sending.
    let rows = admin.rows(
        "sendMessage.txt",
        &[
            "sendMessage",
            "-t",
            "T",
            "-p",
            "a body",
            "-k",
            "k1 k2",
            "-c",
            "TagA",
            "-b",
            "broker-a",
            "-i",
            "1",
            "-m",
            "true",
        ],
    );
    assert_eq!(rows[0][..3], ["broker-a", "1", "SEND_OK"]);
    let id = rows[0][3].clone();
    let sent = admin.json(&["sendMessage", "-t", "T", "-p", "-x-", "-c", "TagB", "-i", "1"])["sent"][0].clone();
    assert_eq!((&sent["broker"], &sent["queue"], &sent["result"]), (&json!("broker-a"), &json!(1), &json!("SEND_OK")));
    assert!(admin.fails_with(3, &["sendMessage", "-t", "T", "-p", "x", "-i", "7"]).contains("broker-a:0, broker-a:1"));
    assert!(admin.fails_with(3, &["sendMessage", "-t", "T", "-p", "x", "-b", "other"]).contains("broker-a:0"));

    // By its place.
    let place = |offset| ["queryMsgByOffset", "-t", "T", "-b", "broker-a", "-i", "1", "-o", offset];
    let found = admin.ok(&place("0"));
    let recorded = golden("queryMsgByOffset.txt").replace("Message Body Path", "Message Body");
    assert_eq!(names(&found), names(&recorded));
    assert!(found.ends_with("WARN: No Consumer\n"), "{found}");
    let message = admin.json(&place("0"))["messages"][0].clone();
    assert_eq!(
        (&message["body"], &message["tags"], &message["keys"]),
        (&json!("a body"), &json!("TagA"), &json!("k1 k2"))
    );
    assert_eq!(message["properties"]["UNIQ_KEY"], id.as_str());
    assert_eq!(admin.ok(&[&place("0")[..], &["-r", "TBW102"]].concat()), found, "by the route of another topic");
    assert!(admin.fails_with(3, &place("7")).contains("has no message at offset 7"));
    let elsewhere = ["queryMsgByOffset", "-t", "T", "-b", "other", "-i", "1", "-o", "0"];
    assert!(admin.fails_with(3, &elsewhere).contains("it is on: broker-a"));

    // By ids, of both kinds and several.
    let offset_id = message["offsetId"].as_str().expect("an id").to_owned();
    for id in [&offset_id, &id] {
        assert_eq!(admin.ok(&["queryMsgById", "-t", "T", "-i", id, "-c", "DefaultCluster"]), found, "{id}");
    }
    let both = format!("{offset_id},{}", sent["messageId"].as_str().expect("an id"));
    assert_eq!(admin.json(&["queryMsgById", "-t", "T", "-i", &both])["messages"].as_array().map(Vec::len), Some(2));
    assert!(admin.fails_with(3, &["queryMsgById", "-t", "T", "-i", "xyz"]).contains("no message with the id xyz"));
    assert!(
        admin.fails_with(2, &["queryMsgById", "-t", "T", "-i", &id, "-f", "klingon"]).contains("no charset klingon")
    );
    assert_eq!(admin.ok(&["queryMsgByUniqueKey", "-t", "T", "-i", &id]), found);
    admin.fails_with(3, &["queryMsgByUniqueKey", "-t", "T", "-i", &id, "-e", "2020-01-01#00:00:00:000"]);
    admin.fails_with(3, &["queryMsgByUniqueKey", "-t", "T", "-i", "0A00"]);

    // By keys and tags.
    let rows = admin.rows("queryMsgByKey.txt", &["queryMsgByKey", "-t", "T", "-k", "k2"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][..3], [&*id, "1", "0"]);
    let index_key = &rows[0][3];
    assert!(index_key.contains(&format!("@T@K@k2@{id}@")), "{index_key}");
    let after = admin.json(&["queryMsgByKey", "-t", "T", "-k", "k2", "-l", index_key]);
    assert_eq!(after["messages"], json!([]));
    let by_tag = admin.json(&["queryMsgByKey", "-t", "T", "-k", "TagB", "-p", "T"]);
    assert_eq!(by_tag["messages"][0]["offset"], 1);
    admin.fails_with(2, &["queryMsgByKey", "-t", "T", "-k", "k", "-p", "X"]);

    // Again, as a new one.
    let again = admin.ok(&["queryMsgById", "-t", "T", "-i", &offset_id, "-s", "true", "-u", "u1"]);
    assert!(
        again.starts_with(&format!("prepare resend msg. originalMsgId={offset_id}\nSendResult [sendStatus=SEND_OK"))
    );
    let status = admin.json(&["topicStatus", "-t", "T"])["queues"].clone();
    let messages: i64 = (0..2).map(|queue| status[queue]["maxOffset"].as_i64().expect("a number")).sum();
    assert_eq!(messages, 3);

    // What its traces tell.
    let traced = admin.eventually(&["queryMsgTraceById", "-i", &id], |text| text.contains("TOOLS_PRODUCER"));
    assert!(traced.starts_with("#Type  #ProducerGroup"), "{traced}");
    assert_eq!(admin.json(&["QueryMsgTraceById", "-i", &id])["published"][0]["status"], "success");
    assert!(admin.fails_with(3, &["queryMsgTraceById", "-i", "0000"]).contains("no trace"));
}

#[test]
fn messages_are_printed_and_counted() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    admin.ok(&["updateTopic", "-b", &server.broker.to_string(), "-t", "T_res", "-r", "2", "-w", "2"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = Client::new(server.namesrv.to_string()).expect("an address");
        let producer = client.producer("P").expect("a producer");
        for number in 0..70 {
            let queue = Queue { topic: "T_res".into(), broker: "broker-a".into(), id: 0 };
            let tag = if number % 10 == 0 { "TagA" } else { "TagB" };
            producer.send_to(&queue, Message::new("T_res", number.to_string()).tag(tag)).await.expect("sent");
        }
        let queue = Queue { topic: "T_res".into(), broker: "broker-a".into(), id: 1 };
        let gbk = Message::new("T_res", &b"\xc4\xe3\xba\xc3\x1b[2J"[..]);
        producer.send_to(&queue, gbk).await.expect("sent");
    });

    // All of a topic.
    let printed = admin.ok(&["printMsg", "-t", "T_res"]);
    let recorded = golden("printMsg.txt");
    let headings: Vec<&str> = printed.lines().filter(|line| line.starts_with("minOffset")).collect();
    assert_eq!(headings.len(), 2);
    let expected = recorded.lines().next().expect("a heading").replace("broker-w", "broker-a");
    assert_eq!(headings[0], expected.replace("maxOffset=1", "maxOffset=70"));
    assert_eq!(printed.lines().filter(|line| line.starts_with("MSGID: ")).count(), 71);
    let line = printed.lines().nth(1).expect("a message");
    let (head, recorded) = (line.split("properties=").next(), recorded.lines().nth(1).expect("a message"));
    assert_eq!(head.map(shape), recorded.replace("broker-w", "broker-a").split("properties=").next().map(shape));
    assert!(line.ends_with(" BODY: 0"), "{line}");
    assert!(!printed.contains('\x1b'), "a body steers no terminal");
    assert!(admin.ok(&["printMsg", "-t", "T_res", "-c", "GBK"]).contains("BODY: 你好\\u{1b}[2J"));
    let without = admin.ok(&["printMsg", "-t", "T_res", "-d", "false", "-s", "TagA || TagC"]);
    assert_eq!(without.matches(" BODY: NOT PRINT BODY").count(), 7, "{without}");
    assert!(!admin.ok(&["printMsg", "-t", "T_res", "-b", "now"]).contains("MSGID"));
    assert!(!admin.ok(&["printMsg", "-t", "T_res", "-e", "2020-01-01#00:00:00:000"]).contains("MSGID"));
    assert_eq!(all(&admin.json_lines(&["printMsg", "-t", "T_res"]), "messages").len(), 71);
    assert_eq!(admin.json_lines(&["printMsg", "-t", "T_res", "-l", "DefaultCluster"])[0]["queue"]["maxOffset"], 70);
    admin.fails_with(3, &["printMsg", "-t", "None"]);
    admin.fails_with(2, &["printMsg", "-t", "T_res", "-b", "yesterday"]);

    // One queue.
    let of_queue = ["printMsgByQueue", "-t", "T_res", "-a", "broker-a", "-i", "0"];
    let printed = admin.ok(&[&of_queue[..], &["-p", "true", "-d", "true"]].concat());
    assert_eq!(printed.lines().count(), 70);
    let counted = admin.ok(&[&of_queue[..], &["-f", "true"]].concat());
    assert_eq!(counted, format!("Tag: {:<30} Count: 63\nTag: {:<30} Count: 7\n", "TagB", "TagA"));
    let lines = admin.json_lines(&[&of_queue[..], &["-f", "true"]].concat());
    assert_eq!(lines[0]["tags"][1], json!({ "tag": "TagA", "count": 7 }));
    assert!(
        admin.fails_with(3, &["printMsgByQueue", "-t", "T_res", "-a", "x", "-i", "0"]).contains("it is on: broker-a")
    );
    assert!(
        admin.fails_with(3, &["printMsgByQueue", "-t", "T_res", "-a", "broker-a", "-i", "9"]).contains("no queue 9")
    );

    // Some.
    let some = ["consumeMessage", "-t", "T_res", "-b", "broker-a", "-i", "0", "-o", "0", "-c", "2"];
    let consumed = admin.ok(&some);
    let first = |text: &str| text.lines().take(2).collect::<Vec<_>>().join("\n").replace("oldler", "older");
    let expected = "The older 2 message of the 0 queue will be provided\nConsume ok";
    assert_eq!((first(&consumed).as_str(), consumed.lines().count()), (expected, 4));
    let bodies = |arguments: &[&str]| -> Vec<String> {
        let lines = admin.json_lines(&[&["consumeMessage", "-t", "T_res"], arguments].concat());
        let body = |message: &&Value| message["body"].as_str().map(str::to_owned);
        all(&lines, "messages").iter().filter_map(body).collect()
    };
    assert_eq!(bodies(&["-b", "broker-a", "-i", "0", "-o", "40", "-c", "3"]), ["40", "41", "42"]);
    assert_eq!(bodies(&["-c", "70"]).len(), 70, "as many as were asked for, over all pulls");
    assert_eq!(bodies(&["-g", "TOOLS_CONSUMER", "-s", "now"]), [""; 0]);
    admin.fails_with(2, &["consumeMessage", "-t", "T_res", "-i", "0"]);
    admin.fails_with(2, &["consumeMessage", "-t", "T_res", "-c", "0"]);
    admin.fails_with(2, &["consumeMessage", "-t", "T_res", "-s", "now", "-e", "1000"]);
}

#[test]
fn units_of_a_queue_are_shown_as_a_group_sees_them() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    admin.ok(&["updateTopic", "-b", &broker, "-t", "T_res", "-r", "1", "-w", "1"]);
    admin.ok(&["sendMessage", "-t", "T_res", "-p", "x", "-c", "TagA"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client = runtime.block_on(async { Client::new(server.namesrv.to_string()).expect("an address") });
    let mut consumer = runtime
        .block_on(client.consumer("C_res").subscribe_tags("T_res", "TagA || TagB").from_first().join())
        .expect("joined");
    let delivery = runtime.block_on(async { tokio::time::timeout(PATIENCE, consumer.next()).await });
    let delivery = delivery.expect("in time").expect("open");

    let units = ["queryCq", "-t", "T_res", "-q", "0", "-i", "0"];
    let text = admin.ok(&[&units[..], &["-b", &broker, "-g", "C_res"]].concat());
    let recorded = golden("queryCq.txt");
    let without_numbers = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("subVersion") && !line.contains("Filter data"));
        let plain = |line: &str| line.trim_end().chars().filter(|one| !one.is_ascii_digit()).collect::<String>();
        lines.map(plain).filter(|line| !line.trim_matches(['\t', ',']).is_empty()).collect::<Vec<_>>()
    };
    let found = without_numbers(&text);
    let lists = |line: &&String| !["null", "codeSet", "]"].iter().any(|one| line.contains(one));
    for line in without_numbers(&recorded).iter().filter(lists) {
        assert!(found.contains(line), "{line}: {text}");
    }
    assert!(text.contains("\"codeSet\":[2598919,2598920]"), "{text}");
    let json = admin.json(&[&units[..], &["-g", "C_res", "-c", "5"]].concat());
    assert_eq!((&json["max"], &json["units"].as_array().map(Vec::len)), (&json!(1), &Some(1)));
    assert_eq!((&json["units"][0]["tagCode"], &json["subscription"]["kind"]), (&json!(2_598_919), &json!("TAG")));
    admin.fails_with(3, &["queryCq", "-t", "None", "-q", "0", "-i", "0"]);

    // The member that is there consumes a message at once; what became of it is told.
    let id = delivery.message_id().into_owned();
    delivery.ack();
    let found = admin.eventually(&["queryMsgByUniqueKey", "-t", "T_res", "-i", &id], |text| text.contains("CONSUMED,"));
    let track = |text: &str| text.lines().find(|line| line.starts_with("MessageTrack")).map(str::to_owned);
    assert_eq!(track(&found), track(&golden("queryMsgByUniqueKey.txt")));
    let member = client.id().to_owned();
    let direct = ["queryMsgByUniqueKey", "-t", "T_res", "-i", &id, "-g", "C_res", "-d", &member];
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| admin.json(&direct));
        let handed = runtime.block_on(async { tokio::time::timeout(PATIENCE, consumer.next()).await });
        handed.expect("in time").expect("open").ack();
        asked.join().expect("asked")
    });
    assert_eq!(asked["consumed"][0]["outcome"], "CR_SUCCESS", "{asked}");
    admin.fails_with(2, &["queryMsgByUniqueKey", "-t", "T_res", "-i", &id, "-g", "C_res"]);
    let stranger = ["queryMsgById", "-t", "T_res", "-i", &id, "-g", "C_res", "-d", "nobody"];
    assert_ne!(admin.run(&stranger).0, 0);
}

#[test]
fn sending_is_timed() {
    let server = Server::start(&[]);
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    admin.ok(&["updateTopic", "-b", &broker, "-t", "T", "-r", "2", "-w", "2"]);
    let status = admin.ok(&["sendMsgStatus", "-b", "broker-a", "-s", "64", "-c", "2"]);
    let recorded = golden("sendMsgStatus.txt").replace("broker-w", "broker-a");
    assert_eq!(status.lines().map(shape).collect::<Vec<_>>(), recorded.lines().map(shape).collect::<Vec<_>>());
    let stored = admin.json(&["queryMsgByOffset", "-t", "broker-a", "-b", "broker-a", "-i", "0", "-o", "2"]);
    assert_eq!(stored["messages"][0]["body"].as_str().map(str::len), Some(64));
    admin.fails_with(3, &["sendMsgStatus", "-b", "None"]);

    let rows = admin.rows("checkMsgSendRT.txt", &["checkMsgSendRT", "-t", "T", "-a", "3", "-s", "32"]);
    let queues: Vec<_> = rows[..3].iter().map(|row| row[..3].join(" ")).collect();
    assert_eq!(queues, ["broker-a 0 true", "broker-a 1 true", "broker-a 0 true"]);
    assert_eq!(rows[3][..2], ["Avg", "RT:"]);
    let checked = admin.json(&["checkMsgSendRT", "-t", "T", "-a", "1"]);
    assert!(checked["meanMs"].as_f64().is_some_and(|mean| mean > 0.0), "{checked}");
    admin.fails_with(2, &["checkMsgSendRT", "-t", "T", "-a", "0"]);

    // Rounds, until it is ended.
    let round = |arguments: &[&str]| {
        let mut process = admin.process(&[&["clusterRT", "-a", "2", "-s", "16", "-i", "1"], arguments].concat());
        let mut process = process.stdout(Stdio::piped()).spawn().expect("it runs");
        let lines: Vec<String> = BufReader::new(process.stdout.take().expect("a pipe"))
            .lines()
            .take(if arguments.is_empty() { 4 } else { 2 })
            .map(|line| line.expect("read"))
            .collect();
        process.kill().and_then(|()| process.wait()).expect("ended");
        lines
    };
    let lines = round(&[]);
    let recorded = golden("clusterRT.txt");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&lines[0]), words(recorded.lines().next().expect("headings")));
    let row = words(&lines[3]);
    assert_eq!((&row[..2], &row[3..]), (&words("DefaultCluster broker-a")[..], &words("2 0")[..]));
    let line = round(&["-c", "DefaultCluster", "-p", "true", "-m", "room"])[1].clone();
    assert!(line.contains("|room|DefaultCluster|broker-a|"), "{line}");
    let json: Value = serde_json::from_str(&round(&["--json"])[1]).expect("JSON");
    assert_eq!((&json["brokers"][0]["sent"], &json["brokers"][0]["failed"]), (&json!(2), &json!(0)));
    assert_eq!(json["failures"], Value::Null);
}
