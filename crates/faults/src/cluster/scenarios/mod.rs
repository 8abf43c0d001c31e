//! The scenarios: what is broken, and what must go on meanwhile.

mod group;
mod pair;
mod single;

use std::time::Duration;

use super::run::Run;
use super::shape::Shape;
use crate::error::Failure;

/// Writes must go on so long after a machine was lost.
const FAILOVER: Duration = Duration::from_secs(10);
/// The same where the only broker starts again, or a paused one goes on.
const RESTART: Duration = Duration::from_secs(20);
/// Bytes of the small disks of those scenarios that fill them.
const SMALL_DISK: u64 = 192 << 20;

/// One scenario.
pub struct Scenario {
    /// As it is called for.
    pub name: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// On which cluster.
    pub shape: Shape,
    /// Bytes of each broker's disk, where it is to be filled.
    pub disk: Option<u64>,
    /// One round of it.
    pub round: fn(&mut Run) -> Result<(), Failure>,
    /// It breaks what nobody could keep, to see that it is found: a run without a finding is the failure.
    pub must_find: bool,
}

const fn on(
    shape: Shape,
    name: &'static str,
    about: &'static str,
    round: fn(&mut Run) -> Result<(), Failure>,
) -> Scenario {
    Scenario { name, about, shape, disk: None, round, must_find: false }
}

const SYNC: Shape = Shape::Pair { is_sync: true };
const ASYNC: Shape = Shape::Pair { is_sync: false };
const GROUP: Shape = Shape::Group;

/// All of them.
pub const ALL: &[Scenario] = &[
    on(Shape::Single, "single-kill", "a single broker is killed and starts again", single::kill),
    on(Shape::Single, "single-pause", "a single broker is paused for some seconds", single::pause),
    Scenario {
        must_find: true,
        ..on(Shape::Single, "self-check", "the log is cut behind the broker's back: it must be found", single::cut_log)
    },
    on(ASYNC, "async-master-lost", "an ASYNC_MASTER is killed: its slave lacks a tail at most", pair::master_lost),
    on(SYNC, "sync-master-lost", "a SYNC_MASTER is killed: its slave has all that was promised", pair::master_lost),
    on(SYNC, "sync-slave-lost", "the slave of a SYNC_MASTER is killed and comes back", pair::slave_lost),
    on(GROUP, "kill-master", "the master is killed and comes back", group::kill_master),
    on(GROUP, "kill-slave", "a slave is killed and comes back", group::kill_slave),
    on(GROUP, "kill-two", "two machines of three are killed and come back", group::kill_two),
    on(GROUP, "kill-all", "all machines are killed at once and come back", group::kill_all),
    on(GROUP, "pause-master", "the master is paused, for a moment or until it is deposed", group::pause_master),
    on(GROUP, "pause-slave", "a slave is paused, for a moment or until it is out of step", group::pause_slave),
    on(GROUP, "cut-master", "the others cannot reach the master, one way or both; clients can", group::cut_master),
    on(GROUP, "cut-master-off", "nobody can reach the master, one way or both", group::cut_master_off),
    on(GROUP, "cut-slave", "the others cannot reach a slave, one way or both", group::cut_slave),
    on(GROUP, "cut-between-slaves", "the slaves cannot reach each other", group::cut_between_slaves),
    on(GROUP, "controller-leader-lost", "the machine that leads the controllers is killed", group::leader_lost),
    on(GROUP, "controller-leader-cut", "the others cannot reach who leads the controllers", group::leader_cut),
    on(GROUP, "slow-links", "links are slow and lose packets", group::slow_links),
    on(GROUP, "diverged-tail", "a master takes messages alone, is deposed, killed, and returns", group::diverged_tail),
    Scenario {
        disk: Some(SMALL_DISK),
        ..on(GROUP, "full-disk-master", "the master's disk is full for a while", group::full_master)
    },
    Scenario {
        disk: Some(SMALL_DISK),
        ..on(GROUP, "full-disk-slave", "a slave's disk is full for a while", group::full_slave)
    },
    on(GROUP, "clock-step", "clocks are set by up to an hour, then the master is killed", group::clock_step),
    on(GROUP, "rolling-restart", "one machine after the other is stopped and started", group::rolling_restart),
    on(GROUP, "empty-slave", "a slave loses its log and starts with an empty one", group::empty_slave),
    on(GROUP, "storm", "any of these, one after the other with --rounds", group::storm),
];
