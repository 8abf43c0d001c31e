//! A single broker.

use super::RESTART;
use crate::cluster::run::Run;
use crate::error::Failure;

pub fn kill(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.kill(1);
    run.start(1)?;
    run.writes_go_on("kill -9 of a single broker and its start", RESTART);
    Ok(())
}

pub fn pause(run: &mut Run) -> Result<(), Failure> {
    run.calm();
    run.pause(1);
    run.pass(500..6_000);
    run.resume(1);
    run.writes_go_on("a pause of a single broker", RESTART);
    Ok(())
}

pub fn cut_log(run: &mut Run) -> Result<(), Failure> {
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
