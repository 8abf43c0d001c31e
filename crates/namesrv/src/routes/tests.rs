use apogee_wire::bodies::{DataVersion, TopicRouteData};

use super::*;

mod large;
mod model;

const CLUSTER: &str = "C";

fn id(addr: &'static str) -> BrokerId<'static> {
    BrokerId { cluster: CLUSTER, name: "a", addr }
}

/// Broker `a` of cluster `C`, version 1.
fn broker(number: i64, addr: &'static str) -> Registration<'static> {
    Registration {
        broker: id(addr),
        id: number,
        ha_addr: "ha",
        zone: None,
        timeout_ms: None,
        acting_master: Some(false),
        link: number as u64,
        version: version(1),
        len: 100,
    }
}

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, ..DataVersion::default() }
}

fn topic(name: &str, perm: i32) -> TopicEntry {
    TopicEntry { name: name.into(), read: 4, write: 4, perm, sys_flag: 0 }
}

fn content(topics: &[&str]) -> Content {
    Content { topics: topics.iter().map(|name| topic(name, 6)).collect(), ..Content::default() }
}

fn register(table: &RouteTable, now_ms: i64, registration: &Registration<'_>, topics: &[&str]) -> Registered {
    table.register(now_ms, registration, &content(topics), false).expect("accepted")
}

fn route(table: &RouteTable, topic: &str) -> TopicRouteData {
    table.route(topic, RouteOptions::default()).expect("a route")
}

fn perm(table: &RouteTable, topic: &str) -> i32 {
    route(table, topic).queue_datas[0].perm
}

fn why(table: &RouteTable, topic: &str) -> String {
    table.route(topic, RouteOptions::default()).expect_err("no route").to_string()
}

fn addrs(table: &RouteTable) -> Vec<(i64, String)> {
    table.member_group(CLUSTER, "a").broker_addrs.into_iter().collect()
}

#[test]
fn a_broker_is_forgotten_after_its_silence_and_not_before() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    register(&table, 0, &Registration { timeout_ms: Some(1000), ..broker(1, "s:1") }, &["t", "u"]);
    assert_eq!(table.expire(1000), Removed::default());
    assert_eq!(table.expire(1001).brokers, [Gone { name: "a".into(), addr: "s:1".into(), link: 1 }]);
    assert!(table.heartbeat(5000, id("m:1")));
    assert!(!table.heartbeat(5000, id("s:1")), "it is not registered");
    assert_eq!(table.expire(5000 + BROKER_TIMEOUT_MS), Removed::default());
    assert_eq!(table.expire(5001 + BROKER_TIMEOUT_MS).brokers.len(), 1);
    assert_eq!(table.topic_count(), 0);
    assert!(table.cluster_info().cluster_addr_table.is_empty());
}

#[test]
fn a_broker_goes_with_its_connection() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    assert_eq!(table.link_closed(7), Removed::default(), "somebody else's connection");
    assert_eq!(table.link_closed(0).brokers.len(), 1);
    assert!(why(&table, "t").contains("No broker is registered here"));
}

#[test]
fn a_master_and_its_slave_share_a_route() {
    let table = RouteTable::default();
    assert_eq!(register(&table, 0, &broker(0, "m:1"), &["t", "u"]).master, None);
    let slave = register(&table, 0, &broker(1, "s:1"), &["t", "only-the-slave"]);
    assert_eq!(slave.master, Some(("m:1".into(), "ha".into())));
    assert_eq!(slave.changed, 0, "the master speaks for the group");
    let route = route(&table, "t");
    assert_eq!(route.queue_datas.len(), 1);
    assert_eq!(route.broker_datas[0].broker_addrs.clone().into_iter().collect::<Vec<_>>(), addrs(&table));
    assert_eq!(addrs(&table), [(0, "m:1".into()), (1, "s:1".into())]);
    table.unregister(id("m:1"), Goodbye::Id(0));
    assert_eq!(addrs(&table), [(1, "s:1".into())]);
    assert_eq!(perm(&table, "t"), 6, "the slave does not act as master: the route stays as it was");
}

