//! Settings that are changed while a server runs: what is refused, and what the log says of it.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command as Process, Stdio};

use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use common::Peer;

/// What a line of the log tells, under its names.
fn told(line: &str) -> impl Fn(&str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    move |name| line["fields"][name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_change_is_checked_and_the_log_says_who_made_it_from_what_to_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut server = Process::new(common::binary());
    server.args(["server", "--host", "127.0.0.1", "--bind", "127.0.0.1", "--namesrv-port", "0", "--broker-port", "0"]);
    server.arg("--data").arg(folder.path().join("data")).env("APOGEE_LOG", "info").env("APOGEE_LOG_FORMAT", "json");
    server.args(["--set", "metricsPromExporterPort=0"]);
    let mut server =
        server.stdout(Stdio::piped()).stderr(File::create(&log).expect("a file")).spawn().expect("the server starts");
    let mut ready = String::new();
    BufReader::new(server.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
    let peer = |after: &str| {
        let rest = ready.split(after).nth(1).expect("an address");
        Peer::connect(rest.split(',').next().expect("an address").trim().parse().expect("an address"))
    };
    let (mut namesrv, mut broker) = (peer("name server "), peer("broker "));

    let heartbeat =
        r#"{"clientID":"operator@7","producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"consumerDataSet":[]}"#;
    assert_eq!(broker.call(Command::request(request::HEART_BEAT).with_body(heartbeat)).code, response::SUCCESS);
    let of_broker = |lines: &'static str| Command::request(request::UPDATE_BROKER_CONFIG).with_body(lines);
    let of_namesrv = |lines: &'static str| Command::request(request::UPDATE_NAMESRV_CONFIG).with_body(lines);
    assert_eq!(broker.call(of_broker("maxMsgsNumBatch=33\ndefaultTopicQueueNums=8")).code, response::SUCCESS);
    assert_eq!(namesrv.call(of_namesrv("orderMessageEnable=true")).code, response::SUCCESS);
    let without_effect = broker.call(of_broker("sendMessageThreadPoolNums=64"));
    assert_eq!(without_effect.code, response::SUCCESS);
    assert!(without_effect.remark.is_some_and(|remark| remark.contains("sendMessageThreadPoolNums")));
    for (refused, code, text) in [
        (broker.call(of_broker("maxMsgsNumBatch=34\nrocketmqHome=/tmp")), response::NO_PERMISSION, "black list"),
        (broker.call(of_broker("storePathRootDir=/tmp")), response::NO_PERMISSION, "black list"),
        (broker.call(of_broker("brokerName=x")), response::INVALID_PARAMETER, "at the start only"),
        (broker.call(of_broker("maxMsgsNumBatch=0")), response::INVALID_PARAMETER, "out of bounds"),
        (namesrv.call(of_namesrv("rocketmqHome=/tmp")), response::NO_PERMISSION, "black list"),
        (namesrv.call(of_namesrv("waitSecondsForService=1")), response::SYSTEM_ERROR, "at the start only"),
        (namesrv.call(of_namesrv("listenPort=1")), response::NO_PERMISSION, "black list"),
    ] {
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.remark.as_deref().is_some_and(|remark| remark.contains(text)), "{refused:?}");
    }
    let config = broker.call(Command::request(request::GET_BROKER_CONFIG)).body;
    assert!(String::from_utf8_lossy(&config).lines().any(|line| line == "maxMsgsNumBatch=33"));
    server.kill().expect("killed");
    server.wait().expect("ended");

    let log = std::fs::read_to_string(&log).expect("a log");
    let changes = log.lines().filter(|line| line.contains("a setting is changed by remote request")).map(told);
    let changes: Vec<_> =
        changes.map(|told| ["client", "key", "before", "after"].map(&told).join(" ") + " " + &told("peer")).collect();
    let [of_broker, of_namesrv] = &changes[..] else { panic!("{changes:?}") };
    assert!(of_broker.starts_with("operator@7 maxMsgsNumBatch 64 33 127.0.0.1:"), "{of_broker}");
    assert!(of_namesrv.starts_with(" orderMessageEnable false true 127.0.0.1:"), "{of_namesrv}");
    let refused: Vec<_> = log.lines().filter(|line| line.contains("change of settings is refused")).map(told).collect();
    assert_eq!(refused.len(), 7, "{log}");
    assert!(refused.iter().all(|told| told("peer").starts_with("127.0.0.1:") && !told("error").is_empty()));
}
