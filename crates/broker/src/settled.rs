//! What the log itself says was settled: delayed messages delivered, transactions committed.
//!
//! A record that is made of one that waited (for its time, for a decision) carries the physical
//! offset of that one in its field `preparedTransactionOffset`. Whoever follows such messages saves
//! its progress from time to time, and with it a mark: a place in the log before which its saved
//! progress knows all that was settled. At start the records after the lowest mark tell the rest, so
//! that a crash between a delivery and the next saving delivers nothing twice.
//!
//! A slave takes progress and marks over from its master. After its log was cut, progress may speak of deliveries that
//! are gone: it counts for nothing then, and all of the log tells.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use apogee_message::record::{NewMessage, Record};
use apogee_message::sysflag;
use apogee_store::Store;
use bytes::{Bytes, BytesMut};

use crate::persist::{JsonFile, Kept, PersistError};

/// See the module.
pub(crate) struct Settled {
    file: JsonFile,
    state: Mutex<State>,
}

/// The mark of a follower whose progress counts for nothing.
const VOID: i64 = -1;

struct State {
    /// Marks by follower.
    marks: BTreeMap<String, i64>,
    is_saved: bool,
    /// Physical offsets of settled messages, as far as a follower may not know them.
    offsets: HashSet<i64>,
    /// End of the log when it was read.
    read_to: i64,
    /// Whether anybody wants to know; not on a slave, which delivers nothing.
    reads: bool,
}

impl Settled {
    /// Reads the marks, and the log from the lowest of them on.
    /// `reads`: whether this broker delivers.
    pub fn open(file: JsonFile, store: &Store, reads: bool) -> Result<Self, PersistError> {
        let (mut marks, is_lost) = match file.load("what was settled is read from the whole log")? {
            Kept::Content(marks) => (marks, false),
            Kept::Never => (BTreeMap::<String, i64>::new(), false),
            Kept::Lost => (BTreeMap::new(), true),
        };
        let read_to = store.confirmed_offset();
        // A power cut can take the end of the log: what is written there now is not known to anybody.
        marks.values_mut().for_each(|mark| *mark = read_to.min(*mark));
        let from = if is_lost { Some(store.log_min_offset()) } else { marks.values().min().copied() };
        let from = from.filter(|_| reads).map(|from| from.max(store.log_min_offset()));
        let offsets = from.into_iter().flat_map(|from| settled_since(store, from)).collect();
        Ok(Self { file, state: Mutex::new(State { marks, is_saved: true, offsets, read_to, reads }) })
    }

    /// Before the log is cut: what followers know may be gone after it.
    pub fn void(file: &JsonFile, followers: &[&str]) -> Result<(), PersistError> {
        let marks: BTreeMap<String, i64> = followers.iter().map(|follower| ((*follower).to_owned(), VOID)).collect();
        file.save(&marks)
    }

    /// Whether a follower's progress counts for nothing.
    pub fn is_void(&self, follower: &str) -> bool {
        self.lock().marks.get(follower) == Some(&VOID)
    }

    /// What the log says was settled behind what a follower's progress knows, by physical offsets. Reads that part of it.
    pub fn since(&self, store: &Store, follower: &str) -> HashSet<i64> {
        let from = self.lock().marks.get(follower).copied().unwrap_or_default();
        settled_since(store, from.max(store.log_min_offset())).collect()
    }

    /// Reads the whole log: a follower has lost its progress.
    pub fn recall(&self, store: &Store) {
        if !self.lock().reads {
            return;
        }
        let offsets: Vec<i64> = settled_since(store, store.log_min_offset()).collect();
        self.lock().offsets.extend(offsets);
    }

    /// Whether the log says of no message that it was settled before the start.
    pub fn is_nothing(&self) -> bool {
        self.lock().offsets.is_empty()
    }

    /// Whether the message at a physical offset was settled before the start.
    pub fn contains(&self, physical_offset: i64) -> bool {
        self.lock().offsets.contains(&physical_offset)
    }

