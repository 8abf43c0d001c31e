//! The scenarios: what is broken, and what must go on meanwhile.

use std::time::Duration;

use super::check::Allowance;
use super::network::{CLIENTS, Link};
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
    on(Shape::Single, "single-kill", "a single broker is killed and starts again", single_kill),
    on(Shape::Single, "single-pause", "a single broker is paused for some seconds", single_pause),
    Scenario {
        must_find: true,
        ..on(Shape::Single, "self-check", "the log is cut behind the broker's back: it must be found", cut_log)
    },
    on(ASYNC, "async-master-lost", "an ASYNC_MASTER is killed: its slave lacks a tail at most", pair_master_lost),
    on(SYNC, "sync-master-lost", "a SYNC_MASTER is killed: its slave has all that was promised", pair_master_lost),
    on(SYNC, "sync-slave-lost", "the slave of a SYNC_MASTER is killed and comes back", pair_slave_lost),
    on(GROUP, "kill-master", "the master is killed and comes back", kill_master),
    on(GROUP, "kill-slave", "a slave is killed and comes back", kill_slave),
    on(GROUP, "kill-two", "two machines of three are killed and come back", kill_two),
    on(GROUP, "kill-all", "all machines are killed at once and come back", kill_all),
    on(GROUP, "pause-master", "the master is paused, for a moment or until it is deposed", pause_master),
    on(GROUP, "pause-slave", "a slave is paused, for a moment or until it is out of step", pause_slave),
    on(
        GROUP,
        "cut-master",
        "the master is cut off from the others, one way or both; clients may still reach it",
        cut_master,
    ),
    on(GROUP, "cut-master-off", "the master is cut off from everybody", cut_master_off),
    on(GROUP, "cut-slave", "a slave is cut off, one way or both", cut_slave),
    on(GROUP, "cut-between-slaves", "the slaves cannot reach each other", cut_between_slaves),
    on(GROUP, "slow-links", "links are slow and lose packets", slow_links),
    on(
        GROUP,
        "diverged-tail",
        "a master takes messages alone, is deposed, killed, and returns with them",
        diverged_tail,
    ),
    Scenario {
        disk: Some(SMALL_DISK),
        ..on(GROUP, "full-disk-master", "the master's disk is full for a while", full_master)
    },
    Scenario {
        disk: Some(SMALL_DISK),
        ..on(GROUP, "full-disk-slave", "a slave's disk is full for a while", full_slave)
    },
    on(GROUP, "clock-step", "clocks of machines are set forward and back by up to an hour", clock_step),
    on(GROUP, "rolling-restart", "one machine after the other is stopped and started", rolling_restart),
    on(GROUP, "empty-slave", "a slave loses its log and starts with an empty one", empty_slave),
    on(GROUP, "storm", "any of these, one after the other", storm),
];

fn single_kill(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.kill(1);
    run.start(1)?;
    run.writes_go_on("kill -9 of a single broker and its start", RESTART);
    Ok(())
}

fn single_pause(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.pause(1);
    run.pass(500..6_000);
    run.resume(1);
    run.writes_go_on("a pause of a single broker", RESTART);
    Ok(())
}

fn cut_log(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.produce(false);
    run.host(1).stop()?;
    let log = run.host(1).data().join("store/commitlog");
    let file = std::fs::read_dir(&log).map_err(Failure::at(&log))?.flatten().map(|entry| entry.path()).min();
    if let Some(path) = file {
        let file = std::fs::OpenOptions::new().write(true).open(&path).map_err(Failure::at(&path))?;
        let length = file.metadata()?.len();
        // A broker that finds a shorter file may refuse it: zeros are what a disk shows that has lost something.
        file.set_len(length / 512)?;
        file.set_len(length)?;
    }
    run.start(1)?;
    run.produce(true);
    Ok(())
}

fn pair_master_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let lost_at = run.history.now();
    run.kill(1);
    run.produce(false);
    let is_sync = run.setup.shape == SYNC;
    let allowed = Allowance { tail_before: (!is_sync).then(|| run.history.now()) };
    if let Some((verdict, _)) = run.look_at(2, allowed) {
        let age = verdict.oldest_lost.map_or(Duration::ZERO, |at| lost_at.saturating_sub(at));
        let text = format!("{} messages, promised {} ms before at most", verdict.lost_tail, age.as_millis());
        run.figure("not on the slave when the master was lost", text);
    }
    run.start(1)?;
    run.produce(true);
    run.writes_go_on("kill -9 of a master that nobody replaces, and its start", RESTART);
    run.in_step()
}

fn pair_slave_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.kill(2);
    run.pass(500..4_000);
    run.start(2)?;
    run.writes_go_on("kill -9 of the only slave and its start", RESTART);
    run.in_step()
}

fn kill_master(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    run.kill(master);
    run.writes_go_on("kill -9 of the master", FAILOVER);
    come_back(run, master)
}

/// A machine that was killed starts again, sooner or later.
fn come_back(run: &mut Run, host: usize) -> Result<(), Failure> {
    run.calm();
    run.start(host)?;
    run.in_step()
}

fn kill_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    run.kill(slave);
    run.writes_go_on("kill -9 of a slave", FAILOVER);
    come_back(run, slave)
}

fn kill_two(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let kept = *run.rng.pick(&[1, 2, 3]);
    for host in run.rest(kept) {
        run.kill(host);
        run.pass(0..300);
    }
    run.calm();
    for host in run.rest(kept) {
        run.start(host)?;
        run.pass(0..300);
    }
    run.writes_go_on("kill -9 of two and their start", RESTART);
    run.in_step()
}

