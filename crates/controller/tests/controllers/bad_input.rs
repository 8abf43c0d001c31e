//! Requests that make no sense, and messages of controllers that are none of ours.

use apogee_wire::Command;
use apogee_wire::codes::{request, response};

use crate::cluster::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_and_change_nothing() {
    let cluster = Cluster::start(1).await;
    let brokers = cluster.brokers("b", &[1]).await;
    for code in 1001..=1018 {
        for body in ["", "{", "[]", r#"{"group":1}"#, "\u{0}"] {
            let answer = cluster.ask(&Command::request(code).with_body(body.to_owned())).await;
            // Those that need nothing answer all the same.
            let is_question = matches!(code, request::CONTROLLER_GET_METADATA_INFO | request::GET_CONTROLLER_CONFIG);
            let is_empty_list = code == request::CONTROLLER_GET_SYNC_STATE_DATA && body == "[]";
            let is_no_setting = code == request::UPDATE_CONTROLLER_CONFIG && body.is_empty();
            let is_fine = is_question || is_empty_list || is_no_setting;
            assert_eq!(answer.code == response::SUCCESS, is_fine, "{code} {body:?}: {answer:?}");
            assert!(is_fine || answer.remark.is_some_and(|remark| !remark.contains("bug")), "{code} {body:?}");
        }
    }
    let long = "x".repeat(300);
    let register = Command::request(request::CONTROLLER_APPLY_BROKER_ID).with_header(
        &apogee_wire::headers::ApplyBrokerIdRequestHeader {
            cluster_name: Some("C"),
            broker_name: Some(&long),
            applied_broker_id: Some(1),
            register_check_code: Some("a;1"),
        },
    );
    let answer = cluster.ask(&register).await;
    assert_eq!(
        (answer.code, answer.remark.as_deref()),
        (response::CONTROLLER_INVALID_REQUEST, Some("a name or address is longer than 255 bytes"))
    );
    assert_eq!(cluster.ask(&brokers[0].elect(false)).await.code, response::SUCCESS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_other_groups_and_of_strangers_are_refused() {
    let cluster = Cluster::start(1).await;
    let leader = cluster.nodes[cluster.leader().await].as_ref().expect("up");
    let term = metric(leader, "apogee_controller_term");
    let message = |group: &str, from: &str, to: &str| {
        let vote = r#"{"vote":{"leader_id":{"term":99,"node_id":"n9"},"committed":true},"last_log_id":null}"#;
        let body = format!(r#"{{"group":"{group}","from":"{from}","to":"{to}","says":{vote}}}"#);
        Command::request(request::CONTROLLER_RAFT_VOTE).with_body(body)
    };
    for (asked, text) in [
        (message("group2", "n1", "n0"), "of group group1, the message is of group group2"),
        (message("group1", "n1", "n7"), "this controller is n0, the message is for n7"),
        (message("group1", "n9", "n0"), "n9 is none of the controllers here"),
        (message("group1", "n0", "n0"), "n0 is none of the controllers here"),
        (Command::request(request::CONTROLLER_RAFT_VOTE).with_body("{}"), "no message of a controller"),
        (Command::request(request::CONTROLLER_RAFT_APPEND), "no message of a controller"),
        (Command::request(request::CONTROLLER_RAFT_SNAPSHOT).with_body("[1]"), "no message of a controller"),
    ] {
        let answer = ask(&cluster.address(0), &asked).await.expect("an answer");
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert!(answer.remark.as_deref().unwrap_or_default().contains(text), "{answer:?}");
    }
    // It leads as before.
    assert_eq!(metric(leader, "apogee_controller_term"), term);
    assert!(leader.is_leader());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_brokers_with_one_id_are_told() {
    let cluster = Cluster::start(1).await;
    let mut brokers = cluster.brokers("b", &[1]).await;
    let address = std::mem::replace(&mut brokers[0].address, "127.0.0.1:9".to_owned());
    let answer = cluster.ask(&brokers[0].register()).await;
    assert_eq!(answer.code, response::CONTROLLER_BROKER_ID_INVALID);
    let remark = answer.remark.unwrap_or_default();
    assert!(remark.contains(&format!("in use by the broker at {address}")), "{remark}");
    // When that one is gone, it may move.
    brokers[0].quiet();
    let controller = cluster.nodes[0].as_ref().expect("up");
    until("the broker is gone", || metric(controller, "apogee_controller_replicas_alive") == 0.0).await;
    assert_eq!(cluster.ask(&brokers[0].register()).await.code, response::SUCCESS);
}
