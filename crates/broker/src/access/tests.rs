use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{Disk, SimDisk};
use apogee_wire::bodies::{PolicyEntryInfo, PolicyInfo};

use super::*;

fn open(disk: &SimDisk) -> Access {
    disk.create_folder(Path::new("/c")).unwrap();
    Access::open(JsonFile::new(Arc::new(disk.clone()), "/c/access.json".into())).unwrap()
}

fn user(password: &str, kind: &str, status: &str) -> UserInfo {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    UserInfo { password: given(password), user_type: given(kind), user_status: given(status), username: None }
}

fn acl(entries: &[(&str, &[&str], &str)]) -> AclInfo {
    let entries = entries.iter().map(|(resource, actions, decision)| PolicyEntryInfo {
        actions: Some(actions.iter().map(|action| (*action).to_owned()).collect()),
        decision: Some((*decision).to_owned()),
        resource: Some((*resource).to_owned()),
        source_ips: Some(vec!["192.168.1.0/24".to_owned()]),
    });
    AclInfo { policies: vec![PolicyInfo { entries: entries.collect(), policy_type: None }], subject: None }
}

#[test]
fn a_user_keeps_what_an_update_does_not_give_and_outlives_a_crash() {
    let disk = SimDisk::new(1);
    let access = open(&disk);
    access.create_user("alice", user("pass1234", "normal", "")).unwrap();
    access.update_user("alice", user("", "", "disable")).unwrap();
    disk.crash();
    let kept = open(&disk).user("alice").unwrap();
    let kept = [kept.username, kept.password, kept.user_type, kept.user_status].map(Option::unwrap);
    assert_eq!(kept, ["alice", "pass1234", "Normal", "disable"]);
}

#[test]
fn users_that_make_no_sense_are_refused() {
    let access = open(&SimDisk::new(1));
    access.create_user("alice", user("p", "", "")).unwrap();
    for (name, given, text) in [
        (" ", user("p", "", ""), "The username is blank"),
        ("bob", user("", "", ""), "password can not be blank"),
        ("bob", user("p", "root", ""), "userType `root` is none of Super, Normal"),
        ("bob", user("p", "", "on"), "userStatus `on` is none of enable, disable"),
        ("alice", user("p", "", ""), "The user is existed"),
    ] {
        let error = access.create_user(name, given).unwrap_err();
        assert!(error.remark.contains(text), "{error}");
    }
    assert!(access.update_user("bob", user("p", "", "")).unwrap_err().remark.contains("not exist"));
    assert_eq!(access.users("").len(), 1);
}

#[test]
fn entries_replace_those_for_the_same_resource() {
    let access = open(&SimDisk::new(1));
    assert!(access.put_acl("User:alice", acl(&[("Topic:T", &["Pub"], "Allow")])).is_err(), "there is no such user");
    access.create_user("alice", user("p", "", "")).unwrap();
    access
        .put_acl("User:alice", acl(&[("Topic:T", &["pub", "SUB"], "allow"), ("group:G*", &["Sub"], "Deny")]))
        .unwrap();
    access.put_acl("User:alice", acl(&[("Topic:T", &["Get"], "Deny")])).unwrap();
    let kept = access.acl("User:alice").unwrap().unwrap();
    let [PolicyInfo { entries, policy_type }] = &kept.policies[..] else { panic!("{kept:?}") };
    assert_eq!(policy_type.as_deref(), Some("Custom"));
    let entries: Vec<_> = entries.iter().map(|entry| (entry.resource.as_deref(), entry.decision.as_deref())).collect();
    assert_eq!(entries, [(Some("Topic:T"), Some("Deny")), (Some("Group:G*"), Some("Deny"))]);
    assert_eq!(access.acls("", "G*")[0].policies[0].entries.len(), 1);
    assert_eq!(access.acls("ali", "ali")[0].policies[0].entries.len(), 2);
    assert!(access.acls("bob", "").is_empty());
    access.delete_acl("User:alice", None, Some("Topic:T")).unwrap();
    access.delete_acl("User:alice", None, Some("Group:G*")).unwrap();
    assert_eq!(access.acl("User:alice").unwrap(), None);
    assert!(access.delete_acl("User:alice", None, None).unwrap_err().remark.contains("The acl is not exist"));
}

#[test]
fn a_user_takes_its_policies_with_it() {
    let access = open(&SimDisk::new(1));
    access.create_user("alice", user("p", "", "")).unwrap();
    access.put_acl("User:alice", acl(&[("*", &["All"], "Allow")])).unwrap();
    assert!(access.delete_user("alice").unwrap() && !access.delete_user("alice").unwrap());
    access.create_user("alice", user("p", "", "")).unwrap();
    assert_eq!(access.acl("User:alice").unwrap(), None);
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let access = open(&SimDisk::new(1));
    access.create_user("alice", user("p", "", "")).unwrap();
    for (resource, actions, decision) in [
        ("Queue:Q", &["Pub"][..], "Allow"),
        ("Topic", &["Pub"], "Allow"),
        ("Topic:", &["Pub"], "Allow"),
        ("Topic:a*b", &["Pub"], "Allow"),
        ("Topic:T", &[], "Allow"),
        ("Topic:T", &["Any"], "Allow"),
        ("Topic:T", &["Fly"], "Allow"),
        ("Topic:T", &["Pub"], "Maybe"),
        ("Topic:T", &["Pub"], ""),
    ] {
        assert!(access.put_acl("User:alice", acl(&[(resource, actions, decision)])).is_err(), "{resource} {actions:?}");
    }
    for ip in ["", "1.2.3", "1.2.3.4/33", "::1/129", "host"] {
        let mut given = acl(&[("Topic:T", &["Pub"], "Allow")]);
        given.policies[0].entries[0].source_ips = Some(vec![ip.to_owned()]);
        assert!(access.put_acl("User:alice", given).is_err(), "{ip}");
    }
    for subject in ["alice", "Group:alice", "User:"] {
        assert!(access.put_acl(subject, acl(&[("Topic:T", &["Pub"], "Allow")])).is_err(), "{subject}");
    }
    assert!(access.acls("", "").is_empty());
}
