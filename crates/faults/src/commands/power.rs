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
/// What a power cut takes with ASYNC_FLUSH was acknowledged within that.
const WINDOW: Duration = Duration::from_millis(50);

/// Cuts the power at a moment; with `asynchronous` what was acknowledged last, within [`WINDOW`], may be gone.
/// That is, from the first answer that did not hold to the last answer of all. Both arrive here later than they
/// were given, by what this busy machine has it: the first may have been given earlier than it was read, never
/// later; of the last it is known when it was not there yet. So nothing is allowed for that. How long before the
/// cut it was is a figure, and no finding: a flush that hangs then keeps what came before it off the disk, and
/// nothing more is acknowledged.
pub fn run(session: &mut Session, asynchronous: bool) -> Result<(), Failure> {
    let mut disk = LoopDisk::new(&session.folder, SIZE)?;
    session.data = disk.folder.join("data");
    session.own_settings = vec![format!("flushDiskType={}", if asynchronous { "ASYNC_FLUSH" } else { "SYNC_FLUSH" })];
    let (mut ages, mut spans) = (Vec::new(), Vec::new());
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
            let oldest = outcome.lost_ages.iter().max().copied().unwrap_or_default();
            ages.extend(&outcome.lost_ages);
            let last = told.acknowledged.iter().map(|answer| answer.not_before).max().unwrap_or(cut);
            let span = last.saturating_duration_since(cut - oldest);
            spans.push(span);
            if span > WINDOW && session.common.server == Kind::Apogee {
                let (span, oldest) = (span.as_millis(), oldest.as_millis());
                let text = format!(
                    "a lost message was acknowledged {span} ms before the last one, {oldest} ms before the cut"
                );
                session.found(vec![text])?;
            }
            // Later rounds would count from offsets that are given again.
            session.discard();
        }
        Ok(())
    });
    if asynchronous {
        let more = &mut session.report.more;
        let most = |times: &[Duration]| times.iter().max().map(Duration::as_millis).unwrap_or_default() as u64;
        more.insert("cutsWithLoss".to_owned(), json!(spans.len()));
        more.insert("lostOfTheLastMoment".to_owned(), json!(ages.len()));
        more.insert("longestMomentLostMs".to_owned(), json!(most(&spans)));
        more.insert("oldestLostMsBeforeTheCut".to_owned(), json!(most(&ages)));
    }
    session.process = None;
    outcome
}
