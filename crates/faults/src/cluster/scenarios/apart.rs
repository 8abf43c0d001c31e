//! Brokers on three machines, name servers with controllers on three others.

use super::{FAILOVER, RESTART};
use crate::cluster::run::Run;
use crate::cluster::scenarios::group::{come_back, cut_off};
use crate::error::Failure;

/// The controllers' leader is killed: writes do not stop.
pub fn leader_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let leader = run.controller_leader()?;
    run.kill(leader);
    run.writes_go_on("kill -9 of the controllers' leader", FAILOVER);
    come_back(run, leader)
}

/// The controllers' leader is there for the other controllers and not for the brokers.
pub fn leader_cut(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let leader = run.controller_leader()?;
    let brokers: Vec<usize> = run.setup.shape.brokers().collect();
    let way = cut_off(run, leader, &brokers)?;
    run.writes_go_on(&format!("the controllers' leader is cut off from the brokers, {way}"), RESTART);
    run.calm();
    run.mend()?;
    run.writes_go_on("the controllers' leader is no longer cut off", RESTART);
    run.in_step()
}

/// Whoever elects a master must be elected first.
pub fn both_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let (leader, master) = (run.controller_leader()?, run.master());
    run.kill(leader);
    run.kill(master);
    run.writes_go_on("kill -9 of the controllers' leader and the master", RESTART);
    run.start(master)?;
    come_back(run, leader)
}

/// Without most of the controllers nobody is elected, and nothing needs to be.
pub fn most_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    let kept = *run.rng.pick(&[4, 5, 6]);
    let lost: Vec<usize> = (4..=6).filter(|host| *host != kept).collect();
    for host in &lost {
        run.kill(*host);
    }
    run.writes_go_on("kill -9 of two controllers of three", FAILOVER);
    run.calm();
    for host in lost {
        run.start(host)?;
    }
    run.in_step()
}
