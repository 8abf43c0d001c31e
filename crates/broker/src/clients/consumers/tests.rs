use super::super::tests::{Wire, client, ids, names};
use super::*;

const FULL: i32 = 0;

fn data(group: &str, subscriptions: &[(&str, &str, i64)]) -> ConsumerData {
    ConsumerData {
        group_name: group.into(),
        consume_type: Some(ConsumeType::Passively),
        message_model: Some(MessageModel::Clustering),
        consume_from_where: Some(ConsumeFromWhere::FirstOffset),
        subscription_data_set: subscriptions
            .iter()
            .map(|(topic, expression, version)| Subscription::to_tags(topic, expression, *version).data().clone())
            .collect(),
        ..ConsumerData::default()
    }
}

fn beat(consumers: &Consumers<Wire>, wire: &Arc<Wire>, id: &str, data: &ConsumerData) -> Noted<Wire> {
    beat_at(consumers, 0, wire, id, data, FULL)
}

fn beat_at(
    consumers: &Consumers<Wire>,
    now_ms: i64,
    wire: &Arc<Wire>,
    id: &str,
    data: &ConsumerData,
    fingerprint: i32,
) -> Noted<Wire> {
    let heartbeat = Heartbeat { data, fingerprint, without_subscriptions: false };
    consumers.heartbeat(now_ms, wire, &client(id), heartbeat)
}

fn beat_without(consumers: &Consumers<Wire>, wire: &Arc<Wire>, id: &str, fingerprint: i32) -> Noted<Wire> {
    let heartbeat = Heartbeat { data: &data("g", &[]), fingerprint, without_subscriptions: true };
    consumers.heartbeat(0, wire, &client(id), heartbeat)
}

fn notified(noted: &Noted<Wire>) -> Option<Vec<u64>> {
    noted.change.as_ref().map(|change| ids(&change.notify))
}

fn lost(changes: &[Change<Wire>]) -> Vec<(String, Vec<u64>)> {
    changes.iter().map(|change| (change.group.to_string(), ids(&change.notify))).collect()
}

fn expression(consumers: &Consumers<Wire>, connection: u64, topic: &str) -> Option<String> {
    Some(consumers.subscription("g", connection, topic)?.expression().to_owned())
}

#[test]
fn members_and_their_changes_are_told() {
    let consumers = Consumers::default();
    let (one, two) = (Wire::new(1), Wire::new(2));
    let g = data("g", &[("T", "*", 1)]);
    assert_eq!(notified(&beat(&consumers, &one, "a", &g)), Some(vec![1]));
    assert_eq!(notified(&beat(&consumers, &two, "b", &g)), Some(vec![1, 2]));
    assert_eq!(notified(&beat(&consumers, &one, "a", &g)), None, "nothing new");
    assert_eq!(names(&consumers.client_ids("g")), ["a", "b"]);
    assert_eq!(consumers.message_model("g"), Some(MessageModel::Clustering));

    let left = consumers.unregister("a", "g").expect("a was there");
    assert_eq!(ids(&left.notify), [2]);
    assert!(consumers.unregister("a", "g").is_none());
    assert_eq!(lost(&consumers.closed(2)), [("g".to_owned(), vec![])]);
    assert!(!consumers.is_online("g") && consumers.client_ids("g").is_empty());
}

#[test]
fn a_changed_subscription_is_a_change_and_a_new_version_is_none() {
    let consumers = Consumers::default();
    let one = Wire::new(1);
    beat(&consumers, &one, "a", &data("g", &[("T", "x", 1), ("U", "*", 1)]));
    assert!(beat(&consumers, &one, "a", &data("g", &[("T", "x", 2), ("U", "*", 1)])).change.is_none());
    assert!(beat(&consumers, &one, "a", &data("g", &[("T", "y", 3), ("U", "*", 1)])).change.is_some());
    assert!(beat(&consumers, &one, "a", &data("g", &[("T", "y", 3)])).change.is_some(), "U is removed");
    assert_eq!(consumers.topics_of("g"), BTreeSet::from(["T".to_owned()]));
    assert!(consumers.subscription("g", 1, "U").is_none());
}

#[test]
fn each_client_gets_what_it_subscribed_to() {
    let consumers = Consumers::default();
    beat(&consumers, &Wire::new(1), "old", &data("g", &[("T", "x", 1), ("Gone", "*", 1)]));
    beat(&consumers, &Wire::new(2), "new", &data("g", &[("T", "y", 2)]));
    assert_eq!(expression(&consumers, 1, "T").as_deref(), Some("x"));
    assert_eq!(expression(&consumers, 2, "T").as_deref(), Some("y"));
    assert_eq!(expression(&consumers, 2, "Gone"), None, "this client doesn't want it");
    assert_eq!(expression(&consumers, 3, "T").as_deref(), Some("y"), "an unknown one gets the newest");
    assert_eq!(consumers.newest_subscription("g", "T").expect("subscribed").expression(), "y");
    assert_eq!(consumers.connection("g").expect("online").subscription_table["T"].sub_string.as_deref(), Some("y"));
    assert_eq!(consumers.groups_of("Gone").len(), 1);
    assert!(consumers.groups_of("U").is_empty());
}

