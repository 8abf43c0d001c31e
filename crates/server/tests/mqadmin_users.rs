//! Commands about users and what they may do, against a running server.

mod common;

use common::Server;
use common::mqadmin::{MqAdmin, golden};

/// What Apache's printed, of this server.
fn sample(name: &str, broker: &str) -> String {
    golden(name).replace("127.0.0.1:30911", broker)
}

/// Apache's broker has to be told to keep users.
const KEEPING: &[&str] = &[
    "authenticationProvider=org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
    "authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
    "authorizationProvider=org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider",
    "authorizationMetadataProvider=org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider",
];

#[test]
fn users_and_their_rules_are_created_changed_copied_and_removed() {
    let is_apache = std::env::var("APOGEE_TEST_SERVER").as_deref() == Ok("apache");
    let server = Server::start(if is_apache { KEEPING } else { &[] });
    let admin = MqAdmin::of(&server);
    let broker = server.broker.to_string();
    let of = |command, words: &[&str]| admin.ok(&[&[command, "-b", &*broker], words].concat());

    // Users.
    let alice = ["-u", "alice", "-p", "pass1234", "-t", "Normal"];
    assert_eq!(of("createUser", &alice), sample("createUser.txt", &broker));
    assert!(!admin.fails(&[&["createUser", "-b", &broker], &alice[..]].concat()).contains("pass1234"));
    admin.ok(&["createUser", "-c", "DefaultCluster", "-u", "bob", "-p", "pass1234", "-t", "super"]);
    assert_eq!(of("updateUser", &["-u", "alice", "-p", "pass12345"]), sample("updateUser.txt", &broker));
    assert_eq!(
        admin.rows("getUser.txt", &["getUser", "-b", &broker, "-u", "alice"]),
        [["alice", "pass12345", "Normal", "enable"]]
    );
    of("updateUser", &["-u", "alice", "-s", "disable"]);
    let all = admin.rows("listUser.txt", &["listUser", "-b", &broker]);
    assert_eq!(all, [["alice", "pass12345", "Normal", "disable"], ["bob", "pass1234", "Super", "enable"]]);
    assert_eq!(admin.rows("listUser.txt", &["listUser", "-b", &broker, "-f", "bo"]).len(), 1);
    let of_cluster = admin.ok(&["getUser", "-c", "DefaultCluster", "-u", "bob"]);
    assert!(of_cluster.ends_with(&format!("get user from {broker} success.\n")), "{of_cluster}");
    assert_eq!(admin.json(&["listUser", "-c", "DefaultCluster"])["users"][1]["type"], "Super");
    assert!(admin.fails_with(3, &["getUser", "-b", &broker, "-u", "nobody"]).contains("has no user nobody"));
    admin.fails_with(2, &["updateUser", "-b", &broker, "-u", "alice"]);
    admin.fails_with(2, &["createUser", "-u", "x", "-p", "y"]);
    let copied = admin.ok(&["copyUser", "-f", &broker, "-t", &broker, "-u", "alice"]);
    assert_eq!(copied, sample("copyUser.txt", &broker));
    assert_eq!(admin.ok(&["copyUser", "-f", &broker, "-t", &broker]).lines().count(), 2);
    admin.fails_with(3, &["copyUser", "-f", &broker, "-t", &broker, "-u", "nobody"]);

    // Rules.
    let rule =
        ["-s", "User:alice", "-r", "Topic:T_res,Group:C_res", "-a", "Pub,Sub", "-i", "192.168.1.0/24", "-d", "Allow"];
    assert_eq!(of("createAcl", &rule), sample("createAcl.txt", &broker));
    let deny = ["-s", "User:alice", "-r", "Topic:T_res", "-a", "Pub", "-d", "deny"];
    assert_eq!(of("updateAcl", &deny), sample("updateAcl.txt", &broker));
    let rules = admin.json(&["getAcl", "-b", &broker, "-s", "User:alice"])["rules"].clone();
    let of_resource = |resource| {
        let rules = rules.as_array().expect("a list").iter();
        rules.into_iter().find(|rule| rule["resource"] == resource).expect("a rule")
    };
    let group = of_resource("Group:C_res");
    assert_eq!((&group["decision"], &group["sourceIps"][0]), (&"Allow".into(), &"192.168.1.0/24".into()));
    assert_eq!(group["actions"], serde_json::json!(["Pub", "Sub"]));
    assert_eq!(of_resource("Topic:T_res")["decision"], "Deny");
    let rows = admin.rows("listAcl.txt", &["listAcl", "-b", &broker, "-s", "alice", "-r", "T_res"]);
    assert_eq!(rows, [["User:alice", "Custom", "Topic:T_res", "[Pub]", "null", "Deny"]]);
    assert_eq!(admin.rows("getAcl.txt", &["getAcl", "-b", &broker, "-s", "User:alice"]).len(), 2);
    assert!(admin.ok(&["listAcl", "-c", "DefaultCluster"]).contains("User:alice"));
    let copied = admin.ok(&["copyAcl", "-f", &broker, "-t", &broker, "-s", "User:alice"]);
    assert_eq!(copied, sample("copyAcl.txt", &broker));
    assert_eq!(of("deleteAcl", &["-s", "User:alice", "-r", "Topic:T_res"]), sample("deleteAcl.txt", &broker));
    assert_eq!(admin.rows("listAcl.txt", &["listAcl", "-b", &broker]).len(), 1);
    of("deleteAcl", &["-s", "User:alice"]);
    assert!(
        admin.fails_with(3, &["getAcl", "-b", &broker, "-s", "User:alice"]).contains("has no rules for User:alice")
    );
    admin.fails_with(3, &["copyAcl", "-f", &broker, "-t", &broker, "-s", "User:alice"]);
    admin.fails_with(2, &["createAcl", "-b", &broker, "-s", "User:alice", "-r", ",", "-a", "Pub", "-d", "Allow"]);

    assert_eq!(of("deleteUser", &["-u", "alice"]), sample("deleteUser.txt", &broker));
    admin.ok(&["deleteUser", "-c", "DefaultCluster", "-u", "bob"]);
    assert!(admin.rows("listUser.txt", &["listUser", "-b", &broker]).is_empty());
}