#[test]
fn an_unchanged_registration_needs_no_look_at_the_topics() {
    let table = RouteTable::default();
    let master = broker(0, "m:1");
    assert_eq!(table.renew(0, &master), None, "not registered yet");
    assert_eq!(register(&table, 0, &master, &["t", "u"]).changed, 2);
    assert_eq!(table.renew(100_000, &master), Some(Registered::default()));
    assert_eq!(table.expire(200_000), Removed::default(), "it was a sign of life");

    for other in [
        Registration { version: version(2), ..master.clone() },
        Registration { len: 101, ..master.clone() },
        Registration { link: 9, ..master.clone() },
        Registration { ha_addr: "elsewhere", ..master.clone() },
        Registration { timeout_ms: Some(1), ..master.clone() },
        Registration { acting_master: Some(true), ..master.clone() },
        Registration { zone: Some("z"), ..master.clone() },
        Registration { broker: id("m:2"), ..master.clone() },
    ] {
        assert_eq!(table.renew(0, &other), None, "{other:?}");
    }
    table.delete_topic("t", None);
    assert_eq!(table.renew(0, &master), None, "a deleted topic comes back if the broker still has it");
    assert_eq!(register(&table, 0, &master, &["t", "u"]).changed, 1);
}

#[test]
fn a_slave_is_told_its_master_when_it_renews() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    register(&table, 0, &broker(1, "s:1"), &["t", "u"]);
    let renewed = table.renew(1, &broker(1, "s:1")).expect("unchanged");
    assert_eq!(renewed.master, Some(("m:1".into(), "ha".into())));
}

#[test]
fn topics_follow_the_data_version() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    let other = Content { topics: vec![topic("t", 4), topic("v", 6)], ..Content::default() };
    let same = table.register(1, &broker(0, "m:1"), &other.clone(), false).expect("accepted");
    assert_eq!((same.changed, perm(&table, "t"), perm(&table, "v")), (1, 6, 6), "only the new one");
    let newer = Registration { version: version(2), ..broker(0, "m:1") };
    assert_eq!(table.register(2, &newer, &other.clone(), false).expect("accepted").changed, 1);
    assert_eq!((perm(&table, "t"), perm(&table, "u")), (4, 6));
    assert_eq!(table.version(id("m:1")), Some(version(2)));
    // deleteTopicWithBrokerRegistration: a single topic says nothing of the others.
    let one = Registration { version: version(3), len: 9, ..broker(0, "m:1") };
    assert_eq!(table.register(3, &one, &content(&["w"]), true).expect("accepted").changed, 1);
    assert_eq!(perm(&table, "u"), 6);
    let newest = Registration { version: version(4), ..broker(0, "m:1") };
    assert_eq!(table.register(3, &newest, &other, true).expect("accepted").changed, 2);
    assert!(why(&table, "u").contains("none has the topic"));
}

#[test]
fn a_first_registration_of_one_topic_does_not_pass_for_the_whole() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["new"]);
    assert_eq!(perm(&table, "new"), 6);
    assert_eq!(table.version(id("m:1")), Some(DataVersion::default()), "the broker is asked to register");
    assert_eq!(table.renew(0, &broker(0, "m:1")), None);
    assert_eq!(register(&table, 0, &broker(0, "m:1"), &["new", "t"]).changed, 1);
    assert!(table.renew(0, &broker(0, "m:1")).is_some());
}

#[test]
fn a_wipe_lasts_over_new_topics_until_it_is_taken_back_or_the_broker_restarts() {
    let table = RouteTable::default();
    let wiped_perms = |table: &RouteTable| ["t", "w"].map(|topic| perm(table, topic));
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    assert_eq!(table.wipe_write("a", true), 2);
    assert_eq!(perm(&table, "t"), 4);
    let newer = Registration { version: version(2), ..broker(0, "m:1") };
    register(&table, 0, &newer, &["t", "u", "w"]);
    assert_eq!(wiped_perms(&table), [4, 4]);
    assert_eq!(table.wipe_write("a", false), 3);
    assert_eq!(wiped_perms(&table), [6, 6]);
    table.wipe_write("a", true);
    register(&table, 0, &broker(1, "s:1"), &["t", "u", "w"]);
    assert_eq!(wiped_perms(&table), [4, 4], "a slave's coming changes nothing");
    table.unregister(id("m:1"), Goodbye::Id(0));
    register(&table, 0, &newer, &["t", "u", "w"]);
    assert_eq!(wiped_perms(&table), [6, 6]);
    assert_eq!(table.wipe_write("nobody", true), 0);
}

