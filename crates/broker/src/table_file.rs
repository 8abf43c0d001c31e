//! A table that is kept in a JSON file of upstream's name and shape and a journal
//! beside it, which has what changed since the file was written. A change costs what it is large, and
//! not what the table is. The file is written anew when the journal has outgrown it and at a clean
//! stop, so that upstream's broker, which knows nothing of the journal, can go on from it.
//!
//! | file | holds |
//! |---|---|
//! | `topics.json` | the table, as it was when it was written last; `.copy` and `.bak` beside it: see `copied.rs` |
//! | `topics.json.journal` | the changes since then |
//! | `topics.json.journal.new` | the next journal, until the file that it belongs to is in its place |
//!
//! A journal names the content of the file that it belongs to. If another broker has written the
//! file, its changes are not made to it.

use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use apogee_base::disk::Disk;
use apogee_wire::bodies::Body;
use serde::{Deserialize, Serialize};

use crate::copied::{Content, Copied};
use crate::journal::{Found, Identity, Journal};
use crate::persist::PersistError;

/// A journal is smaller than this, or than the table's file.
const SMALL_JOURNAL: u64 = 1 << 20;

/// What became of a part of a table.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change<T> {
    /// Names of what is gone: first these go,
    pub removed: Vec<String>,
    /// then these come, each as it is now: a table that holds just them.
    pub put: T,
}

/// What a start finds of a table.
pub(crate) struct Loaded<T> {
    /// The table as it was written last; `None` when it never was.
    pub table: Option<T>,
    /// What changed since then, the oldest first.
    pub changes: Changes<T>,
}

/// The changes of a journal. Each is read when its turn comes: all together take many times their bytes.
pub(crate) struct Changes<T> {
    /// Whose they are.
    file: PathBuf,
    text: Vec<u8>,
    left: std::vec::IntoIter<Range<usize>>,
    table: PhantomData<T>,
}

impl<T: Body> Iterator for Changes<T> {
    type Item = Change<T>;

    fn next(&mut self) -> Option<Change<T>> {
        let mut decoded = self.left.by_ref().map(|change| Change::decode(&self.text[change]));
        decoded.find_map(|change| {
            change.inspect_err(|error| tracing::error!(file = %self.file.display(), %error, "a change in the journal cannot be understood; left out")).ok()
        })
    }
}

/// The files of one table.
pub struct TableFile {
    file: Copied,
    /// Held by the one who writes: an older state must not replace a newer one.
    state: Mutex<State>,
}

struct State {
    /// `None` before the first file was written, and when a journal cannot be gone on with: then the
    /// table is to be written as a whole.
    journal: Option<Journal>,
    /// Bytes of the table's file.
    size: u64,
    /// The table is to be written, whether it changed or not.
    is_due: bool,
}

