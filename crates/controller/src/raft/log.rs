//! The replicated log and the vote, in the file.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, Entry, ErrorVerb, LogId, OptionalSend, RaftLogReader, StorageError, Vote};
use redb::{ReadableDatabase, ReadableTable};

use super::Types;
use super::file::{Database, LOG, REST, encode, failed, write};
use crate::peers::PeerId;

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
/// Most entries that are read at once, and most bytes of them but for the first.
const MOST_ENTRIES: u64 = 256;

type Failed = StorageError<PeerId>;

/// The log.
#[derive(Clone)]
pub struct Log {
    database: Arc<Database>,
}

impl Log {
    /// In this file.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    fn entries(&self, range: (Bound<u64>, Bound<u64>)) -> Result<Vec<Entry<Types>>, redb::Error> {
        let table = self.database.file.begin_read()?.open_table(LOG)?;
        let mut entries = Vec::new();
        for row in table.range(range)? {
            let (_, bytes) = row?;
            let entry = serde_json::from_slice(bytes.value());
            entries.push(entry.map_err(|error| redb::Error::Corrupted(error.to_string()))?);
        }
        Ok(entries)
    }

    fn last(&self) -> Result<Option<LogId<PeerId>>, redb::Error> {
        let table = self.database.file.begin_read()?.open_table(LOG)?;
        let Some((_, bytes)) = table.last()? else { return Ok(None) };
        let entry: Result<Entry<Types>, _> = serde_json::from_slice(bytes.value());
        Ok(Some(entry.map_err(|error| redb::Error::Corrupted(error.to_string()))?.log_id))
    }

    async fn save(&self, name: &'static str, value: Vec<u8>) -> Result<(), Failed> {
        write(&self.database, move |transaction| {
            transaction.open_table(REST)?.insert(name, &*value)?;
            Ok(())
        })
        .await
    }
}

fn read_failed(error: impl std::error::Error + 'static) -> Failed {
    failed(ErrorVerb::Read, AnyError::new(&error))
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>, Failed> {
        self.entries((range.start_bound().cloned(), range.end_bound().cloned())).map_err(read_failed)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<Types>>, Failed> {
        self.try_get_log_entries(start..end.min(start.saturating_add(MOST_ENTRIES))).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        let purged: Option<LogId<PeerId>> =
            self.database.read(PURGED).map_err(|error| failed(ErrorVerb::Read, error))?;
        let last = self.last().map_err(read_failed)?;
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<PeerId>) -> Result<(), Failed> {
        self.save(VOTE, encode(vote).map_err(|error| failed(ErrorVerb::Write, error))?).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<PeerId>>, Failed> {
        self.database.read(VOTE).map_err(|error| failed(ErrorVerb::Read, error))
    }

    async fn save_committed(&mut self, committed: Option<LogId<PeerId>>) -> Result<(), Failed> {
        let bytes = encode(&committed).map_err(|error| failed(ErrorVerb::Write, error))?;
        let database = Arc::clone(&self.database);
        // Not synced: it is only a help at the next start, and goes to the disk with the next entry.
        let written = tokio::task::spawn_blocking(move || -> Result<(), redb::Error> {
            let mut transaction = database.file.begin_write()?;
            transaction.set_durability(redb::Durability::None)?;
            transaction.open_table(REST)?.insert(COMMITTED, &*bytes)?;
            Ok(transaction.commit()?)
        });
        written
            .await
            .map_err(|error| failed(ErrorVerb::Write, AnyError::new(&error)))?
            .map_err(|error| failed(ErrorVerb::Write, AnyError::new(&error)))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<PeerId>>, Failed> {
        let committed: Option<Option<_>> =
            self.database.read(COMMITTED).map_err(|error| failed(ErrorVerb::Read, error))?;
        Ok(committed.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        for entry in entries {
            rows.push((entry.log_id.index, encode(&entry).map_err(|error| failed(ErrorVerb::Write, error))?));
        }
        write(&self.database, move |transaction| {
            let mut table = transaction.open_table(LOG)?;
            for (index, bytes) in &rows {
                table.insert(index, &**bytes)?;
            }
            Ok(())
        })
        .await?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<PeerId>) -> Result<(), Failed> {
        write(&self.database, move |transaction| {
            Ok(transaction.open_table(LOG)?.retain_in(log_id.index.., |_, _| false)?)
        })
        .await
    }

    async fn purge(&mut self, log_id: LogId<PeerId>) -> Result<(), Failed> {
        let purged = encode(&log_id).map_err(|error| failed(ErrorVerb::Write, error))?;
        write(&self.database, move |transaction| {
            transaction.open_table(REST)?.insert(PURGED, &*purged)?;
            Ok(transaction.open_table(LOG)?.retain_in(..=log_id.index, |_, _| false)?)
        })
        .await
    }
}
