//! Appending: whoever brings messages and finds nobody writing becomes the writer, and writes for
//! all who come meanwhile. No thread changes hands for a message, no lock is held while the disk
//! works, and under load one call writes for many.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use apogee_base::clock::Clock;
use apogee_message::names::property;
use apogee_message::properties;
use apogee_message::record::{BLANK_LENGTH, Draft, MAGIC_BLANK};
use apogee_telemetry::moment;
use smallvec::SmallVec;

use super::confirm::{Confirmer, NEVER, Written};
use super::{Log, Segment};
use crate::dispatch::{Dispatch, KEYS, Tagger, has_queue, keys};
use crate::error::AppendError;
use crate::light::Light;
use crate::queue::{Kind, QueueTable, SharedQueue};

/// Most records of one write.
const BATCH: usize = 256;
/// Records of a write that needs no memory but the stack for the list of its pieces.
const INLINE: usize = 32;

/// A message to be stored, and who wants to know.
pub struct Append {
    /// The record, all but what the log assigns.
    pub draft: Draft,
    /// Told when the message is confirmed or refused.
    pub done: Arc<dyn AppendDone>,
    /// Returned with the outcome.
    pub token: u64,
}

/// Hears what became of messages.
pub trait AppendDone: Send + Sync {
    /// Called once for each message, on any thread, with no lock held, in any order; must not block.
    fn done(&self, token: u64, result: &Result<Appended, AppendError>);

    /// Whether somebody takes the outcome for a promise that the message is not lost to a power cut. With
    /// asynchronous flush, the others are told without regard to how much is promised already.
    fn is_promise(&self) -> bool {
        true
    }
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset in the commit log.
    pub physical_offset: i64,
    /// Bytes of the record.
    pub size: u32,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// Milliseconds since 1970.
    pub store_timestamp: i64,
    /// False: it is here, and was not on enough other machines in time. See [`super::CopyOptions`].
    pub copied: bool,
}

/// Why the store takes no messages, once it doesn't.
#[derive(Default)]
pub(crate) struct Health {
    failed: OnceLock<String>,
    /// Per cent of the disk that are used and may be used, 16 bits each; 0 while there is room.
    short: AtomicU32,
    /// Machines that keep up and that must, 32 bits each; 0 while there are enough.
    few: AtomicU64,
}

impl Health {
    /// From now on the store is read-only. The first reason stays.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the store takes no messages any more: look after the disk, then restart");
        // A later failure follows from the first.
        let _ = self.failed.set(reason);
    }

    /// The disk is used to so many per cent, over a limit; `None`: there is room.
    pub fn set_short(&self, used_and_limit: Option<(u16, u16)>) {
        let packed = used_and_limit.map_or(0, |(used, limit)| u32::from(used.max(1)) << 16 | u32::from(limit));
        self.short.store(packed, Ordering::Relaxed);
    }

    /// So many machines keep up with the log, fewer than must; `None`: enough do.
    pub fn set_few(&self, in_sync_and_needed: Option<(u32, u32)>) {
        let packed = in_sync_and_needed.map_or(0, |(in_sync, needed)| u64::from(in_sync) << 32 | u64::from(needed));
        self.few.store(packed, Ordering::Relaxed);
    }

    /// Why messages are refused until more machines keep up.
    pub fn too_few_copies(&self) -> Option<AppendError> {
        let packed = self.few.load(Ordering::Relaxed);
        (packed > 0).then_some(AppendError::TooFewCopies { in_sync: (packed >> 32) as u32, needed: packed as u32 })
    }

    /// Why messages are refused until there is room.
    pub fn short_of_room(&self) -> Option<AppendError> {
        let packed = self.short.load(Ordering::Relaxed);
        (packed > 0).then_some(AppendError::ShortOfRoom { used: (packed >> 16) as u16, limit: packed as u16 })
    }

    /// Why messages are refused at present although the store is well.
    pub fn refusal(&self) -> Option<AppendError> {
        self.short_of_room().or_else(|| self.too_few_copies())
    }

    /// The reason.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }
}

pub(crate) struct Appender {
    log: Arc<Log>,
    queues: Arc<QueueTable>,
    confirmer: Arc<Confirmer>,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    tagger: Tagger,
    limits: Limits,
    inbox: Mutex<Inbox>,
    /// When the write began that is under way; [`NEVER`] when none is.
    writing_since: AtomicI64,
    /// Told when nobody writes any more, once the store is being closed.
    idle: Condvar,
}

