//! `full`: a small disk fills up under load, and gets room again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use apogee_message::record;
use rustix::fs::{FallocateFlags, fallocate};

use crate::body;
use crate::disk::LoopDisk;
use crate::error::Failure;
use crate::load::Running;
use crate::peer::Peer;
use crate::session::Session;
use crate::target::Kind;
use crate::verify::Scope;

/// Bytes of the file system.
const SIZE: u64 = 96 << 20;
/// Bytes of the file that is removed when the disk is full.
const BALLAST: u64 = 40 << 20;
/// How long filling up may take.
const FILLS: Duration = Duration::from_secs(60);
/// How long writing may take to resume.
const RESUMES: Duration = Duration::from_secs(1);
/// How long it is waited for, to tell how long it takes.
const GIVES_UP: Duration = Duration::from_secs(20);

/// Fills the disk, reads, removes the ballast, writes on, kills, looks. Every other round knows no limit but
/// the disk's end; the others are refused at the limits that are set.
pub fn run(session: &mut Session) -> Result<(), Failure> {
    let mut disk = LoopDisk::new(&session.folder, SIZE)?;
    session.data = disk.folder.join("data");
    let outcome = session.run(|session| {
        session.renew(|_| disk.format(SIZE))?;
        let to_the_end = session.round.is_multiple_of(2) && session.common.server == Kind::Apogee;
        let limit = if to_the_end { "diskSpaceWarningLevelRatio=100" } else { "diskSpaceWarningLevelRatio=90" };
        session.own_settings = vec![limit.to_owned(), "mappedFileSizeCommitLog=1048576".to_owned()];
        let ballast = disk.folder.join("ballast");
        let file = std::fs::File::create(&ballast).map_err(Failure::at(&ballast))?;
        fallocate(&file, FallocateFlags::empty(), 0, BALLAST).map_err(|error| Failure::at(&ballast)(error.into()))?;
        drop(file);
        session.start()?;
        let running = session.load_of(true)?;
        let filled = fill(&running);
        let mut wrong = Vec::new();
        if !filled {
            wrong.push(format!("sends were not refused within {} s on a full disk", FILLS.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(300));
        wrong.extend(reads(session));
        let before = running.watch.acknowledged.load(Ordering::Relaxed);
        std::fs::remove_file(&ballast).map_err(Failure::at(&ballast))?;
        let roomy = Instant::now();
        while running.watch.acknowledged.load(Ordering::Relaxed) == before && roomy.elapsed() < GIVES_UP {
            std::thread::sleep(Duration::from_millis(1));
        }
        let resumed = roomy.elapsed();
        session.most("longestResumeMs", resumed.as_millis() as u64);
        session.count(if resumed > RESUMES { "resumedLate" } else { "resumedInTime" }, 1);
        if resumed > RESUMES {
            wrong.push(format!("no send was taken within {} ms after there was room", resumed.as_millis()));
        }
        std::thread::sleep(Duration::from_millis(100));
        let told = running.finish();
        session.count("unanswered", told.unanswered as u64);
        if told.unanswered > 0 {
            wrong.push(format!("{} sends were not answered", told.unanswered));
        }
        if let Some(silent) = told.refused.iter().find(|answer| answer.remark.is_empty()) {
            wrong.push(format!("a send was refused with code {} and no reason", silent.code));
        }
        session.take(&told)?;
        session.found(wrong)?;
        session.verify(&Scope { full: true, ..Scope::default() })?;
        let ended = Some(Instant::now());
        session.end(false)?;
        session.start()?;
        session.verify(&Scope { full: true, ended, ..Scope::default() })?;
        session.process = None;
        session.discard();
        Ok(())
    });
    session.process = None;
    outcome
}

/// Waits until sends are refused and none is taken any more.
fn fill(running: &Running) -> bool {
    let began = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    while began.elapsed() < FILLS {
        std::thread::sleep(Duration::from_millis(5));
        let acknowledged = running.watch.acknowledged.load(Ordering::Relaxed);
        if acknowledged != last {
            (last, since) = (acknowledged, Instant::now());
        }
        if running.watch.refused.load(Ordering::Relaxed) > 0 && since.elapsed() > Duration::from_millis(300) {
            return true;
        }
    }
    false
}

/// What is wrong with reading while the disk is full.
fn reads(session: &Session) -> Vec<String> {
    let read = || -> Result<usize, Failure> {
        let mut peer = Peer::connect(session.address()?)?;
        let mut good = 0;
        for queue in 0..4 {
            let pulled = peer.pull("Orders", queue, 0)?;
            good += record::iter(&pulled.body).flatten().filter(|found| body::check(found.body).is_some()).count();
        }
        Ok(good)
    };
    match read() {
        Ok(0) => vec!["nothing can be read while the disk is full".to_owned()],
        Ok(_) => Vec::new(),
        Err(failure) => vec![format!("nothing can be read while the disk is full: {failure}")],
    }
}
