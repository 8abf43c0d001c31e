//! Asking producers about transactions that nobody ended.

use std::sync::Arc;

use apogee_message::names;
use apogee_message::record::Draft;
use apogee_store::Store;
use bytes::{Bytes, BytesMut};

use super::half::HalfRecord;
use super::{Rules, Transactions};
use crate::clients::{Channel, Producers};
use crate::settled::settling;

/// Messages looked at together: their copies share a write and a flush. So many are asked about at
/// once, since a client drops questions that come faster than it answers.
const BATCH: usize = 256;
/// Pause after so many questions.
pub(super) const PACE_MS: i64 = 250;
/// Pause after a failure.
const PAUSE_MS: i64 = 1_000;
/// A half message of this age is discarded, whether or not its producer could be asked: 3 days, after
/// which upstream's log files go by default.
const LONGEST_MS: i64 = 72 * 3_600_000;

/// What is to be done with a half message.
enum Verdict<C> {
    /// Nothing before a time.
    Later(i64),
    /// It cannot be read: it is gone, or it is a copy that stands for nothing.
    Drop,
    /// Nobody decided.
    Discard,
    /// Its producer is to be asked.
    Ask(Arc<C>),
}

/// A half message under way.
struct Pending<C> {
    offset: i64,
    bytes: Bytes,
    checks: i64,
    /// Who is asked; nobody, where it is only written again.
    channel: Option<Arc<C>>,
    due_ms: i64,
}

impl Transactions {
    /// Looks at what is due. Says whether some of it is left for later.
    pub(super) fn check<C: Channel>(
        &self,
        store: &Store,
        producers: &Producers<C>,
        rules: &Rules,
        now_ms: i64,
    ) -> bool {
        let mut questions = 0;
        loop {
            let due = self.lock().take_due(now_ms, BATCH);
            let looked_at = due.len();
            let mut asked = Vec::new();
            for (first, offset) in due {
                match read(store, offset) {
                    Read::Record(bytes) => match verdict(store, producers, rules, now_ms, first, offset, &bytes) {
                        Verdict::Later(due_ms) => self.lock().postponed(offset, due_ms),
                        Verdict::Drop => self.drop_half(offset, now_ms),
                        Verdict::Discard => self.discard(store, first, offset, &bytes, now_ms),
                        Verdict::Ask(channel) => {
                            let checks = HalfRecord::read(&bytes).map_or(0, |half| half.checks()) + 1;
                            let due_ms = now_ms + rules.interval_ms;
                            asked.push(Pending { offset, bytes, checks, channel: Some(channel), due_ms });
                        }
                    },
                    Read::Gone => {
                        tracing::error!(offset, "an undecided transactional message is no longer in the log");
                        self.drop_half(offset, now_ms);
                    }
                    Read::Failed => self.lock().postponed(offset, now_ms + PAUSE_MS),
                }
            }
            questions += asked.len();
            self.renew(store, &rules.broker, asked, now_ms);
            if looked_at < BATCH || questions >= BATCH {
                return looked_at == BATCH;
            }
        }
    }

    /// Writes messages again that hold up the progress of the queue.
    pub(super) fn renew_holders(&self, store: &Store, now_ms: i64) {
        let holders = self.lock().take_holders(BATCH);
        let mut renewed: Vec<Pending<apogee_net::Conn>> = Vec::new();
        for (offset, due_ms) in holders {
            match read(store, offset) {
                Read::Record(bytes) => {
                    let checks = HalfRecord::read(&bytes).map_or(0, |half| half.checks());
                    renewed.push(Pending { offset, bytes, checks, channel: None, due_ms });
                }
                Read::Gone => self.drop_half(offset, now_ms),
                Read::Failed => self.lock().postponed(offset, due_ms),
            }
        }
        self.renew(store, "", renewed, now_ms);
    }

    /// Writes messages again and asks those who are to be asked.
    fn renew<C: Channel>(&self, store: &Store, broker: &str, halves: Vec<Pending<C>>, now_ms: i64) {
        if halves.is_empty() {
            return;
        }
        let mut arena = BytesMut::new();
        let mut drafts: Vec<Draft> = Vec::with_capacity(halves.len());
        let mut written = Vec::with_capacity(halves.len());
        for pending in halves {
            let draft = HalfRecord::read(&pending.bytes).map(|half| half.again(pending.checks, &mut arena));
            match draft {
                Some(Ok(draft)) => {
                    drafts.push(draft);
                    written.push(pending);
                }
                // Only another broker's can be so full of properties that the count does not fit.
                _ => self.drop_half(pending.offset, now_ms),
            }
        }
        let end = store.queue_range(names::TRANS_HALF_TOPIC, 0).map_or(0, |(_, max)| max);
        let appended = match store.append_now(drafts) {
            Ok(appended) => appended,
            Err(error) => {
                tracing::warn!(%error, "transactional messages cannot be checked now; trying again: the error says why messages are refused");
                self.adopt(store, end, now_ms);
                written.iter().for_each(|pending| self.lock().postponed(pending.offset, now_ms + PAUSE_MS));
                return;
            }
        };
        for (pending, place) in written.iter().zip(&appended) {
            let undecided =
                self.change(|table| table.renewed(pending.offset, place.queue_offset, pending.due_ms, now_ms));
            let Some(channel) = pending.channel.as_ref().filter(|_| undecided) else { continue };
            let half = HalfRecord::read(&pending.bytes);
            if let Some(question) = half.and_then(|half| half.question(pending.checks, place, broker)) {
                channel.send_oneway(question);
            }
        }
    }

