//! 100,000 topics of one broker.

use super::*;

const TOPICS: usize = 100_000;

fn many(names: impl Iterator<Item = usize>) -> Content {
    Content {
        topics: names.map(|i| topic(&format!("order-events-of-region-{i:06}"), 6)).collect(),
        ..Content::default()
    }
}

#[test]
fn a_hundred_thousand_topics_stay_usable() {
    let table = RouteTable::default();
    let master = Registration { len: 5_000_000, ..broker(0, "m:1") };
    let registered = table.register(0, &master, &many(0..TOPICS), false).expect("accepted");
    assert_eq!(registered.changed, TOPICS);
    assert_eq!(table.topic_count(), TOPICS);

    let name_bytes = TOPICS * "order-events-of-region-000000".len();
    let per_topic = (table.topic_memory() - name_bytes) / TOPICS;
    assert!(per_topic < 200, "{per_topic} bytes per topic beside its name");

    assert!(table.renew(1, &master).is_some(), "unchanged: its topics are not looked at");
    let newer = Registration { version: version(2), ..master.clone() };
    assert_eq!(table.register(2, &newer, &many(0..TOPICS), false).expect("accepted").changed, 0, "nothing is rebuilt");

    assert_eq!(route(&table, "order-events-of-region-099999").queue_datas[0].read_queue_nums, 4);
    assert!(why(&table, "order-events-of-region-09999").contains("Did you mean"));
    assert_eq!(table.topics().topic_list.len(), TOPICS);
    assert_eq!(table.wipe_write("a", true), TOPICS);

    let second = Registration { broker: BrokerId { cluster: CLUSTER, name: "b", addr: "n:1" }, link: 5, ..master };
    table.register(3, &second, &many(0..TOPICS), false).expect("accepted");
    let per_topic = (table.topic_memory() - name_bytes) / TOPICS;
    assert!(per_topic < 200, "{per_topic} bytes per topic of two brokers beside its name");

    table.link_closed(5);
    assert_eq!(table.topic_count(), TOPICS);
    table.link_closed(0);
    assert_eq!(table.topic_count(), 0);
    assert!(table.topic_memory() < 1000);
}