#[test]
fn the_slave_with_the_lowest_id_stands_in_for_its_master() {
    let table = RouteTable::default();
    for (number, addr) in [(0, "m:1"), (1, "s:1"), (2, "s:2")] {
        register(
            &table,
            0,
            &Registration { acting_master: Some(true), ..broker(number, addr) },
            &["t", "rmq_sys_SYNC_BROKER_MEMBER_a"],
        );
    }
    let acting = RouteOptions { acting_master: true, zone: None };
    let of = |topic: &str| {
        let route = table.route(topic, acting).expect("a route");
        (route.queue_datas[0].perm, route.broker_datas[0].broker_addrs.clone().into_iter().collect::<Vec<_>>())
    };
    assert_eq!(of("t").0, 6);
    table.link_closed(0);
    assert_eq!(of("t"), (4, vec![(0, "s:1".into()), (2, "s:2".into())]));
    assert_eq!(of("rmq_sys_SYNC_BROKER_MEMBER_a").1, [(1, "s:1".into()), (2, "s:2".into())], "who is really there");
    assert_eq!(route(&table, "t").broker_datas[0].broker_addrs.len(), 2);
    assert!(!route(&table, "t").broker_datas[0].broker_addrs.contains_key(&0), "supportActingMaster is off");
    register(&table, 0, &Registration { acting_master: Some(true), ..broker(0, "m:1") }, &["t", "u"]);
    assert_eq!(of("t").0, 6, "the master is back");
}

#[test]
fn brokers_learn_that_the_lowest_id_changed() {
    let table = RouteTable::default();
    assert_eq!(register(&table, 0, &broker(1, "s:1"), &["t", "u"]).notice, None, "nobody to tell");
    assert_eq!(register(&table, 0, &broker(2, "s:2"), &["t", "u"]).notice, None, "not the lowest");
    let notice = register(&table, 0, &broker(0, "m:1"), &["t", "u"]).notice.expect("the lowest");
    let expected = MinIdChange {
        links: vec![1, 2],
        min_id: 0,
        min_addr: "m:1".into(),
        offline_addr: None,
        ha_addr: Some("ha".into()),
    };
    assert_eq!(notice, expected);
    let notices = table.link_closed(0).notices;
    let expected = MinIdChange {
        links: vec![1, 2],
        min_id: 1,
        min_addr: "s:1".into(),
        offline_addr: Some("m:1".into()),
        ha_addr: None,
    };
    assert_eq!(notices, [expected]);
    assert_eq!(table.link_closed(2).notices, [], "the lowest is still there");
    assert_eq!(table.link_closed(1).notices, [], "nobody left");
}

#[test]
fn a_broker_that_changes_its_role_has_one_id() {
    let table = RouteTable::default();
    register(&table, 0, &broker(1, "x:1"), &["t", "u"]);
    register(&table, 0, &broker(0, "x:1"), &["t", "u"]);
    assert_eq!(addrs(&table), [(0, "x:1".into())]);
}

