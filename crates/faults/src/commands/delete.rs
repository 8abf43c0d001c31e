//! `delete`: files and folders that can be made again go between two runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::session::Session;
use crate::verify::Scope;

/// Loads, ends the server, removes something, starts again, looks: everything acknowledged must be there.
pub fn run(session: &mut Session) -> Result<(), Failure> {
    session.run(|session| {
        session.renew(Session::clear_data)?;
        session.start()?;
        let running = session.load()?;
        std::thread::sleep(Duration::from_millis(session.rng.within(60..200)));
        let clean = session.rng.chance(50);
        let told = if clean {
            let told = running.finish();
            session.end(true)?;
            told
        } else {
            session.end(false)?;
            running.finish()
        };
        session.take(&told)?;
        let what = *session.rng.pick(&[
            "consumequeue",
            "consumequeue/*",
            "consumequeue/*/*",
            "consumequeue/*/*/*",
            "index",
            "index/*",
            "units/*",
            "checkpoint",
            "config",
            "config/*",
        ]);
        let Some(path) = choose(session, what)? else { return Ok(()) };
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(Failure::at(&path))?;
        session.count(&format!("deleted {what}"), 1);
        let findings = session.report.findings;
        let without_commits = what.starts_with("config");
        // What was acknowledged in the last moments before a kill is another command's concern.
        let ended = Some(Instant::now() - Duration::from_secs(1));
        let looked = session
            .start()
            .and_then(|()| session.verify(&Scope { full: true, ended, without_commits, ..Scope::default() }));
        let deleted = format!("{} was deleted", path.display());
        if let Err(failure) = looked {
            return session.found(vec![deleted, failure.to_string()]);
        }
        if session.report.findings > findings {
            session.found(vec![deleted])?;
        }
        session.discard();
        Ok(())
    })
}

/// One of the paths that a pattern stands for.
fn choose(session: &mut Session, pattern: &str) -> Result<Option<PathBuf>, Failure> {
    let mut path = session.data.join("store");
    for part in pattern.split('/') {
        if part != "*" {
            path.push(part);
            continue;
        }
        let mut entries = list(&path)?;
        entries.sort();
        if entries.is_empty() {
            return Ok(None);
        }
        path = session.rng.pick(&entries).clone();
    }
    Ok(path.exists().then_some(path))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(Failure::at(folder))).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Failure::at(folder)(error)),
    }
}
