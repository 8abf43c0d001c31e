//! Users and what they may do, over the wire, as `mqadmin` asks.

mod common;

use apogee_wire::Command;
use apogee_wire::bodies::{AclInfo, AclInfoList, Body, PolicyEntryInfo, PolicyInfo, UserInfo, UserInfoList};
use apogee_wire::codes::{request, response};
use common::{Peer, Server};

/// Asks for something and asserts how that ends.
fn call(peer: &mut Peer, code: i32, fields: &[(&str, &str)], body: Vec<u8>, expected: i32) -> Command {
    let mut command = Command::request(code).with_body(body);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    let answer = peer.call(command);
    assert_eq!(answer.code, expected, "{code} {fields:?} {:?}", answer.remark);
    answer
}

fn user(password: &str, user_type: Option<&str>) -> Vec<u8> {
    let user_type = user_type.map(str::to_owned);
    UserInfo { password: Some(password.to_owned()), user_type, ..UserInfo::default() }.encode()
}

fn acl(resource: &str, actions: &[&str], decision: &str) -> Vec<u8> {
    let entry = PolicyEntryInfo {
        actions: Some(actions.iter().map(|action| (*action).to_owned()).collect()),
        decision: Some(decision.to_owned()),
        resource: Some(resource.to_owned()),
        source_ips: None,
    };
    let policies = vec![PolicyInfo { entries: vec![entry], policy_type: None }];
    AclInfo { policies, subject: Some("User:alice".to_owned()) }.encode()
}

#[test]
fn users_and_policies_are_kept_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let (alice, of_alice) = ([("username", "alice")], [("subject", "User:alice")]);
    call(&mut peer, request::AUTH_CREATE_USER, &alice, user("pass1234", Some("Normal")), response::SUCCESS);
    let again = call(&mut peer, request::AUTH_CREATE_USER, &alice, user("p", None), response::NO_PERMISSION);
    assert_eq!(again.remark.as_deref(), Some("The user is existed"));
    call(&mut peer, request::AUTH_UPDATE_USER, &alice, user("pass12345", None), response::SUCCESS);
    call(&mut peer, request::AUTH_CREATE_ACL, &of_alice, acl("Topic:T", &["Pub", "Sub"], "Allow"), response::SUCCESS);
    call(&mut peer, request::AUTH_UPDATE_ACL, &of_alice, acl("Topic:T", &["Pub"], "Deny"), response::SUCCESS);
    call(&mut peer, request::AUTH_CREATE_ACL, &of_alice, acl("Group:G", &["Sub"], "Allow"), response::SUCCESS);
    server.kill();

    let server = Server::start_in(folder.path(), &[]);
    let mut peer = server.connect();
    let kept = call(&mut peer, request::AUTH_LIST_USER, &[("filter", "ali")], Vec::new(), response::SUCCESS);
    let [kept] = &UserInfoList::decode(&kept.body).expect("users")[..] else { panic!("{kept:?}") };
    assert_eq!(kept.password.as_deref(), Some("pass12345"));
    assert_eq!((kept.user_type.as_deref(), kept.user_status.as_deref()), (Some("Normal"), Some("enable")));
    let kept = call(&mut peer, request::AUTH_LIST_ACL, &[("resourceFilter", "T")], Vec::new(), response::SUCCESS);
    let [kept] = &AclInfoList::decode(&kept.body).expect("policies")[..] else { panic!("{kept:?}") };
    assert_eq!(kept.policies[0].entries[0].decision.as_deref(), Some("Deny"), "the update took the entry's place");

    let from = [("subject", "User:alice"), ("resource", "Topic:T")];
    call(&mut peer, request::AUTH_DELETE_ACL, &from, Vec::new(), response::SUCCESS);
    let kept = call(&mut peer, request::AUTH_GET_ACL, &of_alice, Vec::new(), response::SUCCESS);
    assert_eq!(AclInfo::decode(&kept.body).expect("policies").policies[0].entries.len(), 1);
    call(&mut peer, request::AUTH_DELETE_USER, &alice, Vec::new(), response::SUCCESS);
    let gone = call(&mut peer, request::AUTH_GET_USER, &alice, Vec::new(), response::SUCCESS);
    assert!(gone.body.is_empty(), "there is no such user");
    call(&mut peer, request::AUTH_GET_ACL, &of_alice, Vec::new(), response::NO_PERMISSION);
    call(&mut peer, request::AUTH_CREATE_ACL, &of_alice, b"[".to_vec(), response::INVALID_PARAMETER);
}
