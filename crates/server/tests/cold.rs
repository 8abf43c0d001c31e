//! Reading what is on disk only: limits of groups, and reading ahead, as `mqadmin` sets them.

mod common;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, ColdDataFlowCtrInfo};
use apogee_wire::codes::{request, response};
use common::{Peer, Pull, Server};

fn call(peer: &mut Peer, code: i32, fields: &[(&str, &str)], body: &'static str, expected: i32) -> Command {
    let mut command = Command::request(code).with_body(body);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    let answer = peer.call(command);
    assert_eq!(answer.code, expected, "{code} {body} {:?}", answer.remark);
    answer
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let nothing = call(&mut peer, request::GET_COLD_DATA_FLOW_CTR_INFO, &[], "", response::SUCCESS);
    let as_upstream = r#"{"runtimeTable":{},"configTable":{},"cgColdReadThreshold":3145728,"globalColdReadThreshold":104857600,"globalAcc":0}"#;
    assert_eq!(nothing.body, as_upstream, "in this order: the tools print it as it comes");
    call(&mut peer, request::UPDATE_COLD_DATA_FLOW_CTR_CONFIG, &[], "C=1048576\nD=5\n", response::SUCCESS);
    call(&mut peer, request::UPDATE_COLD_DATA_FLOW_CTR_CONFIG, &[], "C=none", response::INVALID_PARAMETER);
    call(&mut peer, request::REMOVE_COLD_DATA_FLOW_CTR_CONFIG, &[], "D", response::SUCCESS);
    server.kill();

    let server = Server::start_in(folder.path(), &["coldDataFlowControlEnable=true", "cgColdReadThreshold=7"]);
    let kept = call(&mut server.connect(), request::GET_COLD_DATA_FLOW_CTR_INFO, &[], "", response::SUCCESS);
    let kept = ColdDataFlowCtrInfo::decode(&kept.body).expect("limits");
    assert_eq!(kept.config_table, [("C".to_owned(), 1_048_576)].into());
    assert_eq!(kept.cg_cold_read_threshold, 7);
}

#[test]
#[cfg(target_os = "linux")]
fn reading_ahead_is_switched_and_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let is_ahead = |server: &Server, peer: &mut Peer| {
        peer.send_ok("T", 0, b"x", "");
        peer.pull(Pull::of("T", 0, 0));
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", server.pid())).expect("the process runs");
        let log = maps.split("/commitlog/").nth(1).expect("the log is mapped");
        let flags = log.lines().find_map(|line| line.strip_prefix("VmFlags:")).expect("flags");
        !flags.split_whitespace().any(|flag| flag == "rr")
    };
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    assert!(!is_ahead(&server, &mut peer));
    let mode = |peer: &mut Peer, mode, expected| {
        call(peer, request::SET_COMMITLOG_READ_MODE, &[("READ_AHEAD_MODE", mode)], "", expected)
    };
    let answer = mode(&mut peer, "0", response::SUCCESS);
    assert_eq!(answer.remark.as_deref(), Some("set commitlog readahead mode success, mode: 0"));
    assert!(is_ahead(&server, &mut peer));
    mode(&mut peer, "2", response::INVALID_PARAMETER);
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    assert!(is_ahead(&server, &mut peer), "it is a setting, and kept");
    mode(&mut peer, "1", response::SUCCESS);
    assert!(!is_ahead(&server, &mut peer));
    call(&mut peer, request::UPDATE_BROKER_CONFIG, &[], "dataReadAheadEnable=true", response::SUCCESS);
    assert!(is_ahead(&server, &mut peer));
}
