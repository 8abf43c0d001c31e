//! Three machines that elect their master.

use std::time::Duration;

use super::{FAILOVER, RESTART};
use crate::cluster::network::{CLIENTS, Link};
use crate::cluster::run::Run;
use crate::error::Failure;

pub fn kill_master(run: &mut Run) -> Result<(), Failure> {
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

pub fn kill_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    run.kill(slave);
    run.writes_go_on("kill -9 of a slave", FAILOVER);
    come_back(run, slave)
}

pub fn kill_two(run: &mut Run) -> Result<(), Failure> {
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

pub fn kill_all(run: &mut Run) -> Result<(), Failure> {
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

pub fn pause_master(run: &mut Run) -> Result<(), Failure> {
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

pub fn pause_slave(run: &mut Run) -> Result<(), Failure> {
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

pub fn cut_master(run: &mut Run) -> Result<(), Failure> {
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

pub fn cut_master_off(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let everybody = [&run.rest(master)[..], &[CLIENTS]].concat();
    let way = cut_off(run, master, &everybody)?;
    run.writes_go_on(&format!("the master is cut off from everybody, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

pub fn cut_slave(run: &mut Run) -> Result<(), Failure> {
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

pub fn cut_between_slaves(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slaves = run.rest(master);
    let way = cut_off(run, slaves[0], &slaves[1..])?;
    run.writes_go_on(&format!("the slaves are cut off from each other, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

/// Whoever elects a master must be elected first, where the machine was both.
pub fn leader_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let leader = run.controller_leader()?;
    run.kill(leader);
    run.writes_go_on("kill -9 of the controllers' leader", FAILOVER);
    come_back(run, leader)
}

pub fn leader_cut(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let leader = run.controller_leader()?;
    let others = run.rest(leader);
    let way = cut_off(run, leader, &others)?;
    run.writes_go_on(&format!("the controllers' leader is cut off, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.in_step()
}

pub fn slow_links(run: &mut Run) -> Result<(), Failure> {
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

pub fn diverged_tail(run: &mut Run) -> Result<(), Failure> {
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

pub fn full_master(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    full(run, master, "the master's disk was full")
}

pub fn full_slave(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let master = run.master();
    let slave = run.other_than(master);
    full(run, slave, "a slave's disk was full")
}

pub fn clock_step(run: &mut Run) -> Result<(), Failure> {
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

pub fn rolling_restart(run: &mut Run) -> Result<(), Failure> {
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

pub fn empty_slave(run: &mut Run) -> Result<(), Failure> {
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
pub fn storm(run: &mut Run) -> Result<(), Failure> {
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
        leader_lost,
        leader_cut,
        clock_step,
    ];
    let round = *run.rng.pick(&rounds);
    round(run)
}