#[test]
fn a_slave_takes_its_masters_place_in_any_order() {
    let [new, old] = [(0, "s:1", 1), (2, "m:1", 0)];
    for order in [[new, old], [old, new]] {
        let table = RouteTable::default();
        register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
        register(&table, 0, &broker(1, "s:1"), &["t", "u"]);
        register(&table, 0, &Registration { link: 3, ..broker(3, "s:3") }, &["t", "u"]);
        for (number, addr, former) in order {
            let registration = Registration { link: 10 + former, version: version(2), ..broker(number, addr) };
            register(&table, 0, &registration, &["t", "u"]);
            assert!(addrs(&table).iter().filter(|(id, _)| *id == 0).count() <= 1);
            // What its former self left to say and do comes late.
            assert_eq!(table.unregister(id(addr), Goodbye::Link(former)), Removed::default());
            assert_eq!(table.unregister(id(addr), Goodbye::Id(number + 1)), Removed::default());
            assert_eq!(table.link_closed(former), Removed::default());
        }
        assert_eq!(addrs(&table), [(0, "s:1".into()), (2, "m:1".into()), (3, "s:3".into())]);
        assert_eq!(perm(&table, "t"), 6);
        let slave = table.renew(1, &Registration { link: 3, ..broker(3, "s:3") });
        let told = slave.or_else(|| table.register(1, &broker(3, "s:3"), &content(&["t"]), false).ok());
        assert_eq!(told.and_then(|told| told.master), Some(("s:1".into(), "ha".into())));
        assert_eq!(table.unregister(id("s:1"), Goodbye::Link(11)).brokers.len(), 1);
    }
}

#[test]
fn those_left_learn_that_their_master_has_another_role_or_another_place() {
    let table = RouteTable::default();
    for (number, addr) in [(0, "m:1"), (1, "s:1"), (2, "s:2")] {
        register(&table, 0, &broker(number, addr), &["t", "u"]);
    }
    let notice = register(&table, 0, &broker(3, "m:1"), &["t", "u"]).notice.expect("no master now");
    let told = |notice: &MinIdChange| (notice.links.clone(), notice.min_id, notice.offline_addr.clone());
    assert_eq!(told(&notice), (vec![1, 2, 3], 1, Some("m:1".into())));
    let notice = register(&table, 0, &broker(0, "s:1"), &["t", "u"]).notice.expect("a master");
    assert_eq!(told(&notice), (vec![2, 3], 0, None), "its address is not offline");
    assert_eq!(notice.ha_addr.as_deref(), Some("ha"));
    let notice = register(&table, 0, &broker(0, "s:2"), &["t", "u"]).notice.expect("another master");
    assert_eq!(told(&notice), (vec![3], 0, Some("s:1".into())));
    assert_eq!(register(&table, 1, &broker(0, "s:2"), &["t", "u"]).notice, None, "nothing new");
}

#[test]
fn a_former_master_stays_out_though_the_new_one_has_told_a_single_topic() {
    let table = RouteTable::default();
    let state = |state_version| DataVersion { state_version, counter: 1, timestamp: 0 };
    register(&table, 0, &Registration { version: state(2), ..broker(0, "m:2") }, &["t"]);
    let former = Registration { version: state(1), ..broker(0, "m:1") };
    assert!(matches!(table.register(0, &former, &content(&["t"]), false), Err(Refused::NewerState { .. })));
    assert_eq!(addrs(&table), [(0, "m:2".into())]);
}

#[test]
fn conflicting_brokers_are_refused_or_replaced() {
    let table = RouteTable::default();
    let state = |state_version, counter| DataVersion { state_version, counter, timestamp: 0 };
    register(&table, 0, &Registration { version: state(2, 1), ..broker(0, "m:1") }, &["t", "u"]);
    let older = Registration { version: state(1, 9), ..broker(0, "m:2") };
    let error = table.register(0, &older, &content(&["t"]), false).expect_err("older").to_string();
    assert!(error.contains("registered from m:1 with newer data"), "{error}");
    let newer = Registration { version: state(3, 1), ..broker(0, "m:2") };
    register(&table, 0, &newer, &["t", "u"]);
    assert_eq!(addrs(&table), [(0, "m:2".into())]);

    let mut elsewhere = Registration { version: state(3, 1), ..broker(0, "m:3") };
    elsewhere.broker.cluster = "D";
    let error = table.register(0, &elsewhere, &content(&["t"]), false).expect_err("taken").to_string();
    assert!(error.contains("broker name a is taken in cluster C, by m:2"), "{error}");
}

