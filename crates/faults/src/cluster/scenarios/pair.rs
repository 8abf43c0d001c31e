//! A master and its slave, as the settings say; nobody elects.

use std::time::Duration;

use super::{RESTART, SYNC};
use crate::cluster::check::Allowance;
use crate::cluster::run::Run;
use crate::error::Failure;

pub fn master_lost(run: &mut Run) -> Result<(), Failure> {
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

pub fn slave_lost(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.kill(2);
    run.pass(500..4_000);
    run.start(2)?;
    run.writes_go_on("kill -9 of the only slave and its start", RESTART);
    run.in_step()
}
