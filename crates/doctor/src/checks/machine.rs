//! The machine under a broker.

use super::{Found, bytes};
use crate::facts::Machine;
use crate::{Facts, Severity};

/// Files that a busy broker may need.
const FILES: u64 = 65_536;
/// Mappings that a broker of many topics may need.
const MAPS: u64 = 262_144;
/// A share of what is allowed, in percent, from where on it is nearly used up.
const NEARLY: u64 = 80;
/// From where on the kernel swaps what is in use.
const SWAPPINESS: u64 = 10;
/// Percent of memory that may be written and not on disk: more than the usual means long pauses.
const DIRTY: u64 = 40;

fn nearly(used: u64, allowed: u64) -> bool {
    used.saturating_mul(100) >= allowed.saturating_mul(NEARLY)
}

/// What the kernel allows the process.
pub fn limits(facts: &Facts, found: &mut Found<'_>) {
    let Some(machine) = &facts.machine else { return };
    let Machine { broker, .. } = machine;
    if let Some((allowed, open)) = machine.files {
        let advice = format!(
            "Allow more, with `ulimit -n {FILES}` before the start or LimitNOFILE={FILES} of its systemd unit."
        );
        let why = "Without room for files and connections clients are refused and files cannot be opened.";
        let what = format!("the process may have {allowed} files and connections open, and has {open}");
        if nearly(open, allowed) {
            found.add(Severity::Critical, format!("{broker}: open files"), what, why, advice);
        } else if allowed < FILES {
            found.add(Severity::Note, format!("{broker}: open files"), what, why, advice);
        }
    }
    if let Some((allowed, mapped)) = machine.maps {
        let advice = format!("Allow more: `sysctl -w vm.max_map_count={MAPS}`, and the same in /etc/sysctl.d.");
        let why = "Each file of log, queues and index is one mapping: beyond the limit no new one can be opened.";
        let what = format!("vm.max_map_count is {allowed}, and the process has {mapped} mappings");
        if nearly(mapped, allowed) {
            found.add(Severity::Critical, format!("{broker}: vm.max_map_count"), what, why, advice);
        }
    }
}

/// How the kernel deals with memory.
pub fn memory(facts: &Facts, found: &mut Found<'_>) {
    let Some(machine) = &facts.machine else { return };
    let Machine { broker, .. } = machine;
    let swap_advice = || {
        "Turn swap off (`swapoff -a`), or let the kernel use it last: `sysctl -w vm.swappiness=1`, and the same in \
         /etc/sysctl.d."
            .to_owned()
    };
    match (machine.swapped.unwrap_or(0), machine.swap.unwrap_or(0), machine.swappiness.unwrap_or(0)) {
        (swapped @ 1.., ..) => found.add(
            Severity::Warning,
            format!("{broker}: swap"),
            format!("{} of the process are swapped out", bytes(swapped)),
            "Requests that touch them wait for the disk: latency has long tails.",
            swap_advice(),
        ),
        (0, swap @ 1.., swappiness) if swappiness > SWAPPINESS => found.add(
            Severity::Note,
            format!("{broker}: swap"),
            format!("the machine has {} of swap, and vm.swappiness is {swappiness}", bytes(swap)),
            "The kernel will swap out parts of the process to cache files: latency gets long tails.",
            swap_advice(),
        ),
        _ => {}
    }
    if let Some(ratio) = machine.dirty_ratio.filter(|ratio| *ratio > DIRTY) {
        found.add(
            Severity::Note,
            format!("{broker}: vm.dirty_ratio"),
            format!("vm.dirty_ratio is {ratio}: so many percent of the memory may be written and not on disk"),
            "When that much is reached everybody who writes is held up until the disk has caught up.",
            "Set it lower: `sysctl -w vm.dirty_ratio=20`, and the same in /etc/sysctl.d.".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::found;

    fn facts(machine: Machine) -> Facts {
        Facts { machine: Some(Machine { broker: "a".into(), ..machine }), ..Facts::default() }
    }

    #[test]
    fn a_machine_with_room_is_fine() {
        let machine = Machine {
            files: Some((1 << 20, 100)),
            maps: Some((65_530, 100)),
            swapped: Some(0),
            swap: Some(1 << 30),
            swappiness: Some(1),
            dirty_ratio: Some(20),
            ..Machine::default()
        };
        assert!(found(&facts(machine)).is_empty());
        assert!(found(&facts(Machine::default())).is_empty());
    }

    #[test]
    fn limits_are_told_early_and_loudly_when_they_are_near() {
        let files = |limit, open| facts(Machine { files: Some((limit, open)), ..Machine::default() });
        assert_eq!(found(&files(1024, 10)), ["note kernel-limits a: open files"]);
        assert_eq!(found(&files(1024, 820)), ["critical kernel-limits a: open files"]);
        let maps = Machine { maps: Some((65_530, 60_000)), ..Machine::default() };
        assert_eq!(found(&facts(maps)), ["critical kernel-limits a: vm.max_map_count"]);
    }

    #[test]
    fn swap_matters_more_when_it_is_used() {
        let swap =
            |swapped| Machine { swapped: Some(swapped), swap: Some(9), swappiness: Some(60), ..Machine::default() };
        assert_eq!(found(&facts(swap(0))), ["note memory a: swap"]);
        assert_eq!(found(&facts(swap(4096))), ["warning memory a: swap"]);
        let dirty = Machine { dirty_ratio: Some(80), ..Machine::default() };
        assert_eq!(found(&facts(dirty)), ["note memory a: vm.dirty_ratio"]);
    }
}
