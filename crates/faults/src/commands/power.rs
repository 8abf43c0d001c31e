//! `power`: the file system loses its power under load.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::disk::LoopDisk;
use crate::error::Failure;
use crate::session::Session;
use crate::target::Kind;
use crate::verify::Scope;

/// Bytes of the file system.
const SIZE: u64 = 1 << 30;
/// Milliseconds between two flushes with ASYNC_FLUSH.
const INTERVAL: Duration = Duration::from_millis(50);
/// Age at which a message must be on disk with ASYNC_FLUSH, however busy the machine: the interval, and what
/// the flush under way and the next one take.
const WINDOW: Duration = Duration::from_millis(1_000);

/// Cuts the power at a moment; with `asynchronous` what was acknowledged shortly before may be gone.
pub fn run(session: &mut Session, asynchronous: bool) -> Result<(), Failure> {
    let mut disk = LoopDisk::new(&session.folder, SIZE)?;
    session.data = disk.folder.join("data");
    session.own_settings = vec![format!("flushDiskType={}", if asynchronous { "ASYNC_FLUSH" } else { "SYNC_FLUSH" })];
    let (mut ages, mut cuts_with_loss) = (Vec::new(), 0);
    let outcome = session.run(|session| {
        if session.is_stale() {
            session.renew(|_| disk.format(SIZE))?;
            session.start()?;
        }
        let running = session.load()?;
        session.wait();
        let cut = Instant::now();
        disk.cut()?;
        if let Some(process) = &mut session.process {
            process.kill();
        }
        let mut told = running.finish();
        told.unpromise_since(cut);
        // What is not on disk may be read with ASYNC_FLUSH.
        told.read.retain(|_| !asynchronous);
        disk.unmount()?;
        disk.mount()?;
        session.take(&told)?;
        session.start()?;
        let outcome = session.verify(&Scope { ended: Some(cut), async_cut: asynchronous, ..Scope::default() })?;
        if !outcome.lost_ages.is_empty() {
            cuts_with_loss += 1;
            let oldest = outcome.lost_ages.iter().max().copied().unwrap_or_default();
            ages.extend(&outcome.lost_ages);
            if oldest > WINDOW && session.common.server == Kind::Apogee {
                let text = format!("a lost message was acknowledged {} ms before the cut", oldest.as_millis());
                session.found(vec![text])?;
            }
            // Later rounds would count from offsets that are given again.
            session.discard();
        }
        Ok(())
    });
    if asynchronous {
        let more = &mut session.report.more;
        more.insert("cutsWithLoss".to_owned(), json!(cuts_with_loss));
        more.insert("lostInWindow".to_owned(), json!(ages.len()));
        let late = ages.iter().filter(|age| **age > INTERVAL).count();
        more.insert("lostOlderThan50Ms".to_owned(), json!(late));
        let oldest = ages.iter().max().map(Duration::as_millis).unwrap_or_default() as u64;
        more.insert("oldestLostMs".to_owned(), json!(oldest));
    }
    session.process = None;
    outcome
}
