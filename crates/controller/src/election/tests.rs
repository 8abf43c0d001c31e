use super::*;

fn standing(epoch: i32, max_offset: i64, priority: i32) -> Standing {
    Standing { address: "a:1".into(), epoch, max_offset, priority }
}

fn alive(ids: &[i64]) -> Alive {
    ids.iter().map(|id| (*id, standing(1, 0, 0))).collect()
}

fn apply_id(id: i64, check_code: &str) -> Command {
    Command::ApplyId { cluster: "C".into(), name: "b".into(), id, check_code: check_code.into() }
}

fn elect(candidate: Candidate, alive: Alive) -> Command {
    Command::Elect { cluster: Some("C".into()), name: "b".into(), candidate, unclean: false, alive }
}

fn alter(master: i64, master_epoch: i32, in_sync: &[i64], in_sync_epoch: i32, heard: &[i64]) -> Command {
    let in_sync = in_sync.iter().copied().collect();
    Command::AlterInSync { name: "b".into(), master, master_epoch, in_sync, in_sync_epoch, alive: alive(heard) }
}

fn clean(ids: Option<&[i64]>, even_alive: bool, heard: &[i64]) -> Command {
    let ids = ids.map(|ids| ids.iter().copied().collect());
    Command::Clean { cluster: Some("C".into()), name: "b".into(), ids, even_alive, alive: alive(heard) }
}

/// Replicas 1 to 4, of which 1 is the master of epoch 1, and 1 to 3 are in sync.
fn group() -> Groups {
    let mut groups = Groups::default();
    for id in 1..=4 {
        groups.apply(&apply_id(id, &format!("10.0.0.{id}:1;5"))).expect("applied");
    }
    groups.apply(&elect(Candidate::Asking(1), Alive::new())).expect("elected");
    groups.apply(&alter(1, 1, &[1, 2, 3], 1, &[1, 2, 3])).expect("altered");
    groups
}

fn master(groups: &Groups) -> (Option<i64>, i32) {
    groups.get("b").map(|group| (group.master(), group.master_epoch())).expect("a group")
}

fn refused(groups: &mut Groups, command: &Command) -> (i32, String) {
    let before = groups.clone();
    let refused = groups.apply(command).expect_err("refused");
    assert_eq!(*groups, before, "{command:?}");
    (refused.code(), refused.to_string())
}

#[test]
fn ids_belong_to_whoever_took_them_first() {
    let mut groups = Groups::default();
    let text = "Broker-set: b hasn't been registered in controller, but broker try to apply brokerId: 2";
    assert_eq!(refused(&mut groups, &apply_id(2, "x;1")), (2014, text.into()));
    assert_eq!(groups.next_id("b"), 1);
    assert_eq!(groups.apply(&apply_id(1, "x;1")), Ok(Done::IdApplied));
    assert_eq!(groups.apply(&apply_id(1, "x;1")), Ok(Done::IdApplied));
    assert_eq!(refused(&mut groups, &apply_id(1, "y;1")), (2014, "Fail to apply brokerId: 1 in broker-set: b".into()));
    assert_eq!(refused(&mut groups, &apply_id(0, "y;1")).0, 2014);
    groups.apply(&apply_id(5, "z;1")).expect("applied");
    assert_eq!(groups.next_id("b"), 6);
    let other = Command::ApplyId { cluster: "D".into(), name: "b".into(), id: 7, check_code: "x;1".into() };
    assert_eq!(refused(&mut groups, &other), (2005, "broker name b belongs to cluster C, not to D".into()));
}

#[test]
fn a_group_that_comes_from_other_controllers_goes_on_above_the_epochs_of_its_brokers() {
    for (heard, epoch) in [(standing(7, 500, 0), 8), (standing(-1, 0, 0), 1), (standing(i32::MAX, 0, 0), 1)] {
        let mut groups = Groups::default();
        groups.apply(&apply_id(1, "10.0.0.1:1;5")).expect("applied");
        // Who is no replica of the group says nothing of it.
        let alive = Alive::from([(1, heard), (2, standing(90, 0, 0))]);
        groups.apply(&elect(Candidate::Asking(1), alive.clone())).expect("elected");
        assert_eq!(master(&groups), (Some(1), epoch));
        // From then on the controllers count.
        let later = Alive::from([(1, standing(1_000, 0, 0))]);
        groups.apply(&elect(Candidate::Any, Alive::new())).expect("the master is gone");
        groups.apply(&elect(Candidate::Any, later)).expect("it is back");
        assert_eq!(master(&groups), (Some(1), epoch + 2));
    }
}