fn kill_all(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    for host in 1..=3 {
        run.kill(host);
    }
    for host in 1..=3 {
        run.start(host)?;
    }
    run.writes_go_on("kill -9 of all and their start", RESTART);
    run.in_step()
}

fn pause_master(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    run.pause(master);
    if run.rng.chance(50) {
        run.pass(200..3_000);
        run.resume(master);
        run.writes_go_on("a short pause of the master", FAILOVER);
    } else {
        run.writes_go_on("SIGSTOP of the master", FAILOVER);
        run.calm();
        run.resume(master);
    }
    run.calm();
    run.in_step()
}

fn pause_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    run.pause(slave);
    if run.rng.chance(50) {
        run.pass(200..3_000);
        run.resume(slave);
        run.writes_go_on("a short pause of a slave", FAILOVER);
    } else {
        run.writes_go_on("SIGSTOP of a slave", RESTART);
        run.resume(slave);
    }
    run.calm();
    run.in_step()
}

/// Cuts one host off from others, in one way or both.
fn cut_off(run: &mut Run, host: usize, others: &[usize]) -> Result<&'static str, Failure> {
    let way = run.rng.below(3);
    if way != 1 {
        run.cut(&[host], others)?;
    }
    if way != 0 {
        run.cut(others, &[host])?;
    }
    Ok(["what it sends is lost", "what it is sent is lost", "both ways"][way as usize])
}

fn cut_master(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let others = run.rest(master);
    let way = cut_off(run, master, &others)?;
    run.writes_go_on(&format!("the master is cut off from the others, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.writes_go_on("the master is no longer cut off", RESTART);
    run.in_step()
}

fn cut_master_off(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let everybody = [&run.rest(master)[..], &[CLIENTS]].concat();
    let way = cut_off(run, master, &everybody)?;
    run.writes_go_on(&format!("the master is cut off from everybody, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

fn cut_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    let others = run.rest(slave);
    let way = cut_off(run, slave, &others)?;
    run.writes_go_on(&format!("a slave is cut off, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

fn cut_between_slaves(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slaves = run.rest(master);
    let way = cut_off(run, slaves[0], &slaves[1..])?;
    run.writes_go_on(&format!("the slaves are cut off from each other, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

fn slow_links(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let link = Link {
        delay: Duration::from_millis(run.rng.within(1..60)),
        jitter: Duration::from_millis(run.rng.within(0..30)),
        loss: run.rng.below(20_000) as u32,
        rate: if run.rng.chance(30) { 1 << 20 } else { 0 },
        is_cut: false,
    };
    run.event(format!("all links: {link:?}"));
    run.network.set_all(link)?;
    run.writes_go_on("links are slow and lossy", RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

fn diverged_tail(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let others = run.rest(master);
    // Clients reach it for a while and get no promise: it has what nobody else has.
    run.cut(&[master], &others)?;
    run.cut(&others, &[master])?;
    run.writes_go_on("a master takes messages alone", RESTART);
    run.kill(master);
    run.mend()?;
    run.calm();
    run.start(master)?;
    run.in_step()
}

/// The disk of a host is full for a while.
fn full(run: &mut Run, host: usize, after: &str) -> Result<(), Failure> {
    run.event(format!("the disk of host {host} is full"));
    run.host(host).fill_disk()?;
    run.calm();
    run.event(format!("the disk of host {host} has room"));
    run.host(host).free_disk()?;
    run.writes_go_on(after, RESTART);
    run.in_step()
}

fn full_master(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    full(run, master, "the master's disk was full")
}

fn full_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    full(run, slave, "a slave's disk was full")
}

fn clock_step(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    for host in 1..=3 {
        if run.rng.chance(60) {
            let most: u64 = *run.rng.pick(&[2_000, 60_000, 3_600_000]);
            let step = run.rng.below(2 * most) as i64 - most as i64;
            run.event(format!("the clock of host {host} is off by {step} ms"));
            run.host(host).step_clock(step)?;
        }
    }
    run.writes_go_on("clocks were set", RESTART);
    run.calm();
    let master = run.master();
    run.kill(master);
    run.writes_go_on("kill -9 of the master while clocks are wrong", FAILOVER);
    come_back(run, master)
}

fn rolling_restart(run: &mut Run) -> Result<(), Failure> {
    for host in 1..=3 {
        run.calm();
        run.event(format!("host {host} is stopped"));
        let since = run.history.now();
        run.host(host).stop()?;
        run.writes_go_on_since(since, "a machine was stopped", FAILOVER);
        run.start(host)?;
        run.in_step()?;
    }
    Ok(())
}

fn empty_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    run.kill(slave);
    run.event(format!("host {slave} loses its log"));
    run.host(slave).wipe("store")?;
    run.start(slave)?;
    run.writes_go_on("a slave starts with nothing", RESTART);
    run.in_step()
}

/// Those that a storm is made of.
fn storm(run: &mut Run) -> Result<(), Failure> {
    let rounds = [
        kill_master,
        kill_slave,
        kill_two,
        pause_master,
        pause_slave,
        cut_master,
        cut_master_off,
        cut_slave,
        slow_links,
        diverged_tail,
        clock_step,
    ];
    let round = *run.rng.pick(&rounds);
    round(run)
}
