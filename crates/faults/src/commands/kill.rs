//! `kill`: SIGKILL under load.

use crate::error::Failure;
use crate::session::Session;
use crate::verify::Scope;

/// Kills the server at a moment, starts it again, looks.
pub fn run(session: &mut Session) -> Result<(), Failure> {
    session.run(|session| {
        if session.is_stale() {
            session.renew(Session::clear_data)?;
            session.start()?;
        }
        let running = session.load()?;
        session.wait();
        let ended = Some(std::time::Instant::now());
        if let Some(process) = &mut session.process {
            process.kill();
        }
        let told = running.finish();
        session.take(&told)?;
        session.start()?;
        session.verify(&Scope { ended, ..Scope::default() })?;
        Ok(())
    })
}
