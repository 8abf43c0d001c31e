//! `flip`: a bit of a file changes between two runs.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Failure;
use crate::session::Session;
use crate::target::Kind;
use crate::verify::Scope;

/// Loads, ends the server, flips a bit, starts again, looks: at most one message may be gone, and the
/// server's log must tell of it.
pub fn run(session: &mut Session, only: Option<&str>) -> Result<(), Failure> {
    session.run(|session| {
        session.renew(Session::clear_data)?;
        session.start()?;
        let running = session.load()?;
        std::thread::sleep(Duration::from_millis(session.rng.within(60..200)));
        let clean = session.rng.chance(50);
        let mut ended = Instant::now();
        let told = if clean {
            let told = running.finish();
            ended = Instant::now();
            session.end(true)?;
            told
        } else {
            session.end(false)?;
            running.finish()
        };
        session.take(&told)?;
        let Some((path, at, bit)) = flip(session, only)? else { return Ok(()) };
        let kind = kind_of(&path);
        session.count(&format!("flipsOf {kind}"), 1);
        let what = format!("bit {bit} of byte {at} of {} was flipped", path.display());
        let said = |session: &Session| std::fs::read(session.server_log()).unwrap_or_default();
        let before = said(session).len();
        let findings = session.report.findings;
        let looked = session.start().and_then(|()| {
            // What stands in a table of settings or offsets is not told from what was written there.
            let without_commits = kind == "config";
            session.verify(&Scope { full: true, ended: Some(ended), damaged: 1, without_commits, ..Scope::default() })
        });
        let outcome = match looked {
            Ok(outcome) => outcome,
            Err(failure) => return session.found(vec![what, failure.to_string()]),
        };
        session.count("messagesDamaged", outcome.damaged.min(1));
        let told = String::from_utf8_lossy(&said(session)[before..]).into_owned();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let reported =
            told.lines().any(|line| (line.contains("WARN") || line.contains("ERROR")) && line.contains(&name));
        session.count("flipsReported", u64::from(reported));
        if session.report.findings > findings {
            session.found(vec![what])?;
        } else if outcome.damaged > 0 && !reported && session.common.server == Kind::Apogee {
            session.found(vec![what, "a message is gone, and the server's log does not name the file".to_owned()])?;
        }
        session.discard();
        Ok(())
    })
}

/// Flips a bit of a file that has one: which file, byte and bit.
fn flip(session: &mut Session, only: Option<&str>) -> Result<Option<(PathBuf, u64, u64)>, Failure> {
    let files = files_below(&session.data.join("store"))?;
    let kinds = ["commitlog", "commitlog", "commitlog", "consumequeue", "index", "config", "others"];
    let kind = only.unwrap_or(*session.rng.pick::<&str>(&kinds));
    let chosen: Vec<_> = files.into_iter().filter(|path| kind_of(path) == kind).collect();
    if chosen.is_empty() {
        return Ok(None);
    }
    let path = session.rng.pick(&chosen).clone();
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Failure::at(&path))?;
    let end = written_end(&file).map_err(Failure::at(&path))?;
    if end == 0 {
        return Ok(None);
    }
    let (at, bit) = (session.rng.below(end), session.rng.below(8));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).map_err(Failure::at(&path))?;
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).map_err(Failure::at(&path))?;
    Ok(Some((path, at, bit)))
}

/// Where the last byte that is not 0 stands, and one more: files are made longer than what is in them.
fn written_end(file: &File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; 65_536];
    while end > 0 {
        let from = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - from) as usize];
        file.read_exact_at(part, from)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(from + last as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// What a file of a store is for.
fn kind_of(path: &Path) -> &'static str {
    let names = ["commitlog", "consumequeue", "index", "config"];
    let is = |name: &&&str| path.components().any(|part| part.as_os_str() == **name);
    names.iter().find(is).copied().unwrap_or("others")
}

/// All files below a folder, in order.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Failure::at(folder))? {
        let path = entry.map_err(Failure::at(folder))?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}