#[test]
fn of_two_with_one_id_the_first_one_stays_once_both_are_known_to_run() {
    let table = RouteTable::default();
    let at = |addr, link, counter| {
        let version = DataVersion { state_version: 0, counter, timestamp: 0 };
        table.register(0, &Registration { link, version, ..broker(1, addr) }, &content(&["t"]), false)
    };
    at("s:1", 1, 1).expect("the first");
    // It may be the first one at another address.
    at("s:2", 2, 1).expect("in its place");
    assert_eq!(addrs(&table), [(1, "s:2".into())]);
    at("s:1", 1, 2).expect("it is still there");
    for counter in 1..4 {
        let error = at("s:2", 2, counter).expect_err("both run").to_string();
        assert!(error.contains("broker a with id 1 is registered from s:1, and that one is still there"), "{error}");
        at("s:1", 1, 3).expect("at home");
        assert_eq!(addrs(&table), [(1, "s:1".into())]);
    }
    table.link_closed(1);
    at("s:2", 2, 4).expect("the first one is gone");
    assert_eq!(addrs(&table), [(1, "s:2".into())]);
}

#[test]
fn names_have_a_bound() {
    let table = RouteTable::default();
    let long = "x".repeat(256);
    assert!(matches!(table.register(0, &broker(0, "m:1"), &content(&[&long]), false), Err(Refused::TooLong { .. })));
    assert!(matches!(table.register(0, &broker(0, "m:1"), &content(&[""]), false), Err(Refused::Empty { .. })));
    assert_eq!(table.topic_count(), 0);
}

#[test]
fn a_missing_route_says_why() {
    let table = RouteTable::default();
    let begin = "No topic route info in name server for the topic: orders\n";
    assert!(why(&table, "orders").starts_with(&format!("{begin}No broker is registered here")));

    register(&table, 0, &broker(0, "m:1"), &["order", "payments"]);
    let text = why(&table, "orders");
    assert!(text.starts_with(begin), "{text}");
    assert!(text.contains("automatic creation is off") && text.contains("updateTopic -c C -t TOPIC"), "{text}");
    assert!(text.ends_with("Did you mean `order`?"), "{text}");
    for (typo, suggested) in
        [("paymnets", true), ("Payments", true), ("payment", true), ("pay-ments", true), ("paym", false)]
    {
        assert_eq!(why(&table, typo).contains("Did you mean `payments`?"), suggested, "{typo}");
    }
    assert!(why(&table, "a b").contains("No topic can have this name"));
    assert!(why(&table, "%RETRY%g").contains("when a consumer of the group first connects"));
    assert!(why(&table, "TBW102").contains("automatic creation is off"));

    let auto = Content { topics: vec![topic("TBW102", 7), topic("closed", 0)], ..Content::default() };
    table.register(0, &Registration { version: version(2), ..broker(0, "m:1") }, &auto, false).expect("accepted");
    assert!(why(&table, "orders").contains("created when the first message is sent"));
    let text = why(&table, "closed");
    assert!(text.contains("exists on a, but has no permission") && text.contains("updateTopic -c C"), "{text}");
}

#[test]
fn a_topic_that_a_wipe_closed_says_so() {
    let table = RouteTable::default();
    let content = Content { topics: vec![topic("log", 2), topic("t", 6)], ..Content::default() };
    table.register(0, &broker(0, "m:1"), &content, false).expect("accepted");
    table.wipe_write("a", true);
    assert!(why(&table, "log").contains("mqadmin addWritePerm -b a"));
}

#[test]
fn topics_are_deleted_by_cluster() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    let mut other = broker(0, "n:1");
    other.broker = BrokerId { cluster: "D", name: "b", addr: "n:1" };
    register(&table, 0, &other, &["t", "w"]);
    assert_eq!(route(&table, "t").queue_datas.len(), 2);
    assert_eq!(table.topics_of_cluster("D").topic_list.into_iter().collect::<Vec<_>>(), ["t", "w"]);
    assert!(table.delete_topic("t", Some("D")));
    assert_eq!(route(&table, "t").broker_datas[0].broker_name, "a");
    assert!(table.delete_topic("t", None));
    assert!(!table.delete_topic("t", None));
    assert_eq!(table.topics().topic_list.into_iter().collect::<Vec<_>>(), ["u", "w"]);
}

