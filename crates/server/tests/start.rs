//! Starting, stopping and configuring the binary as an operator does.

mod common;

use std::io::BufRead;
use std::os::unix::fs::symlink;
use std::process::{Command as Process, Output, Stdio};
use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use common::{Server, binary, wait};

fn run(arguments: &[&str]) -> Output {
    Process::new(binary()).args(arguments).env_remove("NAMESRV_ADDR").output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_says_when_it_is_ready_and_stops_cleanly() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start_in(&folder.path().join("data"), &[]);
        assert!(server.ready.contains(" ms: name server 127.0.0.1:"), "{}", server.ready);
        // Ready means that clients find their way: the name server knows the broker.
        let cluster = server.connect_namesrv().call(Command::request(request::GET_BROKER_CLUSTER_INFO));
        assert!(text(&cluster.body).contains(&server.broker.to_string()), "{}", text(&cluster.body));
        let abort = server.data.join("store/abort");
        assert!(abort.exists());
        assert!(server.stop_by(signal).success());
        assert!(!abort.exists(), "the store was not left in order");
    }
}

#[test]
fn an_idle_server_is_small() {
    let server = Server::start(&[]);
    server.assert_serving();
    assert!(server.resident() < 50 << 20, "{} MB", server.resident() >> 20);
}

#[test]
fn a_server_without_work_sleeps() {
    for flush in ["flushDiskType=SYNC_FLUSH", "flushDiskType=ASYNC_FLUSH"] {
        let server = Server::start(&[flush]);
        server.assert_serving();
        // What a start and a first message bring along is done by then.
        std::thread::sleep(Duration::from_secs(2));
        let before = server.sleeps();
        std::thread::sleep(Duration::from_secs(2));
        let sleeps = server.sleeps() - before;
        assert!(sleeps < 70, "{flush}: woken {sleeps} times in 2 s");
    }
}