/// Bounds of what may wait for the disk, who comes later is refused and told so; and what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes that may wait to be written or flushed.
    pub bytes: usize,
    /// Milliseconds that a write or a flush may take.
    pub stall_ms: i64,
    /// Whether records get a sum over all of them.
    pub sums: bool,
    /// Whether the log is a copy of another one: nobody else appends.
    pub follows: bool,
}

/// A message that waits to be written.
struct Waiting {
    entry: Append,
    light: Option<Box<Light>>,
}

#[derive(Default)]
struct Inbox {
    waiting: Vec<Waiting>,
    /// For the next who writes, so that no batch allocates.
    spare: Room,
    bytes: usize,
    /// Somebody writes, and will look here again.
    writing: bool,
    closed: bool,
}

/// What a writer needs.
#[derive(Default)]
struct Room {
    batch: Vec<Waiting>,
    placed: Vec<Placed>,
}

impl Appender {
    pub fn new(
        log: Arc<Log>,
        queues: Arc<QueueTable>,
        confirmer: Arc<Confirmer>,
        clock: Arc<dyn Clock>,
        health: Arc<Health>,
        tagger: Tagger,
        limits: Limits,
    ) -> Self {
        let (inbox, writing_since, idle) = (Mutex::default(), AtomicI64::new(NEVER), Condvar::new());
        Self { log, queues, confirmer, clock, health, tagger, limits, inbox, writing_since, idle }
    }

    /// Milliseconds that the disk has been at work on what is before those who come now.
    fn stalled_ms(&self) -> i64 {
        let now = self.clock.now_ms();
        let writing = now.saturating_sub(self.writing_since.load(Ordering::Relaxed));
        writing.max(self.confirmer.waiting_ms(now))
    }

    /// Takes messages; each is answered through its `done`.
    pub fn append(&self, entries: impl IntoIterator<Item = Append>) {
        let entries = entries.into_iter().map(|mut entry| {
            if !self.limits.sums {
                entry.draft.leave_out_sum();
            }
            entry
        });
        let mut refused = Vec::new();
        let (stalled_ms, limits) = (self.stalled_ms(), self.limits);
        let refusal = if self.limits.follows { Some(AppendError::Follows) } else { self.health.refusal() };
        let writes = {
            let mut inbox = self.lock_inbox();
            for entry in entries {
                let waiting = inbox.bytes + self.confirmer.waiting_bytes();
                if inbox.closed {
                    refused.push((entry, AppendError::Closed));
                } else if let Some(error) = &refusal {
                    refused.push((entry, error.clone()));
                } else if waiting >= limits.bytes {
                    refused.push((entry, AppendError::Busy { waiting, limit: limits.bytes }));
                } else if stalled_ms > limits.stall_ms {
                    refused.push((entry, AppendError::Slow { stalled_ms, limit_ms: limits.stall_ms }));
                } else {
                    inbox.bytes += entry.draft.size();
                    inbox.waiting.push(Waiting { entry, light: None });
                }
            }
            !inbox.waiting.is_empty() && !std::mem::replace(&mut inbox.writing, true)
        };
        for (entry, error) in refused {
            entry.done.done(entry.token, &Err(error));
        }
        if writes {
            self.write_all();
        }
    }

    /// Takes no more messages; those taken are written when this returns.
    pub fn close(&self) {
        let mut inbox = self.lock_inbox();
        inbox.closed = true;
        drop(self.idle.wait_while(inbox, |inbox| inbox.writing));
    }

    fn write_all(&self) {
        let mut turn = Turn { appender: self, over: false };
        let mut room = std::mem::take(&mut self.lock_inbox().spare);
        loop {
            {
                let mut inbox = self.lock_inbox();
                if inbox.waiting.is_empty() {
                    room.batch.shrink_to(BATCH);
                    inbox.spare = room;
                    inbox.writing = false;
                    if inbox.closed {
                        self.idle.notify_all();
                    }
                    turn.over = true;
                    return;
                }
                std::mem::swap(&mut inbox.waiting, &mut room.batch);
                inbox.bytes = 0;
            }
            if self.queues.has_light() {
                self.find_light(&mut room.batch);
            }
            while !room.batch.is_empty() {
                self.write_some(&mut room);
            }
        }
    }

