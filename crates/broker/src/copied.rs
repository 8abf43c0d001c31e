//! A file of the broker's state with a copy beside it, so that damage to one of them costs nothing.
//!
//! | file | holds |
//! |---|---|
//! | `topics.json` | what was written last, by this broker or by upstream's, which knows nothing of the copy |
//! | `topics.json.copy` | what this broker wrote last, and CRC-32(4) of it |
//! | `topics.json.bak` | what was written before, as upstream keeps it |
//! | `topics.json.damaged` | what could not be used, for whoever wants to look at it |

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{self, Disk};
use apogee_wire::bodies::Body;

use crate::persist::PersistError;

/// So many bytes that differ are damage to a file, and no other content: a sector of a disk.
const SECTOR: usize = 512;

/// See the module.
#[derive(Clone)]
pub(crate) struct Copied {
    pub disk: Arc<dyn Disk>,
    pub path: PathBuf,
}

/// What was found.
pub(crate) struct Content<T> {
    pub value: T,
    /// The very bytes.
    pub text: Vec<u8>,
    /// It is what was written before, as what was written last is damaged.
    pub is_older: bool,
}

impl Copied {
    /// Reads it. Damage is told, and what is good is put in the file's place. `None` when there is neither
    /// the file nor a copy, an error when none of them can be understood.
    pub fn read<T: Body>(&self) -> Result<Option<Content<T>>, PersistError> {
        let main = self.text(&self.path)?;
        let copy = self.text(&self.beside(".copy"))?.and_then(checked);
        let decode = |text: &[u8]| T::decode(text);
        let damage = match (&main, &copy) {
            (Some(text), copy) => match decode(text) {
                Ok(value) if copy.as_ref().is_none_or(|copy| bits_between(text, copy) != 1) => {
                    return Ok(Some(Content { value, text: text.clone(), is_older: false }));
                }
                Ok(_) => Some(None),
                Err(error) => Some(Some(error)),
            },
            (None, _) => None,
        };
        let before = self.text(&self.beside(".bak"))?;
        // If another broker wrote the file, what it was before is newer than the copy.
        let is_ours = copy.as_ref().is_some_and(|copy| main.as_ref().is_none_or(|main| is_near(main, copy)));
        let mut others = [(copy, false), (before, true)];
        if !is_ours {
            others.reverse();
        }
        for (text, is_older) in others {
            let Some((text, value)) = text.and_then(|text| decode(&text).ok().map(|value| (text, value))) else {
                continue;
            };
            let of = if is_older { "what was written before is taken instead" } else { "its copy is taken instead" };
            if damage.is_some() {
                tracing::error!(file = %self.path.display(), "a file of the broker's state is damaged: {of}");
            } else {
                tracing::warn!(file = %self.path.display(), "a file of the broker's state is gone: {of}");
            }
            self.move_away()?;
            // Not all of it: the copy is as it should be, or there is none.
            disk::replace(&*self.disk, &self.path, &text).map_err(|source| self.error("write", source))?;
            return Ok(Some(Content { value, text, is_older }));
        }
        match damage.flatten() {
            Some(source) => Err(PersistError::Malformed { path: self.path.clone(), source }),
            None => Ok(None),
        }
    }

    /// Sets aside what cannot be understood, nor any copy of it: it begins without. `instead` tells what that
    /// means. Any other error is returned.
    pub fn set_aside(&self, error: PersistError, instead: &str) -> Result<(), PersistError> {
        if !matches!(error, PersistError::Malformed { .. }) {
            return Err(error);
        }
        self.move_away()?;
        let kept_as = self.beside(".damaged");
        tracing::error!(%error, kept_as = %kept_as.display(), "a file of the broker's state is damaged, and there is no copy of it: {instead}");
        Ok(())
    }

    /// Replaces it, durably; the copy first. A crash in between leaves the old content or the new.
    pub fn write(&self, text: &[u8]) -> io::Result<()> {
        let copy = disk::create(&*self.disk, &self.beside(".copy"))?;
        let sum = crc32fast::hash(text).to_be_bytes();
        copy.write_at(&mut [IoSlice::new(text), IoSlice::new(&sum)], 0)?;
        copy.sync()?;
        disk::replace(&*self.disk, &self.path, text)
    }

    /// A file beside it.
    pub fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    pub fn error(&self, action: &'static str, source: io::Error) -> PersistError {
        PersistError::Io { action, path: self.path.clone(), source }
    }

    fn move_away(&self) -> Result<(), PersistError> {
        if !self.disk.exists(&self.path) {
            return Ok(());
        }
        self.disk.rename(&self.path, &self.beside(".damaged")).map_err(|source| self.error("rename", source))
    }

    fn text(&self, path: &Path) -> Result<Option<Vec<u8>>, PersistError> {
        if !self.disk.exists(path) {
            return Ok(None);
        }
        let read = disk::read(&*self.disk, path);
        let error = |source| PersistError::Io { action: "read", path: path.to_owned(), source };
        read.map(Some).map_err(error)
    }
}

/// What a copy's bytes hold, if they are whole.
fn checked(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let sum = *bytes.last_chunk::<4>()?;
    bytes.truncate(bytes.len() - 4);
    (crc32fast::hash(&bytes).to_be_bytes() == sum).then_some(bytes)
}

/// Bits that differ between two texts. A single one is no change that a broker made: each changes the
/// version in the table, or at worst moves an offset by one.
fn bits_between(one: &[u8], other: &[u8]) -> u32 {
    if one.len() != other.len() {
        return u32::MAX;
    }
    one.iter().zip(other).map(|(one, other)| (one ^ other).count_ones()).sum()
}

/// Whether a text that cannot be understood was a copy's once: its beginning, or damaged in one place.
fn is_near(damaged: &[u8], copy: &[u8]) -> bool {
    let differ = |(one, other): &(&u8, &u8)| one != other;
    copy.starts_with(damaged)
        || damaged.len() == copy.len() && damaged.iter().zip(copy).filter(differ).count() <= SECTOR
}