#[test]
fn registering_tells_the_group_and_keeps_the_address() {
    let mut groups = group();
    let register = |id, address: &str, alive| {
        let (cluster, name, address) = ("C".into(), "b".into(), address.into());
        Command::Register { cluster, name, id, address, alive }
    };
    let Ok(Done::Registered(view)) = groups.apply(&register(2, "h:9", Alive::new())) else { panic!("refused") };
    assert_eq!((view.master, view.master_address.as_deref()), (Some(1), Some("10.0.0.1:1")));
    assert_eq!(groups.get("b").expect("there").address(2), Some("h:9"));
    let unknown = "BrokerId: 9 hasn't been registered in broker-set: b";
    assert_eq!(refused(&mut groups, &register(9, "h:9", Alive::new())), (2010, unknown.into()));
    let (code, text) = refused(&mut groups, &register(2, "h:10", alive(&[2])));
    assert_eq!(code, 2014);
    assert!(text.contains("in use by the broker at a:1"), "{text}");
}

#[test]
fn the_master_changes_when_it_is_gone_and_only_to_one_in_sync() {
    let mut groups = group();
    let text = "The old master 1 is still alive, not need to elect new master for broker b";
    assert_eq!(refused(&mut groups, &elect(Candidate::Asking(2), alive(&[1, 2]))), (2011, text.into()));
    // 4 has the longest log, but not all that was acknowledged.
    let mut heard = alive(&[2, 3]);
    heard.insert(4, standing(1, 1_000, 0));
    let Ok(Done::Elected(elected)) = groups.apply(&elect(Candidate::Any, heard)) else { panic!("refused") };
    assert_eq!((elected.before, elected.view.master, elected.view.master_epoch), (Some(1), Some(2), 2));
    assert_eq!((elected.view.in_sync, elected.view.in_sync_epoch), ([2].into(), 3));
    // Nobody is left who may: no master, and none later but 2.
    assert_eq!(groups.apply(&elect(Candidate::Any, alive(&[1, 3, 4]))).map(|_| ()), Ok(()));
    assert_eq!(master(&groups), (None, 3));
    for candidate in [Candidate::Any, Candidate::Asking(1), Candidate::Designated(1)] {
        assert_eq!(refused(&mut groups, &elect(candidate, alive(&[1, 3, 4]))).0, 2012);
    }
    groups.apply(&elect(Candidate::Asking(1), alive(&[1, 2]))).expect("elected");
    assert_eq!(master(&groups), (Some(2), 4));
}

#[test]
fn the_newest_epoch_the_longest_log_and_the_lowest_priority_are_preferred() {
    for (standings, wanted) in [
        ([standing(1, 50, 0), standing(2, 10, 9)], 3),
        ([standing(2, 50, 9), standing(2, 10, 0)], 2),
        ([standing(2, 50, 9), standing(2, 50, 0)], 3),
        ([standing(2, 50, 1), standing(2, 50, 1)], 2),
    ] {
        let mut groups = group();
        let heard = Alive::from_iter([2, 3].into_iter().zip(standings.clone()));
        groups.apply(&elect(Candidate::Any, heard)).expect("elected");
        assert_eq!(master(&groups).0, Some(wanted), "{standings:?}");
    }
}

#[test]
fn an_administrator_names_the_master() {
    let mut groups = group();
    let heard = alive(&[1, 2, 3, 4]);
    for (id, code) in [(1, 2011), (4, 2012), (9, 2012)] {
        assert_eq!(refused(&mut groups, &elect(Candidate::Designated(id), heard.clone())).0, code, "{id}");
    }
    groups.apply(&elect(Candidate::Designated(3), heard.clone())).expect("elected");
    assert_eq!(master(&groups), (Some(3), 2));
    // One that lacks messages, by the operator's word.
    let (cluster, name, candidate) = (None, "b".into(), Candidate::Designated(4));
    groups.apply(&Command::Elect { cluster, name, candidate, unclean: true, alive: heard }).expect("elected");
    assert_eq!(master(&groups), (Some(4), 3));
}

