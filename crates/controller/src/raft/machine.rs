//! The state machine that the log drives, and snapshots of it.

use std::io::Cursor;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, ErrorVerb, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot,
    SnapshotMeta, StorageError, StoredMembership,
};
use serde::{Deserialize, Serialize};

use super::Types;
use super::file::{Database, OpenError, REST, encode, failed, write};
use crate::election::{Done, Groups, Reply};
use crate::peers::PeerId;

const SNAPSHOT: &str = "snapshot";

type Failed = StorageError<PeerId>;
type Meta = SnapshotMeta<PeerId, BasicNode>;

/// The groups as the log has them up to now, for reading.
#[derive(Clone, Default)]
pub struct State(Arc<RwLock<Groups>>);

impl State {
    /// Not to be held for longer than a look.
    pub fn read(&self) -> RwLockReadGuard<'_, Groups> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot as the file holds it.
#[derive(Serialize, Deserialize)]
struct Kept {
    meta: Meta,
    groups: Groups,
}

/// What applies the log.
pub struct Machine {
    database: Arc<Database>,
    state: State,
    applied: Option<LogId<PeerId>>,
    membership: StoredMembership<PeerId, BasicNode>,
}

impl Machine {
    /// As the last snapshot has it.
    pub fn open(database: Arc<Database>) -> Result<Self, OpenError> {
        let broken = |error: AnyError| OpenError::File { file: "the snapshot".to_owned(), reason: error.to_string() };
        let kept: Option<Kept> = database.read(SNAPSHOT).map_err(broken)?;
        let machine =
            Self { database, state: State::default(), applied: None, membership: StoredMembership::default() };
        Ok(match kept {
            None => machine,
            Some(Kept { meta, groups }) => {
                *machine.state.0.write().unwrap_or_else(PoisonError::into_inner) = groups;
                Self { applied: meta.last_log_id, membership: meta.last_membership, ..machine }
            }
        })
    }

    /// What can be read of it.
    pub fn state(&self) -> State {
        self.state.clone()
    }
}

fn snapshot(meta: Meta, groups: &Groups) -> Result<Snapshot<Types>, AnyError> {
    Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(encode(groups)?)) })
}

async fn keep(database: &Arc<Database>, kept: &Kept) -> Result<(), Failed> {
    let bytes = encode(kept).map_err(|error| failed(ErrorVerb::Write, error))?;
    write(database, move |transaction| {
        transaction.open_table(REST)?.insert(SNAPSHOT, &*bytes)?;
        Ok(())
    })
    .await
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId<PeerId>>, StoredMembership<PeerId, BasicNode>), Failed> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, Failed>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut groups = self.state.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut replies = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            replies.push(match entry.payload {
                EntryPayload::Blank => Ok(Done::Nothing),
                EntryPayload::Normal(command) => groups.apply(&command),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Ok(Done::Nothing)
                }
            });
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let groups = self.state.read().clone();
        Builder {
            database: Arc::clone(&self.database),
            groups,
            applied: self.applied,
            membership: self.membership.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failed> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Cursor<Vec<u8>>>) -> Result<(), Failed> {
        let groups: Groups = serde_json::from_slice(snapshot.get_ref())
            .map_err(|error| failed(ErrorVerb::Read, AnyError::new(&error)))?;
        let kept = Kept { meta: meta.clone(), groups };
        keep(&self.database, &kept).await?;
        tracing::info!(groups = kept.groups.len(), "the state was taken from the leading controller");
        *self.state.0.write().unwrap_or_else(PoisonError::into_inner) = kept.groups;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failed> {
        let kept: Option<Kept> = self.database.read(SNAPSHOT).map_err(|error| failed(ErrorVerb::Read, error))?;
        let made = kept.map(|kept| snapshot(kept.meta, &kept.groups)).transpose();
        made.map_err(|error| failed(ErrorVerb::Read, error))
    }
}

/// Makes a snapshot of the state at one moment.
pub struct Builder {
    database: Arc<Database>,
    groups: Groups,
    applied: Option<LogId<PeerId>>,
    membership: StoredMembership<PeerId, BasicNode>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failed> {
        // The same entries give the same state: their end is name enough.
        let snapshot_id = self.applied.map_or_else(|| "empty".to_owned(), |applied| applied.to_string());
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone(), snapshot_id };
        let kept = Kept { meta, groups: std::mem::take(&mut self.groups) };
        keep(&self.database, &kept).await?;
        snapshot(kept.meta, &kept.groups).map_err(|error| failed(ErrorVerb::Write, error))
    }
}