    /// A follower without a mark begins here: what was settled from now on is found, once this is saved.
    pub fn begin(&self, follower: &str) {
        let mut state = self.lock();
        if !state.marks.contains_key(follower) {
            let read_to = state.read_to;
            state.marks.insert(follower.to_owned(), read_to);
            state.is_saved = false;
        }
    }

    /// The progress that a follower has saved knows all that was settled before `log_offset`.
    pub fn mark(&self, follower: &str, log_offset: i64) {
        let mut state = self.lock();
        if state.marks.get(follower).is_none_or(|mark| *mark < log_offset) {
            state.marks.insert(follower.to_owned(), log_offset);
            state.is_saved = false;
        }
    }

    /// Marks of another broker, whose progress is taken over: where they are lower than those here. Before the
    /// progress is.
    pub fn lower(&self, marks: &[(&str, i64)]) {
        let mut state = self.lock();
        for (follower, mark) in marks {
            let lowest = state.marks.get(*follower).map_or(*mark, |known| *mark.min(known));
            state.put(follower, lowest);
        }
    }

    /// The same marks as they are. After the progress was taken over.
    pub fn place(&self, marks: &[(&str, i64)]) {
        let mut state = self.lock();
        for (follower, mark) in marks {
            state.put(follower, *mark);
        }
    }

    /// Writes the marks if they changed.
    pub fn save(&self) -> Result<(), PersistError> {
        let marks = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.is_saved, true) {
                return Ok(());
            }
            state.marks.clone()
        };
        self.file.save(&marks).inspect_err(|_| self.lock().is_saved = false)?;
        let mut state = self.lock();
        if marks.values().all(|mark| *mark >= state.read_to) {
            // Everybody knows by now.
            state.offsets = HashSet::new();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, follower: &str, mark: i64) {
        if self.marks.get(follower) != Some(&mark) {
            self.marks.insert(follower.to_owned(), mark);
            self.is_saved = false;
        }
    }
}

/// How long it is waited for what others have to confirm.
const CONFIRMATION: Duration = Duration::from_secs(2);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// Whether the log up to `end` stays whatever happens: on disk, and where replicas agree on a master, on enough of
/// them that no next master lacks it. Waits for that a little. Progress that speaks of it may be saved then.
pub(crate) fn is_kept(store: &Store, end: i64) -> bool {
    // The store says why when it fails.
    if store.flush_step().is_err() {
        return false;
    }
    let began = Instant::now();
    while store.confirmed_offset() < end {
        if began.elapsed() > CONFIRMATION {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Physical offsets of what the records from a place of the log on settle.
fn settled_since(store: &Store, from: i64) -> impl Iterator<Item = i64> + '_ {
    store.records(from).filter_map(|bytes| settled_by(&bytes))
}

/// What a record's `preparedTransactionOffset` holds when it settles the message at a physical
/// offset: that offset, or -1 for the first record of the log, since 0 means none.
pub(crate) fn settling(physical_offset: i64) -> i64 {
    if physical_offset == 0 { -1 } else { physical_offset }
}

/// The message that settles the one in `bytes`: the same elsewhere, with the properties that `arena` holds.
pub(crate) fn successor(
    record: &Record<'_>,
    bytes: &Bytes,
    topic: Arc<str>,
    queue_id: i32,
    arena: &mut BytesMut,
) -> NewMessage {
    NewMessage {
        topic,
        queue_id,
        flag: record.flag,
        sys_flag: record.sys_flag,
        born_timestamp: record.born_timestamp,
        born_host: record.born_host,
        store_host: record.store_host,
        reconsume_times: record.reconsume_times,
        prepared_transaction_offset: settling(record.physical_offset),
        body: bytes.slice_ref(record.body),
        properties: arena.split().freeze(),
    }
}

/// Where the message is that a record settles. A commit by upstream's broker says 0 for 0.
pub(crate) fn settled_by(bytes: &[u8]) -> Option<i64> {
    let record = Record::read(bytes).ok()?;
    let commits = record.sys_flag & sysflag::TRANSACTION == sysflag::TRANSACTION_COMMIT;
    match record.prepared_transaction_offset {
        0 => commits.then_some(0),
        -1 => Some(0),
        offset => Some(offset),
    }
}