    /// Finds the light queues of messages; answers those whose queues cannot be opened with an error.
    fn find_light(&self, batch: &mut Vec<Waiting>) {
        let mut at = 0;
        while at < batch.len() {
            let draft = &batch[at].entry.draft;
            match Light::of(draft, &self.queues) {
                Ok(light) => {
                    batch[at].light = light;
                    at += 1;
                }
                Err(error) => {
                    let (topic, queue_id) = (Arc::clone(draft.topic()), draft.queue_id());
                    let reason = format!("a light queue of the message cannot be opened: {error}");
                    refuse(batch.drain(at..=at), &AppendError::Queue { topic, queue_id, reason });
                }
            }
        }
    }

    /// Writes the first of the batch that fit together, or answers the first with an error.
    fn write_some(&self, Room { batch, placed }: &mut Room) {
        placed.clear();
        let first = batch[0].size();
        if first as u64 + BLANK_LENGTH as u64 > self.log.segment_size {
            let error = AppendError::TooLarge { size: first, limit: self.log.segment_size };
            return refuse(batch.drain(..1), &error);
        }
        if let Some(reason) = self.health.failure() {
            return refuse(batch.drain(..), &AppendError::Failed(reason.to_owned()));
        }
        let start = self.log.written();
        let segment = match self.segment_for(start, first) {
            Ok(segment) => segment,
            Err(error) => return refuse(batch.drain(..), &self.failed("cannot extend the commit log", &error)),
        };
        let start = start.max(segment.base);
        let end_of_segment = segment.base + self.log.segment_size as i64;
        let now = self.clock.now_ms();

        let mut end = start;
        for entry in batch.iter_mut().take(BATCH) {
            let size = entry.size();
            let entry = &mut entry.entry;
            if end + (size + BLANK_LENGTH) as i64 > end_of_segment {
                break;
            }
            match self.place(&mut entry.draft, end, now) {
                Ok(place) => placed.push(place),
                // Those before it are written; then it is the first.
                Err(_) if !placed.is_empty() => break,
                Err(error) => {
                    let (topic, queue_id) = (Arc::clone(entry.draft.topic()), entry.draft.queue_id());
                    let error = AppendError::Queue { topic, queue_id, reason: error.to_string() };
                    return refuse(batch.drain(..1), &error);
                }
            }
            end += entry.draft.size() as i64;
        }
        let count = placed.len();
        let mut pieces: SmallVec<[IoSlice<'_>; 3 * INLINE]> = SmallVec::with_capacity(count * 3);
        for Waiting { entry, .. } in &batch[..count] {
            pieces.extend(entry.draft.pieces().map(IoSlice::new));
        }
        self.writing_since.store(now, Ordering::Relaxed);
        let began = moment::now();
        let written = segment.file.write_at(&mut pieces, (start - segment.base) as u64);
        drop(pieces);
        self.writing_since.store(NEVER, Ordering::Relaxed);
        if let Err(error) = written {
            // Nothing was published: the offsets go to the next who come.
            for placed in placed.iter().rev() {
                placed.take_back();
            }
            let mut error = self.failed("cannot write to the commit log", &error);
            if error == AppendError::DiskFull {
                self.erase(&segment, start, end);
                // What could not be erased may be found at the next start: nobody is told that it was refused.
                if let Some(reason) = self.health.failure() {
                    error = AppendError::Failed(reason.to_owned());
                }
            }
            return refuse(batch.drain(..), &error);
        }
        self.log.publish(end);
        let now = moment::now();
        self.confirmer.times().append.record(now.saturating_sub(began));
        let written = batch.drain(..count).zip(placed.drain(..));
        let written = written.map(|(entry, placed)| self.written(entry, placed, now));
        self.confirmer.written(written);
    }

    /// Zeros what a write that ran out of room has written: else, when the next one is shorter, whole
    /// records that were refused would stand behind its end, for recovery to find.
    fn erase(&self, segment: &Segment, start: i64, end: i64) {
        let zeros = [0; 64 << 10];
        let mut at = start;
        while at < end {
            let length = zeros.len().min((end - at) as usize);
            match segment.file.write_at(&mut [IoSlice::new(&zeros[..length])], (at - segment.base) as u64) {
                Ok(()) => at += length as i64,
                // What was written has its room; so this is where the refused write ended, too.
                Err(error) if is_full(&error) => break,
                Err(error) => return drop(self.failed("cannot write to the commit log", &error)),
            }
        }
        // Durable before anything else can be. A failure is noted where it happens.
        let _ = self.confirmer.flush_with(segment);
    }

    /// Assigns offsets. An error when the queue's files cannot be read.
    fn place(&self, draft: &mut Draft, physical_offset: i64, store_timestamp: i64) -> io::Result<Placed> {
        let queue = has_queue(draft.sys_flag()).then(|| {
            self.queues.get_or_create(
                draft.topic(),
                draft.queue_id(),
                Kind::of(draft.topic(), draft.is_in_batch_queue()),
            )
        });
        let queue = queue.transpose()?;
        let messages = i64::from(draft.messages());
        let queue_offset = queue.as_ref().map_or(0, |queue| queue.next.fetch_add(messages, Ordering::Relaxed));
        draft.assign(queue_offset, physical_offset, store_timestamp);
        let size = draft.size() as u32;
        let queue_id = draft.queue_id();
        Ok(Placed {
            queue,
            appended: Appended { physical_offset, size, queue_id, queue_offset, store_timestamp, copied: true },
        })
    }

    fn written(&self, Waiting { entry, light }: Waiting, placed: Placed, moment: u64) -> Written {
        let Placed { queue, appended } = placed;
        let (draft, store_timestamp) = (&entry.draft, appended.store_timestamp);
        let (topic, properties) = (draft.topic(), draft.properties());
        let [unique, own, tag, wait] = properties::pick(properties, [KEYS[0], KEYS[1], KEYS[2], property::WAIT]);
        let dispatch = Dispatch {
            tag_code: self.tagger.code_of(topic, properties, tag, store_timestamp),
            keys: keys(topic, draft.sys_flag(), [unique, own, tag]),
            queue,
            light: light.map(|light| light.places()),
            physical_offset: appended.physical_offset,
            size: appended.size,
            queue_offset: appended.queue_offset,
            messages: draft.messages(),
            store_timestamp,
        };
        Written { dispatch, appended, waits: wait != Some("false"), done: entry.done, token: entry.token, moment }
    }

    /// The segment to write a record of `size` into; begins a new one when it doesn't fit.
    fn segment_for(&self, start: i64, size: usize) -> io::Result<Arc<Segment>> {
        let Some(segment) = self.log.segment(start) else { return self.log.add_segment(start) };
        let end = segment.base + self.log.segment_size as i64;
        if start + (size + BLANK_LENGTH) as i64 <= end {
            return Ok(segment);
        }
        let mut blank = [0; BLANK_LENGTH];
        blank[..4].copy_from_slice(&((end - start) as u32).to_be_bytes());
        blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        segment.file.write_at(&mut [IoSlice::new(&blank)], (start - segment.base) as u64)?;
        let next = self.log.add_segment(end)?;
        self.log.publish(end);
        Ok(next)
    }

    fn failed(&self, action: &str, error: &io::Error) -> AppendError {
        if is_full(error) {
            return AppendError::DiskFull;
        }
        self.health.fail(format!("{action} in {}: {error}", self.log.folder().display()));
        AppendError::Failed(self.health.failure().unwrap_or_default().to_owned())
    }

    fn lock_inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's turn to write.
struct Turn<'a> {
    appender: &'a Appender,
    over: bool,
}

impl Drop for Turn<'_> {
    /// A panic, in whoever was told of an outcome, must not leave everybody waiting for a writer that
    /// isn't there.
    fn drop(&mut self) {
        if !self.over {
            self.appender.health.fail("the code that writes or is told of it has panicked".to_owned());
            self.appender.lock_inbox().writing = false;
            self.appender.idle.notify_all();
        }
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a record was assigned.
struct Placed {
    queue: Option<SharedQueue>,
    appended: Appended,
}

impl Placed {
    fn take_back(&self) {
        if let Some(queue) = &self.queue {
            queue.next.store(self.appended.queue_offset, Ordering::Relaxed);
        }
    }
}

impl Waiting {
    /// Bytes of the record, with its offsets in light queues, which it gets here.
    fn size(&mut self) -> usize {
        if let Some(light) = &mut self.light {
            light.assign(&mut self.entry.draft);
        }
        self.entry.draft.most_size()
    }
}

/// Nothing after these was given an offset.
fn refuse(entries: impl Iterator<Item = Waiting>, error: &AppendError) {
    for Waiting { entry, light } in entries {
        if let Some(mut light) = light {
            light.take_back();
        }
        entry.done.done(entry.token, &Err(error.clone()));
    }
}
