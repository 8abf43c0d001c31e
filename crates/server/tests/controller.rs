//! `apogee controller`, alone and inside a name server.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::codes::request;
use common::controller::Controllers;
use common::{PATIENCE, Peer, binary, wait};

#[test]
fn masters_and_controllers_are_replaced_when_they_are_killed() {
    let mut controllers = Controllers::start(3);
    let first = controllers.join("C", "b", 1, "127.0.0.1:1");
    let second = controllers.join("C", "b", 2, "127.0.0.1:2");
    controllers.succeeds(&first.elect());
    // The second is in sync as soon as the leader hears it.
    let deadline = Instant::now() + PATIENCE;
    while controllers.ask(&first.alter(1, &[1, 2], 1)).code != 0 {
        assert!(Instant::now() < deadline, "{:?}", controllers.group("b"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let leader = controllers.leader();
    controllers.kill(leader);
    let killed = Instant::now();
    assert_ne!(controllers.leader(), leader);
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert_eq!(controllers.group("b"), (Some(1), 1, vec![1, 2]));
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while controllers.group("b") != (Some(2), 2, vec![2]) {
        assert!(Instant::now() < deadline, "{:?}", controllers.group("b"));
        std::thread::sleep(Duration::from_millis(50));
    }
    // All of them end and come back: nothing is forgotten.
    (0..3).filter(|node| *node != leader).for_each(|node| controllers.kill(node));
    (0..3).for_each(|node| controllers.up(node));
    assert_eq!(controllers.group("b"), (Some(2), 2, vec![2]));
    drop(second);
}

#[test]
fn a_name_server_has_one_where_its_file_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let conf = folder.path().join("namesrv.conf");
    let (home, store) = (folder.path().display(), folder.path().join("ctl").display().to_string());
    let lines = format!(
        "listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath={home}/kv.json\nenableControllerInNamesrv=true\n\
         controllerDLegerGroup=group7\ncontrollerDLegerPeers=n0-{port}\ncontrollerDLegerSelfId=n0\n\
         controllerStorePath={store}\n"
    );
    std::fs::write(&conf, lines).expect("written");
    let process = || {
        let mut process = Process::new(binary());
        process.args(["namesrv", "-c"]).arg(&conf).env("HOME", folder.path()).env("APOGEE_LOG", "error");
        process
    };
    let mut child = process().stdout(Stdio::piped()).spawn().expect("it starts");
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut ready).expect("a line");
    assert!(ready.contains(&format!("controller {port}")), "{ready}");
    let address: SocketAddr = port;
    let state = Peer::connect(address).call(Command::request(request::CONTROLLER_GET_METADATA_INFO));
    assert_eq!(state.fields.get("group"), Some("group7"));
    // It keeps changes of its settings beside the name server's file, and takes them up.
    let change = Command::request(request::UPDATE_CONTROLLER_CONFIG).with_body("enableElectUncleanMaster=true\n");
    assert_eq!(Peer::connect(address).call(change).code, 0);
    assert!(Process::new("kill").arg(child.id().to_string()).status().expect("kill runs").success());
    assert!(wait(&mut child).success());
    assert!(!std::fs::read_to_string(&conf).expect("there").contains("enableElectUncleanMaster"));
    let shown = process().arg("-p").output().expect("it runs");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("enableElectUncleanMaster=true\n"));
}

#[test]
fn what_is_missing_in_the_settings_is_said() {
    for (settings, text) in [
        (&[][..], "controllerDLegerPeers is not set"),
        (&["controllerDLegerPeers=n0"], "`n0` is not of the form ID-HOST:PORT"),
        (&["controllerDLegerPeers=n0-h:1;n1-i:1", "controllerDLegerSelfId=n7"], "controllerDLegerSelfId=n7 is none"),
        (&["controllerType=jRaft"], "only `controllerType=DLedger` is accepted"),
    ] {
        let mut process = Process::new(binary());
        process.arg("controller").args(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = process.output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(text), "{error}");
    }
}