#[test]
fn a_taken_port_is_named() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let port = server.broker.port().to_string();
    let output =
        run(&["server", "--data", &data, "--namesrv-port", "0", "--broker-port", &port, "--bind", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{error}");
    assert!(error.contains("another process has this port"), "{error}");
}

#[test]
fn a_data_folder_in_use_is_named() {
    let server = Server::start(&[]);
    let data = server.data.display().to_string();
    let output = run(&["server", "--data", &data, "--namesrv-port", "0", "--broker-port", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("in use by another process") && error.contains(&data), "{error}");
    server.assert_serving();
}

#[test]
fn settings_are_checked_and_the_nearest_key_is_named() {
    let error = |arguments: &[&str]| {
        let output = run(arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        text(&output.stderr)
    };
    let unknown = error(&["server", "--set", "autoCreateTopicEnabel=true"]);
    assert!(unknown.contains("did you mean `autoCreateTopicEnable`"), "{unknown}");
    let invalid = error(&["broker", "--set", "maxMessageSize=-1"]);
    assert!(invalid.contains("`maxMessageSize=-1`"), "{invalid}");
    let role = error(&["broker", "--set", "brokerRole=SLAVE"]);
    assert!(role.contains("brokerRole=SLAVE with brokerId=0") && role.contains("set brokerId"), "{role}");
    let missing = error(&["namesrv", "-c", "/nowhere/namesrv.conf"]);
    assert!(missing.contains("/nowhere/namesrv.conf: cannot be read"), "{missing}");
}

#[test]
fn a_file_is_read_and_the_command_line_counts_for_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broker.conf");
    std::fs::write(&file, "brokerName = from-file\nlistenPort=12345\nsendMessageThreadPoolNums=8\n").expect("written");
    let file = file.display().to_string();
    let printed = run(&["broker", "-c", &file, "--set", "listenPort=23456", "-p"]);
    assert!(printed.status.success());
    let printed = text(&printed.stdout);
    assert!(printed.contains("\nbrokerName=from-file\n"), "{printed}");
    assert!(printed.contains("\nlistenPort=23456\n"), "{printed}");
    assert!(printed.contains("# Port for clients."), "{printed}");
    std::fs::write(folder.path().join("bad.conf"), "\nbrokerNam=x\n").expect("written");
    let bad = run(&["broker", "-c", &folder.path().join("bad.conf").display().to_string()]);
    let error = text(&bad.stderr);
    assert!(error.contains("bad.conf:2: unknown setting `brokerNam`; did you mean `brokerName`?"), "{error}");
}

#[test]
fn a_key_without_effect_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let mut child = Process::new(binary())
        .args([
            "server",
            "--data",
            &data,
            "--namesrv-port",
            "0",
            "--broker-port",
            "0",
            "--set",
            "sendMessageThreadPoolNums=9",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut ready = String::new();
    std::io::BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut ready).expect("a line");
    assert!(Process::new("kill").arg(child.id().to_string()).status().expect("kill runs").success());
    assert!(wait(&mut child).success());
    let log = text(&child.wait_with_output().expect("output").stderr);
    assert!(log.contains("sendMessageThreadPoolNums") && log.contains("no effect"), "{log}");
}

#[test]
fn it_answers_to_upstreams_names() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, expected) in [
        ("mqnamesrv", "listenPort=9876"),
        ("mqbroker", "listenPort=10911"),
        ("mqcontroller", "controllerDLegerGroup=group1"),
    ] {
        let path = folder.path().join(name);
        symlink(binary(), &path).expect("linked");
        let output = Process::new(&path).arg("-p").output().expect("it runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(expected), "{name}");
    }
}

#[test]
fn broker_and_name_server_find_each_other_as_two_processes() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = |child: &mut std::process::Child| {
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        line
    };
    let kept = folder.path().join("kv.json").display().to_string();
    let start_namesrv = |port: &str| {
        Process::new(binary())
            .args(["namesrv", "--port", port, "--set", "bindAddress=127.0.0.1"])
            .args(["--set", &format!("kvConfigPath={kept}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    let mut namesrv = start_namesrv("0");
    let ready = line(&mut namesrv);
    let address = ready.trim().rsplit(' ').next().expect("an address").to_owned();
    let store = folder.path().join("store").display().to_string();
    let mut broker = Process::new(binary())
        .args(["broker", "-n", &address, "--set", "listenPort=0", "--set", "brokerIP1=127.0.0.1"])
        .args([
            "--set",
            "bindAddress=127.0.0.1",
            "--set",
            &format!("storePathRootDir={store}"),
            "--set",
            "brokerName=b1",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let ready = line(&mut broker);
    assert!(ready.contains("(b1)"), "{ready}");
    let cluster = || {
        let mut peer = common::Peer::connect(address.parse().expect("an address"));
        let cluster = peer.call(Command::request(request::GET_BROKER_CLUSTER_INFO));
        assert_eq!(cluster.code, response::SUCCESS);
        text(&cluster.body)
    };
    assert!(cluster().contains("b1"), "{}", cluster());
    // A name server that begins anew knows the broker soon: not only at the next half minute's registration.
    namesrv.kill().expect("it is killed");
    wait(&mut namesrv);
    let (_, port) = address.rsplit_once(':').expect("a port");
    namesrv = start_namesrv(port);
    line(&mut namesrv);
    let until = Instant::now() + Duration::from_secs(10);
    while !cluster().contains("b1") {
        assert!(Instant::now() < until, "{}", cluster());
        std::thread::sleep(Duration::from_millis(50));
    }
    for child in [&mut broker, &mut namesrv] {
        assert!(Process::new("kill").arg(child.id().to_string()).status().expect("kill runs").success());
        assert!(wait(child).success());
    }
}

#[test]
fn what_was_changed_while_it_ran_outlives_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let config = |server: &Server| {
        let namesrv = server.connect_namesrv().call(Command::request(request::GET_NAMESRV_CONFIG));
        let broker = server.connect().call(Command::request(request::GET_BROKER_CONFIG));
        text(&namesrv.body) + &text(&broker.body)
    };
    let server = Server::start_in(&data, &[]);
    assert!(config(&server).contains("orderMessageEnable=false"));
    let change = |code, line: &'static str| Command::request(code).with_body(line.as_bytes());
    let changed = server.connect_namesrv().call(change(request::UPDATE_NAMESRV_CONFIG, "orderMessageEnable=true"));
    assert_eq!(changed.code, response::SUCCESS, "{changed:?}");
    let changed = server.connect().call(change(request::UPDATE_BROKER_CONFIG, "maxMsgsNumBatch=33"));
    assert_eq!(changed.code, response::SUCCESS, "{changed:?}");
    assert!(server.stop().success());
    let config = config(&Server::start_in(&data, &[]));
    assert!(config.contains("orderMessageEnable=true") && config.contains("maxMsgsNumBatch=33"), "{config}");
}