#[test]
fn in_sync_sets_are_the_masters_word_in_its_epoch() {
    let mut groups = group();
    let start = "Rejecting alter syncStateSet request because the";
    for (command, code, text) in [
        (alter(2, 1, &[1], 2, &[1]), 2002, format!("{start} current leader is:{{1}}, not {{2}}")),
        (alter(1, 2, &[1], 2, &[1]), 2000, format!("{start} current master epoch is:{{1}}, not {{2}}")),
        (alter(1, 0, &[1], 2, &[1]), 2000, format!("{start} current master epoch is:{{1}}, not {{0}}")),
        (alter(1, 1, &[1], 1, &[1]), 2001, format!("{start} current syncStateSet epoch is:{{2}}, not {{1}}")),
        (alter(1, 1, &[1, 9], 2, &[1, 9]), 2003, format!("{start} replicas {{9}} don't exist")),
        (alter(1, 1, &[1, 4], 2, &[1]), 2006, format!("{start} replicas {{4}} don't alive")),
        (alter(1, 1, &[2], 2, &[2]), 2013, format!("{start} newSyncStateSet don't contains origin leader {{1}}")),
        (
            alter(1, 1, &[1, 2, 3], 2, &[1, 2, 3]),
            2013,
            "The newSyncStateSet is equal with oldSyncStateSet, no needed to update syncStateSet".to_owned(),
        ),
    ] {
        assert_eq!(refused(&mut groups, &command), (code, text));
    }
    let unknown = Command::AlterInSync {
        name: "x".into(),
        master: 1,
        master_epoch: 1,
        in_sync: [1].into(),
        in_sync_epoch: 1,
        alive: Alive::new(),
    };
    assert_eq!(refused(&mut groups, &unknown), (2013, "Broker metadata is not existed".into()));
    groups.apply(&alter(1, 1, &[1, 2], 2, &[1, 2])).expect("altered");
    assert_eq!(groups.get("b").expect("there").view().in_sync_epoch, 3);
}

#[test]
fn forgotten_replicas_are_no_candidates_and_epochs_go_on() {
    let mut groups = group();
    assert_eq!(
        refused(&mut groups, &clean(Some(&[2]), false, &[2])),
        (2009, "Broker [b,  2] is still alive, clean up failure".into())
    );
    assert_eq!(
        refused(&mut groups, &clean(None, false, &[])),
        (2009, "Broker b is still alive, clean up failure".into())
    );
    assert_eq!(groups.apply(&clean(Some(&[1, 2]), false, &[3, 4])), Ok(Done::Cleaned));
    assert_eq!(master(&groups), (None, 2));
    assert_eq!(refused(&mut groups, &elect(Candidate::Any, alive(&[2, 4]))).0, 2012);
    assert_eq!(groups.apply(&clean(None, true, &[3, 4])), Ok(Done::Cleaned));
    let gone = "Broker b is not existed,clean broker data failure.";
    assert_eq!(refused(&mut groups, &clean(None, true, &[])), (2009, gone.into()));
    // Its brokers remember epochs 1 and 2.
    groups.apply(&apply_id(1, "x;1")).expect("applied");
    groups.apply(&elect(Candidate::Asking(1), Alive::new())).expect("elected");
    assert_eq!(master(&groups), (Some(1), 3));
}

#[test]
fn what_is_kept_is_bounded() {
    let mut groups = group();
    for id in 5..=MAX_REPLICAS as i64 {
        groups.apply(&apply_id(id, "x;1")).expect("applied");
    }
    assert_eq!(refused(&mut groups, &apply_id(5_000, "x;1")).0, 2005);
    let long = "x".repeat(MAX_TEXT + 1);
    for text in [&*long, ""] {
        assert_eq!(refused(&mut groups, &apply_id(1, text)).0, 2005);
    }
    let of =
        |name: usize| Command::ApplyId { cluster: "C".into(), name: name.to_string(), id: 1, check_code: "x;1".into() };
    (1..MAX_GROUPS).for_each(|name| assert_eq!(groups.apply(&of(name)), Ok(Done::IdApplied)));
    assert_eq!(refused(&mut groups, &of(MAX_GROUPS)).0, 2005);
}
