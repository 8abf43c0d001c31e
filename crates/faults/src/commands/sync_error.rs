//! `sync-error`: one sync fails, and what it should have written is gone at the power cut that follows, at once or
//! after the process alone was started again.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::{LoopDisk, compile};
use crate::error::{Failure, run as tool};
use crate::load::{Acknowledged, Told};
use crate::session::{Session, WARM};
use crate::target::Kind;
use crate::verify::Scope;

/// Bytes of the file system.
const SIZE: u64 = 1 << 30;
/// Folder of the log.
const LOG: &str = "/commitlog/";
/// How long the load waits for the failure to come.
const COMES: Duration = Duration::from_secs(2);

/// Lets the k-th sync fail, goes on for a moment, cuts the power, starts again, looks. In some rounds the process
/// is killed and started again first: then the system still shows what is not on the disk.
pub fn run(session: &mut Session) -> Result<(), Failure> {
    let mut disk = LoopDisk::new(&session.folder, SIZE)?;
    let shim = session.folder.join("failing_sync.so");
    compile("failing_sync.c", &shim, &["-shared", "-fPIC"])?;
    compile("forget.c", &session.folder.join("forget"), &[])?;
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
        let failing = session.rng.within(1..120)
            + match session.common.server {
                Kind::Apogee => 0,
                // Not among the first ones, which don't count.
                Kind::Apache => WARM,
            };
        session.target.environment = vec![
            ("LD_PRELOAD".to_owned(), text(&shim)),
            ("FAULT_UNDER".to_owned(), text(&session.data)),
            ("FAULT_AT".to_owned(), failing.to_string()),
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
        match session.common.server {
            Kind::Apogee => std::thread::sleep(Duration::from_millis(session.rng.within(80..200))),
            Kind::Apache => session.wait(),
        }
        if session.common.server == Kind::Apogee && session.rng.chance(50) {
            session.end(false)?;
            let ended = Instant::now();
            let told = running.finish();
            session.take(&told)?;
            let path = judge(session, &report, failed, &told)?;
            if path.contains(LOG) {
                forget(session, &disk, Path::new(&path))?;
            }
            return start_and_cut(session, &mut disk, ended);
        }
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

/// The disk loses what the server does not know to be on it: the log from the end of its last successful sync
/// on. The system goes on to show it.
fn forget(session: &mut Session, disk: &LoopDisk, failed: &Path) -> Result<(), Failure> {
    // The failing library has only left the syncs out: what is in memory must count as written.
    tool("sync", &[OsStr::new("-f"), session.data.as_os_str()])?;
    let folder = failed.parent().unwrap_or(failed);
    let mark = folder.with_file_name("flushed");
    let flushed = std::fs::read(&mark).map_err(Failure::at(&mark))?;
    let flushed = flushed.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let program = session.folder.join("forget").to_string_lossy().into_owned();
    for entry in std::fs::read_dir(folder).map_err(Failure::at(folder))? {
        let path = entry.map_err(Failure::at(folder))?.path();
        let begin = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
        let length = std::fs::metadata(&path).map_err(Failure::at(&path))?.len();
        if let Some(begin) = begin.filter(|begin| begin + length > flushed) {
            let from = flushed.saturating_sub(begin).to_string();
            tool(&program, &[path.as_os_str(), OsStr::new(&from), disk.image.as_os_str()])?;
        }
    }
    session.count("processesStartedOnForgottenPages", 1);
    Ok(())
}

/// Starts without the fault and looks: what is seen then stays, over a power cut, too.
fn start_and_cut(session: &mut Session, disk: &mut LoopDisk, ended: Instant) -> Result<(), Failure> {
    session.start()?;
    session.verify(&Scope { ended: Some(ended), ..Scope::default() })?;
    let running = session.load()?;
    session.wait();
    let cut = Instant::now();
    disk.cut()?;
    session.end(false)?;
    let mut told = running.finish();
    told.unpromise_since(cut);
    session.take(&told)?;
    recover(session, disk, cut)
}

/// What was answered after the failure, and what was synced again. Returns the file whose sync failed; empty when
/// none did.
fn judge(session: &mut Session, report: &Path, failed: Option<Instant>, told: &Told) -> Result<String, Failure> {
    let Some(failed) = failed else {
        session.count("roundsWithoutFailure", 1);
        return Ok(String::new());
    };
    let lines = std::fs::read_to_string(report).map_err(Failure::at(report))?;
    let path = lines.lines().find_map(|line| line.strip_prefix("failed ")).unwrap_or_default().to_owned();
    let kind = [LOG, "/consumequeue/", "/index/", "/config/"].into_iter().find(|kind| path.contains(kind));
    session.count("failedSyncs", 1);
    session.count(&format!("failedSyncsOf {}", kind.unwrap_or("others").trim_matches('/')), 1);
    // An answer on its way may be read long after the failure: on a busy machine it has been, over 50 ms later.
    // What was sent after the failure was seen cannot be on the disk.
    let (sent_after, sent_before): (Vec<&Acknowledged>, Vec<_>) =
        told.acknowledged.iter().partition(|answer| answer.sent_at > failed);
    let acknowledged = sent_after.iter().map(|answer| answer.count).sum();
    let on_its_way = sent_before.iter().map(|answer| answer.at.saturating_duration_since(failed)).max();
    if kind == Some(LOG) {
        session.most("longestAnswerOnItsWayMs", on_its_way.unwrap_or_default().as_millis() as u64);
    }
    let refused: Vec<_> = told.refused.iter().filter(|answer| answer.sent_at > failed).collect();
    let again = lines.lines().filter(|line| line.starts_with("again ")).count() as u64;
    session.count("sentAfterFailureAcknowledged", acknowledged);
    session.count("sentAfterFailureRefused", refused.len() as u64);
    session.count("syncsRepeated", again);
    if session.common.server == Kind::Apache {
        return Ok(path);
    }
    let mut wrong = Vec::new();
    if kind == Some(LOG) {
        if acknowledged > 0 {
            wrong.push(format!(
                "{acknowledged} messages were acknowledged that were sent after a failed sync of {path}"
            ));
        }
        if let Some(silent) = refused.iter().find(|answer| answer.remark.is_empty()) {
            wrong.push(format!("a send was refused with code {} and no reason", silent.code));
        }
        if refused.is_empty() {
            wrong.push(format!("no send was answered after a failed sync of {path}"));
        }
    }
    // The folder of the tables is no file that could be written anew: each later save puts other files in it.
    if again > 0 && !path.ends_with("/config") {
        wrong.push(format!("{path} was synced {again} times after a sync of it had failed"));
    }
    session.found(wrong)?;
    Ok(path)
}
