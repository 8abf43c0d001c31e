//! What holds whatever is asked, in whatever order.

use std::collections::{BTreeSet, HashMap};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;

fn names() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned())]
}

fn ids() -> impl Strategy<Value = i64> {
    1..5_i64
}

fn alive() -> impl Strategy<Value = Alive> {
    let standing = (0..3, 0..4_i64, 0..3).prop_map(|(epoch, max_offset, priority)| Standing {
        address: "h:1".to_owned(),
        epoch,
        max_offset,
        priority,
    });
    btree_map(ids(), standing, 0..5)
}

fn candidates() -> impl Strategy<Value = Candidate> {
    prop_oneof![
        2 => Just(Candidate::Any),
        2 => ids().prop_map(Candidate::Asking),
        1 => ids().prop_map(Candidate::Designated),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    let cluster = || "C".to_owned();
    let alter = (names(), ids(), 0..6, btree_set(ids(), 0..4), 0..8, alive()).prop_map(
        |(name, master, master_epoch, in_sync, in_sync_epoch, alive)| Command::AlterInSync {
            name,
            master,
            master_epoch,
            in_sync,
            in_sync_epoch,
            alive,
        },
    );
    let clean = (names(), proptest::option::of(btree_set(ids(), 1..3)), any::<bool>(), alive()).prop_map(
        move |(name, ids, even_alive, alive)| Command::Clean { cluster: Some(cluster()), name, ids, even_alive, alive },
    );
    prop_oneof![
        4 => (names(), ids(), 0..2)
            .prop_map(move |(name, id, code)| Command::ApplyId { cluster: cluster(), name, id, check_code: format!("h;{code}") }),
        2 => (names(), ids(), alive()).prop_map(move |(name, id, alive)| {
            Command::Register { cluster: cluster(), name, id, address: "h:1".to_owned(), alive }
        }),
        6 => (names(), candidates(), proptest::bool::weighted(0.1), alive()).prop_map(
            |(name, candidate, unclean, alive)| Command::Elect { cluster: None, name, candidate, unclean, alive }
        ),
        6 => alter,
        1 => clean,
    ]
}

/// The same command with the epochs that are right at the moment, which dice hardly hit.
fn aimed(groups: &Groups, command: Command, aim: bool) -> Command {
    match command {
        Command::AlterInSync { name, in_sync, alive, .. } if aim && groups.get(&name).is_some() => {
            let view = groups.get(&name).map(Group::view).unwrap_or_default();
            let master = view.master.unwrap_or(1);
            let (master_epoch, in_sync_epoch) = (view.master_epoch, view.in_sync_epoch);
            let in_sync = in_sync.into_iter().chain([master]).collect();
            Command::AlterInSync { name, master, master_epoch, in_sync, in_sync_epoch, alive }
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn an_election_is_safe(asked in vec((commands(), any::<bool>()), 1..60)) {
        let mut groups = Groups::default();
        // By name: the epoch, and who was the master in each.
        let mut epochs: HashMap<String, i32> = HashMap::new();
        let mut masters: HashMap<(String, i32), i64> = HashMap::new();
        for (command, aim) in asked {
            let command = aimed(&groups, command, aim);
            let before = groups.clone();
            let reply = groups.apply(&command);
            if reply.is_err() {
                prop_assert_eq!(&groups, &before, "a refusal changes nothing");
            }
            for group in groups.iter() {
                let epoch = epochs.entry(group.name().to_owned()).or_default();
                prop_assert!(group.master_epoch() >= *epoch, "epochs only grow");
                *epoch = group.master_epoch();
                if let Some(master) = group.master() {
                    let known = *masters.entry((group.name().to_owned(), *epoch)).or_insert(master);
                    prop_assert_eq!(known, master, "two masters in epoch {}", epoch);
                    prop_assert!(group.in_sync().contains(&master));
                }
                if let Some(same) = before.get(group.name()) {
                    let (was, is) = (same.view(), group.view());
                    prop_assert!(is.in_sync_epoch >= was.in_sync_epoch);
                    let is_other = is.in_sync != was.in_sync;
                    prop_assert!(!is_other || is.in_sync_epoch > was.in_sync_epoch, "one set in an epoch of sets");
                }
            }
            if let (Command::Elect { name, unclean, alive, .. }, Ok(Done::Elected(elected))) = (&command, &reply) {
                let was = before.get(name).expect("a group");
                let in_sync: BTreeSet<i64> = was.in_sync().clone();
                if let (Some(master), false, true) = (elected.view.master, *unclean, was.view().in_sync_epoch > 0) {
                    prop_assert!(in_sync.contains(&master), "{master} lacks what was acknowledged");
                    prop_assert!(alive.contains_key(&master), "{master} is not alive");
                }
            }
            // Asked again, as by a broker that lost the answer.
            let unclean = matches!(command, Command::Elect { unclean: true, .. });
            let after = groups.clone();
            if !unclean {
                // Refused or done: nothing changes once more.
                let _ = groups.apply(&command);
                prop_assert_eq!(&groups, &after, "a replay changes nothing: {:?}", command);
            }
            let text = serde_json::to_string(&groups).expect("JSON");
            prop_assert_eq!(&serde_json::from_str::<Groups>(&text).expect("read"), &groups);
        }
    }
}
