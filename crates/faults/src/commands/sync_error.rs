//! `sync-error`: one sync fails, and what it should have written is gone at the power cut that follows.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::{LoopDisk, compile};
use crate::error::Failure;
use crate::load::Told;
use crate::session::Session;
use crate::target::Kind;
use crate::verify::Scope;

/// Bytes of the file system.
const SIZE: u64 = 1 << 30;
/// How long the load waits for the failure to come.
const COMES: Duration = Duration::from_secs(2);
/// Age of the failure at which no send is acknowledged any more: answers on their way have arrived.
const SETTLED: Duration = Duration::from_millis(50);

/// Lets the k-th sync fail, goes on for a moment, cuts the power, starts again, looks.
pub fn run(session: &mut Session) -> Result<(), Failure> {
    let mut disk = LoopDisk::new(&session.folder, SIZE)?;
    let shim = session.folder.join("failing_sync.so");
    compile("failing_sync.c", &shim, &["-shared", "-fPIC"])?;
    session.data = disk.folder.join("data");
    session.own_settings = vec!["flushDiskType=SYNC_FLUSH".to_owned()];
    let report = session.folder.join("syncs");
    let outcome = session.run(|session| {
        if session.is_stale() {
            session.renew(|_| disk.format(SIZE))?;
        }
        session.end(true)?;
        let _ = std::fs::remove_file(&report);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        session.target.environment = vec![
            ("LD_PRELOAD".to_owned(), text(&shim)),
            ("FAULT_UNDER".to_owned(), text(&session.data)),
            ("FAULT_AT".to_owned(), session.rng.within(1..120).to_string()),
            ("FAULT_REPORT".to_owned(), text(&report)),
        ];
        let started = session.start();
        session.target.environment.clear();
        match started {
            Ok(()) => {}
            // It may fail while it starts: then it must say so and end.
            Err(Failure::Start(_)) if report.exists() => return recover(session, &mut disk, Instant::now()),
            Err(failure) => return Err(failure),
        }
        let running = session.load()?;
        let (began, mut failed) = (Instant::now(), None);
        while failed.is_none() && began.elapsed() < COMES {
            std::thread::sleep(Duration::from_millis(1));
            failed = report.exists().then(Instant::now);
        }
        std::thread::sleep(Duration::from_millis(session.rng.within(80..200)));
        let cut = Instant::now();
        disk.cut()?;
        session.end(false)?;
        let mut told = running.finish();
        told.unpromise_since(cut);
        session.take(&told)?;
        judge(session, &report, failed, &told)?;
        recover(session, &mut disk, cut)
    });
    session.process = None;
    outcome
}

/// Mounts and starts again without the fault, and looks.
fn recover(session: &mut Session, disk: &mut LoopDisk, cut: Instant) -> Result<(), Failure> {
    session.end(false)?;
    disk.unmount()?;
    disk.mount()?;
    session.start()?;
    session.verify(&Scope { ended: Some(cut), ..Scope::default() })?;
    Ok(())
}

/// What was answered after the failure, and what was synced again.
fn judge(session: &mut Session, report: &Path, failed: Option<Instant>, told: &Told) -> Result<(), Failure> {
    let Some(failed) = failed else {
        session.count("roundsWithoutFailure", 1);
        return Ok(());
    };
    let lines = std::fs::read_to_string(report).map_err(Failure::at(report))?;
    let path = lines.lines().find_map(|line| line.strip_prefix("failed ")).unwrap_or_default().to_owned();
    let kind = ["/commitlog/", "/consumequeue/", "/index/", "/config/"].into_iter().find(|kind| path.contains(kind));
    session.count("failedSyncs", 1);
    session.count(&format!("failedSyncsOf {}", kind.unwrap_or("others").trim_matches('/')), 1);
    let after = |at: Instant| at > failed + SETTLED;
    let acknowledged: u64 = told.acknowledged.iter().filter(|answer| after(answer.at)).map(|answer| answer.count).sum();
    let refused: Vec<_> = told.refused.iter().filter(|answer| after(answer.at)).collect();
    let again = lines.lines().filter(|line| line.starts_with("again ")).count() as u64;
    session.count("acknowledgedAfterFailure", acknowledged);
    session.count("refusedAfterFailure", refused.len() as u64);
    session.count("syncsRepeated", again);
    if session.common.server == Kind::Apache {
        return Ok(());
    }
    let mut wrong = Vec::new();
    if kind == Some("/commitlog/") {
        if acknowledged > 0 {
            wrong.push(format!("{acknowledged} messages were acknowledged after a failed sync of {path}"));
        }
        if let Some(silent) = refused.iter().find(|answer| answer.remark.is_empty()) {
            wrong.push(format!("a send was refused with code {} and no reason", silent.code));
        }
        if refused.is_empty() {
            wrong.push(format!("no send was answered after a failed sync of {path}"));
        }
    }
    if again > 0 {
        wrong.push(format!("{path} was synced {again} times after a sync of it had failed"));
    }
    session.found(wrong)
}