#[test]
fn a_topic_can_be_registered_at_brokers_that_are_up() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    table.register_topic("x", &[("a".into(), topic("x", 6))]).expect("accepted");
    assert_eq!(perm(&table, "x"), 6);
    let error = table.register_topic("x", &[("b".into(), topic("x", 6))]).expect_err("no such broker");
    assert_eq!(error, Refused::UnknownBroker("b".into()));
}

#[test]
fn lists_by_units_and_system_topics() {
    let table = RouteTable::default();
    let unit = |name: &str, sys_flag| TopicEntry { sys_flag, ..topic(name, 6) };
    let topics = vec![unit("none", 0), unit("unit", 1), unit("sub", 2), unit("both", 3)];
    table.register(0, &broker(0, "m:1"), &Content { topics, ..Content::default() }, false).expect("accepted");
    for (units, expected) in
        [(Units::Unit, &["both", "unit"][..]), (Units::UnitSub, &["both", "sub"]), (Units::UnitSubOnly, &["sub"])]
    {
        assert_eq!(table.topics_of_units(units).topic_list.into_iter().collect::<Vec<_>>(), expected);
    }
    let system = table.system_topics();
    assert_eq!(system.topic_list.into_iter().collect::<Vec<_>>(), ["C", "a"]);
    assert_eq!(system.broker_addr.as_deref(), Some("m:1"));
}

#[test]
fn a_zone_gets_its_brokers_and_those_without_a_master() {
    let table = RouteTable::default();
    let at = |name: &'static str, number: i64, zone: &'static str| {
        let mut registration = Registration { zone: Some(zone), ..broker(number, "x:1") };
        registration.broker.name = name;
        registration
    };
    for registration in [at("near", 0, "z1"), at("far", 0, "z2"), at("orphan", 1, "z2")] {
        register(&table, 0, &registration, &["t", "u"]);
    }
    let names = |zone| {
        let route = table.route("t", RouteOptions { zone, ..RouteOptions::default() }).expect("a route");
        let names = route.queue_datas.into_iter().map(|queues| queues.broker_name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["near", "far", "orphan"]);
    assert_eq!(names(Some("Z1")), ["near", "orphan"]);
}

#[test]
fn static_mappings_and_filter_servers_are_part_of_the_route() {
    let table = RouteTable::default();
    let mut all = content(&["s", "t"]);
    all.statics.push(("s".into(), Default::default()));
    all.filter_servers.push("f:1".into());
    table.register(0, &broker(0, "m:1"), &all, false).expect("accepted");
    let mappings = route(&table, "s").topic_queue_mapping_by_broker.expect("mappings");
    assert_eq!(mappings.into_keys().collect::<Vec<_>>(), ["a"]);
    assert!(route(&table, "t").topic_queue_mapping_by_broker.is_none());
    assert_eq!(
        route(&table, "t").filter_server_table.into_iter().collect::<Vec<_>>(),
        [("m:1".into(), vec!["f:1".into()])]
    );
    table.delete_topic("s", None);
    table.register_topic("s", &[("a".into(), topic("s", 6))]).expect("accepted");
    assert!(route(&table, "s").topic_queue_mapping_by_broker.is_none(), "deleted with the topic");
}

#[test]
fn whoever_speaks_for_the_group_next_is_listened_to() {
    let table = RouteTable::default();
    register(&table, 0, &broker(0, "m:1"), &["t", "u"]);
    register(&table, 0, &broker(2, "s:2"), &["t", "only-the-slave"]);
    register(&table, 0, &broker(3, "m:1"), &["t", "u"]);
    assert_eq!(table.renew(1, &broker(2, "s:2")), None, "its topics count now");
    assert_eq!(register(&table, 1, &broker(2, "s:2"), &["t", "only-the-slave"]).changed, 1);
}
