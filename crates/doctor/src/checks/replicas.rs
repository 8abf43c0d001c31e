//! Masters and slaves, and the controllers that elect masters.

use std::time::Duration;

use super::{Found, about, bytes, list};
use crate::facts::{MasterState, Replicas};
use crate::{Facts, Severity};

/// Bytes that a slave may lack without a word; a busy slave lacks some at any time.
const BEHIND: i64 = 64 << 20;

fn masters(facts: &Facts) -> impl Iterator<Item = (&Replicas, &MasterState)> {
    facts.replicas.iter().filter_map(|replicas| Some((replicas, replicas.master.as_ref()?)))
}

fn subject(name: &str, address: &str) -> String {
    format!("{name} ({address})")
}

/// Each broker of a name has an id of its own.
pub fn same_id(facts: &Facts, found: &mut Found<'_>) {
    for replicas in &facts.replicas {
        for (id, addresses) in replicas.members.iter().filter(|(_, addresses)| addresses.len() > 1) {
            let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
            found.add(
                Severity::Critical,
                format!("{} id {id}", replicas.name),
                format!("name servers know more than one broker of this name and id: {}", list(&addresses)),
                "Clients are sent to the one or the other, and each has messages that the other one lacks.",
                "Two brokers run with one brokerName and brokerId, or a former master came back: give each broker of a \
                 name a brokerId of its own, and stop the one that is not the master (`mqadmin clusterList`)."
                    .to_owned(),
            );
        }
    }
}

/// Where there are slaves, there is a master.
pub fn no_master(facts: &Facts, found: &mut Found<'_>) {
    for replicas in facts.replicas.iter().filter(|replicas| !replicas.members.contains_key(&0)) {
        let slaves: Vec<_> = replicas.members.values().flatten().map(String::as_str).collect();
        found.add(
            Severity::Critical,
            &replicas.name,
            format!("its slaves are up ({}), and it has no master", list(&slaves)),
            "No message can be sent to it; consumers read what the slaves have.",
            "Start the master again. With controllers a slave becomes the master by itself: see why it does not with \
             `mqadmin getSyncStateSet -a CONTROLLERS -b NAME`; one that is not in sync is elected only by \
             `mqadmin electMaster`, and what it lacks is lost."
                .to_owned(),
        );
    }
}

/// Enough brokers are in step for messages to be taken.
pub fn too_few(facts: &Facts, found: &mut Found<'_>) {
    for (replicas, master) in masters(facts).filter(|(_, master)| master.in_step < master.least_in_step) {
        found.add(
            Severity::Critical,
            subject(&replicas.name, &master.address),
            format!("{} brokers are in step, and {} must be (minInSyncReplicas)", master.in_step, master.least_in_step),
            "Messages are refused until there are enough.",
            "Start the slaves that are missing, or see in their logs why they do not copy; \
             `mqadmin haStatus -b ADDRESS` shows how far they are."
                .to_owned(),
        );
    }
}

/// A master whose slaves somebody counts on has one in step.
pub fn none_in_step(facts: &Facts, found: &mut Found<'_>) {
    for (replicas, master) in masters(facts) {
        let is_counted_on = master.is_waited_for || replicas.members.len() > 1 || !master.slaves.is_empty();
        // What the other check says is worse.
        if !is_counted_on || master.in_step < master.least_in_step || master.slaves.iter().any(|slave| slave.in_step) {
            continue;
        }
        let what = match master.slaves.len() {
            0 => "no slave is connected to this master".to_owned(),
            count => format!("of {count} slaves none is in step with this master"),
        };
        found.add(
            Severity::Warning,
            subject(&replicas.name, &master.address),
            what,
            "If this machine is lost, so are its newest messages.",
            "Start a slave, or see in the slaves' logs why they do not copy; the port after the broker's (haListenPort) \
             must be open between them."
                .to_owned(),
        );
    }
}

