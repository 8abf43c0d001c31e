//! A file of the broker's state with a copy beside it, so that damage to one of them costs nothing.
//!
//! | file | holds |
//! |---|---|
//! | `topics.json` | what was written last, by this broker or by upstream's, which knows nothing of the copy |
//! | `topics.json.copy` | what this broker wrote last, and CRC-32(4) of it |
//! | `topics.json.bak` | what was written before, as upstream keeps it |
//! | `topics.json.damaged` | what could not be used, for whoever wants to look at it |

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apogee_base::disk::{self, Appended, Disk, Replacement};
use apogee_wire::bodies::Body;
use apogee_wire::json;
use serde::Serialize;

use crate::journal::Identity;
use crate::persist::PersistError;

/// So many bytes that differ are damage to a file, and no other content: a sector of a disk.
const SECTOR: usize = 512;

/// Bytes of a copy's check sum.
const SUM: usize = 4;

/// Bytes of a copy that are looked at together.
const PIECE: usize = 64 << 10;

/// See the module.
#[derive(Clone)]
pub(crate) struct Copied {
    pub disk: Arc<dyn Disk>,
    pub path: PathBuf,
}

/// What was found.
pub(crate) struct Content<T> {
    pub value: T,
    /// Of the very bytes.
    pub identity: Identity,
    /// It is what was written before, as what was written last is damaged.
    pub is_older: bool,
}

/// A content that is written, and not yet in its place.
pub(crate) struct Staged<'d> {
    next: Replacement<'d>,
    /// Of its bytes.
    pub identity: Identity,
}

impl Staged<'_> {
    /// Puts it there, durably.
    pub fn commit(self) -> io::Result<()> {
        self.next.commit()
    }
}

/// Takes each piece for the copy and for the file itself.
struct Both<'d> {
    copy: Appended,
    next: Replacement<'d>,
    sum: crc32fast::Hasher,
    length: u64,
}

impl Write for Both<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.copy.write_all(piece)?;
        self.next.write_all(piece)?;
        self.sum.update(piece);
        self.length += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Copied {
    /// Reads it. Damage is told, and what is good is put in the file's place. `None` when there is neither
    /// the file nor a copy, an error when none of them can be understood.
    pub fn read<T: Body>(&self) -> Result<Option<Content<T>>, PersistError> {
        let main = self.text(&self.path)?;
        let mut damage = None;
        if let Some(text) = &main {
            match T::decode(text) {
                Ok(value) if !self.is_flipped(text)? => {
                    return Ok(Some(Content { value, identity: Identity::of(text), is_older: false }));
                }
                Ok(_) => damage = Some(None),
                Err(error) => damage = Some(Some(error)),
            }
        }
        let copy = self.text(&self.beside(".copy"))?.and_then(checked);
        let decode = |text: &[u8]| T::decode(text);
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
            return Ok(Some(Content { value, identity: Identity::of(&text), is_older }));
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
    pub fn write(&self, value: &impl Serialize) -> io::Result<()> {
        self.stage(value)?.commit()
    }

    /// Writes the copy, durably, and what is to take the place of the file. Both are written piece by piece: a
    /// table's text may be a tenth of all memory.
    pub fn stage(&self, value: &impl Serialize) -> io::Result<Staged<'_>> {
        let mut both = Both {
            copy: Appended::create(&*self.disk, &self.beside(".copy"))?,
            next: Replacement::begin(&*self.disk, &self.path)?,
            sum: crc32fast::Hasher::new(),
            length: 0,
        };
        json::write_pretty(value, &mut both)?;
        let Both { mut copy, next, sum, length } = both;
        let identity = Identity::new(length, sum.finalize());
        copy.write_all(&identity.crc().to_be_bytes())?;
        copy.sync()?;
        Ok(Staged { next, identity })
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

    /// Whether a text differs from its copy by one bit. A single one is no change that a broker made: each
    /// changes the version in the table, or at worst moves an offset by one.
    fn is_flipped(&self, text: &[u8]) -> Result<bool, PersistError> {
        let path = self.beside(".copy");
        if !self.disk.exists(&path) {
            return Ok(false);
        }
        let bits = || -> io::Result<Option<u32>> {
            let file = self.disk.open(&path, false)?;
            if file.length()? != text.len() as u64 + SUM as u64 {
                return Ok(None);
            }
            // Most times they are the same: the copy is not held as a whole.
            let (mut piece, mut sum, mut bits) = (vec![0; text.len().clamp(SUM, PIECE)], crc32fast::Hasher::new(), 0);
            for (nth, main) in text.chunks(PIECE).enumerate() {
                let copy = &mut piece[..main.len()];
                if file.read_at(copy, (nth * PIECE) as u64)? < main.len() {
                    return Ok(None);
                }
                sum.update(copy);
                bits += main.iter().zip(&*copy).map(|(one, other)| (one ^ other).count_ones()).sum::<u32>();
            }
            let mut kept = [0; SUM];
            let is_read = file.read_at(&mut kept, text.len() as u64)? == SUM;
            Ok((is_read && sum.finalize().to_be_bytes() == kept).then_some(bits))
        };
        let bits = bits().map_err(|source| PersistError::Io { action: "read", path, source })?;
        Ok(bits == Some(1))
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
    let sum = *bytes.last_chunk::<SUM>()?;
    bytes.truncate(bytes.len() - SUM);
    (crc32fast::hash(&bytes).to_be_bytes() == sum).then_some(bytes)
}

/// Whether a text that cannot be understood was a copy's once: its beginning, or damaged in one place.
fn is_near(damaged: &[u8], copy: &[u8]) -> bool {
    let differ = |(one, other): &(&u8, &u8)| one != other;
    copy.starts_with(damaged)
        || damaged.len() == copy.len() && damaged.iter().zip(copy).filter(differ).count() <= SECTOR
}
