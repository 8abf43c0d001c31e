//! Saving the timer's state: taken at once, written while the timer goes on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use apogee_base::disk::Disk;
use apogee_store::Store;

use super::Work;
use super::kept::State;
use crate::settled::is_kept;

/// Milliseconds between two savings of the state.
const SAVE_MS: u64 = 1_000;
/// The state is saved when the log has grown by so many bytes, so that not more is read at start.
const SAVE_BYTES: i64 = 64 << 20;

/// The state at a moment, to be written while the timer goes on.
pub(super) struct Saving {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    state: State,
    /// Files of the queue that neither this state nor a later one needs.
    unused: Vec<u64>,
}

impl Work {
    pub(super) fn is_to_save(&self, store: &Store, now_ms: i64) -> bool {
        // The clock may have been put back.
        let is_time = now_ms.abs_diff(self.saved_ms) >= SAVE_MS;
        is_time && (!self.is_saved || store.confirmed_offset() - self.log_offset > SAVE_BYTES)
    }

    /// Saves the state while nothing else happens.
    pub(super) fn save(&mut self, store: &Store) -> io::Result<()> {
        let saving = self.saving(store);
        let written = saving.write(store);
        self.end_saving(saving, written)
    }

    /// The state as it is now. What changes from now on is for the next one to save.
    pub(super) fn saving(&mut self, store: &Store) -> Saving {
        let mut state = State {
            scanned: self.scanned,
            scanned_end: self.scanned_end,
            // Nothing is on its way now.
            log_offset: self.followed_to.unwrap_or_else(|| store.log_max_offset()),
            foreign_end: self.foreign_end,
            foreign_check: self.foreign.check,
            counts: self.counts.clone(),
            queue: self.queue.state(),
        };
        if self.queue.next_time() == Some(self.recalled.time) {
            // Some of its time wait yet.
            state.queue.entries.extend(self.recalled.markers());
        }
        // Nobody has said that these are delivered.
        state.queue.entries.extend(self.taken.values());
        self.is_saved = true;
        let (disk, folder) = (Arc::clone(&self.disk), self.folder.clone());
        Saving { disk, folder, state, unused: self.queue.take_unused() }
    }

    pub(super) fn end_saving(&mut self, saving: Saving, written: io::Result<bool>) -> io::Result<()> {
        if let Ok(true) = written {
            self.log_offset = saving.state.log_offset;
            self.queue.remove_files(&saving.unused);
        } else {
            self.is_saved = false;
            self.queue.still_unused(saving.unused);
        }
        written.map(drop)
    }
}

impl Saving {
    /// Says whether it is written. Not if the store fails, which says why itself.
    pub(super) fn write(&self, store: &Store) -> io::Result<bool> {
        // What the state takes for stored and delivered must not be lost, to a power cut or to another master.
        if !is_kept(store, self.state.log_offset) {
            return Ok(false);
        }
        self.state.save(&*self.disk, &self.folder)?;
        Ok(true)
    }
}