#[test]
fn a_conflict_is_reported_once_until_the_clients_agree() {
    let consumers = Consumers::default();
    let (one, two) = (Wire::new(1), Wire::new(2));
    let (x, y) = (data("g", &[("T", "x", 1)]), data("g", &[("T", "y", 2)]));
    assert!(beat(&consumers, &one, "a", &x).conflicts.is_empty());
    let conflicts = beat(&consumers, &two, "b", &y).conflicts;
    let expected = Conflict {
        group: "g".into(),
        topic: "T".into(),
        newcomer: ("b".into(), "y".into()),
        other: ("a".into(), "x".into()),
    };
    assert_eq!(conflicts, [expected]);
    assert!(beat(&consumers, &one, "a", &x).conflicts.is_empty());
    assert!(beat(&consumers, &Wire::new(3), "c", &x).conflicts.is_empty(), "reported already");
    consumers.closed(3);
    beat(&consumers, &one, "a", &y);
    assert_eq!(beat(&consumers, &one, "a", &x).conflicts.len(), 1, "they agreed in between");
    assert_eq!(consumers.conflict_count(), 2);
}

#[test]
fn a_client_that_reconnects_does_not_conflict_with_itself() {
    let consumers = Consumers::default();
    beat(&consumers, &Wire::new(1), "a", &data("g", &[("T", "x", 1)]));
    let noted = beat(&consumers, &Wire::new(2), "a", &data("g", &[("T", "y", 2)]));
    assert!(noted.conflicts.is_empty());
    assert_eq!(names(&consumers.client_ids("g")), ["a"], "one client, two connections");
    assert!(consumers.closed(1).is_empty(), "it is still there");
    assert_eq!(consumers.find("g", "a").expect("online").0.id(), 2);
}

#[test]
fn a_client_is_found_by_its_newest_open_connection() {
    let consumers = Consumers::default();
    let (one, two) = (Wire::new(1), Wire::new(2));
    let g = data("g", &[("T", "*", 1)]);
    beat(&consumers, &one, "a", &g);
    beat(&consumers, &two, "a", &g);
    two.close();
    assert_eq!(consumers.find("g", "a").expect("online").0.id(), 1);
    assert!(consumers.find("g", "b").is_none());
    assert_eq!(ids(&consumers.channels("g")), [1, 2]);
}

#[test]
fn silent_consumers_expire_and_the_others_are_told() {
    let consumers = Consumers::default();
    let g = data("g", &[("T", "*", 1)]);
    beat_at(&consumers, 0, &Wire::new(1), "a", &g, FULL);
    beat_at(&consumers, 10, &Wire::new(2), "b", &g, FULL);
    assert!(consumers.expire(120_000, 120_000).is_empty());
    assert_eq!(lost(&consumers.expire(120_001, 120_000)), [("g".to_owned(), vec![2])]);
    assert_eq!(names(&consumers.groups()), ["g"]);
}

#[test]
fn members_of_broadcasting_groups_need_not_be_told() {
    let consumers = Consumers::default();
    let mut g = data("g", &[("T", "*", 1)]);
    g.message_model = Some(MessageModel::Broadcasting);
    assert_eq!(notified(&beat(&consumers, &Wire::new(1), "a", &g)), Some(vec![]));
}

#[test]
fn a_fingerprint_stands_for_known_subscriptions_only() {
    let consumers = Consumers::default();
    let (one, two) = (Wire::new(1), Wire::new(2));
    let full = beat_at(&consumers, 0, &one, "a", &data("g", &[("T", "x", 1)]), 77);
    assert!(!full.wants_subscriptions && full.change.is_some());

    let same = beat_without(&consumers, &one, "a", 77);
    assert!(!same.wants_subscriptions && same.change.is_none());
    assert_eq!(expression(&consumers, 1, "T").as_deref(), Some("x"), "they are kept");
    assert!(beat_without(&consumers, &one, "a", 78).wants_subscriptions, "another fingerprint");

    let unknown = beat_without(&consumers, &two, "b", 77);
    assert!(unknown.wants_subscriptions && unknown.change.is_some(), "a member all the same");
    assert_eq!(expression(&consumers, 2, "T").as_deref(), Some("x"), "the group's until it tells its own");
}

#[test]
fn a_conflict_ends_when_the_client_that_disagreed_leaves() {
    let consumers = Consumers::default();
    let (one, two) = (Wire::new(1), Wire::new(2));
    let (x, y) = (data("g", &[("T", "x", 1)]), data("g", &[("T", "y", 2)]));
    beat(&consumers, &one, "a", &x);
    assert_eq!(beat(&consumers, &two, "b", &y).conflicts.len(), 1);
    consumers.closed(2);
    assert_eq!(beat(&consumers, &Wire::new(3), "c", &y).conflicts.len(), 1, "another one: told anew");
    consumers.unregister("c", "g");
    assert_eq!(beat(&consumers, &Wire::new(4), "d", &y).conflicts.len(), 1);
}

#[test]
fn a_client_that_leaves_a_topic_out_conflicts_where_queues_are_shared() {
    let consumers = Consumers::default();
    let both = [("T", "*", 1), ("U", "*", 1), ("%RETRY%g", "*", 1)];
    beat(&consumers, &Wire::new(1), "a", &data("g", &both));
    let conflicts = beat(&consumers, &Wire::new(2), "b", &data("g", &both[1..2])).conflicts;
    let expected = Conflict {
        group: "g".into(),
        topic: "T".into(),
        newcomer: ("b".into(), "nothing".into()),
        other: ("a".into(), "*".into()),
    };
    assert_eq!(conflicts, [expected]);
    let broadcasting = |topics| ConsumerData { message_model: Some(MessageModel::Broadcasting), ..data("all", topics) };
    beat(&consumers, &Wire::new(1), "a", &broadcasting(&both));
    assert!(beat(&consumers, &Wire::new(2), "b", &broadcasting(&both[..1])).conflicts.is_empty(), "each reads all");
}
