//! Every command of upstream's `mqadmin`, run against a server that does something, in an order in which they go well.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command as Process, Output, Stdio};
use std::time::{Duration, Instant};

use apogee_client::{Client, Consumer, Message, Producer};
use common::{PATIENCE, Server, binary};
use serde_json::Value;

/// Each command: its line, the exit code, and what its output has. `{…}` stands for what only the run knows.
const LINES: &[(&str, i32, &str)] = &[
    // Topics.
    ("updateTopic -b {broker} -t Made -r 4 -w 4", 0, "create topic to {broker} success."),
    ("updateTopic -c DefaultCluster -t Ordered -r 2 -w 2 -a +message.type=FIFO -o true", 0, "success"),
    ("updateTopicList -b {broker} -f {folder}/topics.json", 0, "{broker}"),
    ("updateTopicPerm -c DefaultCluster -t Made -p 4", 0, "update topic perm from 6 to 4 in {broker} success."),
    ("updateOrderConf -t Ordered -v broker-a:2 -m put", 0, "success"),
    ("updateOrderConf -t Ordered -m get", 0, "broker-a:2"),
    ("updateOrderConf -t Ordered -m delete", 0, "success"),
    ("topicList", 0, "Made"),
    ("topicList -c", 0, "#Consumer Group"),
    ("topicRoute -t Orders", 0, "broker-a"),
    ("topicRoute -t Orders -l", 0, "#ReadQueue"),
    ("topicStatus -t Orders", 0, "#Max Offset"),
    ("topicClusterList -t Orders", 0, "DefaultCluster"),
    ("updateStaticTopic -t Static -qn 4 -c DefaultCluster", 0, "mapping data is written to file"),
    ("remappingStaticTopic -t Static -c DefaultCluster", 0, "mapping data is written to file"),
    ("deleteTopic -c DefaultCluster -t Made", 0, "success"),
    ("cleanUnusedTopic -b {broker}", 0, "success"),
    ("cleanExpiredCQ -b {broker}", 0, "success"),
    ("deleteExpiredCommitLog -b {broker}", 0, "success"),
    // Messages.
    ("sendMessage -t Orders -p hello -k kk -c TagA", 0, "SEND_OK"),
    ("sendMsgStatus -b broker-a -s 64 -c 2", 0, "SEND_OK"),
    ("checkMsgSendRT -t Orders -a 2 -s 32", 0, "broker-a"),
    ("consumeMessage -t Orders -b broker-a -i 0 -o 0 -c 1", 0, "body"),
    ("printMsg -t Orders -d true", 0, "body"),
    ("printMsgByQueue -t Orders -a broker-a -i 0 -p true -d true", 0, "body"),
    ("queryMsgById -t Orders -i {offsetId}", 0, "OffsetID:"),
    ("queryMsgByKey -t Orders -k k1", 0, "#Message ID"),
    ("queryMsgByUniqueKey -t Orders -i {messageId}", 0, "Message Body:"),
    ("queryMsgByOffset -t Orders -b broker-a -i 0 -o 0", 0, "CommitLog Offset:"),
    ("queryMsgTraceById -i {messageId}", 0, "#Type"),
    ("queryCq -t Orders -q 0 -i 0 -b {broker} -g readers", 0, "physicOffset"),
    // Groups and clients.
    ("updateSubGroup -c DefaultCluster -g Made -o true -q 2 -r 5", 0, "success"),
    ("updateSubGroupList -b {broker} -f {folder}/groups.json", 0, "{broker}"),
    ("getConsumerConfig -g Made", 0, "retryMaxTimes"),
    ("setConsumeMode -c DefaultCluster -t Orders -g Made -m POP -q 0", 0, "success"),
    ("consumerConnection -g readers", 0, "#ClientId"),
    ("producerConnection -g producers -t Orders", 0, "{client}"),
    ("producer -b {broker}", 0, "{client}"),
    ("consumerStatus -g readers", 0, "{client}"),
    ("consumerStatus -g readers -i {client}", 0, "#Consumer Subscription#"),
    ("consumerProgress", 0, "readers"),
    ("consumerProgress -g readers", 0, "Consume Diff Total"),
    ("consumerProgress -g readers -s true", 0, "#Client IP"),
    ("brokerConsumeStats -b {broker}", 0, "#Diff"),
    ("statsAll", 0, "Orders"),
    ("statsAll -a -t Orders", 0, "readers"),
    ("allocateMQ -t Orders -i 10.0.0.1,10.0.0.2", 0, "10.0.0.2"),
    ("updateSubGroup -b {broker} -g cloned", 0, "success"),
    ("cloneGroupOffset -s readers -d cloned -t Orders -o true", 0, "success"),
    ("resetOffsetByTime -g cloned -t Orders -s -1", 0, "offset"),
    ("skipAccumulatedMessage -g cloned -t Orders", 0, "offset"),
    ("deleteSubGroup -c DefaultCluster -g Made -r true", 0, "success"),
    // Brokers and name servers.
    ("clusterList", 0, "#InTPS"),
    ("clusterList -m", 0, "#InTotalToday"),
    ("brokerStatus -b {broker}", 0, "commitLogMaxOffset"),
    ("getBrokerConfig -b {broker}", 0, "flushDiskType"),
    ("updateBrokerConfig -b {broker} -k maxMsgsNumBatch -v 33", 0, "success"),
    ("updateBrokerConfig -b {broker} -k storePathRootDir -v /tmp", 1, "storePathRootDir"),
    ("haStatus -b {broker}", 0, "#MasterCommitLogMaxOffset"),
    ("resetMasterFlushOffset -b {broker} -o 0", 0, ""),
    ("getColdDataFlowCtrInfo -b {broker}", 0, "cgColdReadThreshold"),
    ("updateColdDataFlowCtrGroupConfig -b {broker} -g readers -v 1048576", 0, "{broker}"),
    ("removeColdDataFlowCtrGroupConfig -b {broker} -g readers", 0, "{broker}"),
    ("setCommitLogReadAheadMode -b {broker} -m 0", 0, "success"),
    ("switchTimerEngine -b {broker} -e F", 0, "{broker}"),
    ("wipeWritePerm -b broker-a", 0, "OK"),
    ("addWritePerm -b broker-a", 0, "OK"),
    ("getNamesrvConfig", 0, "listenPort"),
    ("updateNamesrvConfig -k deleteTopicWithBrokerRegistration -v false", 0, "success"),
    ("updateNamesrvConfig -k kvConfigPath -v /tmp/x", 1, "kvConfigPath"),
    ("updateKvConfig -s NS1 -k k1 -v v1", 0, "success"),
    ("deleteKvConfig -s NS1 -k k1", 0, "success"),
    ("exportMetadata -c DefaultCluster -f {folder}/export", 0, "success"),
    ("exportConfigs -c DefaultCluster -f {folder}/export", 0, "configs.json"),
    ("exportMetrics -c DefaultCluster -f {folder}/export", 0, "metrics.json"),
    ("exportPopRecord -b {broker} -d true", 0, "{broker}"),
    // Users and policies.
    ("createUser -b {broker} -u alice -p pass1234 -t Normal", 0, "success"),
    ("updateUser -b {broker} -u alice -p pass12345", 0, "success"),
    ("getUser -b {broker} -u alice", 0, "alice"),
    ("listUser -b {broker}", 0, "alice"),
    ("copyUser -f {broker} -t {broker} -u alice", 0, "success"),
    (
        "createAcl -b {broker} -s User:alice -r Topic:Orders,Group:readers -a Pub,Sub -i 192.168.1.0/24 -d Allow",
        0,
        "success",
    ),
    ("updateAcl -b {broker} -s User:alice -r Topic:Orders -a Pub -d Deny", 0, "success"),
    ("getAcl -b {broker} -s User:alice", 0, "Topic:Orders"),
    ("listAcl -b {broker}", 0, "User:alice"),
    ("copyAcl -f {broker} -t {broker} -s User:alice", 0, "success"),
    ("deleteAcl -b {broker} -s User:alice", 0, "success"),
    ("deleteUser -b {broker} -u alice", 0, "success"),
    // What the server has none of, and says so.
    ("getBrokerLiteInfo -b {broker}", 0, "#Store Type"),
    ("getParentTopicInfo -p Orders", 1, "Orders"),
    ("getLiteTopicInfo -p Orders -l one", 1, ""),
    ("getLiteClientInfo -p Orders -g readers -c {client}", 1, ""),
    ("getLiteGroupInfo -p Orders -g readers", 1, ""),
    ("triggerLiteDispatch -p Orders -g readers -b broker-a", 1, ""),
    ("getBrokerEpoch -b broker-a", 1, ""),
    ("getSyncStateSet -a {namesrv} -b broker-a", 1, ""),
    ("getControllerMetaData -a {namesrv}", 1, ""),
    ("getControllerConfig -a {namesrv}", 1, ""),
    ("updateControllerConfig -a {namesrv} -k scanNotActiveBrokerInterval -v 5000", 1, ""),
    ("electMaster -a {namesrv} -b 2 -bn broker-a -c DefaultCluster", 1, ""),
    ("cleanBrokerMetadata -a {namesrv} -bn broker-a -c DefaultCluster -b 9", 1, ""),
    ("addBroker -c {broker} -b /etc/broker.conf", 1, ""),
    ("removeBroker -c {broker} -b DefaultCluster:broker-a:0", 1, ""),
    ("checkRocksdbCqWriteProgress -c DefaultCluster -t Orders", 0, "broker-a"),
    ("rocksDBConfigToJson -t topics -b {broker}", 0, "done"),
    ("exportMetadataInRocksDB -p {folder}/none -t topics", 3, "{folder}/none"),
    ("dumpCompactionLog -f {folder}/none", 1, "{folder}/none"),
];