    /// Some copies were written though not all were: they stand for theirs.
    fn adopt(&self, store: &Store, from: i64, now_ms: i64) {
        let end = store.queue_range(names::TRANS_HALF_TOPIC, 0).map_or(0, |(_, max)| max);
        for offset in from..end {
            let Read::Record(bytes) = read(store, offset) else { continue };
            let Some(half) = HalfRecord::read(&bytes).filter(|half| half.first() != offset) else { continue };
            self.change(|table| table.adopted(half.first(), offset, now_ms + PAUSE_MS, now_ms));
        }
    }

    /// Moves a message to the topic of those that nobody decided on.
    fn discard(&self, store: &Store, first: i64, offset: i64, bytes: &Bytes, now_ms: i64) {
        // Its producer may end it at this moment after all.
        if self.begin(first, store.log_max_offset()).is_err() {
            return;
        }
        let Some(half) = HalfRecord::read(bytes) else { return };
        let prepared = settled_by(store, first, &half);
        let draft = half.discarded(prepared, &mut BytesMut::new()).map_err(|error| error.to_string());
        let moved = draft.and_then(|draft| store.append_now([draft]).map_err(|error| error.to_string()));
        let (topic, _) = half.target().unwrap_or_default();
        match &moved {
            Ok(_) => tracing::warn!(
                topic,
                group = half.group(),
                offset,
                checks = half.checks(),
                "nobody decided on a transactional message: moved to {}, from where it can be put back",
                names::TRANS_CHECK_MAX_TIME_TOPIC
            ),
            Err(error) => {
                tracing::warn!(topic, offset, %error, "a transactional message cannot be discarded now; trying again: the error says why messages are refused")
            }
        }
        self.change(|table| {
            table.end(first, moved.is_ok(), now_ms);
            if moved.is_err() {
                table.postponed(offset, now_ms + PAUSE_MS);
            }
        });
    }

    fn drop_half(&self, offset: i64, now_ms: i64) {
        self.change(|table| table.dropped(offset, now_ms));
    }
}

fn verdict<C: Channel>(
    store: &Store,
    producers: &Producers<C>,
    rules: &Rules,
    now_ms: i64,
    first: i64,
    offset: i64,
    bytes: &Bytes,
) -> Verdict<C> {
    let Some(half) = HalfRecord::read(bytes).filter(|half| half.first() == first && half.target().is_some()) else {
        tracing::warn!(offset, "a half message without a target, or a copy that stands for nothing, is passed over");
        return Verdict::Drop;
    };
    let stored_ms = half.record.store_timestamp;
    let first_ms = if first == offset { None } else { store.store_time(names::TRANS_HALF_TOPIC, 0, first) };
    let first_ms = first_ms.unwrap_or(stored_ms);
    let checks = half.checks();
    let (since_ms, wait_ms) = match checks {
        0 => (first_ms, half.immunity_ms().unwrap_or(rules.timeout_ms)),
        _ => (stored_ms, rules.interval_ms),
    };
    let due_ms = since_ms.saturating_add(wait_ms);
    // A time in the future comes from a clock that was wrong.
    if since_ms <= now_ms && due_ms > now_ms {
        return Verdict::Later(due_ms);
    }
    if checks >= rules.most_checks || now_ms - first_ms > LONGEST_MS {
        return Verdict::Discard;
    }
    match producers.pick(half.group()) {
        Some(channel) => Verdict::Ask(channel),
        // It doesn't count: nobody was asked.
        None => Verdict::Later(now_ms + rules.interval_ms),
    }
}

/// How the log says that a transaction is settled: by the place of the first half message, which is
/// the same after any number of checks.
pub(crate) fn settled_by(store: &Store, first: i64, half: &HalfRecord<'_>) -> i64 {
    let place = match first == half.record.queue_offset {
        true => None,
        false => store.unit(names::TRANS_HALF_TOPIC, 0, first).map(|unit| unit.physical_offset),
    };
    settling(place.unwrap_or(half.record.physical_offset))
}

enum Read {
    Record(Bytes),
    /// Its part of the log is no more.
    Gone,
    /// It may be read later.
    Failed,
}

fn read(store: &Store, offset: i64) -> Read {
    let unit = store.unit(names::TRANS_HALF_TOPIC, 0, offset);
    if let Some(bytes) = unit.and_then(|unit| store.record_at(unit.physical_offset)) {
        return Read::Record(bytes);
    }
    let min = store.queue_range(names::TRANS_HALF_TOPIC, 0).map_or(0, |(min, _)| min);
    let removed = unit.is_some_and(|unit| unit.is_blank() || unit.physical_offset < store.log_min_offset());
    if offset < min || removed { Read::Gone } else { Read::Failed }
}