impl TableFile {
    /// The files at a path; its folder is there.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { file: Copied { disk, path }, state: Mutex::new(State { journal: None, size: 0, is_due: false }) }
    }

    /// Reads the table and its changes; before anything is saved. An error when the file is damaged and
    /// there is no copy.
    pub(crate) fn load<T: Body>(&self) -> Result<Loaded<T>, PersistError> {
        self.loaded(self.file.read()?)
    }

    /// The same, but begins without a file that is damaged. `instead` tells what that means.
    pub(crate) fn load_or_begin<T: Body>(&self, instead: &str) -> Result<Loaded<T>, PersistError> {
        match self.file.read() {
            Err(error) => {
                self.file.set_aside(error, instead)?;
                self.loaded(None)
            }
            Ok(content) => self.loaded(content),
        }
    }

    fn loaded<T: Body>(&self, content: Option<Content<T>>) -> Result<Loaded<T>, PersistError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Content { value, identity, is_older }) = content else {
            let Some(journal) = self.found(".journal")? else {
                return Ok(Loaded { table: None, changes: self.changes(None) });
            };
            tracing::warn!(file = %self.file.path.display(), changes = journal.changes.len(), "the file is gone; what its journal has is kept");
            state.is_due = true;
            return Ok(Loaded { table: None, changes: self.changes(Some(journal)) });
        };
        state.size = identity.length();
        let changes = if is_older {
            // Of the changes in between those are known that came last.
            state.is_due = true;
            self.changes(self.found(".journal")?)
        } else {
            self.changes_to(identity, &mut state)?
        };
        Ok(Loaded { table: Some(value), changes })
    }

    /// Makes the table durable as it is: what `changes` takes of it, or all of it: what `table` takes then, which
    /// is written as `T` would be. Returns when everything is on disk that had changed before the call.
    pub(crate) fn save<T: Body, A: Serialize>(
        &self,
        changes: impl FnOnce() -> Option<Change<T>>,
        table: impl FnOnce() -> A,
    ) -> Result<(), PersistError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let change = changes();
        let (is_due, limit) = (state.is_due, SMALL_JOURNAL.max(state.size));
        let journal = state.journal.as_mut().filter(|_| !is_due);
        let Some(journal) = journal else {
            // Whether it succeeds or not, the changes are no longer marked.
            state.is_due |= change.is_some();
            return if state.is_due { self.write_table(&mut state, &table()) } else { Ok(()) };
        };
        if let Some(change) = change {
            journal.add(&change.encode());
        }
        if !journal.is_behind() {
            return Ok(());
        }
        if journal.size() <= limit {
            let written = journal.write();
            state.is_due = journal.is_lost();
            return written.map_err(|source| self.error("add to the journal of", source));
        }
        state.is_due = true;
        self.write_table(&mut state, &table())
    }

    /// Writes the table if there are changes that are in its journal only, or not even there.
    pub(crate) fn close<T: Body, A: Serialize>(
        &self,
        changes: impl FnOnce() -> Option<Change<T>>,
        table: impl FnOnce() -> A,
    ) -> Result<(), PersistError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_due |= changes().is_some();
        state.is_due |= state.journal.as_ref().is_some_and(|journal| journal.size() > 0 || journal.is_behind());
        if state.is_due { self.write_table(&mut state, &table()) } else { Ok(()) }
    }

    /// Replaces the table's file, and begins a new journal. Wherever a crash comes between, one of the
    /// journals belongs to the file that is there.
    fn write_table(&self, state: &mut State, table: &impl Serialize) -> Result<(), PersistError> {
        let written = || {
            let staged = self.file.stage(table)?;
            let identity = staged.identity;
            let next = self.beside(".journal.new");
            let journal = Journal::create(&*self.file.disk, &next, identity)?;
            self.file.disk.sync_folder(self.folder())?;
            staged.commit()?;
            self.switch()?;
            Ok((journal, identity))
        };
        // What the journal holds is in the file, if it can be written; if not, it stays due.
        state.journal = None;
        let (journal, identity) = written().map_err(|source| self.error("write", source))?;
        *state = State { journal: Some(journal), size: identity.length(), is_due: false };
        Ok(())
    }

    /// Puts the next journal in the place of the one before.
    fn switch(&self) -> std::io::Result<()> {
        let current = self.beside(".journal");
        self.file.disk.rename(&self.beside(".journal.new"), &current)?;
        self.file.disk.sync_folder(self.folder())
    }

    /// The changes that belong to the table's file.
    fn changes_to<T: Body>(&self, identity: Identity, state: &mut State) -> Result<Changes<T>, PersistError> {
        if self.found(".journal.new")?.is_some_and(|next| next.base == identity) {
            // A crash came between the new file and its journal.
            self.switch().map_err(|source| self.error("rename the journal of", source))?;
        }
        let Some(found) = self.found(".journal")? else { return Ok(self.changes(None)) };
        if found.base != identity {
            tracing::warn!(
                file = %self.file.path.display(), changes = found.changes.len(),
                "the file was written by another broker since this one was here: what its journal has of before is left out"
            );
            state.is_due = true;
            return Ok(self.changes(None));
        }
        let journal = Journal::resume(&*self.file.disk, &self.beside(".journal"), &found);
        state.journal = Some(journal.map_err(|source| self.error("open the journal of", source))?);
        // After a failed sync the system may show changes that are not on disk; the next save writes them anew.
        state.is_due |= !found.changes.is_empty();
        Ok(self.changes(Some(found)))
    }

    fn changes<T>(&self, found: Option<Found>) -> Changes<T> {
        let (text, changes) = found.map(|found| (found.text, found.changes)).unwrap_or_default();
        Changes { file: self.file.path.clone(), text, left: changes.into_iter(), table: PhantomData }
    }

    fn found(&self, suffix: &str) -> Result<Option<Found>, PersistError> {
        Found::read(&*self.file.disk, &self.beside(suffix)).map_err(|source| self.error("read the journal of", source))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.file.beside(suffix)
    }

    fn folder(&self) -> &Path {
        self.file.path.parent().unwrap_or(Path::new("."))
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> PersistError {
        self.file.error(action, source)
    }
}

#[cfg(test)]
mod tests;
