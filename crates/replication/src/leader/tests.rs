use super::*;

const RULES: Rules = Rules {
    in_sync_replicas: 2,
    min_in_sync_replicas: 1,
    auto: false,
    all_in_sync: true,
    most_gap: 1_000,
    most_lag_ms: 15_000,
    silence_ms: 10_000,
};

fn set(ids: &[i64]) -> BTreeSet<i64> {
    ids.iter().copied().collect()
}

/// A master by hand with slaves that have so much of a log of 10,000 bytes.
fn plain(rules: Rules, acks: &[i64]) -> Leader {
    let mut leader = Leader::new(rules, None, 10_000, 0);
    for (number, ack) in acks.iter().enumerate() {
        leader.connected(number as u64, format!("slave-{number}"), None, 0).unwrap();
        assert!(leader.begins(number as u64, 0, *ack, 0));
    }
    leader
}

/// A master by election at 500, alone in sync, with slaves 2 and 3 connected and empty.
fn elected() -> Leader {
    let mut leader = Leader::new(RULES, Some(Mastership::new(1, 500, set(&[1]), 7)), 1_000, 0);
    for id in [2, 3] {
        leader.connected(id as u64, format!("slave-{id}"), Some((id, false)), 0).unwrap();
        assert!(leader.begins(id as u64, 0, 0, 0));
    }
    leader
}

#[test]
fn senders_wait_for_as_many_as_are_set() {
    assert_eq!(plain(RULES, &[4_000, 7_000]).copied(), 7_000, "one other");
    assert_eq!(plain(Rules { in_sync_replicas: 3, ..RULES }, &[4_000, 7_000]).copied(), 4_000, "two others");
    assert_eq!(plain(Rules { in_sync_replicas: 3, ..RULES }, &[4_000]).copied(), 0, "there are not so many");
    assert_eq!(plain(Rules { in_sync_replicas: 1, ..RULES }, &[]).copied(), 10_000, "none");
    let mut leader = plain(RULES, &[7_000]);
    assert_eq!(leader.copied(), 7_000);
    leader.gone(0);
    assert_eq!(leader.copied(), 7_000, "what was told stays told");
}

#[test]
fn with_as_many_as_are_there_it_is_refused_only_below_the_least() {
    let rules = Rules { in_sync_replicas: 3, min_in_sync_replicas: 2, auto: true, ..RULES };
    // The third lacks more than it may.
    let mut leader = plain(rules.clone(), &[9_500, 8_000]);
    assert_eq!((leader.there(), leader.copied(), leader.shortage()), (2, 9_500, None));
    assert_eq!(plain(rules, &[8_000]).shortage(), Some((1, 2)));
    assert_eq!(plain(RULES, &[]).shortage(), None, "upstream takes messages then, and tells their senders");
}

#[test]
fn a_slave_joins_when_it_has_all_that_is_confirmed_and_counts_from_the_moment_it_is_asked_for() {
    let mut leader = elected();
    assert_eq!((leader.confirmed(), leader.copied()), (1_000, 1_000), "alone");
    leader.acked(2, 999, 10);
    assert_eq!(leader.wanted(10), None);
    leader.acked(2, 1_000, 20);
    assert_eq!(leader.wanted(20), Some(Wanted { members: set(&[1, 2]), replaces: 7 }));
    leader.written(2_000);
    assert_eq!((leader.confirmed(), leader.copied()), (1_000, 1_000), "it may be elected from now on");
    leader.acked(2, 1_500, 30);
    assert_eq!(leader.confirmed(), 1_500);
    assert_eq!(leader.wanted(30), Some(Wanted { members: set(&[1, 2]), replaces: 7 }), "again, until it is answered");
    leader.in_sync_is(set(&[1, 2]), 8);
    assert_eq!(leader.wanted(40), None);
}

#[test]
fn one_that_had_not_all_of_the_masters_own_time_does_not_join() {
    let mut leader = Leader::new(RULES, Some(Mastership::new(1, 500, set(&[1]), 7)), 500, 0);
    leader.connected(2, "slave".into(), Some((2, true)), 0).unwrap();
    leader.begins(2, 0, 500, 0);
    assert_eq!(leader.wanted(0), None, "a learner never does");
    leader.connected(3, "slave".into(), Some((3, false)), 0).unwrap();
    leader.begins(3, 0, 499, 0);
    assert_eq!(leader.wanted(0), None);
    leader.acked(3, 500, 0);
    assert_eq!(leader.wanted(0).map(|wanted| wanted.members), Some(set(&[1, 3])));
}

#[test]
fn one_that_is_gone_is_waited_for_until_the_controller_has_agreed() {
    let mut leader = elected();
    leader.in_sync_is(set(&[1, 2, 3]), 8);
    leader.written(2_000);
    leader.acked(2, 2_000, 100);
    leader.acked(3, 1_200, 100);
    assert_eq!(leader.confirmed(), 1_200);
    leader.gone(3);
    assert_eq!(leader.wanted(200), Some(Wanted { members: set(&[1, 2]), replaces: 8 }));
    assert_eq!(leader.confirmed(), 1_200);
    leader.in_sync_is(set(&[1, 2]), 8);
    assert_eq!(leader.confirmed(), 1_200, "that is not news");
    leader.in_sync_is(set(&[1, 2]), 9);
    assert_eq!((leader.confirmed(), leader.copied()), (2_000, 2_000));
}

#[test]
fn one_that_lags_for_too_long_is_left_out_and_one_that_keeps_up_is_not() {
    let mut leader = elected();
    leader.in_sync_is(set(&[1, 2, 3]), 8);
    for second in 1..=20 {
        let now = second * 1_000;
        leader.written(1_000 + second * 100);
        leader.acked(2, 1_000 + (second - 1) * 100, now);
        leader.acked(3, 1_000, now);
        let wanted = leader.wanted(now).map(|wanted| wanted.members);
        assert_eq!(wanted, (second > 15).then(|| set(&[1, 2])), "after {second} s");
    }
}

#[test]
fn too_few_in_sync_are_told() {
    let rules = Rules { min_in_sync_replicas: 2, ..RULES };
    let mut leader = Leader::new(rules, Some(Mastership::new(1, 0, set(&[1]), 7)), 0, 0);
    assert_eq!(leader.shortage(), Some((1, 2)));
    leader.in_sync_is(set(&[1, 2]), 8);
    assert_eq!(leader.shortage(), None);
}

#[test]
fn two_brokers_with_one_number_are_told_apart_from_one_that_comes_again() {
    let mut leader = elected();
    leader.acked(2, 500, 50_000);
    let mut connect = |id, now| leader.connected(9, "other".into(), Some((id, false)), now);
    assert_eq!(connect(1, 50_001), Err(NoSlave::Master(1)));
    assert_eq!(connect(2, 50_001), Err(NoSlave::Twice { id: 2, address: "slave-2".into() }));
    assert_eq!(connect(2, 60_000), Ok(()), "the other fell silent");
    assert!(!leader.acked(2, 600, 60_001), "and is not heard any more");
}

#[test]
fn a_slaves_progress_can_be_seen() {
    let mut leader = elected();
    leader.written(11_000);
    leader.acked(2, 5_000, 1_000);
    leader.acked(2, 6_000, 2_000);
    let slave = leader.slaves(2_000).into_iter().find(|slave| slave.id == Some(2)).unwrap();
    assert_eq!((slave.progress.behind, slave.progress.rate), (5_000, 1_200));
    assert_eq!(slave.progress.seconds_left(), Some(5));
}