/// Slaves are not far behind.
pub fn behind(facts: &Facts, found: &mut Found<'_>) {
    for (replicas, master) in masters(facts) {
        for slave in master.slaves.iter().filter(|slave| slave.behind >= BEHIND || !slave.in_step) {
            let lacks = bytes(slave.behind.max(0) as u64);
            let left = match (slave.behind, slave.rate) {
                (..=0, _) => "it has all of the log".to_owned(),
                (_, ..=0) => "nothing comes now".to_owned(),
                (behind, rate) => {
                    let seconds = Duration::from_secs((behind / rate).max(1) as u64);
                    format!("{} come in a second: {} are left at that", bytes(rate as u64), about(seconds))
                }
            };
            found.add(
                Severity::Warning,
                format!("{} slave {}", replicas.name, slave.address),
                format!("it lacks {lacks} of the log of its master {}; {left}", master.address),
                "Until it has caught up, it is of no use when the master is lost.",
                "A new slave needs its time: `mqadmin haStatus -b ADDRESS -i 2` shows it coming. One that falls behind \
                 again and again has a slow disk or network."
                    .to_owned(),
            );
        }
    }
}

/// The controllers have a leader.
pub fn controller(facts: &Facts, found: &mut Found<'_>) {
    let Some(controllers) = &facts.controllers else { return };
    let what = match &controllers.leader {
        Ok(Some(_)) => return,
        Ok(None) => "the controllers have no leader".to_owned(),
        Err(error) => format!("no controller answers: {error}"),
    };
    found.add(
        Severity::Critical,
        &controllers.addresses,
        what,
        "Messages are taken as long as the masters run; if one fails, no other is elected.",
        "Most of the controllers must run and reach each other: start those that are down \
         (`mqadmin getControllerMetaData -a ADDRESS` asks one)."
            .to_owned(),
    );
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::checks::tests::found;
    use crate::facts::{Controllers, SlaveState};

    fn group(ids: &[i64], master: Option<MasterState>) -> Facts {
        let members: BTreeMap<i64, BTreeSet<String>> =
            ids.iter().map(|id| (*id, BTreeSet::from([format!("h:{id}")]))).collect();
        let replicas = Replicas { name: "a".to_owned(), members, master };
        Facts { replicas: vec![replicas], ..Facts::default() }
    }

    fn master(slaves: &[(i64, i64, bool)]) -> MasterState {
        let slave = |&(behind, rate, in_step): &(i64, i64, bool)| SlaveState {
            address: "s:1".to_owned(),
            behind,
            rate,
            in_step,
        };
        let in_step = 1 + slaves.iter().filter(|slave| slave.2).count() as u32;
        let slaves = slaves.iter().map(slave).collect();
        MasterState { address: "h:0".to_owned(), is_waited_for: false, least_in_step: 1, in_step, slaves }
    }

    #[test]
    fn a_master_alone_and_one_with_a_good_slave_are_well() {
        assert!(found(&group(&[0], Some(master(&[])))).is_empty());
        assert!(found(&group(&[0, 1], Some(master(&[(1_000, 0, true)])))).is_empty());
    }

    #[test]
    fn slaves_that_are_gone_or_far_behind_are_named() {
        assert_eq!(found(&group(&[0, 1], Some(master(&[])))), ["warning no-slave-in-step a (h:0)"]);
        let waits = MasterState { is_waited_for: true, ..master(&[]) };
        assert_eq!(found(&group(&[0], Some(waits))), ["warning no-slave-in-step a (h:0)"]);
        let facts = group(&[0, 1], Some(master(&[(1 << 30, 1 << 20, true)])));
        assert_eq!(found(&facts), ["warning slave-behind a slave s:1"]);
        let finding = crate::examine(&facts).remove(0);
        assert!(finding.what.contains("1 GiB") && finding.what.contains("17m 4s"), "{}", finding.what);
    }

    #[test]
    fn too_few_in_step_no_master_and_twice_an_id_are_critical() {
        let few = MasterState { least_in_step: 2, ..master(&[]) };
        assert_eq!(found(&group(&[0, 1], Some(few))), ["critical in-sync-too-few a (h:0)"]);
        assert_eq!(found(&group(&[1, 2], None)), ["critical no-master a"]);
        let mut twice = group(&[0, 1], Some(master(&[(0, 0, true)])));
        twice.replicas[0].members.entry(0).or_default().insert("h:9".to_owned());
        assert_eq!(found(&twice), ["critical same-id a id 0"]);
    }

    #[test]
    fn controllers_need_a_leader() {
        let facts = |leader| Facts {
            controllers: Some(Controllers { addresses: "c:1;c:2".to_owned(), leader }),
            ..Facts::default()
        };
        assert!(found(&facts(Ok(Some("c:1".to_owned())))).is_empty());
        assert_eq!(found(&facts(Ok(None))), ["critical controller c:1;c:2"]);
        assert_eq!(found(&facts(Err("refused".to_owned()))), ["critical controller c:1;c:2"]);
    }
}