/// What goes on until it is ended, and what it prints again and again.
const ENDLESS: [(&str, &str); 2] =
    [("clusterRT -c DefaultCluster -a 2 -s 16 -i 1", "broker-a"), ("startMonitoring", "endRound")];

/// A server with a topic, messages, traces, and clients that stay.
struct Scene {
    server: Server,
    folder: tempfile::TempDir,
    producer: Producer,
    _consumer: Consumer,
    client: String,
    sent: apogee_client::Sent,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start(&[]);
        let folder = tempfile::tempdir().expect("a folder");
        let config = r#"[{"topicName":"Listed","readQueueNums":2,"writeQueueNums":2,"perm":6}]"#;
        std::fs::write(folder.path().join("topics.json"), config).expect("written");
        std::fs::write(folder.path().join("groups.json"), r#"[{"groupName":"Listed"}]"#).expect("written");
        let client = Client::builder(server.namesrv.to_string()).trace().build().expect("a client");
        let producer = client.producer("producers").expect("a producer");
        // To each of the four queues.
        let mut sent = None;
        for number in 0..8 {
            let message = Message::new("Orders", format!("body {number}")).key(format!("k{number}")).tag("TagA");
            sent = Some(producer.send(message).await.expect("sent"));
        }
        let consumer = client.consumer("readers").subscribe("Orders").from_first().join().await.expect("joined");
        let id = client.id().to_owned();
        let scene =
            Self { server, folder, producer, _consumer: consumer, client: id, sent: sent.expect("one was sent") };
        for (line, text) in [("producer -b {broker}", "{client}"), ("queryMsgTraceById -i {messageId}", "#Type")] {
            let deadline = Instant::now() + PATIENCE;
            let is_told = |(code, output): (_, String)| code == Some(0) && output.contains(&scene.filled(text));
            while !is_told(scene.output(line)) {
                assert!(Instant::now() < deadline, "{line}: {}", scene.output(line).1);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        scene
    }

    fn filled(&self, text: &str) -> String {
        let folder = self.folder.path().to_str().expect("a name");
        let text = text.replace("{broker}", &self.server.broker.to_string()).replace("{folder}", folder);
        let text = text.replace("{namesrv}", &self.server.namesrv.to_string()).replace("{client}", &self.client);
        text.replace("{messageId}", &self.sent.message_id).replace("{offsetId}", &self.sent.offset_id)
    }

    fn run(&self, line: &str, more: &[&str]) -> Output {
        let line = self.filled(line);
        let mut process = Process::new(binary());
        process.arg("admin").args(line.split(' ')).args(more).current_dir(self.folder.path());
        process.env("NAMESRV_ADDR", self.server.namesrv.to_string()).output().expect("it runs")
    }

    fn output(&self, line: &str) -> (Option<i32>, String) {
        let output = self.run(line, &["--yes"]);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// Names of commands in upstream's table, those that only read or all.
fn upstream(reading: bool) -> BTreeSet<&'static str> {
    let table = include_str!("../../../tests/golden/mqadmin/commands.tsv");
    let rows = table.lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows = rows.map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| !reading || row[2] == "read").map(|row| row[0]).collect()
}

fn command(line: &'static str) -> &'static str {
    line.split(' ').next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_does_what_it_says() {
    let covered: BTreeSet<&str> =
        LINES.iter().map(|(line, ..)| *line).chain(ENDLESS.map(|(line, _)| line)).map(command).collect();
    assert_eq!(covered, upstream(false));
    let scene = Scene::new().await;
    let reading = upstream(true);
    let mut wrong = Vec::new();
    for (line, code, text) in LINES {
        // Orders of before are still to be read.
        let (ended, output) = scene.output(line);
        if ended != Some(*code) || !output.contains(&scene.filled(text)) {
            wrong.push(format!("{line}: {ended:?} instead of {code}, and {text:?}: {output}"));
        }
        if reading.contains(command(line)) && *code == 0 {
            let output = scene.run(line, &["--json"]);
            // What prints messages prints an object for each part of them, as it comes.
            let objects = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
            let objects: Vec<_> = objects.collect();
            if objects.is_empty() || !objects.iter().all(|object| matches!(object, Ok(Value::Object(_)))) {
                wrong.push(format!("{line} --json: {}", String::from_utf8_lossy(&output.stdout)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} lines:\n{}", wrong.len(), LINES.len(), wrong.join("\n"));
    scene.producer.send(Message::new("Orders", "all is well")).await.expect("sent");
}

#[test]
fn what_has_no_end_goes_on_until_it_is_ended() {
    let server = Server::start(&[]);
    for (line, text) in ENDLESS {
        let mut process = Process::new(binary());
        process.arg("admin").args(line.split(' ')).args(["-n", &server.namesrv.to_string()]).stdout(Stdio::piped());
        let mut process = process.spawn().expect("it runs");
        let printed = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let found = printed.map_while(Result::ok).any(|line| line.contains(text));
        let ended = process.try_wait().expect("it is ours");
        process.kill().expect("killed");
        process.wait().expect("it ends");
        assert!(found && ended.is_none(), "{line}: {ended:?}");
    }
}
